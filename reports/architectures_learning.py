"""Curves of learning of reports/architectures.md: rates, extrapolations, and their figure."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from architectures_kept import DASH, Law, Trained, table
from matplotlib.ticker import NullFormatter
from scipy import stats

from gahb_bench.reporting.figure.drawing import style

NEAR_DB, FARTHEST = 0.1, 100
FIT = (0.1, 0.7)  # part of the steps in which a power law is fitted: after the warm-up, before the cosine's end
SEEN = (1_000, 3_000, 10_000, 30_000, 100_000)  # images


@dataclass(frozen=True)
class PowerLaw:
    """regret ~ minutes^-rate, fitted to the validations between the warm-up and the end of the cosine."""

    rate: float
    error: float
    explained: float
    count: int

    @property
    def holds(self) -> bool:
        return self.count >= 6 and self.explained > 0.9 and self.rate > 2 * self.error


def power_law(one: Trained) -> PowerLaw:
    steps = one.recipe["settings"]["steps"]
    log = one.log.dropna(subset=["mean_regret_db"]) if "mean_regret_db" in one.log else one.log.iloc[:0]
    part = log[(log["step"] > FIT[0] * steps) & (log["step"] < FIT[1] * steps) & (log["mean_regret_db"] > 0)]
    if len(part) < 3:
        return PowerLaw(math.nan, math.nan, math.nan, len(part))
    fit = stats.linregress(np.log(part["minutes"]), np.log(part["mean_regret_db"]))
    margin = float(fit.stderr) * float(stats.t.ppf(0.975, len(part) - 2))
    return PowerLaw(-float(fit.slope), margin, float(fit.rvalue) ** 2, len(part))


def learning(laws: list[Law]) -> str:
    """Rates of learning, and what they would come to."""
    rows = [["law", "architecture", "at the end", "rate", "explained", f"minutes to {NEAR_DB:g} dB (extrapolated)"]]
    for law in laws:
        for one in law.networks:
            if one.seed or "mean_regret_db" not in one.log:
                continue
            final = float(one.log["mean_regret_db"].dropna().iloc[-1])
            found = power_law(one)
            rate = f"{found.rate:.2f} ± {found.error:.2f}" if found.holds else "no power law"
            explained = f"{found.explained:.2f}" if math.isfinite(found.explained) else DASH
            names = f"`{law.family}`", f"`{one.network}`"
            rows.append([*names, f"{final:.3f} dB", rate, explained, reach(one, final, found)])
    return table(rows)


def reach(one: Trained, final: float, found: PowerLaw) -> str:
    """Minutes to `NEAR_DB`: seen, or along the power law from the end, with the interval of its rate."""
    reached = one.log[one.log["mean_regret_db"] <= NEAR_DB]
    if len(reached):
        return f"{reached['minutes'].iloc[0]:.1f} (seen)"
    if not found.holds:
        return DASH
    rates = found.rate + found.error, found.rate - found.error
    if rates[1] <= 0 or np.log(final / NEAR_DB) > rates[1] * np.log(FARTHEST):
        return f"more than {FARTHEST} budgets"
    ends = [one.minutes * (final / NEAR_DB) ** (1 / rate) for rate in rates]
    return " to ".join(f"{end:.2g}" for end in ends)


def by_images(law: Law, names: list[str]) -> str:
    """Mean regret after so many images, of some networks of a law: that of the last validation until then."""
    rows = [["images seen", *(f"`{name}`" for name in names)]]
    logs = [next(one.log for one in law.networks if one.network == name and not one.seed) for name in names]
    for count in SEEN:
        until = [log[log["images"] <= count]["mean_regret_db"].dropna() for log in logs]
        rows.append([f"{count:,}", *(f"{float(seen.iloc[-1]):.2f} dB" if len(seen) else DASH for seen in until)])
    return table(rows)


def draw(laws: list[Law], path: Path) -> None:
    """Curves of learning: a panel a law, regret against core-minutes and against images seen."""
    names = list(dict.fromkeys(one.network for law in laws for one in law.networks if one.seed == 0))
    colours = matplotlib.colormaps["tab20"]
    with style({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(2, len(laws), figsize=(2.6 * len(laws), 5.6), sharey="col", squeeze=False)
        for column, law in enumerate(laws):
            for row, (x, label) in enumerate((("minutes", "minutes of one core"), ("images", "images seen"))):
                axes = panels[row, column]
                for one in law.networks:
                    if one.seed or "mean_regret_db" not in one.log:
                        continue
                    log = one.log.dropna(subset=["mean_regret_db"])
                    place = names.index(one.network)
                    axes.plot(log[x], log["mean_regret_db"], color=colours(place % 20), label=one.network, lw=1.1)
                axes.set(xscale="log", yscale="log", xlabel=label)
                axes.xaxis.set_minor_formatter(NullFormatter())
                axes.axhline(NEAR_DB, color="0.6", lw=0.8, ls=":")
            panels[0, column].set_title(law.family, fontsize=8)
        panels[0, 0].set_ylabel("mean regret on split val, dB")
        panels[1, 0].set_ylabel("mean regret on split val, dB")
        handles: dict[str, Any] = {}
        for axes in panels[0]:
            handles |= {line.get_label(): line for line in axes.get_lines() if line.get_label() in names}
        figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=6, frameon=False)
        figure.tight_layout(rect=(0, 0.02 + 0.035 * -(-len(handles) // 6), 1, 1))
        figure.savefig(path, dpi=130, metadata={"Software": "gahb_bench"})
        plt.close(figure)
