"""What a report says, worked out once for the page, the text and the figure."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from gahb_bench import catalog
from gahb_bench.errors import GahbError, UsageError
from gahb_bench.families.base import Family
from gahb_bench.reporting import words
from gahb_bench.reporting.folder import Manifest, PlannedDenoiser, PlannedFamily, RunData
from gahb_bench.reporting.style import Style, rank, styles
from gahb_bench.scoring.curve import ATTAINS
from gahb_bench.scoring.exponent import Fit, exponent
from gahb_bench.types import FloatArray, Reference

FIT_RANGE = (0.01, 1.0)  # noise levels over which exponents are fitted
SHOWN_LEVELS = 5  # noise levels with a column of their own in tables
FEWEST_IMAGES = 16  # below, no verdict on the reference
_REFERENCE_POINTS = 48  # at least so many points on the reference curve


@dataclass(frozen=True)
class Trouble:
    """A cell without a number, and why."""

    denoiser: str
    sigma: float
    reason: str


@dataclass(frozen=True)
class Method:
    """One denoiser on one family. ``curve`` holds its good cells, rows of curves.csv sorted by noise level."""

    plan: PlannedDenoiser
    style: Style
    curve: pd.DataFrame
    troubles: tuple[Trouble, ...]
    fit: Fit | None
    no_fit: str
    seconds: float

    @property
    def spec(self) -> str:
        return self.plan.spec

    @property
    def knows(self) -> str:
        return self.plan.knows

    @property
    def label(self) -> str:
        """Its name with nothing invisible in it."""
        return words.visible(self.plan.spec)

    @cached_property
    def drawn(self) -> pd.DataFrame:
        """``curve`` with a row of NaN for each cell without a number, so that no line runs through it."""
        levels = sorted({*self.curve["sigma"], *(trouble.sigma for trouble in self.troubles)})
        return self.curve.set_index("sigma").reindex(levels).reset_index()

    @property
    def mean_regret(self) -> float:
        """Mean over noise levels of the regret in dB; NaN without any."""
        values = self.curve["regret_db"].dropna()
        return float(values.mean()) if len(values) else float("nan")

    @property
    def worst(self) -> tuple[float, float]:
        """The largest regret in dB, and the noise level where it is; NaN without any."""
        values = self.curve.dropna(subset=["regret_db"])
        if values.empty:
            return float("nan"), float("nan")
        row = values.loc[values["regret_db"].idxmax()]
        return float(row["regret_db"]), float(row["sigma"])

    def at(self, sigma: float) -> dict[str, Any] | None:
        """The row of one noise level, or None where there is no number."""
        found = self.curve[np.isclose(self.curve["sigma"], sigma, rtol=1e-9, atol=0)]
        return found.iloc[0].to_dict() if len(found) else None


@dataclass(frozen=True)
class OracleCheck:
    """The denoiser that attains the reference, measured against it.

    ``rows`` holds ``sigma, measured, reference, ratio, z``, a row a noise level.
    """

    denoiser: str
    rows: pd.DataFrame

    images: int

    @property
    def largest_z(self) -> float:
        return float(self.rows["z"].abs().max())

    @property
    def agrees(self) -> bool | None:
        """Whether all levels are within chance of the reference (1 in 1,000, Bonferroni over levels, Student's t).

        None with too few images for the standard error of a skewed mean to mean anything.
        """
        if self.images < FEWEST_IMAGES or not np.isfinite(self.largest_z):
            return None
        return bool(self.largest_z <= stats.t.isf(0.0005 / len(self.rows), self.images - 1))


@dataclass(frozen=True)
class Section:
    """One family."""

    plan: PlannedFamily
    anchor: str
    family: Family | None
    reference: Reference
    methods: tuple[Method, ...]
    attaining: Method | None  # the method that attains the reference, with which regrets are paired
    check: OracleCheck | None
    rebuilt: str  # why the family could not be built again here; empty if it could

    @property
    def spec(self) -> str:
        return self.plan.spec

    @property
    def label(self) -> str:
        return words.visible(self.plan.spec)

    @property
    def has_regret(self) -> bool:
        return self.reference.kind != "none"

    @property
    def shows_theory(self) -> bool:
        """Whether the reference's further curves are drawn from the start: they are what explains a bracket."""
        return self.reference.kind == "bracket"

    @property
    def band(self) -> tuple[FloatArray, FloatArray]:
        """The ends of the reference's band, its 95 % error included."""
        margin = 1.96 * np.nan_to_num(self.reference.standard_error)
        return self.reference.lower - margin, self.reference.upper + margin

    @property
    def exponents_of_theory(self) -> str:
        """What theory says of the exponent, where it says more than one thing; empty elsewhere."""
        reference = self.reference
        if not reference.rates:
            return ""
        fitted = {words.REFERENCE_NAME[reference.kind]: reference.mse, **reference.curves}
        slopes = {name: _slope(reference.sigma, values) for name, values in fitted.items()}
        return words.exponents_of_theory(slopes, reference.rates)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        return tuple(trouble for method in self.methods for trouble in method.troubles)

    @property
    def impossible(self) -> tuple[Method, ...]:
        """Methods said to see only y whose regret is below 0 with their whole interval, where that cannot be."""
        if self.reference.kind not in ("exact", "bracket"):  # of a bracket, the high end is against its lower end
            return ()
        blind = [m for m in self.methods if m.knows in ("nothing", "training set")]
        return tuple(m for m in blind if (m.curve["regret_db_high"] < 0).any() or (m.curve["mse"] == 0).any())

    def closest(self) -> Method | None:
        """The method with the least mean regret of those that know neither the law nor the image."""
        honest = [m for m in self.methods if m.knows in ("nothing", "training set") and np.isfinite(m.mean_regret)]
        honest = [m for m in honest if m not in self.impossible]
        whole = [m for m in honest if not m.troubles]
        return min(whole or honest, key=lambda method: method.mean_regret, default=None)


@dataclass(frozen=True)
class Content:
    """Everything a report says."""

    manifest: Manifest
    sections: tuple[Section, ...]

    @property
    def sigmas(self) -> list[float]:
        return sorted(self.manifest.plan.sigmas)

    @property
    def sigma_labels(self) -> dict[float, str]:
        return words.sigma_labels(self.sigmas)

    @property
    def shown_sigmas(self) -> list[float]:
        """A few noise levels, spread evenly over the run's."""
        return spread(self.sigmas, SHOWN_LEVELS)

    @property
    def cells(self) -> int:
        return len(self.manifest.plan.sigmas) * sum(len(section.methods) for section in self.sections)

    @property
    def troubles(self) -> int:
        return sum(len(section.troubles) for section in self.sections)


def content(run: RunData) -> Content:
    """Work out what the report of a run says."""
    looks = styles(d.spec for family in run.manifest.plan.families for d in family.denoisers)
    sections = tuple(
        _section(run, family, f"family-{position}", looks)
        for position, family in enumerate(run.manifest.plan.families, start=1)
    )
    return Content(run.manifest, sections)


def spread(values: list[float], count: int) -> list[float]:
    """At most ``count`` of the values, the first and the last among them, evenly spread."""
    chosen = np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int))
    return [values[position] for position in chosen]


