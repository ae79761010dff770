"""What the page of a folder of samples says, without drawing it."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gahb_bench.reporting.geometry.content import shown_name
from gahb_bench.reporting.study.style import Style, styles
from gahb_bench.running.folder import PlanRecord
from gahb_bench.running.sampling.folder import Sampling
from gahb_bench.scoring.detection import detection

DETECTED = 1e-3  # a p-value below it says that the samples are not of the law


@dataclass(frozen=True)
class Family:
    """One family: its denoisers, the exact one first, and its samplers, and how each of these is drawn.

    truth : the spec of the exact posterior mean among the denoisers; None where it is not there
    """

    spec: str
    anchor: str
    denoisers: list[str]
    samplers: list[str]
    starts: list[str]
    budgets: list[int]
    truth: str | None
    rows: pd.DataFrame
    trajectories: pd.DataFrame
    exact: pd.DataFrame
    looks: dict[str, Style]
    samples: int

    @property
    def statistics(self) -> list[str]:
        """Those that tell anything apart: of the others all values are the same."""
        names = dict.fromkeys(self.rows["statistic"])
        values = self.rows.groupby("statistic")[["value", "floor"]]
        return [name for name in names if np.unique(values.get_group(name)).size > 1]

    def curve(self, statistic: str, denoiser: str, sampler: str, start: str) -> pd.DataFrame:
        """The rows of one curve, by budget."""
        rows = self.rows
        chosen = (rows["statistic"] == statistic) & (rows["denoiser"] == denoiser)
        chosen &= (rows["sampler"] == sampler) & (rows["start"] == start)
        return rows[chosen].sort_values("evaluations")

    def table(self, statistic: str) -> list[tuple[tuple[str, str, str], list[tuple[str, bool]], str]]:
        """Denoiser, sampler, start; the values by budget, each with whether it is detected; the floor."""
        made = []
        for denoiser in self.denoisers:
            for sampler in self.samplers:
                for start in self.starts:
                    found = self.curve(statistic, denoiser, sampler, start).set_index("evaluations")
                    if found.empty:
                        continue
                    cells = [self._cell(found, budget) for budget in self.budgets]
                    made.append(((shown_name(denoiser), sampler, start), cells, _number(found["floor"].iloc[-1])))
        return made

    def _cell(self, found: pd.DataFrame, budget: int) -> tuple[str, bool]:
        if budget not in found.index:
            return "–", False
        row = found.loc[budget]
        return _number(float(row["value"])), bool(row["p_value"] < DETECTED)

    def restlessness(self) -> list[tuple[tuple[str, str, str], list[str]]]:
        """Denoiser, sampler, start; median and 5 and 95 % quantiles of the variance along trajectories, by budget."""
        made = []
        keys = ["denoiser", "sampler", "start"]
        for address, rows in self.trajectories.groupby(keys, sort=False):
            denoiser, sampler, start = (str(each) for each in address)
            cells = []
            for budget in self.budgets:
                values = rows[rows["evaluations"] == budget]["variance"].dropna().to_numpy()
                low, middle, high = np.quantile(values, (0.05, 0.5, 0.95)) if len(values) else (math.nan,) * 3
                cells.append(f"{_number(middle)} [{_number(low)}, {_number(high)}]" if len(values) else "–")
            made.append(((shown_name(denoiser), sampler, start), cells))
        return made

    def detector(self) -> list[tuple[tuple[str, str, str], list[str]]]:
        """Denoiser, sampler, start; how well the variance along trajectories tells flagged samples, by budget.

        The area under the curve with its standard error, and in parentheses how many are flagged; nothing is said of a
        law that flags none.
        """
        made = []
        kept = self.trajectories.dropna(subset=["variance", "flagged"])
        for address, rows in kept.groupby(["denoiser", "sampler", "start"], sort=False):
            denoiser, sampler, start = (str(each) for each in address)
            cells = [_area(rows[rows["evaluations"] == budget]) for budget in self.budgets]
            made.append(((shown_name(denoiser), sampler, start), cells))
        return made

    def split(self, statistic: str) -> list[tuple[tuple[str, str, int], list[str]]]:
        """Where the statistic of a network comes from: discretisation, start, learning, all; by sampler and budget.

        discretisation: the exact denoiser from an exact start; start: what the Gaussian start adds to that; learning:
        what the network adds to that. Known only where both starts and the exact denoiser were run.
        """
        made = []
        if self.truth is None or len(self.starts) < 2:
            return made
        for denoiser in self.denoisers:
            for sampler in self.samplers:
                values = [
                    self.curve(statistic, *which).set_index("evaluations")["value"]
                    for which in (
                        (self.truth, sampler, "exact"),
                        (self.truth, sampler, "gaussian"),
                        (denoiser, sampler, "gaussian"),
                    )
                ]
                for budget in self.budgets:
                    if denoiser != self.truth and all(budget in each.index for each in values):
                        least, started, whole = (float(each[budget]) for each in values)
                        cells = [_number(each) for each in (least, started - least, whole - started, whole)]
                        made.append(((shown_name(denoiser), sampler, budget), cells))
        return made


def families(made: Sampling) -> list[Family]:
    """The families of a folder, in order."""
    plan = made.manifest["plan"]
    looks = styles(dict.fromkeys(plan["samplers"]))
    found = []
    for number, record in enumerate(PlanRecord.model_validate(plan).families):
        rows, trajectories, exact = (
            table[table["family"] == record.spec] for table in (made.rows, made.trajectories, made.exact)
        )
        if rows.empty:
            continue
        names = [each.spec for each in record.denoisers if each.spec in set(rows["denoiser"])]
        truth = plan["truth"].get(record.spec)
        truth = truth if truth in names else None
        found.append(
            Family(
                record.spec,
                f"family-{number}",
                sorted(names, key=lambda name: name != truth),
                [name for name in plan["samplers"] if name in set(rows["sampler"])],
                plan["starts"],
                [int(budget) for budget in plan["evaluations"]],
                truth,
                rows,
                trajectories,
                exact,
                looks,
                int(plan["images"]),
            )
        )
    return found


def _area(rows: pd.DataFrame) -> str:
    flags = rows["flagged"].to_numpy() > 0
    if not 0 < flags.sum() < len(flags):
        return f"– ({flags.sum()})"
    found = detection(rows["variance"].to_numpy(), flags)
    error = f" ± {found.error:.2f}" if math.isfinite(found.error) else ""
    return f"{found.area:.2f}{error} ({found.flagged})"


def _number(value: float) -> str:
    """Three digits, or fewer where they are noughts."""
    return "–" if not math.isfinite(value) else f"{value:.3g}"
