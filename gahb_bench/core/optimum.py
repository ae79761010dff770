"""What is known to be best for a law: its optimum, as an object beside the law."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.plugin import Plugin

F = TypeVar("F", bound=Plugin)

ReferenceKind = Literal["exact", "bracket", "approximate", "linear", "none"]

_VECTORS = ("mse", "lower", "upper", "standard_error", "exponent")
_CURVE = "curve: "


@dataclass(frozen=True)
class Check:
    """One identity, measured: it holds if ``|value| <= tolerance``.

    routes : the two ways to the same quantity that are compared, in words.
    tolerance : infinite where the law cannot be held to the identity; ``detail`` says why.
    statistical : whether ``value`` is a z-score over images; otherwise it is a difference without chance in it.
    """

    identity: str
    value: float
    tolerance: float
    detail: str = ""
    routes: tuple[str, str] = ("", "")
    statistical: bool = False

    @property
    def applicable(self) -> bool:
        """Whether the law can be held to it."""
        return math.isfinite(self.tolerance)

    @property
    def passed(self) -> bool:
        """Whether the identity holds (never for NaN)."""
        return bool(abs(self.value) <= self.tolerance)


@dataclass(frozen=True)
class Reference:
    """What is known about the least possible MSE of a family, per pixel, at each noise level.

    kind : how ``mse`` relates to the MMSE.
        ``exact``: it is the MMSE, up to ``standard_error`` (0 where it is a closed form).
        ``bracket``: ``lower <= MMSE <= upper``; ``mse`` is between them, the geometric middle if nothing is better.
            Where the two are equal it is the MMSE, up to ``standard_error``: see ``known``.
        ``approximate``: a law without a proved bound.
        ``linear``: the least MSE of linear denoisers, an upper bound on the MMSE.
        ``none``: nothing is known; all numbers are NaN.
    exponent : local exponent d log mse / d log sigma at each noise level (finite size), NaN where unknown.
    asymptotic_exponent : its theoretical limit for large images and small noise, or None.
    note : one sentence for reports: what this reference is and where it comes from.
    curves : other curves of theory, by name, at the same noise levels.
    rates : exponents for large images and small noise by what they belong to, where there is more than one.
    attained_by : the denoisers whose risk ``mse`` is; one of them, scored on the same images, gives a paired regret.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> reference = gb.family("calpha:size=16").reference([0.1, 1.0])
    >>> reference.kind, bool((reference.mse < [0.1**2, 1.0]).all())
    ('exact', True)
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

    @property
    def bracketed(self) -> NDArray[np.bool_]:
        """At which noise levels the MMSE is known to lie in a bracket only."""
        return (self.lower != self.upper) & (self.kind == "bracket")

    @property
    def known(self) -> NDArray[np.bool_]:
        """At which noise levels ``mse`` is the MMSE, up to ``standard_error``."""
        return ~self.bracketed & (self.kind in ("exact", "bracket"))

    def at(self, sigmas: FloatArray) -> "Reference":
        """The same reference at some of its noise levels; levels that it has not are NaN."""
        found = [np.flatnonzero(np.isclose(self.sigma, sigma, rtol=1e-9, atol=0))[:1] for sigma in sigmas]
        where = np.array([index[0] if len(index) else -1 for index in found], dtype=int)

        def chosen(values: FloatArray) -> FloatArray:
            return np.where(where >= 0, values[where], np.nan) if len(values) else np.full(len(sigmas), np.nan)

        return replace(self, sigma=np.asarray(sigmas, dtype=np.float64), **self._each(chosen))

    def join_levels(self, other: "Reference") -> "Reference":
        """Two references of one law as one, at the noise levels of both, in order; at common levels, this one's.

        What is exact at the levels of one and in a bracket at those of the other is a bracket.
        """
        extra = ~np.isclose(other.sigma[:, None], self.sigma, rtol=1e-9, atol=0).any(axis=1)
        order = np.argsort(np.concatenate([self.sigma, other.sigma[extra]]), kind="stable")
        theirs = {name: getattr(other, name) for name in _VECTORS}

        def both(mine: FloatArray, yours: FloatArray) -> FloatArray:
            return np.concatenate([mine, yours[extra]])[order]

        vectors = {name: both(getattr(self, name), theirs[name]) for name in _VECTORS}
        names = dict.fromkeys([*self.curves, *other.curves])
        curves = {name: both(self._curve(name), other._curve(name)) for name in names}
        kind = "bracket" if {self.kind, other.kind} == {"exact", "bracket"} else self.kind
        return replace(self, kind=kind, sigma=both(self.sigma, other.sigma), curves=curves, **vectors)

    def as_table(self, family: str) -> pd.DataFrame:
        """The rows of reference.parquet: a noise level each; curves of theory are columns ``curve: NAME``."""
        curves = {f"{_CURVE}{name}": values for name, values in self.curves.items()}
        return pd.DataFrame(
            {
                "family": family,
                "sigma": self.sigma,
                "kind": self.kind,
                "mse": self.mse,
                "lower": self.lower,
                "upper": self.upper,
                "standard_error": self.standard_error,
                "slope": self.exponent,
                "asymptotic_slope": np.nan if self.asymptotic_exponent is None else self.asymptotic_exponent,
                "rates": json.dumps(self.rates),
                "attained_by": json.dumps(self.attained_by),
                "note": self.note,
                **curves,
            }
        )

    @classmethod
    def from_table(cls, rows: pd.DataFrame) -> "Reference":
        """From the rows of one family in reference.parquet.

        Raises
        ------
        KeyError, ValueError
            If they are not such rows.
        """
        first = rows.iloc[0]
        if first["kind"] not in get_args(ReferenceKind):
            raise ValueError(f"unknown kind of reference {first['kind']!r}")
        columns = ("sigma", "mse", "lower", "upper", "standard_error", "slope")
        sigma, mse, lower, upper, error, slope = (rows[name].to_numpy(dtype=np.float64) for name in columns)
        theory = [name for name in rows.columns if str(name).startswith(_CURVE) and rows[name].notna().any()]
        curves = {str(name).removeprefix(_CURVE): rows[name].to_numpy(dtype=np.float64) for name in theory}
        limit = float(first["asymptotic_slope"])
        return cls(
            kind=first["kind"],
            sigma=sigma,
            mse=mse,
            lower=lower,
            upper=upper,
            standard_error=error,
            exponent=slope,
            asymptotic_exponent=None if math.isnan(limit) else limit,
            note=str(first["note"]),
            curves=curves,
            rates=json.loads(first["rates"]),
            attained_by=tuple(json.loads(first["attained_by"])),
        )

    def _curve(self, name: str) -> FloatArray:
        """A curve of theory; NaN where this reference has none of that name."""
        return self.curves.get(name, np.full(len(self.sigma), np.nan))

    def _each(self, change: Callable[[FloatArray], FloatArray]) -> dict[str, Any]:
        """Every vector but the noise levels, changed."""
        vectors: dict[str, Any] = {name: change(getattr(self, name)) for name in _VECTORS}
        return vectors | {"curves": {name: change(values) for name, values in self.curves.items()}}

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


