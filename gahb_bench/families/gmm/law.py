"""Gaussian mixtures: random textures around a few fixed images, clouds around points on a grid, or scales of noise."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gahb_bench.core import memory, rng
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray
from gahb_bench.families.calpha.law import filter_white_noise, half_spectrum_gain, power_spectrum


class Gmm(Family):
    """Gaussian mixtures: x ~ N(mu_k, C_k) with k drawn with weights proportional to ratio^k, C_k stationary.

        variant=fields   mu_k = mean + a C^alpha field of standard deviation `between`, drawn once (see ``key``)
                         C_k = F* diag(lambda_k) F,
                         lambda_k(f) ~ (A cos^2 + sin^2 / A)^{-(alpha+1)} |f|^{-2(alpha+1)},  A = anisotropy,
                         at angle pi k / K to f, sum over f != 0 of lambda_k = N^2 within^2;
                         lambda_k(0): the mean over |f| = 1
                         `within` and `between` leave out the mean mode f = 0, which adds to the variance of a pixel:
                         at alpha = 2 it is 1.16 to 1.24 within^2
        variant=points   images of 1 x 2 pixels: mu_k on a square grid in [0, 1]^2 at (i + 1/2) / sqrt(K),
                         C_k = within^2 I
        variant=scales   mu_k = mean,  C_k = s_k^2 I,  s_k from `within` to `between`, evenly spaced in log s:
                         white noise of a random scale; the components are shells around one mean, two in the paper

    This law tests multimodality: between modes the optimum must interpolate, a sample must not. ``points`` is where
    mode interpolation can be drawn; ``fields`` has it in images; ``scales`` is where learned densities are tested: a
    score may be right on all shells, and the density of one against another wrong.

    Latents: ``component``, int64 ``(n,)``: k.

    References
    ----------
    S. K. Aithal, P. Maini, Z. C. Lipton, J. Z. Kolter, "Understanding hallucinations in diffusion models through mode
    interpolation", NeurIPS 2024, arXiv:2406.09358 (points on a grid); F. Guth, Z. Kadkhodaie, E. P. Simoncelli,
    "Learning normalized image densities via dual score matching", 2025, arXiv:2506.05310 (scales).

    Examples
    --------
    >>> Gmm(size=16).sample(range(3)).images.shape, Gmm(variant="points").sample(range(3)).images.shape
    (torch.Size([3, 1, 16, 16]), torch.Size([3, 1, 1, 2]))
    """

    name: ClassVar = "gmm"
    best: ClassVar = ".optimum:GmmOptimum"
    statistics: ClassVar = ".statistics:GmmStatistics"
    conditional: ClassVar = ".conditional:GmmConditional"
    source: ClassVar = (
        "Gaussian mixtures; points: Aithal et al. 2024, arXiv:2406.09358; scales: Guth et al. 2025, arXiv:2506.05310"
    )
    variants: ClassVar = ("gmm:size=32", "gmm:variant=points", "gmm:variant=scales")

    variant: Literal["fields", "points", "scales"] = Field(
        "fields", description="images, points in the plane, or white noise of several scales"
    )
    components: int = Field(16, ge=1, description="number K of components; a square number for points")
    ratio: float = Field(1.0, gt=0, le=1, description="weight of a component over that of the one before")
    within: float = Field(
        0.03, gt=0, le=1e3, description="deviation of a pixel in a component, without the mean mode; scales: the least"
    )
    between: float = Field(
        0.2,
        ge=0,
        le=1e3,
        description="fields: deviation of a pixel of the means, without the mean mode; scales: the most",
    )
    alpha: float = Field(2.0, gt=0, description="fields: Hoelder regularity of means and textures")
    anisotropy: float = Field(2.0, ge=1, description="fields: 1 = isotropic textures, the same in every component")
    size: int = Field(64, ge=4, description="fields, scales: image side N, pixels")
    mean: float = Field(0.5, ge=-1e3, le=1e3, description="fields, scales: mean intensity")
    key: int = Field(0, ge=0, description="fields: which draw of the means")

    @model_validator(mode="after")
    def _square_grid(self) -> "Gmm":
        if self.variant == "points" and round(self.components**0.5) ** 2 != self.components:
            raise ValueError(
                f"components={self.components} is not allowed for points: they lie on a square grid, so it should be "
                "a square number, like 16 or 25"
            )
        return self

    @model_validator(mode="after")
    def _increasing_scales(self) -> "Gmm":
        if self.variant == "scales" and self.between < self.within:
            raise ValueError(
                f"between={self.between:g} is not allowed for scales: it is the largest deviation, at least the "
                f"smallest one, within={self.within:g}"
            )
        return self

    @model_validator(mode="after")
    def _held(self) -> "Gmm":
        """All components are held in memory, whatever is done with them."""
        what = f"{self.components} components of {' x '.join(map(str, self.shape))}"
        memory.check_fits(memory.of_mixture(self.components, self.shape), what, "choose fewer or smaller components")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, 1, 2) if self.variant == "points" else (1, self.size, self.size)

    @cached_property
    def weights(self) -> FloatArray:
        """Weight of each component, ``(K,)``, summing to 1."""
        raw = self.ratio ** np.arange(self.components, dtype=np.float64)
        return raw / raw.sum()

    @cached_property
    def scales(self) -> FloatArray:
        """scales: deviation s_k of a pixel in each component, ``(K,)``."""
        return np.geomspace(self.within, self.between, self.components)

    @cached_property
    def means(self) -> FloatArray:
        """Mean image of each component, ``(K, h, w)`` float64, exactly representable in float32."""
        if self.variant == "points":
            side = round(self.components**0.5)
            place = (np.arange(side) + 0.5) / side
            grid = np.stack(np.meshgrid(place, place, indexing="ij"), axis=-1)
            return grid.reshape(-1, 1, 2).astype(np.float32).astype(np.float64)
        if self.variant == "scales":
            return np.full((self.components, self.size, self.size), np.float32(self.mean), dtype=np.float64)
        gain = half_spectrum_gain(power_spectrum(self.size, self.alpha, 1.0, mean_mode=True))
        fields = np.stack([filter_white_noise(white, gain) for white in self._fixed_noise()])
        return (self.mean + self.between * fields).astype(np.float32).astype(np.float64)

    @cached_property
    def spectra(self) -> FloatArray:
        """Eigenvalues lambda_k of each covariance, ``(K, h, w)`` in the order of ``fft2``."""
        if self.variant == "points":
            return np.full((self.components, 1, 2), self.within**2)
        if self.variant == "scales":
            return np.broadcast_to(self.scales[:, None, None] ** 2, (self.components, self.size, self.size)).copy()
        angles = np.pi * np.arange(self.components) / self.components
        return np.stack([oriented_spectrum(self.size, self.alpha, self.within, self.anisotropy, a) for a in angles])

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        images = np.empty((count, *self.shape), dtype=np.float32)
        component = np.empty(count, dtype=np.int64)
        ends, (means, gains) = self.weights.cumsum(), self._single
        for index, stream in zip(range(count), streams, strict=True):
            k = min(int(np.searchsorted(ends, stream.random(), side="right")), self.components - 1)
            white = stream.standard_normal(self.shape[1:], dtype=np.float32)
            images[index, 0] = means[k] + scipy.fft.irfft2(scipy.fft.rfft2(white) * gains[k], s=white.shape)
            component[index] = k
        return images, {"component": component}

    def _fixed_noise(self) -> list[NDArray[np.float32]]:
        streams = rng.generators("gmm", "means", self.size, self.key, indices=range(self.components))
        return [stream.standard_normal((self.size, self.size), dtype=np.float32) for stream in streams]

    @cached_property
    def _single(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Means and filters in single precision, for sampling."""
        return self.means.astype(np.float32), np.stack([half_spectrum_gain(spectrum) for spectrum in self.spectra])


def oriented_spectrum(size: int, alpha: float, std: float, anisotropy: float, angle: float) -> FloatArray:
    """Spectrum ``(N, N)`` of a texture of ``std`` a pixel (mean mode left out) that varies least along ``angle``.

    Symmetrised over f -> -f, so that fields are real whatever happens at the Nyquist frequencies.
    """
    f = np.fft.fftfreq(size, 1 / size)
    along = np.cos(angle) * f[:, None] + np.sin(angle) * f[None, :]
    across = np.cos(angle) * f[None, :] - np.sin(angle) * f[:, None]
    squared = anisotropy * along**2 + across**2 / anisotropy
    squared[0, 0] = np.inf
    power = squared ** -(alpha + 1.0)
    power = (power + np.roll(power[::-1, ::-1], (1, 1), axis=(0, 1))) / 2
    spectrum = std**2 * size**2 * power / power.sum()
    spectrum[0, 0] = (spectrum[0, 1] + spectrum[1, 0]) / 2
    return spectrum
