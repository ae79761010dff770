"""Geometric C^alpha images: a stripe between two smooth contours, over constant or C^beta backgrounds."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import ndtr

from gahb_bench.core.family import Family
from gahb_bench.families.calpha.law import power_spectrum
from gahb_bench.families.calpha_contours.paper import draw_paper_image

_REACH = 6.0  # the antialiased edge is 0 or 1 to 1e-9 beyond this many widths


class CalphaContours(Family):
    """Geometric C^alpha images: a stripe with C^alpha edges over constant or C^beta backgrounds.

        c(col) = c0 + g(col),   c0 ~ U[0, N),   g periodic Gaussian, spectrum |k|^{-2(alpha + 1/2)}, sd N/8 pixels
        d = ((row - c + N/4) mod N) - N/4,   m = Phi(d/w) - Phi((d - N/2)/w)
        x = 1/2 + (1-m)(-contrast/2 + f0) + m(contrast/2 + f1)

    with w = ``edge`` and Phi the normal distribution function. With ``background=gaussian`` f0 and f1 are independent
    `calpha` fields of regularity beta, without mean mode and with standard deviation contrast/4; with
    ``background=constant`` they are 0. Below w = 0.7 the information on the contour would depend on the position
    of the edge between two pixels, so that is refused.

    ``law=paper`` is the construction of the research code of the paper (see `draw_paper_image`): no optimum is known
    for it, and contrast and edge play no part.

    Latents: ``contour`` (n, N), pixels, not reduced modulo N; ``mask`` (n, 1, N, N); ``backgrounds`` f0 and f1,
    (n, 2, N, N), or zeros (n, 2, 1, 1) where they are constant.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, "Generalization in diffusion models arises from
    geometry-adaptive harmonic representations", ICLR 2024, arXiv:2310.02557, section 3.2 and appendix.
    A. P. Korostelev, A. B. Tsybakov, "Minimax Theory of Image Reconstruction", Springer 1993 (boundary fragments).

    Examples
    --------
    >>> batch = CalphaContours(size=32).sample(range(3))
    >>> batch.images.shape, batch.latents["contour"].shape
    (torch.Size([3, 1, 32, 32]), torch.Size([3, 32]))
    """

    name: ClassVar = "calpha-contours"
    best: ClassVar = ".optimum:CalphaContoursOptimum"
    statistics: ClassVar = ".statistics:CalphaContoursStatistics"
    source: ClassVar = "Kadkhodaie et al. 2024, arXiv:2310.02557"
    variants: ClassVar = (
        "calpha-contours:alpha=1",
        "calpha-contours:alpha=3",
        "calpha-contours:size=32",
        "calpha-contours:background=constant",
        "calpha-contours:background=constant,size=32",
    )

    alpha: float = Field(2.0, gt=0, description="Hoelder regularity of the contour")
    beta: float | None = Field(None, gt=0, description="Hoelder regularity of the backgrounds; that of the contour")
    size: int = Field(64, ge=16, description="image side N, pixels")
    contrast: float = Field(
        0.5, gt=0, le=1e3, description="difference of mean intensity between the stripe and the rest"
    )
    edge: float = Field(0.7, ge=0.7, description="width w of the antialiased edge, pixels")
    background: Literal["gaussian", "constant"] = Field("gaussian", description="C^beta fields, or constants")
    law: Literal["gaussian", "paper"] = Field("gaussian", description="this law, or the paper's (no known optimum)")

    @model_validator(mode="after")
    def _edges_apart(self) -> "CalphaContours":
        if self.edge > self.size / 22:
            raise ValueError(
                f"edge={self.edge:g} is too wide for size={self.size}: the edges of a stripe of height size/2 must "
                f"stay apart, edge <= size/22 = {self.size / 22:.3g}"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, self.size, self.size)

    @property
    def background_regularity(self) -> float:
        """The regularity beta of the backgrounds."""
        return self.alpha if self.beta is None else self.beta

    @property
    def background_std(self) -> float:
        """Standard deviation tau of the backgrounds: contrast/4, or 0 where they are constant."""
        return self.contrast / 4 if self.background == "gaussian" else 0.0

    @cached_property
    def contour_spectrum(self) -> NDArray[np.float64]:
        """Eigenvalues of the covariance of g, ``(N,)`` in the order of ``fft``, pixels^2; 0 for its mean."""
        k = np.abs(np.fft.fftfreq(self.size, 1 / self.size))
        k[0] = np.inf
        power = k ** -(2 * self.alpha + 1)
        return (self.size / 8) ** 2 * self.size * power / power.sum()

    @cached_property
    def background_spectrum(self) -> NDArray[np.float64]:
        """Eigenvalues of the covariance of one background, ``(N, N)`` in the order of ``fft2``."""
        return power_spectrum(self.size, self.background_regularity, self.background_std, mean_mode=False)

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        side = self.size if self.background == "gaussian" else 1
        images = np.empty((count, *self.shape), dtype=np.float32)
        contours = np.empty((count, self.size))
        masks = np.empty((count, *self.shape), dtype=np.float32)
        backgrounds = np.zeros((count, 2, side, side), dtype=np.float32)
        for i, stream in zip(range(count), streams, strict=True):
            if self.law == "paper":
                images[i, 0], contours[i], masks[i, 0], backgrounds[i] = draw_paper_image(
                    stream, self.size, self.alpha, self.background_regularity, constant=side == 1
                )
                continue
            contours[i] = self._contour(stream)
            masks[i, 0] = m = stripe_mask(contours[i], self.edge)
            if self.background == "gaussian":
                backgrounds[i] = self._backgrounds(stream)
            f0, f1 = backgrounds[i]
            images[i, 0] = 0.5 - self.contrast / 2 + f0 + m * (self.contrast + f1 - f0)
        return images, {"contour": contours, "mask": masks, "backgrounds": backgrounds}

    def _contour(self, stream: np.random.Generator) -> NDArray[np.float64]:
        c0 = self.size * stream.random()
        white = np.asarray(scipy.fft.rfft(stream.standard_normal(self.size)))
        return c0 + np.asarray(scipy.fft.irfft(white * self._contour_gain, n=self.size))

    def _backgrounds(self, stream: np.random.Generator) -> NDArray[np.float32]:
        """Two independent fields: the real and imaginary parts of one complex field with a real, even gain."""
        white = stream.standard_normal((self.size, 2 * self.size), dtype=np.float32).view(np.complex64)
        field: NDArray[np.complex64] = np.asarray(scipy.fft.ifft2(white * self._background_gain, overwrite_x=True))
        return np.stack([field.real, field.imag])

    @cached_property
    def _contour_gain(self) -> NDArray[np.float64]:
        return np.sqrt(self.contour_spectrum[: self.size // 2 + 1])

    @cached_property
    def _background_gain(self) -> NDArray[np.float32]:
        """sqrt(lambda), times N for the unnormalised inverse transform of white noise in the Fourier domain."""
        return (self.size * np.sqrt(self.background_spectrum)).astype(np.float32)


def stripe_mask(contour: NDArray[np.float64], edge: float) -> NDArray[np.float32]:
    """The antialiased stripe ``m`` below one contour, ``(N, N)``: only the pixels near an edge need the error function.

    d = ((row - c + N/4) mod N) - N/4,   m = Phi(d/w) - Phi((d - N/2)/w)
    """
    size = len(contour)
    reach = int(np.ceil(_REACH * edge))
    if 2 * reach + 1 > size // 2:
        d = (np.arange(size)[:, None] - contour + size / 4) % size - size / 4
        return (ndtr(d / edge) - ndtr((d - size / 2) / edge)).astype(np.float32)
    floor = np.floor(contour)
    part = contour - floor
    # one column of the stripe by its distance to floor(c), starting `reach` rows above it, twice around
    profile = np.zeros((2, size, size), dtype=np.float32)
    rows = np.arange(2 * reach + 1)[:, None]
    profile[0, : 2 * reach + 1] = ndtr((rows - reach - part) / edge)
    end = size // 2
    profile[0, 2 * reach + 1 : end] = 1.0
    profile[0, end : end + 2 * reach + 1] = ndtr((reach + part + size / 2 - rows - end) / edge)
    profile[1] = profile[0]
    start = (reach - floor.astype(np.int64)) % size
    rows = np.arange(size)
    return profile.reshape(-1).take((rows[:, None] + start) * size + rows)
