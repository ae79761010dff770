"""Straightening: columns shifted so that a contour lies flat, then a separable wavelet transform.

The bandlet-type geometry-adaptive harmonic basis: wavelets that follow the contour.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from gahb_bench.transforms.wavelets import WaveletTransform


@dataclass(frozen=True)
class Straightening:
    """An orthonormal transform of ``(n, c, h, w)`` images in which ``contour`` (n, w) is flat, its rows periodic.

        straight(row, col) = x(row + contour(col), col),    coefficients = separable wavelets of straight

    ``shift=integer`` rounds the contour to pixels: a permutation of the pixels, but the edge keeps steps of half a
    pixel. ``shift=fourier`` shifts by exact fractions in the Fourier domain, all frequencies but Nyquist's, which
    stays: orthonormal too, and exact for columns without energy there. Against the image whose contour truly is flat
    its error is aliasing: for a stripe of contrast 1 with edges of width 0.7 pixels, at most 0.006 at any pixel and
    0.0015 on average (0.26 and 0.008 with whole pixels).

    References
    ----------
    E. Le Pennec, S. Mallat, "Sparse geometric image representations with bandelets", IEEE Trans. Image Processing 14,
    2005, doi:10.1109/TIP.2005.843753; G. Peyre, S. Mallat, "Orthogonal bandlet bases for geometric images
    approximation", Comm. Pure Appl. Math. 61, 2008, doi:10.1002/cpa.20242.

    Examples
    --------
    >>> x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    >>> straight = Straightening(torch.rand(2, 16, dtype=torch.float64) * 16, WaveletTransform("db2", 2, 16, 16))
    >>> bool(torch.allclose(straight.inverse(straight.forward(x)), x))
    True
    """

    contour: Tensor
    wavelets: WaveletTransform
    shift: Literal["fourier", "integer"] = "fourier"

    def forward(self, x: Tensor) -> Tensor:
        """Wavelet coefficients of the straightened images."""
        return self.wavelets.forward(self.flatten(x))

    def inverse(self, coefficients: Tensor) -> Tensor:
        """The images with these coefficients; the inverse and the adjoint of `forward`."""
        return self.bend(self.wavelets.inverse(coefficients))

    def flatten(self, x: Tensor) -> Tensor:
        """The images with their columns shifted up by the contour."""
        return self._shift(x, 1)

    def bend(self, x: Tensor) -> Tensor:
        """The images with their columns shifted down by the contour: the inverse of `flatten`."""
        return self._shift(x, -1)

    def _shift(self, x: Tensor, sign: int) -> Tensor:
        height = self.wavelets.height
        if self.shift == "integer":
            rows = torch.arange(height, device=x.device)[:, None]
            source = (rows + sign * self.contour.round().long()[:, None, None, :]) % height
            return x.gather(-2, source.expand(x.shape))
        phase = self._phases if sign > 0 else self._phases.conj()
        return torch.fft.irfft(torch.fft.rfft(x.double(), dim=-2) * phase, n=height, dim=-2).to(x.dtype)

    @cached_property
    def _phases(self) -> Tensor:
        """e^{2 pi i k c / h}, and 1 at Nyquist, ``(n, 1, h/2 + 1, w)``."""
        height = self.wavelets.height
        k = torch.arange(height // 2 + 1, dtype=torch.float64, device=self.contour.device)
        if height % 2 == 0:
            k[-1] = 0
        angle = 2 * math.pi / height * k[:, None] * self.contour.double()[:, None, None, :]
        return torch.polar(torch.ones_like(angle), angle)
