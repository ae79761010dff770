"""What every family of images offers."""

import importlib
import math
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from gahb_bench.core import memory, rng
from gahb_bench.core.conditional import Conditional
from gahb_bench.core.environment import check_device
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Batch, check_sigmas
from gahb_bench.core.optimum import Optimum, Reference
from gahb_bench.core.plugin import Plugin
from gahb_bench.core.statistics import SampleStatistics

_LEAST_SCALE = 1e-6  # of a pixel, where images are constant


class Family(Plugin):
    """A law of images, known exactly. A subclass states its parameters, its `shape`, and how to `draw`.

    variants : specs of it beside its default, which matter enough to be verified whenever all laws are
    best : its `Optimum`: the class; or ``".module:Class"`` relative to the law's own module, which is then imported
        when it is first asked for; or ``":Class"`` further down in the law's own file; None where nothing is known
    statistics : its own `SampleStatistics`, beside those of every law; stated as `best` is
    conditional : its `Conditional`, named in the same way: its exact posterior given a linear measurement
    """

    kind: ClassVar = "families"
    best: ClassVar[str | type[Optimum[Any]] | None] = None
    statistics: ClassVar[str | type[SampleStatistics[Any]] | None] = None
    conditional: ClassVar[str | type[Conditional[Any]] | None] = None
    variants: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        """The same law: the same class and parameters, whatever either has computed and kept."""
        return isinstance(other, Family) and type(self) is type(other) and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash((type(self), self.spec))

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(c, h, w)`` of one image."""

    @property
    def own_units(self) -> bool:
        """Whether its images lie in units of their own, not nominally in [0, 1]."""
        return False

    @property
    def moments(self) -> float:
        """Absolute moments of a pixel of order below this are finite: all, unless the law has heavy tails."""
        return math.inf

    @property
    def finite_variance(self) -> bool:
        """Whether a pixel has a variance."""
        return self.moments > 2

    def pixel_moments(self, images: torch.Tensor) -> tuple[float, float]:
        """Location and scale of a pixel, by images of the law: what preconditions a network.

        Mean and standard deviation; of a law without a variance, median and 1.4826 times the median distance from it,
        which for Gaussian pixels are the same.
        """
        values = images.double().flatten()
        if self.finite_variance:
            return float(values.mean()), max(float(values.std()), _LEAST_SCALE)
        middle = values.median()
        return float(middle), max(1.4826 * float((values - middle).abs().median()), _LEAST_SCALE)

    @abstractmethod
    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        """Images ``(count, c, h, w)`` and their latents, image ``i`` from the ``i``-th stream alone."""

    def sample(
        self, indices: Iterable[int], seed: int = 0, split: str = "test", device: str | torch.device = "cpu"
    ) -> Batch:
        """Images by index: image ``i`` depends only on (spec, seed, split, i), however the batch is cut or ordered.

        Parameters
        ----------
        indices : iterable of int, each >= 0
        seed : int >= 0
        split : one of ``train``, ``train-a``, ``train-b``, ``val``, ``test``
            Disjoint streams of images.

        Returns
        -------
        Batch
            Images float32 ``(n, c, h, w)``, and latents.

        Raises
        ------
        UsageError
            For an unknown split, a negative index or seed, or more images than memory holds.
        """
        rng.check_split(split)
        rng.check_seed(seed)
        if str(device) != "cpu":
            check_device(str(device))
        if isinstance(indices, Sized):
            try:
                self.check_fits(len(indices))
            except OverflowError:  # a range of more than Python counts
                self.check_fits(sys.maxsize)
        chosen = _indices(indices)
        streams = rng.generators("images", self.spec, int(seed), split, indices=chosen)
        images, latents = self.draw(streams, len(chosen))
        if images.shape != (len(chosen), *self.shape):
            raise UsageError(
                f"{self.spec} drew images of shape {images.shape}, where {(len(chosen), *self.shape)} was due: its "
                "`draw` and its `shape` do not agree."
            )
        return Batch(
            images=torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)),
            latents={name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in latents.items()},
            family=self.spec,
            seed=int(seed),
            split=split,
            indices=chosen,
        ).to(device)

    def reference(self, sigmas: object) -> Reference:
        """The least possible MSE per pixel at each noise level, and how surely it is known.

        Raises
        ------
        UsageError
            If a noise level is not positive and finite.
        """
        known = self.optimum.reference(check_sigmas(sigmas))
        attained = self.optimum.attained_by if known.kind == "linear" or known.known.any() else ()
        return replace(known, attained_by=attained)

    @cached_property
    def optimum(self) -> Optimum[Any]:
        """What is known to be best for this law: reference, oracles, checks."""
        best = self.stated("best")
        return Optimum(self) if best is None else best(self)

    @cached_property
    def sample_statistics(self) -> SampleStatistics[Any]:
        """What is measured of samples of this law beside what is of those of every law."""
        own = self.stated("statistics")
        return SampleStatistics(self) if own is None else own(self)

    @cached_property
    def conditioning(self) -> Conditional[Any] | None:
        """Its exact posterior given a linear measurement; None where that is not known."""
        found = self.stated("conditional")
        return None if found is None else found(self)

    @classmethod
    def stated(cls, attribute: Literal["best", "statistics", "conditional"]) -> Any:
        """The class that an attribute names, imported; None where it names none."""
        named, module = next(
            (base.__dict__[attribute], base.__module__) for base in cls.__mro__ if attribute in base.__dict__
        )
        if not isinstance(named, str):
            return named
        place, _, name = named.partition(":")
        home = importlib.import_module(place, package=module.rpartition(".")[0]) if place else sys.modules[module]
        return getattr(home, name)

    @property
    def digest(self) -> str:
        """Hash of what the spec does not say: the code of a law, or of its optimum, that is not of this package.

        Empty for the laws of this package. A law of one name may change: a class in a notebook, or a subclass.
        """
        return self.code_digest((type(self.optimum), *self.optimum.oracles))

    def check_fits(self, count: int) -> None:
        """Refuse so many images at once, if memory does not hold them."""
        what = f"{count} image{'s' * (count != 1)} of {self.spec}, {' x '.join(map(str, self.shape))},"
        memory.check_fits(memory.of_images(count, self.shape), what, "choose fewer or smaller images")

    def check_images(self, y: torch.Tensor) -> None:
        """Refuse images that cannot be of this family."""
        if y.ndim != 4 or tuple(y.shape[1:]) != self.shape:
            raise UsageError(
                f"{self.spec} has images of shape (n, c, h, w) = (n, {str(self.shape)[1:-1]}), "
                f"but the images given have shape {tuple(y.shape)}."
            )


def _indices(indices: Any) -> tuple[int, ...]:
    """Numbers of images.

    Raises
    ------
    UsageError
        If they are not integers.
    """
    found: tuple[Any, ...] = tuple(indices) if isinstance(indices, Iterable) else (None,)
    if not all(isinstance(index, int | np.integer) and not isinstance(index, bool) for index in found):
        raise UsageError(f"images are chosen by a list of their numbers, like [0, 1] or range(8), not by {indices!r}.")
    return tuple(int(index) for index in found)
