"""What a law given a linear measurement is: its exact posterior, where that is known."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images, PerImage
from gahb_bench.core.operator import Measurement
from gahb_bench.core.plugin import Plugin

F = TypeVar("F", bound=Plugin)

Streams = list[np.random.Generator]


@dataclass(frozen=True)
class Conditioned:
    """The law of images given what was measured of them; everything in float64.

    mean : posterior mean, ``(n, c, h, w)``
    pixel_variance : posterior variance of each pixel, ``(n, c, h, w)``
    log_evidence : ``log p(y)`` in nats, ``(n,)``: the density of the numbers that were measured
    draw : from k and a stream an image, k exact and independent samples of each posterior, ``(k, n, c, h, w)``
    """

    mean: Images
    pixel_variance: Images
    log_evidence: PerImage
    draw: Callable[[int, Streams], Tensor]


@dataclass(frozen=True)
class ExactPosterior:
    """The exact posterior of images given what was measured of them, in the type of the measurement.

    mean : ``E[x | y]``, ``(n, c, h, w)``: its MSE is the MMSE of the problem
    variance : ``E|x - mean|^2 / pixels`` given y, ``(n,)``, as in `gahb_bench.core.posterior.Posterior`
    pixel_variance : that of each pixel, ``(n, c, h, w)``
    log_evidence : ``log p(y)`` in nats, float64 ``(n,)``; of a mask, the density of the measured pixels alone
    """

    mean: Images
    variance: PerImage
    pixel_variance: Images
    log_evidence: PerImage
    _draw: Callable[[int, Streams], Tensor]
    _indices: tuple[int, ...]
    _address: str

    @classmethod
    def of(cls, found: Conditioned, measured: Measurement, family: str) -> "ExactPosterior":
        """From what a law found, for a measurement of images of a family."""
        dtype = measured.y.dtype
        return cls(
            mean=found.mean.to(dtype),
            variance=found.pixel_variance.flatten(1).mean(1).to(dtype),
            pixel_variance=found.pixel_variance.to(dtype),
            log_evidence=found.log_evidence,
            _draw=found.draw,
            _indices=measured.indices,
            _address=family,
        )

    def sample(self, k: int, seed: int = 0) -> Tensor:
        """Independent exact samples of the posterior, ``(k, n, c, h, w)``.

        Those of an image depend on its number, k and the seed, and on nothing else of the batch.

        Raises
        ------
        UsageError
            Unless k is an integer > 0 and the seed one >= 0.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise UsageError(f"k={k!r} samples are not allowed: give an integer > 0.")
        rng.check_seed(seed)
        streams = list(rng.generators("posterior", self._address, seed, indices=self._indices))
        return self._draw(k, streams).to(self.mean.dtype)


class Conditional(ABC, Generic[F]):
    """The exact conditioning of one law on linear measurements; a law names its own by ``conditional``.

    operators : names of the operators that it knows, as they stand in specs
    """

    operators: ClassVar[tuple[str, ...]]

    def __init__(self, family: F) -> None:
        self.family = family

    @abstractmethod
    def condition(self, measured: Measurement) -> Conditioned:
        """The posterior given a measurement by one of its operators; y is float64, everything is checked."""


def normal(k: int, streams: Streams, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """White noise of unit variance, k draws an image from its stream, ``(k, n, *shape)``."""
    drawn = [stream.standard_normal((k, *shape)) for stream in streams]
    return torch.from_numpy(np.stack(drawn, axis=1)).to(like)


def uniform(k: int, streams: Streams, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), k draws an image from its stream, ``(k, n, *shape)``."""
    drawn = [stream.random((k, *shape)) for stream in streams]
    return torch.from_numpy(np.stack(drawn, axis=1)).to(like)


def choose(weights: Tensor, u: Tensor) -> Tensor:
    """The index along the last axis of ``weights`` that a uniform number chooses, with probability as its weight.

    >>> choose(torch.tensor([0.0, 1.0, 3.0]), torch.tensor([0.0, 0.2, 0.3])).tolist()
    [1, 1, 2]
    """
    ends = weights.cumsum(-1)
    return (u[..., None] * ends[..., -1:] >= ends).sum(-1)
