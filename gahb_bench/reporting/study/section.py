"""One family of a report: its reference, and every denoiser beside it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.reporting.study import sentences, words
from gahb_bench.reporting.study.merge import Source, Study
from gahb_bench.reporting.study.method import Method, Trouble, make_method
from gahb_bench.reporting.study.style import Style, rank
from gahb_bench.running.folder import FamilyRecord
from gahb_bench.scoring.by_image import by_image
from gahb_bench.scoring.curve import below_optimum, is_settled
from gahb_bench.scoring.summary import FIT_RANGE, Summary, attaining, summarise

SHOWN_LEVELS = 5  # noise levels with a column of their own in tables
FEWEST_IMAGES = 16  # below, no verdict on the reference


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
    methods: tuple[Method, ...]
    attaining: Method | None  # the method that attains the reference, with which regrets are paired
    check: OracleCheck | None

    @property
    def plan(self) -> FamilyRecord:
        return self.study.family

    @property
    def spec(self) -> str:
        return self.plan.spec

    @property
    def reference(self) -> Reference:
        return self.study.reference

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
    def exact(self) -> bool:
        """Whether the optimum is known, not only bounded, at every noise level where it does not vanish."""
        reference = self.reference.at(np.asarray(self.sigmas))
        return bool(reference.known.any() and is_settled(reference).all())

    @property
    def shows_theory(self) -> bool:
        """Whether the reference's further curves are drawn from the start: they are what explains a bracket."""
        return self.reference.kind == "bracket"

    @property
    def band(self) -> tuple[FloatArray, FloatArray]:
        """The ends of the reference's band, its 95 % error included."""
        return band(self.reference)

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

    @cached_property
    def impossible(self) -> tuple[Method, ...]:
        """Methods said to see only y that are below the optimum beyond chance, which cannot be."""
        return tuple(m for m in self.methods if below_optimum(m.curve).any())

    @property
    def kinds(self) -> tuple[str, ...]:
        """What kinds of regret its methods have."""
        found = {kind for method in self.methods for kind in method.kinds}
        return tuple(kind for kind in sentences.REGRET_KIND if kind in found)

    @property
    def unsure(self) -> tuple[Method, ...]:
        """The methods whose intervals are unsure at some noise level."""
        return tuple(method for method in self.methods if method.unsure)

    @cached_property
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
    """One study of a report; ``looks`` are by denoiser."""
    planned = sorted(study.denoisers, key=lambda denoiser: rank(denoiser.plan.knows))
    errors, best = by_image(study.scores, range(study.images)), attaining(study.curves, study.reference)
    summaries = summarise(study.scores, study.curves, study.reference)
    methods = tuple(
        make_method(study, each, summaries.get(each.plan.spec) or Summary.empty(each.plan.knows), errors, best, looks)
        for each in planned
    )
    attains = next((method for method in methods if method.spec == best), None)
    check = None if attains is None else _oracle_check(study, attains)
    return Section(study, anchor, distinction, methods, attains, check)


def band(reference: Reference) -> tuple[FloatArray, FloatArray]:
    """The ends of the band that a reference is drawn as, its 95 % error included."""
    margin = 1.96 * np.nan_to_num(reference.standard_error)
    return reference.lower - margin, reference.upper + margin


def spread(values: list[float], count: int) -> list[float]:
    """At most ``count`` of the values, the first and the last among them, evenly spread."""
    chosen = np.unique(np.linspace(0, len(values) - 1, min(count, len(values))).round().astype(int))
    return [values[position] for position in chosen]


def _oracle_check(study: Study, method: Method) -> OracleCheck:
    """Measured MSE of the method that attains the reference, over the reference, and z = difference / error."""
    sigma = method.curve["sigma"].to_numpy(dtype=np.float64)
    images = study.scores[study.scores["denoiser"] == method.spec].groupby("sigma")["mse"]
    errors = (images.std() / np.sqrt(images.count())).reindex(sigma, method="nearest", tolerance=1e-9)
    error = errors.to_numpy(dtype=np.float64)
    truth = study.reference.at(sigma)
    measured = method.curve["mse"].to_numpy(dtype=np.float64)
    spread = np.hypot(error, truth.standard_error)
    known = (spread > 0) & ~truth.bracketed
    z = np.divide(measured - truth.mse, spread, out=np.full_like(spread, np.nan), where=known)
    rows = {"sigma": sigma, "measured": measured, "reference": truth.mse, "ratio": measured / truth.mse, "z": z}
    return OracleCheck(method.label, pd.DataFrame(rows), int(images.count().min()))
