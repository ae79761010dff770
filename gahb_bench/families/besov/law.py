"""Sparse wavelet images: independent Bernoulli-Gaussian wavelet coefficients, in a Besov class."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from gahb_bench.core.family import Family
from gahb_bench.transforms.wavelets import WaveletTransform, check_orthogonal


class Besov(Family):
    """Sparse wavelet images: independent wavelet coefficients, each zero or Gaussian.

        x = mean + W^-1 d,   W orthonormal, periodised, from side 2^J down to side 2^coarse
        details at level j = coarse .. J-1 (3 * 4^j of them):  d = b e,  b ~ Bernoulli(pi_j),  e ~ N(0, t_j^2)
        t_j = C 2^{-j(alpha+1)},   pi_j = density * 2^{-gamma (j - coarse)}
        scaling coefficients (4^coarse):  N(0, t_coarse^2)

    C is such that the details have variance std^2 a pixel: ``N^-2 sum_j 3 * 4^j pi_j t_j^2 = std^2``. This law tests
    sparsity: wavelet shrinkage is exactly optimal for it, so each threshold rule has a price in dB, while a network
    must find both the basis and the nonlinearity.

    Latents: ``active``, bool ``(n, N, N)``: b at the place of each coefficient (true for scaling coefficients).

    References
    ----------
    F. Abramovich, T. Sapatinas, B. W. Silverman, "Wavelet thresholding via a Bayesian approach", JRSS B 1998,
    doi:10.1111/1467-9868.00151, sections 2 and 3 (Bernoulli-Gaussian coefficients and the Besov class they lie in).

    Examples
    --------
    >>> Besov(size=16).sample(range(3)).images.shape
    torch.Size([3, 1, 16, 16])
    """

    name: ClassVar = "besov"
    best: ClassVar = ".optimum:BesovOptimum"
    statistics: ClassVar = ".statistics:BesovStatistics"
    source: ClassVar = "Abramovich et al. 1998, doi:10.1111/1467-9868.00151"
    variants: ClassVar = ("besov:size=32", "besov:gamma=0", "besov:gamma=0,size=32")

    alpha: float = Field(1.0, gt=0, description="decay of the coefficients: sd 2^{-j(alpha+1)} at level j")
    gamma: float = Field(1.0, ge=0, lt=2, description="decay of the density of non-zero coefficients: 2^{-gamma j}")
    density: float = Field(1.0, gt=0, le=1, description="share of non-zero details at the coarsest level")
    size: int = Field(64, ge=8, description="image side N = 2^J, pixels, a power of two")
    coarse: int = Field(2, ge=0, description="the scaling coefficients form a square of side 2^coarse < N")
    wavelet: str = Field("sym8", description="any orthogonal wavelet of PyWavelets")
    std: float = Field(
        0.25, ge=1e-3, le=1e3, description="standard deviation of a pixel, scaling coefficients left out"
    )
    mean: float = Field(0.5, ge=-1e3, le=1e3, description="mean intensity")

    _orthogonal = field_validator("wavelet")(check_orthogonal)

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int) -> int:
        if size & (size - 1):
            raise ValueError("it should be a power of two")
        return size

    @model_validator(mode="after")
    def _coarse_fits(self) -> "Besov":
        if 2**self.coarse >= self.size:
            raise ValueError(
                f"coarse={self.coarse} is not allowed: the coarse square of side 2^coarse = {2**self.coarse} should "
                f"be smaller than the image, size={self.size}"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, self.size, self.size)

    @property
    def transform(self) -> WaveletTransform:
        """The wavelet transform W."""
        return WaveletTransform(self.wavelet, self.levels, self.size, self.size)

    @property
    def levels(self) -> int:
        """Number of wavelet levels, J - coarse."""
        return self.size.bit_length() - 1 - self.coarse

    @cached_property
    def scales(self) -> NDArray[np.float64]:
        """Levels j = coarse .. J-1 as rows (number of details, pi_j, t_j)."""
        j = self.coarse + np.arange(self.levels, dtype=np.float64)
        count = 3 * 4**j
        density = self.density * 2 ** (-self.gamma * (j - self.coarse))
        deviation = 2 ** (-(j - self.coarse) * (self.alpha + 1))  # relative, so that it neither over- nor underflows
        deviation *= self.std * self.size / np.sqrt((count * density * deviation**2).sum())
        return np.stack([count, density, deviation], axis=1)

    @cached_property
    def coefficient_law(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The density pi and the deviation t at the place of each coefficient, ``(N, N)`` each (pi = 1 for scaling)."""
        density = np.ones((self.size, self.size))
        deviation = np.full((self.size, self.size), self.scales[0, 2])
        for band in self.transform.subbands():
            _, pi, t = self.scales[self.levels - band.level]
            density[band.rows, band.columns] = pi
            deviation[band.rows, band.columns] = t
        return density, deviation

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        images = np.empty((count, *self.shape), dtype=np.float32)
        active = np.empty((count, self.size, self.size), dtype=bool)
        density, deviation = self.coefficient_law
        transform = self.transform
        for image, support, stream in zip(images, active, streams, strict=True):
            gaussian = deviation * stream.standard_normal((self.size, self.size))
            np.less(stream.random((self.size, self.size)), density, out=support)
            # one image at a time, so that its bits cannot depend on its neighbours
            image[0] = self.mean + transform.inverse(torch.from_numpy(gaussian * support)).numpy()
        return images, {"active": active}
