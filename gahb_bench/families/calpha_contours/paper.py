"""The geometric C^alpha images of the paper's research code, for comparison: no optimum is known for them."""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import NDArray


def draw_paper_image(
    stream: np.random.Generator, size: int, alpha: float, beta: float, *, constant: bool
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """One image of the paper's law: image, contour, mask ``(N, N)`` and the two backgrounds.

        c(col) = N/2 + round(N F^-1( |k|^-alpha F u )),                     u ~ U[-1, 1], |0| read as 1
        f_i    = F^-1( |k|^-beta F u_i ), stretched to a random range:      one to [U, 1], the other to [0, U']
        m      = 2 x 2 box average (reflected at the border) of the indicator of row >= c(col)
        x      = m f_0 + (1 - m) f_1

    Constant backgrounds are two independent uniform intensities. A contour that leaves the image is cut at its border.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, ICLR 2024, arXiv:2310.02557, and its published code.
    """
    filtered = _filtered(_uniform(stream, (size,)), _gain(size, alpha, 1))
    contour = np.clip(np.round(filtered * size) + size // 2, 0, size)
    indicator = (np.arange(size)[:, None] >= contour).astype(np.float32)
    padded = np.pad(indicator, ((1, 0), (1, 0)), mode="reflect")
    mask = (padded[1:, 1:] + padded[:-1, 1:] + padded[1:, :-1] + padded[:-1, :-1]) / 4
    if constant:
        backgrounds = stream.random((2, 1, 1))
    else:
        gain = _gain(size, beta, 2)
        fields = [_filtered(_uniform(stream, (size, size)), gain) for _ in range(2)]
        brighter = int(stream.integers(2))
        low, high = stream.random(2)
        ranges = [(low, 1.0), (0.0, high)]
        backgrounds = np.stack([_stretch(fields[i], *ranges[i ^ brighter]) for i in range(2)])
    image = mask * backgrounds[0] + (1 - mask) * backgrounds[1]
    return image, contour, mask, backgrounds


def _uniform(stream: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return 2 * stream.random(shape, dtype=np.float32) - 1


def _filtered(noise: NDArray[np.float32], gain: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(scipy.fft.irfftn(np.asarray(scipy.fft.rfftn(noise)) * gain, s=noise.shape))


def _stretch(field: NDArray, low: float, high: float) -> NDArray:
    """The field mapped affinely onto [low, high]."""
    least, most = field.min(), field.max()
    return (field - least) / (most - least) * (high - low) + low


@lru_cache(maxsize=16)
def _gain(size: int, power: float, dimensions: int) -> NDArray[np.float32]:
    """|k|^-power on the half spectrum, 1 at k = 0."""
    k = np.fft.fftfreq(size, 1 / size)
    half = np.arange(size // 2 + 1)
    norm = half.astype(float) if dimensions == 1 else np.hypot(k[:, None], half)
    norm[(0,) * dimensions] = 1.0
    return (norm**-power).astype(np.float32)
