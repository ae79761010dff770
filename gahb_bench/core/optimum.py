"""What is known to be best for a law: its optimum, as an object beside the law."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from torch import Tensor

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.plugin import Plugin

F = TypeVar("F", bound=Plugin)

ReferenceKind = Literal["exact", "bracket", "approximate", "linear", "none"]


@dataclass(frozen=True)
class Check:
    """One identity, measured: it holds if ``|value| <= tolerance``."""

    identity: str
    value: float
    tolerance: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the identity holds (never for NaN)."""
        return bool(abs(self.value) <= self.tolerance)


@dataclass(frozen=True)
class Reference:
    """What is known about the least possible MSE of a family, per pixel, at each noise level.

    kind : how ``mse`` relates to the MMSE.
        ``exact``: it is the MMSE, up to ``standard_error`` (0 where it is a closed form).
        ``bracket``: only ``lower <= MMSE <= upper`` is known; ``mse`` is the geometric middle.
        ``approximate``: a law without a proved bound.
        ``linear``: the least MSE of linear denoisers, an upper bound on the MMSE.
        ``none``: nothing is known; all numbers are NaN.
    exponent : local exponent d log mse / d log sigma at each noise level (finite size), NaN where unknown.
    asymptotic_exponent : its theoretical limit for large images and small noise, or None.
    note : one sentence for reports: what this reference is and where it comes from.
    curves : other curves of theory, by name, at the same noise levels.
    rates : exponents for large images and small noise by what they belong to, where there is more than one.
    attained_by : the denoisers whose risk ``mse`` is; one of them, scored on the same images, gives a paired regret.
    """

    kind: ReferenceKind
    sigma: FloatArray
    mse: FloatArray
    lower: FloatArray
    upper: FloatArray
    standard_error: FloatArray
    exponent: FloatArray
    asymptotic_exponent: float | None = None
    note: str = ""
    curves: dict[str, FloatArray] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    attained_by: tuple[str, ...] = ()

    @classmethod
    def exact(
        cls,
        sigma: FloatArray,
        mse: FloatArray,
        exponent: FloatArray,
        *,
        asymptotic_exponent: float | None = None,
        note: str = "",
        kind: Literal["exact", "linear"] = "exact",
    ) -> "Reference":
        """A closed form: no error, both bounds equal to it."""
        zero = np.zeros_like(mse)
        return cls(kind, sigma, mse, mse, mse, zero, exponent, asymptotic_exponent, note)

    @classmethod
    def none(cls, sigma: FloatArray, note: str) -> "Reference":
        """No reference is known."""
        nan = np.full(len(sigma), np.nan)
        return cls("none", sigma, nan, nan, nan, nan, nan, None, note)


@dataclass(frozen=True)
class VarianceParts:
    """The posterior variance per pixel in two parts.

    sampled : from noisy images and noise levels ``(n,)``, variances of any parts of each image, ``(n, anything)``,
        of which the mean over images and parts counts.
    known : from a noise level, what is added to that mean: 0 unless a part is known in closed form.
    """

    sampled: Callable[[Images, Tensor], Tensor]
    known: Callable[[float], float]


class Optimum(Generic[F]):
    """What is known to be best for one law; a law names its own by the class attribute ``best``.

    A subclass states what it knows, and leaves the rest as it is here: without any of it, nothing is known.

    oracles : denoisers of this law alone, which know the law or more
    attained_by : names of the denoisers whose risk the reference states, where it is exact or linear
    """

    oracles: ClassVar[tuple[type[Any], ...]] = ()
    attained_by: ClassVar[tuple[str, ...]] = ("mmse",)

    def __init__(self, family: F) -> None:
        self.family = family

    def reference(self, sigmas: FloatArray) -> Reference:
        """The least possible MSE at each noise level (checked, float64), and how surely it is known."""
        return Reference.none(sigmas, f"No optimum is known for {self.family.spec}.")

    def defaults(self) -> list[str]:
        """Specs of the oracles that a run shows unless told otherwise."""
        return []

    def information(self, sigmas: FloatArray) -> FloatArray | None:
        """I(x; y) in nats at each noise level, where it is known."""
        del sigmas
        return None

    @property
    def samples(self) -> VarianceParts | None:
        """The posterior variances of which a sampled reference is the mean, where there is one."""
        return None

    def checks(self) -> list[Check]:
        """The oracle against an independent route on a tiny case."""
        return []

    def oracle(self, name: str) -> type[Any] | None:
        """The oracle of this name or alias, or None."""
        return next((oracle for oracle in self.oracles if name == oracle.name or name in oracle.aliases), None)
