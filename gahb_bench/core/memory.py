"""Memory: what is kept in it, so that it is computed once, and what must fit into it before anything is computed.

All estimates of memory are here. They were measured (peak of a process) and are right to a factor of about two, three
for the network `linear`: they refuse, before it is begun, what this machine could not hold.
"""

import functools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from gahb_bench.core.errors import UsageError

P = ParamSpec("P")
T = TypeVar("T")

PROCESS = 400_000_000  # bytes of a process that has imported torch and pandas
_FLOAT32, _FLOAT64 = 4, 8
_DRAWN = 16  # bytes a value of the image that is being drawn, in double precision
_ADDRESS = 100  # bytes of an image's number and its place
_SCORED = 48  # bytes a value: image, noise, two estimates, and their difference in double precision
_ROW = 2_000  # bytes of one score, until the tables are written
_CELL = 30_000  # bytes of one denoiser at one noise level: its place in the plan, its curve, its line on the page
_COMPONENT = 30  # bytes a value of a component's image: its mean and its spectrum, in double and single precision
_COVARIANCE = 70  # bytes a number of a sample covariance: the images or the matrix, its square root, and its solution
_FILTER = 12  # bytes a weight of a filter for each pixel: as a number, and which ones are looked at
_COMPARED = 80  # bytes a value of samples and exact images that are compared: as they are, through noise, as features
_PAIR = 24  # bytes of two of them, all with all, in the energy distance
_TRAINED = 5 * _FLOAT32  # bytes a weight: itself, its gradient, Adam's two moments, its running average
_STEP = 6 * _FLOAT32  # bytes a value of a batch: image, noise and their sum, of this step and of the next
_CGROUPS = ("memory.max", "memory/memory.limit_in_bytes")  # where a container states its limit, in versions 2 and 1


def cached(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`functools.lru_cache` with the signature kept; a frozen family is an argument like any other."""
    cached: Any = functools.lru_cache(maxsize)
    return cached


@functools.cache
def total(device: str = "cpu") -> int:
    """Bytes of memory of this machine, or of the container that it is; of a GPU, its own."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_properties(device).total_memory
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CGROUPS:
        try:
            limits.append(int((Path("/sys/fs/cgroup") / name).read_text()))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
    return min(limits)


def check_fits(needed: int, what: str, advice: str, device: str = "cpu") -> None:
    """Refuse what takes more bytes of memory than there are.

    Parameters
    ----------
    needed : bytes
    what : the subject of the sentence, for example ``1000 images of disks``
    advice : what to do instead
    device : where it would be

    Raises
    ------
    UsageError
        Saying how much it would take, and how much there is.
    """
    there = total(device)
    if needed > there:
        place = "this GPU" if device.startswith("cuda") else "this machine"
        raise UsageError(
            f"{what} would take {in_words(needed)} of memory, and {place} has {in_words(there)}: {advice}."
        )


def in_words(count: int) -> str:
    """A number of bytes as it is said.

    >>> in_words(1500 * 10**9), in_words(480), in_words(10**20)
    ('1.5 TB', '480 B', '1e+08 TB')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2g} {unit}" if not 100 <= count / size < 1000 else f"{count / size:.0f} {unit}"
    return f"{count:.0f} B"


def of_images(count: int, shape: Sequence[int]) -> int:
    """Bytes of images ``(count, c, h, w)`` that are drawn at once."""
    return count * (_FLOAT32 * math.prod(shape) + _ADDRESS) + _DRAWN * math.prod(shape)


def of_scoring(count: int, shape: Sequence[int]) -> int:
    """Bytes of scoring a denoiser on images ``(count, c, h, w)`` at once, without what it takes itself."""
    return _SCORED * count * math.prod(shape)


def of_comparing(count: int, shape: Sequence[int]) -> int:
    """Bytes of comparing so many samples ``(c, h, w)`` with as many exact images, and these with as many."""
    return _COMPARED * 3 * count * math.prod(shape) + _PAIR * (2 * count) ** 2


def of_levels(count: int) -> int:
    """Bytes of a number of noise levels, each for one denoiser: the least that any command needs."""
    return _CELL * count


def of_tables(cells: int, images: int) -> int:
    """Bytes of the tables of a number of cells (a denoiser at a noise level), of so many images each."""
    return cells * (_CELL + _ROW * images)


def of_mixture(components: int, shape: Sequence[int]) -> int:
    """Bytes of a mixture of so many components, each with a mean and a spectrum of the shape ``(c, h, w)``."""
    return _COMPONENT * components * math.prod(shape)


def of_covariance(count: int, shape: Sequence[int]) -> int:
    """Bytes of the covariance of so many images ``(c, h, w)``, all values with all others."""
    values = math.prod(shape)
    return _COVARIANCE * min(count, values) * values


def of_covariances(count: int, clusters: int, shape: Sequence[int]) -> int:
    """Bytes of the covariances of clusters of images ``(c, h, w)``: those of all, and the one that is being made."""
    values = math.prod(shape)
    return _FLOAT64 * min(count, clusters * values) * values + of_covariance(count, shape)


def of_conditioning(pixels: int, measured: int, kinds: int) -> int:
    """Bytes of so many Gaussian posteriors by dense matrices, of all pixels and of what is measured."""
    return _FLOAT64 * (pixels**2 + (2 * kinds + 1) * measured * (pixels + measured))


def of_filters(shape: Sequence[int]) -> int:
    """Bytes of linear filters of images ``(c, h, w)``, one for each value, each of all values, while they are used."""
    return _FILTER * math.prod(shape) ** 2


def of_training(numbers: int, batch: int, shape: Sequence[int], saved: int = 0) -> int:
    """Bytes of training so many weights on batches ``(batch, c, h, w)``.

    ``saved`` : bytes an image that the network keeps for the way back
    """
    return _TRAINED * numbers + batch * (_STEP * math.prod(shape) + saved)
