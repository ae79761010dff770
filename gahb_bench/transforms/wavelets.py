"""Orthonormal periodised wavelets as batched matrix products, decimated and translation invariant.

Built from PyWavelets' filters and equal to its ``periodization`` mode; on any device, differentiable.
Images are ``(n, c, h, w)`` with both sides divisible by ``2 ** levels``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pywt
import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError, unknown

# "dmey", PyWavelets' finite Meyer filter, is left out: it is orthonormal to 2 % only.
ORTHOGONAL = tuple(name for family in ("haar", "db", "sym", "coif") for name in pywt.wavelist(family))


def check_orthogonal(wavelet: str) -> str:
    """Refuse the name of a wavelet that PyWavelets does not know, or that is not orthogonal.

    Raises
    ------
    UsageError
        Naming the nearest one that is.
    """
    if wavelet not in ORTHOGONAL:
        raise unknown("orthogonal wavelet", wavelet, ORTHOGONAL)
    return wavelet


@dataclass(frozen=True)
class Subband:
    """One block of detail coefficients: its level (1 is the finest), orientation and place in the coefficient array."""

    level: int
    orientation: str  # "horizontal", "vertical" or "diagonal" details
    rows: slice
    columns: slice


@dataclass(frozen=True)
class WaveletTransform:
    """A separable two-dimensional orthonormal wavelet transform of images of one size.

    Raises
    ------
    UsageError
        If the wavelet is not orthogonal or a side is not divisible by ``2 ** levels``.

    References
    ----------
    S. Mallat, "A Wavelet Tour of Signal Processing", 3rd ed. 2009, sections 7.5.3 (periodic) and 7.7.2 (separable);
    R. Coifman, D. Donoho, "Translation-invariant de-noising", 1995 (the average over shifts).

    Examples
    --------
    >>> x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    >>> transform = WaveletTransform("db2", 2, 16, 16)
    >>> bool(torch.allclose(transform.inverse(transform.forward(x)), x))
    True
    """

    wavelet: str
    levels: int
    height: int
    width: int

    def __post_init__(self) -> None:
        check_orthogonal(self.wavelet)
        if self.levels < 0 or self.height % 2**self.levels or self.width % 2**self.levels:
            raise UsageError(
                f"images of {self.height}x{self.width} have no {self.levels} wavelet levels: "
                f"both sides must be divisible by 2^levels = {2**self.levels}."
            )

    def forward(self, x: Tensor) -> Tensor:
        """Coefficients in one array of the shape of ``x``: the coarse block top left, details around it (Mallat)."""
        blocks: list[Tensor] = []
        for level in range(self.levels):
            h, w = self.height >> level, self.width >> level
            rows, columns = self._matrices(level, x)
            blocks.append(rows @ x[..., :h, :w] @ columns.mT)
            x = blocks[-1]
        for block in reversed(blocks[:-1]):
            x = _put(block, x)
        return x

    def inverse(self, coefficients: Tensor) -> Tensor:
        """The image with these coefficients; the inverse and the adjoint of `forward`."""
        x = coefficients
        for level in reversed(range(self.levels)):
            h, w = self.height >> level, self.width >> level
            rows, columns = self._matrices(level, x)
            block = coefficients[..., :h, :w]
            x = rows.mT @ (block if level == self.levels - 1 else _put(block, x)) @ columns
        return x

    def subbands(self) -> Iterator[Subband]:
        """The detail blocks, finest first."""
        for level in range(1, self.levels + 1):
            h, w = self.height >> level, self.width >> level
            yield Subband(level, "horizontal", slice(h, 2 * h), slice(0, w))
            yield Subband(level, "vertical", slice(0, h), slice(w, 2 * w))
            yield Subband(level, "diagonal", slice(h, 2 * h), slice(w, 2 * w))

    def forward_all_shifts(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Coefficients of every shift of ``x`` at once: the coarse image, and details ``(3, n, c, h, w)`` a level.

        The decimated coefficients at level j of ``x`` shifted by (p, q) are those of phase (p, q) modulo 2^j.
        """
        details = []
        for level in range(self.levels):
            (low_r, high_r), (low_c, high_c) = self._circulants(level, x)
            low, high = low_r @ x, high_r @ x
            details.append(torch.stack([high @ low_c.mT, low @ high_c.mT, high @ high_c.mT]))
            x = low @ low_c.mT
        return x, details

    def inverse_all_shifts(self, coarse: Tensor, details: list[Tensor]) -> Tensor:
        """The average over all shifts of the inverse transforms, shifted back."""
        x = coarse
        for level in reversed(range(self.levels)):
            (low_r, high_r), (low_c, high_c) = self._circulants(level, x)
            horizontal, vertical, diagonal = details[level]
            low = low_r.mT @ x + high_r.mT @ horizontal
            high = low_r.mT @ vertical + high_r.mT @ diagonal
            x = (low @ low_c + high @ high_c) / 4
        return x

    def _matrices(self, level: int, like: Tensor) -> tuple[Tensor, Tensor]:
        h, w = self.height >> level, self.width >> level
        return (
            _analysis(self.wavelet, h, like.dtype, like.device),
            _analysis(self.wavelet, w, like.dtype, like.device),
        )

    def _circulants(self, level: int, like: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        return (
            _circulant(self.wavelet, self.height, level, like.dtype, like.device),
            _circulant(self.wavelet, self.width, level, like.dtype, like.device),
        )


def extend(x: Tensor, step: int) -> Tensor:
    """Images with sides extended to multiples of ``step``, as continuously as can be for a periodic transform.

    What is added blends, linearly, the reflection at the far end into the reflection at the near end.
    """
    for axis in (-2, -1):
        side = x.shape[axis]
        added = -side % step
        if added:
            weight = torch.arange(1, added + 1, dtype=x.dtype, device=x.device) / (added + 1)
            weight = weight if axis == -1 else weight[:, None]
            index = torch.arange(added, device=x.device)
            far = x.index_select(axis, side - 2 - index)
            near = x.index_select(axis, added - index)
            x = torch.cat([x, (1 - weight) * far + weight * near], dim=axis)
    return x


def _put(array: Tensor, block: Tensor) -> Tensor:
    """``array`` with its top left corner replaced (out of place, so that gradients flow)."""
    h, w = block.shape[-2:]
    if array.shape[-2:] == block.shape[-2:]:
        return block
    top = torch.cat([block, array[..., :h, w:]], dim=-1)
    return torch.cat([top, array[..., h:, :]], dim=-2)


@lru_cache(maxsize=256)
def _circulant(
    wavelet: str, length: int, level: int, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Low- and high-pass filters at one level without decimation, ``(length, length)`` each.

    Row p: ``sum_j filter[j] x[(p + 2^level (F/2 - j)) mod length]``, PyWavelets' convention when p is even at level 0.
    """
    filters = pywt.Wavelet(wavelet)
    made = []
    for taps in (filters.dec_lo, filters.dec_hi):
        matrix = np.zeros((length, length))
        for j, tap in enumerate(taps):
            columns = (np.arange(length) + (len(taps) // 2 - j) * 2**level) % length
            matrix[np.arange(length), columns] += tap
        made.append(torch.from_numpy(matrix).to(device=device, dtype=dtype))
    return made[0], made[1]


@lru_cache(maxsize=256)
def _analysis(wavelet: str, length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One orthonormal level, ``(length, length)``: the even rows of both filters, low pass first."""
    low, high = _circulant(wavelet, length, 0, torch.float64, torch.device("cpu"))
    return torch.cat([low[::2], high[::2]]).to(device=device, dtype=dtype)
