"""Uniformly C^alpha images: stationary periodic random fields with a power-law spectrum."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from pydantic import Field

from gahb_bench.core.family import Family


class Calpha(Family):
    """Uniformly C^alpha images: a stationary periodic field with a power-law spectrum.

        x = mean + F^-1( sqrt(lambda_k) F(white noise)_k ),
        lambda_k = std^2 N^2 |k|^{-2(alpha+1)} / sum_{k != 0} |k|^{-2(alpha+1)},   lambda_0 = lambda_{|k|=1}

    over the integer frequencies k of an N x N image, F the orthonormal Fourier transform. With ``law=gaussian`` the
    white noise is Gaussian and sample paths have Hoelder regularity alpha - eps; with ``law=uniform`` it is uniform of
    the same variance, as in the research code of the paper, and only the best *linear* denoiser is known.

    There are no latents.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, "Generalization in diffusion models arises from
    geometry-adaptive harmonic representations", ICLR 2024, arXiv:2310.02557, section 3.2 and appendix.

    Examples
    --------
    >>> Calpha(size=16).sample(range(3)).images.shape
    torch.Size([3, 1, 16, 16])
    """

    name: ClassVar = "calpha"
    best: ClassVar = ".optimum:CalphaOptimum"
    statistics: ClassVar = ".statistics:CalphaStatistics"
    conditional: ClassVar = ".conditional:CalphaConditional"
    source: ClassVar = "Kadkhodaie et al. 2024, arXiv:2310.02557"
    variants: ClassVar = (
        "calpha:alpha=1",
        "calpha:alpha=1,size=32",
        "calpha:alpha=3",
        "calpha:alpha=3,size=32",
        "calpha:size=32",
        "calpha:law=uniform",
        "calpha:law=uniform,size=32",
    )

    alpha: float = Field(2.0, gt=0, le=100, description="Hoelder regularity")
    size: int = Field(64, ge=8, le=4096, description="image side N, pixels, even or odd")
    std: float = Field(0.25, ge=1e-3, le=1e3, description="standard deviation of a pixel without the mean mode")
    mean: float = Field(0.5, ge=-1e3, le=1e3, description="mean intensity")
    law: Literal["gaussian", "uniform"] = Field("gaussian", description="law of the white noise that is filtered")

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, self.size, self.size)

    @cached_property
    def spectrum(self) -> NDArray[np.float64]:
        """Eigenvalues lambda_k of the covariance, ``(N, N)`` in the order of ``fft2``."""
        return power_spectrum(self.size, self.alpha, self.std, mean_mode=True)

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        images = np.empty((count, *self.shape), dtype=np.float32)
        for image, stream in zip(images, streams, strict=True):
            image[0] = self.mean + filter_white_noise(self._white_noise(stream), self._gain)
        return images, {}

    def _white_noise(self, stream: np.random.Generator) -> NDArray[np.float32]:
        if self.law == "gaussian":
            return stream.standard_normal((self.size, self.size), dtype=np.float32)
        return np.float32(np.sqrt(12)) * (stream.random((self.size, self.size), dtype=np.float32) - np.float32(0.5))

    @cached_property
    def _gain(self) -> NDArray[np.float32]:
        return half_spectrum_gain(self.spectrum)


def power_spectrum(size: int, alpha: float, std: float, *, mean_mode: bool) -> NDArray[np.float64]:
    """Spectrum lambda_k of the family, ``(N, N)`` in the order of ``fft2``; lambda_0 = 0 unless ``mean_mode``."""
    k = np.fft.fftfreq(size, 1 / size)
    squared = k[:, None] ** 2 + k[None, :] ** 2
    squared[0, 0] = np.inf
    power = squared ** -(alpha + 1.0)
    spectrum = std**2 * size**2 * power / power.sum()
    spectrum[0, 0] = spectrum[0, 1] if mean_mode else 0.0
    return spectrum


def half_spectrum_gain(spectrum: NDArray[np.float64]) -> NDArray[np.float32]:
    """The filter sqrt(lambda_k) on the half spectrum of a real transform."""
    return np.sqrt(spectrum[:, : spectrum.shape[1] // 2 + 1]).astype(np.float32)


def filter_white_noise(noise: NDArray[np.float32], gain: NDArray[np.float32]) -> NDArray[np.float32]:
    """One stationary field from white noise ``(N, N)``: its spectrum is ``gain ** 2``.

    Transformed alone, never in a batch, so that its bits cannot depend on its neighbours.
    """
    return scipy.fft.irfft2(scipy.fft.rfft2(noise) * gain, s=noise.shape)