def _slope(sigma: FloatArray, mse: FloatArray) -> float:
    """Least-squares slope of log MSE against log sigma over `FIT_RANGE`; NaN with fewer than two points."""
    good = np.isfinite(mse) & (sigma >= FIT_RANGE[0] * (1 - 1e-9)) & (sigma <= FIT_RANGE[1] * (1 + 1e-9))
    return float(np.polyfit(np.log(sigma[good]), np.log(mse[good]), 1)[0]) if good.sum() > 1 else float("nan")


def _section(run: RunData, plan: PlannedFamily, anchor: str, looks: dict[str, Style]) -> Section:
    curves = run.curves[run.curves["family"] == plan.spec]
    scores = run.scores[run.scores["family"] == plan.spec]
    try:
        family, rebuilt = catalog.family(plan.spec), ""
        reference = _reference(family, run.manifest.plan.sigmas)
    except GahbError as error:
        family, rebuilt = None, words.sentence(error)
        reference = _stored_reference(curves)
    planned = sorted(plan.denoisers, key=lambda denoiser: rank(denoiser.knows))
    methods = tuple(_method(run, plan.spec, denoiser, curves, scores, looks[denoiser.spec]) for denoiser in planned)
    attaining = next(
        (m for m in methods if m.spec in ATTAINS.get(reference.kind, ()) and m.knows == "law" and len(m.curve)), None
    )
    check = None if family is None or attaining is None else _oracle_check(family, attaining, scores)
    return Section(plan, anchor, family, reference, methods, attaining, check, rebuilt)


