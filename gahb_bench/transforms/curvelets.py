"""Curvelets: the uniform discrete curvelet frame, batched, decimated or translation invariant.

The frequency windows come from the package `curvelets` (an optional dependency); the transforms are computed here, so
that they are batched, run on any device, and exist without decimation too.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.errors import MissingPackageError, UsageError


@dataclass(frozen=True)
class CurveletFrame:
    """Parseval frame of curvelets for periodic images of one size.

        decimated              c_j(t) = sqrt(2 m_j) F^-1( W_j F x )(d_j t)
                               x = sum_j Re sqrt(2 m_j) F^-1( W_j F up_j c_j )
        translation invariant  c_j(t) = sqrt(2) F^-1( W_j F x )(t)
                               x = sum_j Re sqrt(2) F^-1( W_j F c_j )

    with real windows W_j >= 0 on one side of the frequency plane, ``W_0^2 + sum_{j > 0} (W_j(k)^2 + W_j(-k)^2) = 1``,
    F the discrete Fourier transform, steps d_j, m_j their product, up_j the insertion of zeros. Both are tight frames:
    ``sum |c|^2 = |x|^2`` (decimated) and ``sum_j |c_j|^2 = |x|^2``. The coarse band j = 0 has W_0 real and
    two-sided, and no factor sqrt(2).

    Parameters
    ----------
    height, width : sides, each a multiple of ``multiple(scales, wedges)``
    scales : number of scales, the coarse one included, >= 2; the coarse images have sides ``side / 2^(scales - 2)``
    wedges : wedges a direction at the coarsest curvelet scale, a multiple of 3; doubled at every second finer scale,
        so that a curvelet of length l has width about l^2 (parabolic scaling)

    Raises
    ------
    MissingPackageError
        If the package `curvelets` is not installed.

    References
    ----------
    T. T. Nguyen, H. Chauris, "Uniform discrete curvelet transform", IEEE TSP 2010, doi:10.1109/TSP.2010.2047666;
    E. Candes, L. Demanet, D. Donoho, L. Ying, "Fast discrete curvelet transforms", 2006, doi:10.1137/05064182X.
    """

    height: int
    width: int
    scales: int
    wedges: int = 3

    def __post_init__(self) -> None:
        step = multiple(self.scales, self.wedges)
        if self.height % step or self.width % step:
            raise UsageError(
                f"images of {self.height}x{self.width} have no curvelet frame of {self.scales} scales and "
                f"{self.wedges} wedges: both sides must be divisible by {step}."
            )

    def bands(self, like: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """Windows ``(height, width)``, factor sqrt(2) included, with their steps; the coarse band first."""
        windows, steps = _windows(self.height, self.width, self.scales, self.wedges)
        yield from zip(windows.to(device=like.device, dtype=like.dtype), steps, strict=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Decimated coefficients: complex ``(n, c, height / d, width / d)`` a band, coarse band first."""
        spectrum = torch.fft.fft2(x)
        coefficients = []
        for window, (rows, columns) in self.bands(x):
            cut = (window * spectrum).unflatten(-1, (columns, -1)).unflatten(-3, (rows, -1))
            folded = cut.sum(dim=(-4, -2))  # the transform of every rows-th, columns-th sample, times rows * columns
            coefficients.append(torch.fft.ifft2(folded) / math.sqrt(rows * columns))
        return coefficients

    def inverse(self, coefficients: list[Tensor]) -> Tensor:
        """The adjoint of `forward`, which is a left inverse."""
        spectrum = torch.zeros((), device=coefficients[0].device, dtype=coefficients[0].dtype)
        for band, (window, (rows, columns)) in zip(coefficients, self.bands(coefficients[0].real), strict=True):
            tiled = torch.fft.fft2(band).repeat(1, 1, rows, columns)  # the transform of a signal with zeros inserted
            spectrum = spectrum + math.sqrt(rows * columns) * window * tiled
        return torch.fft.ifft2(spectrum).real

    def noise_levels(self) -> Tensor:
        """Root mean square modulus of each band's coefficients for white noise of variance 1 (decimated)."""
        windows, steps = _windows(self.height, self.width, self.scales, self.wedges)
        products = torch.tensor([rows * columns for rows, columns in steps], dtype=windows.dtype)
        return (products * windows.square().mean(dim=(1, 2))).sqrt()


def multiple(scales: int, wedges: int) -> int:
    """What both sides of an image must be divisible by."""
    return 2 ** (scales - 1) * max(wedges // 3, 1)


@lru_cache(maxsize=8)
def _windows(height: int, width: int, scales: int, wedges: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """All windows ``(bands, height, width)``, float64, and their steps."""
    counts = np.array([[wedges * 2 ** (j // 2)] * 2 for j in range(scales - 1)])
    transform = package().UDCT((height, width), angular_wedges_config=counts, window_threshold=0.0)
    windows, steps = [], []
    for scale, (directions, ratios) in enumerate(zip(transform.windows, transform.decimation_ratios, strict=True)):
        for direction, wedge_windows in enumerate(directions):
            rows, columns = (int(step) for step in np.asarray(ratios)[min(direction, len(ratios) - 1)])
            for window in wedge_windows:
                windows.append(np.asarray(window.to_dense()) * (math.sqrt(2) if scale else 1.0))
                steps.append((rows, columns))
    return torch.from_numpy(np.stack(windows)), steps


def package():
    """The module ``curvelets.numpy``.

    Raises
    ------
    MissingPackageError
        If it is not installed.
    """
    try:
        import curvelets.numpy
    except ImportError as error:
        raise MissingPackageError(
            "curvelets need the package 'curvelets' (MIT licence), which is not installed: "
            "pip install 'gahb_bench[curvelets]'."
        ) from error
    return curvelets.numpy
