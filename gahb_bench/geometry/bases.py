"""Orthonormal bases that know nothing of the image, or only its contour."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError, printable
from gahb_bench.core.images import Images
from gahb_bench.transforms.dct import dct2
from gahb_bench.transforms.straightening import Straightening
from gahb_bench.transforms.wavelets import WaveletTransform

WAVELET = "sym8"
HARMONICS = 10  # coefficients in which a harmonic vector has most of its energy
_COARSEST = 4  # wavelets leave a coarse block of at least this side


@dataclass(frozen=True)
class Basis:
    """An orthonormal basis of images ``(c, h, w)``, its vectors in order from coarse to fine.

    transform : coefficients of float64 images ``(n, c, h, w)``, of the same shape
    order : the places of the coefficients in a flat image, the coarsest first, ``(d,)``
    shape : ``(c, h, w)``

    Examples
    --------
    >>> basis = bases((1, 4, 4))["dct"]
    >>> basis.coefficients(torch.ones(2, 1, 4, 4)).shape
    torch.Size([2, 16])
    """

    transform: Callable[[Images], Images]
    order: Tensor
    shape: tuple[int, int, int]

    def coefficients(self, images: Images) -> Tensor:
        """The coefficients of each image, in order, ``(n, d)`` float64; UsageError for images of another shape."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.shape:
            raise UsageError(f"images have shape {tuple(images.shape)}, but this is a basis of (n, *{self.shape}).")
        return self.transform(images.double()).flatten(1)[:, self.order]


def bases(shape: tuple[int, int, int], contour: Tensor | None = None) -> dict[str, Basis]:
    """Bases by name: ``fourier`` and ``dct`` in order of frequency, ``wavelet`` (sym8, periodised) scale after scale.

    With the contour ``(w,)`` of an image also ``straightened fourier`` and ``straightened wavelet``: the same along
    columns that are shifted so that the contour lies flat (`gahb_bench.transforms.straightening`).

    Raises
    ------
    UsageError
        If the shape is none of images, or the contour has not one value a column.

    Examples
    --------
    >>> found = bases((1, 8, 8))
    >>> list(found)
    ['fourier', 'dct', 'wavelet']
    >>> round(float(found["dct"].coefficients(torch.ones(1, 1, 8, 8))[0, 0]), 6)
    8.0
    """
    if len(shape) != 3 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in shape):
        raise UsageError(f"shape={printable(shape, 80)} is not allowed: give (c, h, w), whole numbers of 1 or more.")
    if contour is not None and contour.shape != shape[2:]:
        raise UsageError(f"the contour has shape {tuple(contour.shape)}: give its row in each column, ({shape[2]},).")
    found = _fixed(tuple(shape))
    if contour is None:
        return found
    flat = WaveletTransform(WAVELET, 0, *shape[1:])
    straightening = Straightening(contour.double().reshape(1, -1), flat)

    def straightened(basis: Basis) -> Basis:
        return Basis(lambda images: basis.transform(straightening.flatten(images)), basis.order, basis.shape)

    return {**found, **{f"straightened {name}": straightened(found[name]) for name in ("fourier", "wavelet")}}


def harmonic_share(coefficients: Tensor, count: int = HARMONICS) -> Tensor:
    """Share of the energy of each vector in its ``count`` largest coefficients ``(k, d)`` in a basis, ``(k,)``.

    Near 1 in the Fourier basis for a few waves, and in the straightened one for a few waves that follow the contour.

    Examples
    --------
    >>> wave = torch.cos(2 * math.pi * torch.arange(8) / 8).expand(1, 1, 8, 8)
    >>> [round(float(harmonic_share(bases((1, 8, 8))[name].coefficients(wave), 1)), 2) for name in ("fourier", "dct")]
    [1.0, 0.85]
    """
    squares = coefficients.square()
    return squares.topk(min(count, squares.shape[-1]), dim=-1).values.sum(dim=-1) / squares.sum(dim=-1)


@lru_cache(maxsize=4)
def _fixed(shape: tuple[int, int, int]) -> dict[str, Basis]:
    channels, height, width = shape
    rows, columns = _real_fourier(height), _real_fourier(width)
    transform = WaveletTransform(WAVELET, _levels(height, width), height, width)
    scale = torch.zeros(height, width, dtype=torch.long)
    for band in transform.subbands():
        scale[band.rows, band.columns] = transform.levels + 1 - band.level
    waves = [(torch.arange(side) + 1) // 2 for side in (height, width)]
    cosines = [torch.arange(side) for side in (height, width)]
    made = {
        "fourier": (lambda x: rows @ x @ columns.mT, _radius(*waves)),
        "dct": (dct2, _radius(*cosines)),
        "wavelet": (transform.forward, scale),
    }
    return {
        name: Basis(analysis, torch.argsort(key.expand(channels, -1, -1).flatten(), stable=True), shape)
        for name, (analysis, key) in made.items()
    }


def _radius(rows: Tensor, columns: Tensor) -> Tensor:
    return rows[:, None] ** 2 + columns**2


def _levels(height: int, width: int) -> int:
    """The most wavelet levels that both sides can be halved, and that leave a coarse block of side at least 4."""
    levels = 0
    while not (height % 2 ** (levels + 1) or width % 2 ** (levels + 1)) and min(height, width) >= _COARSEST << (
        levels + 1
    ):
        levels += 1
    return levels


def _real_fourier(side: int) -> Tensor:
    """Orthonormal cosines and sines, ``(side, side)``: constant, cos 1, sin 1, cos 2, ..."""
    place = torch.arange(side, dtype=torch.float64)
    rows = [torch.full((side,), side**-0.5, dtype=torch.float64)]
    for k in range(1, side // 2 + 1):
        angle = 2 * math.pi * k / side * place
        if 2 * k == side:
            rows.append(torch.cos(math.pi * place) / side**0.5)
        else:
            rows += [torch.cos(angle) * (2 / side) ** 0.5, torch.sin(angle) * (2 / side) ** 0.5]
    return torch.stack(rows)
