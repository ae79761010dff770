"""What the page of a folder of geometry says, without drawing it: means over images with their intervals, by name."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gahb_bench.reporting.study.style import Style, styles
from gahb_bench.reporting.study.words import sigma_labels
from gahb_bench.running.folder import PlanRecord
from gahb_bench.running.geometry.folder import Geometry
from gahb_bench.scoring.intervals import mean_interval

# What a mean cannot be beyond, nor therefore its interval.
BOUNDS = {
    **dict.fromkeys(("dimension", "true_dimension", "asymmetry", "negative", "affinity", "excess"), (0.0, math.inf)),
    **dict.fromkeys(("basis_risk", "error_symmetric", "error_antisymmetric", "wasted"), (0.0, math.inf)),
    "overlap": (0.0, 1.0),
}
FEWEST = 8  # images for an interval
# Columns of the page's table: name, heading, what it is, digits.
QUANTITIES = (
    ("trace", "tr J", "how many dimensions are kept, in effect", 1),
    ("dimension", "dim", "eigenvalues above 1/2", 1),
    ("true_dimension", "true dim", "dimension of the true leading eigenspace", 1),
    (
        "overlap",
        "overlap",
        "share of the true leading eigenspace inside one's own of the same dimension (of large images with all values "
        "found above 1/2, of those found up to a gap); – where one's own eigenvalues are equal there",
        3,
    ),
    ("wasted", "wasted", "dimensions that are kept outside the true eigenspace", 2),
    ("asymmetry", "asymmetry", "|J - J'| / |J|, 0 for the gradient of a function", 3),
    ("negative", "negative", "sum of squared negative eigenvalues", 3),
    ("affinity", "affinity", "|D(y) - J y| / |D(y)|, 0 for bias-free networks", 3),
    ("basis_risk", "basis risk / σ²", "ideal risk of its own basis, per pixel, equal eigenvalues kept alike", 4),
    (
        "error_symmetric",
        "J error / mmse",
        "what the error of S costs, over the optimum's squared error on these images",
        3,
    ),
    ("error_antisymmetric", "curl / mmse", "what the part of J that is no gradient costs, over the same", 3),
    ("excess", "excess / mmse", "what is lost in all, over the same", 3),
)


@dataclass(frozen=True)
class Family:
    """One family: its noise levels, its denoisers, the optimum's among them first, and how each is drawn."""

    spec: str
    anchor: str
    sigmas: list[float]
    denoisers: list[str]
    optimum: str | None
    rows: pd.DataFrame
    spectra: pd.DataFrame
    bases: pd.DataFrame
    looks: dict[str, Style]
    images: int

    @property
    def names(self) -> dict[float, str]:
        """Noise levels in the names of files, with as many digits as tell them apart (at least 4)."""
        digits = 4
        while digits < 17 and len({f"{sigma:.{digits}g}" for sigma in self.sigmas}) < len(self.sigmas):
            digits += 1
        return {sigma: f"{sigma:.{digits}g}" for sigma in self.sigmas}

    @property
    def by_differences(self) -> list[str]:
        """The denoisers that are differentiated by differences, as they are shown."""
        rows = self.rows[self.rows["derivative"] == "difference"]
        return [shown_name(name) for name in self.denoisers if name in set(rows["denoiser"])]

    @property
    def labels(self) -> dict[float, str]:
        """Noise levels in words."""
        return sigma_labels(self.sigmas)

    def mean(self, denoiser: str, sigma: float, column: str) -> tuple[float, float, float]:
        """Mean over images of a column and its 95 % interval; NaN where it is not known."""
        rows = self.rows[(self.rows["denoiser"] == denoiser) & (self.rows["sigma"] == sigma)]
        least, most = BOUNDS.get(column, (-math.inf, math.inf))
        mean, low, high = interval(rows[column].to_numpy(dtype=np.float64))
        return mean, max(low, least) if math.isfinite(low) else low, min(high, most) if math.isfinite(high) else high

    def table(self, sigma: float) -> list[tuple[str, list[str]]]:
        """The cells of the page's table at a noise level, a row a denoiser."""
        made = []
        for name in self.denoisers:
            cells = []
            for column, heading, _, digits in QUANTITIES:
                mean, low, high = self.mean(name, sigma, column)
                scale = self._scale(heading, sigma)
                cells.append(_cell(mean / scale, low / scale, high / scale, digits))
            made.append((shown_name(name), cells))
        return made

    def _scale(self, heading: str, sigma: float) -> float:
        if heading.endswith("σ²"):
            return sigma**2
        if heading.endswith("mmse"):
            if self.optimum is None:
                return math.nan
            return self.mean(self.optimum, sigma, "mse")[0]
        return 1.0


def families(made: Geometry) -> list[Family]:
    """The families of a folder, in order."""
    found = []
    for number, record in enumerate(PlanRecord.model_validate(made.manifest["plan"]).families):
        rows = made.rows[made.rows["family"] == record.spec]
        if rows.empty:
            continue
        names = [each.spec for each in record.denoisers if each.spec in set(rows["denoiser"])]
        exact = [name for name in names if (rows[rows["denoiser"] == name]["derivative"] == "exact").all()]
        names = [*exact, *(name for name in names if name not in exact)]
        looks = styles({each.spec: each.look for each in record.denoisers})
        of = {name: table[table["family"] == record.spec] for name, table in _tables(made).items()}
        images = int(rows["image"].nunique())
        found.append(
            Family(
                record.spec,
                f"family-{number}",
                sorted(rows["sigma"].unique().tolist()),
                names,
                exact[0] if exact else None,
                rows,
                of["spectra"],
                of["bases"],
                looks,
                images,
            )
        )
    return found


def shown_name(denoiser: str) -> str:
    """A denoiser as it is shown and may be given on the command line: of weights, theirs.

    >>> shown_name("network:weights=disks-32"), shown_name("wavelet:rule=soft")
    ('disks-32', 'wavelet:rule=soft')
    """
    weights = denoiser.removeprefix("network:weights=")
    return denoiser if "," in weights or "/" in weights else weights


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of the finite values and its 95 % interval, NaN ends for fewer than eight."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan, math.nan, math.nan
    if len(finite) < FEWEST:
        return float(finite.mean()), math.nan, math.nan
    low, high = mean_interval(finite[None])
    return float(finite.mean()), float(low[0]), float(high[0])


def _tables(made: Geometry) -> dict[str, pd.DataFrame]:
    return {"spectra": made.spectra, "bases": made.bases}


def _cell(mean: float, low: float, high: float, digits: int) -> str:
    if not math.isfinite(mean):
        return "–"
    mean = round(mean, digits) + 0.0  # no minus before a zero
    if not math.isfinite(low) or round(low, digits) == round(high, digits):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
