"""Denoisers with one parameter that is tuned: by hand, by a table made on the validation split, or by a rule."""

from abc import abstractmethod
from typing import ClassVar, TypeVar

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import UNTUNED, Denoiser, Facts
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.spec import format_spec
from gahb_bench.tables import tuned
from gahb_bench.tables.tuned import TunedTable

T = TypeVar("T", bound="Tunable")


class Tunable(Denoiser):
    """A denoiser with one tuned parameter, 0 by default.

    Its value is, in this order: the one given by hand (> 0); the tuned table of this very family and denoiser,
    interpolated in log sigma; a rule that depends on sigma alone. It never depends on the images to be denoised. The
    table is looked up when the denoiser is bound to its family, so that it stays the same through a run.

    A subclass names the parameter (``tuned``), the range in which it is searched, and states the rule; ``tuned_on`` is
    the most images on which it is tuned when it is bound, fewer for what takes long.
    """

    tuned: ClassVar[str]
    search: ClassVar[tuple[float, float]]
    tuned_on: ClassVar[int] = 32
    _table: TunedTable | None = PrivateAttr(default=None)

    def bind(self: T, family: Family) -> T:
        bound = super().bind(family)
        bound._table = tuned.find(bound.untuned_spec, family.spec)
        return bound

    def refuse_other(self, family: Family) -> None:
        super().refuse_other(family)
        own = self._family
        by_hand = getattr(self, self.tuned) > 0
        if own is not None and own.spec != family.spec and self._table is not None and not by_hand:
            raise UsageError(
                f"{self.spec} was tuned for {own.spec}, not for {family.spec}: give its spec, "
                f"{self.written()!r}, to have it tuned for each family, or a callable, "
                "lambda y, sigma: denoiser(y, sigma), to score it so."
            )

    @property
    def needs_tuning(self) -> bool:
        """Whether its value comes from its rule, for want of a table or a hand."""
        return getattr(self, self.tuned) == 0 and self._table is None

    def with_table(self: T, table: TunedTable) -> T:
        """The same denoiser with this table."""
        bound = self.model_copy()
        bound._table = table
        return bound

    @abstractmethod
    def rule(self, sigma: Tensor) -> Tensor:
        """The value for a family without a table, from the noise level alone."""

    def nearest(self, value: float) -> float:
        """The value next to a number that the parameter may have: here, itself."""
        return value

    def setting(self, sigma: Tensor) -> Tensor:
        """The value used at each noise level, float64 ``(n,)``."""
        given = float(getattr(self, self.tuned))
        if given > 0:
            return torch.full_like(sigma, given)
        return self.rule(sigma) if self.table is None else self.table.at(sigma)

    @property
    def table(self) -> TunedTable | None:
        """The tuned table of this denoiser and its family, or None where there is none."""
        return self._table

    @property
    def untuned_spec(self) -> str:
        """Canonical spec with the tuned parameter left out."""
        return format_spec(self.name, {key: value for key, value in self.changed.items() if key != self.tuned})

    @property
    def own_facts(self) -> Facts:
        """Where its value comes from; of a table also its hash, its values, and that it is one number a noise level."""
        if getattr(self, self.tuned) > 0:
            return Facts(tuning=self.provenance)
        if self.table is None:
            return Facts(fitted=0, tuning=self.provenance)
        values = tuple(zip(self.table.sigma, self.table.value, self.table.at_edge, strict=True))
        return Facts(digest=self.table.digest, fitted=1, tuning=self.provenance, tuned=values)

    @property
    def provenance(self) -> str:
        """Where the value of the tuned parameter comes from, in words."""
        if getattr(self, self.tuned) > 0:
            return f"{self.tuned} given by hand"
        if self.table is None:
            return f"{UNTUNED}: {self.tuned} by a rule in sigma alone"
        return f"{self.tuned} tuned on {self.table.images} images of split val, seed {self.table.seed}"
