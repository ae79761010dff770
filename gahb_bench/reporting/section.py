"""One family of a report: its reference, and every denoiser beside it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from gahb_bench import make
from gahb_bench.core.errors import GahbError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.reporting import words
from gahb_bench.reporting.merge import Source, Study
from gahb_bench.reporting.method import FIT_RANGE, Method, Trouble, image_errors, make_method
from gahb_bench.reporting.style import Style, rank
from gahb_bench.running.folder import PlannedFamily
from gahb_bench.scoring.curve import below_optimum

SHOWN_LEVELS = 5  # noise levels with a column of their own in tables
FEWEST_IMAGES = 16  # below, no verdict on the reference
_REFERENCE_POINTS = 48  # at least so many points on the reference curve


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


@dataclass(frozen=True, eq=False)
class Section:
    """One family on one set of images.

    ``distinction`` tells it from the other sections of the same family on the page; empty if there is none.
    """

    study: Study
    anchor: str
    distinction: str
    family: Family | None
    reference: Reference
    methods: tuple[Method, ...]
    attaining: Method | None  # the method that attains the reference, with which regrets are paired
    check: OracleCheck | None
    rebuilt: str  # why the family could not be built again here; empty if it could

    @property
    def plan(self) -> PlannedFamily:
        return self.study.family

    @property
    def spec(self) -> str:
        return self.plan.spec

    @property
    def label(self) -> str:
        return words.visible(self.plan.spec) + (f" ({self.distinction})" if self.distinction else "")

    @property
    def sigmas(self) -> list[float]:
        return self.study.sigmas

    @property
    def shown_sigmas(self) -> list[float]:
        """A few noise levels, spread evenly over all."""
        return spread(self.sigmas, SHOWN_LEVELS)

    @property
    def regret_levels(self) -> int:
        """At how many noise levels there is a regret, for whichever method has most."""
        return max((method.levels for method in self.methods), default=0)

    @property
    def cells(self) -> int:
        return sum(len(method.planned.sigmas) for method in self.methods)

    @property
    def sources(self) -> list[Source]:
        """The runs that the methods shown come from."""
        shown = {source.number for method in self.methods for source, _ in method.planned.sources}
        return [source for source in self.study.sources if source.number in shown]

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
        """Methods said to see only y that are below the optimum beyond chance, which cannot be."""
        return tuple(m for m in self.methods if below_optimum(m.curve).any())

    def closest(self) -> Method | None:
        """The method with the least mean regret of those that know neither the law nor the image."""
        honest = [m for m in self.methods if m.honest and np.isfinite(m.mean_regret)]
        honest = [m for m in honest if m not in self.impossible]
        whole = [m for m in honest if not m.troubles]
        return min(whole or honest, key=lambda method: method.mean_regret, default=None)


def _slope(sigma: FloatArray, mse: FloatArray) -> float:
    """Least-squares slope of log MSE against log sigma over `FIT_RANGE`; NaN with fewer than two points."""
    good = np.isfinite(mse) & (sigma >= FIT_RANGE[0] * (1 - 1e-9)) & (sigma <= FIT_RANGE[1] * (1 + 1e-9))
    return float(np.polyfit(np.log(sigma[good]), np.log(mse[good]), 1)[0]) if good.sum() > 1 else float("nan")


def make_section(study: Study, anchor: str, distinction: str, looks: dict[str, Style]) -> Section:
    curves, spec = study.curves, study.family.spec
    try:
        family, rebuilt = make.family(spec), ""
        reference = _reference(family, study.sigmas)
    except GahbError as error:
        family, rebuilt = None, words.sentence(error)
        reference = _stored_reference(curves)
    planned = sorted(study.denoisers, key=lambda denoiser: rank(denoiser.plan.knows))
    errors = {denoiser.plan.spec: image_errors(study, denoiser.plan.spec) for denoiser in planned}
    best = next((name for name in reference.attained_by if _attains(study, name)), None)
    paired = None if best is None else errors[best]
    methods = tuple(make_method(study, denoiser, reference, errors, paired, looks) for denoiser in planned)
    attaining = next((method for method in methods if method.spec == best), None)
    check = None if family is None or attaining is None else _oracle_check(family, attaining, study.scores)
    return Section(study, anchor, distinction, family, reference, methods, attaining, check, rebuilt)


def _attains(study: Study, name: str) -> bool:
    """Whether a denoiser of this name that knows the law has numbers."""
    rows = study.curves[(study.curves["denoiser"] == name) & (study.curves["knows"] == "law")]
    return bool(((rows["status"] == "ok") & np.isfinite(rows["mse"])).any())


def spread(values: list[float], count: int) -> list[float]:
    """At most ``count`` of the values, the first and the last among them, evenly spread."""
    chosen = np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int))
    return [values[position] for position in chosen]


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
    spread = np.hypot(error, truth.standard_error)
    z = np.divide(measured - truth.mse, spread, out=np.full_like(spread, np.nan), where=spread > 0)
    rows = {"sigma": sigma, "measured": measured, "reference": truth.mse, "ratio": measured / truth.mse, "z": z}
    return OracleCheck(method.label, pd.DataFrame(rows), int(images.count().min()))