@dataclass(frozen=True)
class Simulation:
    """How a reference that takes a simulation is made, one noise level after the other, and where it is kept.

    family : spec of the law under which it is kept.
    table : ``curves``, which serve between their noise levels if there are four or more; ``levels``, which serve at
        their own.
    rule : version of the rule that makes it.
    images : how many a noise level takes unless told otherwise.
    measure : from a noise level, how many images, and what is told of the images done, to rows of the store.
    unit : what noise levels are divided by before they are measured and kept.
    """

    family: str
    table: Literal["curves", "levels"]
    rule: int
    images: int
    measure: Callable[[float, int, Callable[[int], object]], pd.DataFrame]
    unit: float = 1.0


class Optimum(Generic[F]):
    """What is known to be best for one law; a law names its own by the class attribute ``best``.

    A subclass states what it knows, and leaves the rest as it is here: without any of it, nothing is known.

    oracles : denoisers of this law alone, which know the law or more
    attained_by : names of the denoisers whose risk the reference states, where it is exact or linear
    """

    oracles: tuple[type[Any], ...] = ()
    attained_by: tuple[str, ...] = ("mmse",)

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

    def gaussian(self) -> Gaussian | None:
        """The Gaussian of the law's mean and covariance, where they are known in closed form."""
        return None

    @property
    def samples(self) -> VarianceParts | None:
        """The posterior variances of which a sampled reference is the mean, where there is one."""
        return None

    @property
    def simulation(self) -> Simulation | None:
        """How its reference is made with more images, or at all, where it takes a simulation."""
        return None

    def checks(self) -> list[Check]:
        """The oracle against an independent route on a tiny case."""
        return []

    def oracle(self, name: str) -> type[Any] | None:
        """The oracle of this name or alias, or None."""
        return next((oracle for oracle in self.oracles if name == oracle.name or name in oracle.aliases), None)
