"""What the page of a folder of posteriors says, without drawing it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.reporting.geometry.content import shown_name
from gahb_bench.running.posterior.folder import EXACT, Posteriors
from gahb_bench.scoring.posterior_scores import RANKS, classes

DETECTED = 1e-3  # a p-value below it says that the samples are not calibrated
FAR = 4.0  # standard errors from what is due, beyond which a number is marked
HEADINGS = {
    "regret_db": "regret of the mean, dB",
    "variance_ratio": "variance ratio",
    "calibration_p": "calibration, p",
    "coverage_0.5": "coverage 50 %",
    "coverage_0.9": "coverage 90 %",
    "energy": "energy distance",
}


@dataclass(frozen=True)
class Row:
    """A denoiser and a method; ``place`` is where its pictures are."""

    denoiser: str
    method: str

    @property
    def place(self) -> str:
        return EXACT if self.method == EXACT else f"{self.denoiser}/{self.method}"

    @property
    def label(self) -> str:
        return "exact sampler" if self.method == EXACT else f"{self.method}, {shown_name(self.denoiser)}"


@dataclass(frozen=True)
class Content:
    """All that the page shows of a folder."""

    made: Posteriors

    @property
    def plan(self) -> dict[str, Any]:
        """What was drawn."""
        return self.made.manifest["plan"]

    @property
    def family(self) -> str:
        return str(self.plan["families"][0]["spec"])

    @property
    def rows(self) -> list[Row]:
        """The exact sampler, then the methods, as they were drawn."""
        pairs = self.made.rows[["denoiser", "method"]].drop_duplicates()
        return [Row(str(denoiser), str(method)) for denoiser, method in pairs.itertuples(index=False)]

    @property
    def weights(self) -> list[tuple[str, str]]:
        """Methods that have a weight, and where it is from, in words."""
        return [(spec, words) for spec, words in self.plan.get("weights", {}).items() if words]

    @property
    def due(self) -> list[str]:
        """What independent exact samples would have, by column."""
        found = self.made.rows[self.made.rows["method"] == EXACT].set_index("statistic")["due"]
        return [_number(float(found.get(name, math.nan))) for name in HEADINGS]

    def statistics(self, row: Row) -> pd.DataFrame:
        """The statistics of a row, by name."""
        rows = self.made.rows
        chosen = (rows["denoiser"] == row.denoiser) & (rows["method"] == row.method)
        return rows[chosen].set_index("statistic")

    def cells(self, row: Row) -> list[tuple[str, bool]]:
        """Each statistic with its standard error as text, and whether it is far from what is due."""
        found = self.statistics(row)
        return [self._cell(found, name) for name in HEADINGS]

    def _cell(self, found: pd.DataFrame, name: str) -> tuple[str, bool]:
        if name not in found.index:
            return "–", False
        value, error, due = (float(found.loc[name, column]) for column in ("value", "standard_error", "due"))
        if name == "calibration_p":
            return _number(value), value < DETECTED
        far = math.isfinite(error) and abs(value - due) > FAR * error + 1e-9
        return f"{_number(value)} ± {error:.1g}", far

    def cost(self, row: Row) -> tuple[str, str]:
        """Evaluations and seconds, an image."""
        found = self.statistics(row).iloc[0]
        return f"{int(found['evaluations']):,}", _number(float(found["seconds"]))

    def split(self) -> list[tuple[str, str, list[str]]]:
        """Method, denoiser; the regret of the method with the exact denoiser, what the network adds, and all, dB."""
        truth, made = self.plan["truth"], []
        regrets = {row: float(self.statistics(row)["value"]["regret_db"]) for row in self.rows}
        for row, whole in regrets.items():
            least = regrets.get(Row(str(truth), row.method))
            if row.method != EXACT and row.denoiser != truth and least is not None:
                cells = [_number(each) for each in (least, whole - least, whole)]
                made.append((row.method, shown_name(row.denoiser), cells))
        return made

    def histogram(self, row: Row) -> tuple[np.ndarray, np.ndarray, int] | None:
        """Ends of classes of ranks, their share over what is due (mean over projections), the number of images."""
        images, samples = self.made.images, int(self.plan["samples"])
        chosen = (images["denoiser"] == row.denoiser) & (images["method"] == row.method)
        ranks = images[chosen][RANKS].to_numpy()
        if not len(ranks) or np.isnan(ranks).any():
            return None
        ends = classes(len(ranks), samples)
        seen = np.histogram(ranks.ravel(), ends - 0.5)[0] / ranks.size
        return ends, seen / (np.diff(ends) / (samples + 1)), len(ranks)


def _number(value: float) -> str:
    """Three digits, or fewer where they are noughts."""
    return "–" if not math.isfinite(value) else f"{value:.3g}"
