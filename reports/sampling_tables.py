"""What reports/sampling.md says, and its figure, from the tables in reports/sampling/ alone."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from gahb_bench.core.spec import parse
from gahb_bench.reporting.figure.drawing import style
from gahb_bench.reporting.figure.figures import PARAMETERS

LAW, MIXTURE = "calpha:size=32", "gmm:size=32"
NEAR, APART = "gmm:variant=points", "gmm:variant=points,within=0.01"  # clouds of points
SOUGHT = ((APART, "network", "far"), (APART, "mmse", "between"), (NEAR, "network", "between"))  # by the detector
WINDOWS = {"half": "lower half", "quarter": "last quarter", "0.1": "σ ≤ 0.1", "0.02": "σ ≤ 0.02"}
LML = "levenberg-marquardt-langevin:damping="
LONG = (5, 10, 20, 40, 80)  # budgets that are shown
DETECTED = 1e-3
LEARNED_FINE, LEARNED_SAMPLES = 160, 64  # evaluations that stand for no discretisation, and images
DASH = "–"
SHOWN = ("energy distance", "mode variances", "power spectrum")
CONCENTRATION = ("norm", "norm: extremes", "total variation", "total variation: extremes")
COLOURS = ("#3173a8", "#d1495b", "#2e8b57", "#8a5fbf", "#d98f00", "#555b63", "#1fa2b8", "#b0527d", "#6b7f1e")

Tables = dict[str, pd.DataFrame]


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ["---"] * len(lines[0]), *lines[1:]])


def number(value: float) -> str:
    """Two digits."""
    return DASH if not np.isfinite(value) else f"{value:.2g}" if value < 1 else f"{value:.3g}"


def by_budget(rows: pd.DataFrame, samplers: Iterable[str], value: str, budgets: Iterable[int], first: str) -> str:
    """Samplers by budgets of evaluations; bold is the least of a budget."""
    wide = rows.pivot_table(index="sampler", columns="evaluations", values=value).reindex(list(samplers))
    shown = list(budgets)

    def cell(sampler: str, budget: int) -> str:
        text = number(float(wide.loc[sampler, budget]))
        return f"**{text}**" if wide.loc[sampler, budget] == wide[budget].min() else text

    lines = ([f"`{name}`", *(cell(name, budget) for budget in shown)] for name in wide.index)
    return table([first, *map(str, shown)], lines)


def value(rows: pd.DataFrame, column: str = "w2", **where: object) -> float:
    """The one value of the row with these entries."""
    chosen = rows
    for name, wanted in where.items():
        chosen = chosen[chosen[name] == wanted]
    return float(chosen[column].item())


def wrong_table(rows: pd.DataFrame, budget: int) -> str:
    """Samplers by what the denoiser takes for what, at one budget."""
    here = rows[rows["evaluations"] == budget]
    cases = here[["where", "told"]].drop_duplicates().itertuples(index=False)
    names = {(where, told): "exact" if where == "nowhere" else f"{where}, {told}" for where, told in cases}
    lines = (
        [f"`{sampler}`", *(number(value(own, where=where, told=told)) for where, told in names)]
        for sampler, own in here.groupby("sampler", sort=False)
    )
    return table(["sampler", *names.values()], lines)


def statistics_table(rows: pd.DataFrame, statistics: Iterable[str]) -> str:
    """Denoisers and samplers by statistics; bold is told apart from the law."""
    shown = list(statistics)

    def cell(own: pd.DataFrame, name: str) -> str:
        text = number(value(own, "value", statistic=name))
        return f"**{text}**" if value(own, "p_value", statistic=name) < DETECTED else text

    lines = [
        [f"`{denoiser}`", f"`{sampler}`", *(cell(own, name) for name in shown)]
        for (denoiser, sampler), own in rows.groupby(["denoiser", "sampler"], sort=False)
    ]
    floor = rows.groupby("statistic")["floor"].first()
    return table(
        ["denoiser", "sampler", *shown], [*lines, ["exact images", "", *(number(floor[name]) for name in shown)]]
    )


def learned_table(rows: pd.DataFrame) -> str:
    """Networks, and the exact denoiser on their laws, by evaluations; and from how many on learning dominates."""
    budgets = sorted(rows["evaluations"].unique())
    lines = []
    for (family, network), own in rows.groupby(["family", "network"], sort=False):
        wide = own.pivot_table(index="denoiser", columns="evaluations", values="median")
        more = [budget for budget in budgets if wide.loc[network, budget] > 2 * wide.loc["mmse", budget]]
        first = f"{more[0]}" if more else f"more than {budgets[-1]}"
        cells = (f"{number(wide.loc[network, b])} / {number(wide.loc['mmse', b])}" for b in budgets)
        lines.append([f"`{family}`", f"`{network}`", *cells, first])
    return table(["law", "network", *map(str, budgets), "learning dominates from"], lines)


def teleport_table(rows: pd.DataFrame) -> str:
    """The sampler that goes on, the level to which the Gaussian leads, and the distances by budget."""
    budgets = sorted(rows["evaluations"].unique())
    lines = []
    for of in ("heun", "dpm2m"):
        for sampler in dict.fromkeys(rows["sampler"]):
            spec = parse(sampler)
            if sampler == of or spec.parameters.get("of") == of:
                sigma = DASH if sampler == of else spec.parameters["sigma"]
                cells = (value(rows, "median", sampler=sampler, evaluations=budget) for budget in budgets)
                lines.append([f"`{of}`", sigma, *map(number, cells)])
    return table(["goes on", "skipped down to σ", *map(str, budgets)], lines)


def modes_table(rows: pd.DataFrame) -> str:
    """Shares of samples between modes, and far from all, by denoiser, sampler and budget."""
    shares = rows.drop_duplicates(["denoiser", "sampler", "evaluations", "flag"]).fillna({"sampler": ""})
    budgets = sorted(set(shares["evaluations"]) - {0})
    lines = []
    for (denoiser, sampler), own in shares[shares["evaluations"] > 0].groupby(["denoiser", "sampler"], sort=False):
        cells = [
            " / ".join(f"{value(own, 'share', evaluations=budget, flag=flag):.2%}" for flag in ("between", "far"))
            for budget in budgets
        ]
        lines.append([f"`{denoiser}`", f"`{sampler}`", *cells])
    return table(["denoiser", "sampler", *(f"{budget} evaluations" for budget in budgets)], lines)


def detector_table(rows: pd.DataFrame, budget: int) -> str:
    """Areas under the curve, by law, denoiser and sampler, and by where along a trajectory the variance is taken."""
    here = rows[rows["evaluations"] == budget]
    lines = []
    for family, denoiser, flag in SOUGHT:
        chosen = here[(here["family"] == family) & (here["denoiser"] == denoiser) & (here["flag"] == flag)]
        for sampler, own in chosen.groupby("sampler", sort=False):
            found = ((value(own, column, window=window) for column in ("area", "error")) for window in WINDOWS)
            cells = (f"{area:.2f} ± {error:.2f}" for area, error in found)
            lines.append([f"`{family}`", f"`{denoiser}`", f"`{sampler}`", flag, *cells])
    return table(["law", "denoiser", "sampler", "sought", *WINDOWS.values()], lines)


def write_figure(tables: Tables, path: Path) -> None:
    """Exact errors; a denoiser that is wrong above sigma = 3; teleportation; the detector's curves."""
    exact, wrong, flow = tables["exact"], tables["wrong"], tables["flow"]
    with style(PARAMETERS):
        figure, panels = plt.subplots(2, 2, figsize=(10.5, 8), layout="constrained", dpi=110)
        first, second, third, fourth = panels.ravel()
        chosen = exact[
            (exact["start"] == "exact") & ~exact["sampler"].str.startswith(("langevin", "heavy-ball:beta=0.9"))
        ]
        chosen = chosen[~chosen["sampler"].isin(["heavy-ball:beta=0.6", "heavy-ball:beta=1.2"])]
        _lines(first, chosen, "w2", f"{LAW}, exact denoiser, exact start", "W2 to the law", "lower left")
        first.set_ylim(bottom=2e-5)
        chosen = wrong[(wrong["where"] == "above 3") & (wrong["told"] == "over")]
        _lines(second, chosen, "w2", f"{LAW}, σ taken for 1.3 σ above σ = 3", "W2 to the law")
        chosen = flow[(flow["family"] == MIXTURE) & flow["sampler"].str.contains("heun")]
        _lines(third, chosen, "median", f"{MIXTURE}, exact denoiser", "distance to the probability flow")
        curves = tables["roc"]
        curves = curves[(curves["family"] == APART) & (curves["denoiser"] == "network") & (curves["flag"] == "far")]
        drawn = [(sampler, window) for sampler in ("heun", "euler-maruyama") for window in ("half", "quarter")]
        for colour, (sampler, window) in zip(COLOURS, drawn, strict=False):
            own = curves[(curves["sampler"] == sampler) & (curves["window"] == window)]
            fourth.plot(own["false"], own["true"], color=colour, label=f"{sampler}, {WINDOWS[window]}")
        fourth.plot([0, 1], [0, 1], color="#8a919b", linestyle=(0, (1, 2)))
        fourth.set(xlabel="share of other samples", ylabel="share of samples far from all modes")
        fourth.set_title("points, a network: variance of trajectories as a detector", fontsize=9.5)
        fourth.legend(fontsize=8)
        figure.savefig(path, metadata={"Software": None})
        plt.close(figure)


def _lines(axes: Axes, rows: pd.DataFrame, column: str, title: str, what: str, place: str = "upper right") -> None:
    for colour, (sampler, own) in zip(COLOURS, rows.groupby("sampler", sort=False), strict=False):
        axes.plot(own["evaluations"], own[column], "o-", markersize=3.5, linewidth=1.3, color=colour, label=sampler)
    axes.set(xscale="log", yscale="log", xlabel="evaluations", ylabel=what)
    budgets = sorted(rows["evaluations"].unique())
    axes.set_xticks(budgets, [str(budget) for budget in budgets])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_title(title, fontsize=9.5)
    axes.legend(fontsize=7.5, loc=place)
