"""The only place where randomness is made.

Every draw is addressed by *named axes* and an index: the generator of ``(axes, i)`` is NumPy's counter-based Philox
keyed by a hash of the axes (a JSON list, so that no two lists collide) with ``i`` in the high words of its counter.
A draw therefore depends on nothing but its address: not on batch size, order, device or worker, and the global
generators are never touched.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np

from gahb_bench.core.errors import UsageError

Split = Literal["train", "train-a", "train-b", "val", "test"]
SPLITS: tuple[str, ...] = get_args(Split)

_INDEX_SHIFT = 128  # each index owns a block of 2^128 counter values


def generator(*axes: str | int, index: int = 0) -> np.random.Generator:
    """The generator at address ``(axes, index)``.

    >>> generator("images", 0, index=3).random() == generator("images", 0, index=3).random()
    True
    >>> generator("a", "bc").random() == generator("ab", "c").random()
    False
    """
    return _at(_key(axes), index)


def generators(*axes: str | int, indices: Iterable[int]) -> Iterator[np.random.Generator]:
    """One generator for each index, in the order given."""
    key = _key(axes)
    return (_at(key, index) for index in indices)


@contextmanager
def torch_seeded(*axes: str | int) -> Iterator[None]:
    """Torch's own generator started at an address, for the initial weights of networks; afterwards it is as before."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_key(axes) % 2**63)
        yield


def check_split(split: str) -> None:
    """Refuse a split that does not exist."""
    if split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: the disjoint splits are {', '.join(SPLITS)}.")


def check_seed(seed: int) -> None:
    """Refuse a seed that is not a non-negative integer."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed={seed!r} is not allowed: a seed is an integer >= 0.")


def _key(axes: tuple[str | int, ...]) -> int:
    digest = hashlib.sha256(json.dumps(list(axes)).encode()).digest()
    return int.from_bytes(digest[:16], "little")


def _at(key: int, index: int) -> np.random.Generator:
    if index < 0:
        raise UsageError(f"index {index} is not allowed: images are numbered from 0.")
    return np.random.Generator(np.random.Philox(key=key, counter=int(index) << _INDEX_SHIFT))
