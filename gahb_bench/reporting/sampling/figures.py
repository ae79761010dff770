"""The figures of a folder of samples: error against evaluations, the exact error, mosaics, trajectories."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from gahb_bench.reporting.figure.drawing import style
from gahb_bench.reporting.figure.figures import PARAMETERS, escaped
from gahb_bench.reporting.figure.panels import DPI, legend, picture, png
from gahb_bench.reporting.geometry.spectra import short_name
from gahb_bench.reporting.sampling.content import DETECTED, Family
from gahb_bench.reporting.study.style import GREY
from gahb_bench.running.sampling.folder import Sampling

_ACROSS = 4  # panels a row
_ROWS = 24  # of a mosaic, at most
_DECADES = 100  # a scale from 1 to this has marks at 1, 2 and 5 as well
_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "x": "X"}
_DASHES = {"gaussian": "-", "exact": (0, (4, 2))}


def errors(family: Family, denoiser: str) -> bytes:
    """Every statistic against the budget, a panel each, a line a sampler and start; the floor is grey."""
    with style(PARAMETERS):
        figure, panels = _grid(len(family.statistics))
        for axes, statistic in zip(panels, family.statistics, strict=False):
            everywhere = family.rows[family.rows["statistic"] == statistic]
            for sampler in family.samplers:
                for start in family.starts:
                    curve = family.curve(statistic, denoiser, sampler, start)
                    if len(curve):
                        _line(axes, family, sampler, start, curve)
            floor = everywhere["floor"].to_numpy()
            axes.axhline(float(np.median(floor)), color=GREY.light, linewidth=1.0, linestyle=(0, (1, 2)))
            values = np.concatenate([everywhere["value"].to_numpy(), floor])
            values = values[np.isfinite(values)]
            if len(values) and values.min() > 0 and values.max() > 10 * values.min():
                axes.set(yscale="log", ylim=(values.min() / 1.2, values.max() * 1.2))
            elif len(values):
                margin = 0.08 * (values.max() - values.min())
                axes.set_ylim(values.min() - margin, values.max() + margin)
            _budgets(axes, family)
            axes.set_title(escaped(statistic), fontsize=9)
        figure.suptitle(f"{escaped(family.spec)}: {escaped(short_name(denoiser))}", fontsize=9.5)
        legend(figure)
        return png(figure)


def exact(family: Family) -> bytes | None:
    """The exact error with the exact denoiser, in closed form: whole, and its parts; a panel each."""
    if family.exact.empty:
        return None
    with style(PARAMETERS):
        figure, panels = _grid(3)
        parts = (("w2", "W2 to the law"), ("discretisation", "by discretisation"), ("start_error", "by the start"))
        for axes, (column, title) in zip(panels, parts, strict=False):
            for (sampler, start), rows in family.exact.groupby(["sampler", "start"], sort=False):
                curve = rows[rows[column] > 0].sort_values("evaluations")
                if len(curve):
                    _line(axes, family, str(sampler), str(start), curve.assign(value=curve[column], p_value=1.0))
            axes.set(yscale="log")
            _budgets(axes, family)
            axes.set_title(title, fontsize=9)
        panels[0].set_ylabel("root mean square per pixel")
        figure.suptitle(f"{escaped(family.spec)}: the exact denoiser, without a sample", fontsize=9.5)
        legend(figure)
        return png(figure)


def mosaic(family: Family, made: Sampling) -> bytes:
    """Exact images on top, then samples of the largest budget, a row a denoiser and sampler, from the same noise."""
    rows = [("exact images", made.pictures[f"{family.spec}/exact"])]
    rows += [(name, made.pictures[f"{place}/samples"]) for name, place in _largest(family, made)]
    count = min(len(images) for _, images in rows)
    with style(PARAMETERS):
        if rows[0][1][0].size == 2:
            return _scatter(family, made)
        figure = Figure(figsize=(1.05 * count + 1.6, 1.1 * len(rows) + 0.5), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        for line, (name, images) in zip(figure.subplots(len(rows), count, squeeze=False), rows, strict=True):
            for axes, image in zip(line, images, strict=False):
                picture(axes, image)
            line[0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
        figure.suptitle(escaped(family.spec), fontsize=9.5)
        return png(figure)


def trajectories(family: Family, made: Sampling) -> bytes | None:
    """Estimates x_hat along the trajectory of the first sample, a row a denoiser and sampler."""
    places = _largest(family, made)
    if made.pictures[f"{family.spec}/exact"][0].size == 2 or not places:
        return None
    with style(PARAMETERS):
        count = max(len(made.pictures[f"{place}/x_hat"]) for _, place in places) + 1
        figure = Figure(figsize=(1.05 * count + 1.6, 1.25 * len(places) + 0.5), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        for line, (name, place) in zip(figure.subplots(len(places), count, squeeze=False), places, strict=True):
            shown = made.pictures[f"{place}/x_hat"]
            for axes, image, sigma in zip(line, shown, made.pictures[f"{place}/sigma"], strict=False):
                picture(axes, image)
                axes.set_title(f"σ = {sigma:.3g}", fontsize=7)
            for axes in line[len(shown) :]:
                axes.set_visible(False)
            line[-1].set_visible(True)
            picture(line[-1], made.pictures[f"{place}/samples"][0])
            line[-1].set_title("sample", fontsize=7)
            line[0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")
        figure.suptitle(f"{escaped(family.spec)}, the first sample", fontsize=9.5)
        return png(figure)


def _largest(family: Family, made: Sampling) -> list[tuple[str, str]]:
    """Of each denoiser and sampler the name and the place of its pictures, at the largest budget, the first start."""
    found = []
    for denoiser in family.denoisers:
        for sampler in family.samplers:
            for budget in reversed(family.budgets):
                place = f"{family.spec}/{denoiser}/{sampler}/{family.starts[0]}/{budget}"
                if f"{place}/samples" in made.pictures:
                    name = f"{escaped(short_name(denoiser, 22))}\n{escaped(short_name(sampler, 22))}, {budget}"
                    found.append((name, place))
                    break
    return found[:_ROWS]


def _scatter(family: Family, made: Sampling) -> bytes:
    """Images of two pixels as points in the plane."""
    places = [("exact images", f"{family.spec}/exact")]
    places += [(name.replace("\n", ", "), f"{place}/samples") for name, place in _largest(family, made)]
    figure, panels = _grid(len(places))
    for axes, (name, place) in zip(panels, places, strict=False):
        x, y = made.pictures[place].reshape(-1, 2).T
        axes.plot(x, y, ".", markersize=4, color="#3173a8")
        axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1), aspect="equal")
        axes.set_title(name, fontsize=7.5)
    return png(figure)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    """Panels, at most four a row; those beyond the count are not shown."""
    across = min(_ACROSS, max(count, 1))
    lines = -(-count // across)
    figure = Figure(figsize=(max(2.9 * across, 5.5), 2.4 * lines + 0.9), layout="constrained", dpi=DPI)
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(lines, across, squeeze=False).ravel())
    for axes in panels[count:]:
        axes.set_visible(False)
    return figure, panels


def _line(axes: Axes, family: Family, sampler: str, start: str, curve: object) -> None:
    """A sampler's line: filled markers where the samples cannot be told from the law, hollow ones where they can."""
    look = family.looks[sampler]
    x, y, p = (curve[name].to_numpy(dtype=float) for name in ("evaluations", "value", "p_value"))  # pyright: ignore[reportIndexIssue]
    colour, label = look.colour.light, escaped(short_name(sampler))
    label = label if len(family.starts) == 1 else f"{label}, {start} start"
    axes.plot(x, y, color=colour, linestyle=_DASHES[start], linewidth=1.4, label=label)
    marker = _MARKERS[look.marker]
    detected = p < DETECTED
    axes.plot(x[~detected], y[~detected], marker, color=colour, markersize=4.5)
    axes.plot(x[detected], y[detected], marker, color=colour, markersize=4.5, markerfacecolor="white")


def _budgets(axes: Axes, family: Family) -> None:
    axes.set(xscale="log")
    axes.set_xticks(family.budgets, [str(budget) for budget in family.budgets], fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log" and high < _DECADES * low:  # powers of ten alone would be too few
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
