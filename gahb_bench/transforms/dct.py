"""The orthonormal cosine transform, as a matrix and over overlapping patches."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import scipy.fft
import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, pad

_NUMBERS_AT_ONCE = 2**20  # coefficients held at a time: bounds memory, and stays in cache


@lru_cache(maxsize=64)
def dct_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Orthonormal DCT-II, ``(size, size)``: row k is ``sqrt((2 - [k = 0]) / size) cos(pi k (j + 1/2) / size)``.

    >>> C = dct_matrix(8, torch.float64, torch.device("cpu"))
    >>> bool(torch.allclose(C @ C.mT, torch.eye(8, dtype=torch.float64)))
    True
    """
    matrix = scipy.fft.dct(np.eye(size), axis=0, norm="ortho")
    return torch.from_numpy(matrix).to(device=device, dtype=dtype)


def dct2(x: Tensor) -> Tensor:
    """Orthonormal two-dimensional DCT-II of whole images."""
    rows, columns = (dct_matrix(side, x.dtype, x.device) for side in x.shape[-2:])
    return rows @ x @ columns.mT


def idct2(coefficients: Tensor) -> Tensor:
    """The inverse, and the adjoint, of `dct2`."""
    rows, columns = (dct_matrix(side, coefficients.dtype, coefficients.device) for side in coefficients.shape[-2:])
    return rows.mT @ coefficients @ columns


def average_patches(y: Tensor, patch: tuple[int, int], shrink: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
    """Shrink the DCT of every patch, and average what overlaps; images are periodic.

        x_hat = sum_P a_P R_P' C^-1 w_P / sum_P a_P R_P' 1,    (w_P, a_P) = shrink(C R_P y)

    The DCT of all patches is a separable convolution, its adjoint another: ``p^3`` products a pixel, not ``p^4``.

    Parameters
    ----------
    y : Tensor (n, c, h, w)
    patch : (rows, columns) of a patch
    shrink : coefficients ``(m, modes, h, w)``, the constant mode first -> the same shrunk, weights ``(m, 1, h, w)``
    """
    n, c, h, w = y.shape
    size = max(1, _NUMBERS_AT_ONCE // (patch[0] * patch[1] * h * w))
    rows, columns = (dct_matrix(side, y.dtype, y.device) for side in patch)
    vertical, horizontal = rows[:, None, :, None], columns[:, None, None, :]
    ones = (torch.ones_like(vertical[:1]), torch.ones_like(horizontal[:1]))
    done = []
    for images in y.reshape(n * c, 1, h, w).split(size):
        extended = pad(images, (0, patch[1] - 1, 0, patch[0] - 1), mode="circular")
        modes = conv2d(conv2d(extended, vertical).flatten(0, 1)[:, None], horizontal)
        kept, weights = shrink(modes.reshape(len(images), -1, h, w))
        kept = (kept * weights).reshape(-1, patch[1], h, w)
        partial = conv_transpose2d(kept, horizontal).reshape(len(images), patch[0], h, w + patch[1] - 1)
        total = _wrap(conv_transpose2d(partial, vertical), h, w)
        count = _wrap(conv_transpose2d(conv_transpose2d(weights, ones[1]), ones[0]), h, w)
        done.append(total / count)
    return torch.cat(done).reshape(n, c, h, w) if done else y.clone()


def _wrap(extended: Tensor, h: int, w: int) -> Tensor:
    """Add what stands out below and on the right to the other side of the periodic image."""
    rows, columns = extended.shape[-2] - h, extended.shape[-1] - w
    image = extended[..., :h, :w].clone()
    image[..., :rows, :] += extended[..., h:, :w]
    image[..., :, :columns] += extended[..., :h, w:]
    image[..., :rows, :columns] += extended[..., h:, w:]
    return image