def _method(
    run: RunData, family: str, plan: PlannedDenoiser, curves: pd.DataFrame, scores: pd.DataFrame, look: Style
) -> Method:
    rows = curves[curves["denoiser"] == plan.spec].sort_values("sigma")
    good = rows[(rows["status"] == "ok") & np.isfinite(rows["mse"])]
    mine = scores[scores["denoiser"] == plan.spec]
    troubles = tuple(
        Trouble(plan.spec, sigma, _reason(run, family, plan.spec, sigma, mine))
        for sigma in sorted(run.manifest.plan.sigmas)
        if not np.isclose(good["sigma"], sigma, rtol=1e-9, atol=0).any()
    )
    fit, no_fit = None, ""
    try:
        fit = exponent(mine, family, plan.spec, *FIT_RANGE)
    except UsageError as error:
        no_fit = words.sentence(error)
    return Method(plan, look, good, troubles, fit, no_fit, float(mine["seconds"].mean()))


def _reason(run: RunData, family: str, denoiser: str, sigma: float, scores: pd.DataFrame) -> str:
    """Why a cell has no number: as the run recorded it, or that it was not computed."""
    for failure in run.manifest.failures:
        if (failure.family, failure.denoiser) == (family, denoiser) and np.isclose(failure.sigma, sigma, rtol=1e-9):
            return words.sentence(failure.reason)
    failed = scores[np.isclose(scores["sigma"], sigma, rtol=1e-9, atol=0) & (scores["status"] != "ok")]
    return words.sentence(failed["reason"].iloc[0]) if len(failed) else "not computed"


def _reference(family: Family, sigmas: list[float]) -> Reference:
    """The reference for drawing: at many noise levels where it is a closed form, otherwise at the run's alone.

    A reference with a statistical error comes from a simulation, whose levels are stored or costly.
    """
    reference = family.reference(sorted(sigmas))
    closed_form = reference.kind in ("exact", "linear") and not np.any(reference.standard_error)
    return family.reference(_dense(sigmas)) if closed_form else reference


def _dense(sigmas: list[float]) -> FloatArray:
    """The noise levels and some between each two, for a smooth curve; around a single level, a factor of 2."""
    levels = np.log(np.unique(np.asarray(sigmas, dtype=np.float64)))
    if len(levels) == 1:
        return np.exp(levels + np.linspace(-1, 1, 9) * np.log(2))
    steps = max(4, -(-_REFERENCE_POINTS // (len(levels) - 1)))
    positions = np.linspace(0, len(levels) - 1, (len(levels) - 1) * steps + 1)
    return np.exp(np.interp(positions, np.arange(len(levels)), levels))


def _stored_reference(curves: pd.DataFrame) -> Reference:
    """The reference as the run stored it, at its noise levels only."""
    rows = curves.drop_duplicates("sigma").sort_values("sigma")
    columns = (rows[f"reference_{name}"].to_numpy(dtype=np.float64) for name in ("mse", "low", "high"))
    mse, lower, upper = columns
    unknown = np.full(len(rows), np.nan)
    kind = str(rows["reference_kind"].iloc[0]) if len(rows) else "none"
    if kind not in words.REFERENCE_KIND:
        kind = "none"
    note = "As stored in the run; its standard error and its exponent are not."
    return Reference(kind, rows["sigma"].to_numpy(dtype=np.float64), mse, lower, upper, unknown, unknown, None, note)  # pyright: ignore[reportArgumentType]


def _oracle_check(family: Family, method: Method, scores: pd.DataFrame) -> OracleCheck:
    """Measured MSE of the method that attains the reference, over the reference, and z = difference / error."""
    sigma = method.curve["sigma"].to_numpy(dtype=np.float64)
    images = scores[scores["denoiser"] == method.spec].groupby("sigma")["mse"]
    errors = (images.std() / np.sqrt(images.count())).reindex(sigma, method="nearest", tolerance=1e-9)
    error = errors.to_numpy(dtype=np.float64)
    truth = family.reference(sigma)
    measured = method.curve["mse"].to_numpy(dtype=np.float64)
    z = (measured - truth.mse) / np.hypot(error, truth.standard_error)
    rows = {"sigma": sigma, "measured": measured, "reference": truth.mse, "ratio": measured / truth.mse, "z": z}
    return OracleCheck(method.label, pd.DataFrame(rows), int(images.count().min()))
