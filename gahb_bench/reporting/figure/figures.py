"""The figure of a run: MSE and regret against the noise level, a row a family."""

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.reporting.figure.drawing import style
from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.study.style import GREY, INK, Style, Theme, theory_dashes

_MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "x": "X"}
_FAR = 15.0  # dB; a method that gets further from the optimum does not set the scale for the others, as on the page
_CLOSE = 0.3  # dB; nor does one that is this close to it
_DEEPEST = 1e-9  # of the largest MSE shown: less is called nothing, as on the page
_KNOWS = "knows: "
_FEW_DECADES = 30.0  # highest over lowest noise level below which 2 and 5 are labelled beside powers of ten
_RATIOS = (1, 2, 10, 100, 1000)  # of errors, beside the axis in dB
_LONGEST_NAME, _LONGEST_TITLE = 44, 30
_PIXELS_AN_INCH = 160
_WIDTH, _ROW = 12.5, 4.1  # of the figure and of a family, inches
_LEFT, _ABOVE, _BELOW = 0.75, 0.35, 0.55  # beside, above and below a panel, inches
_LEGEND, _CHARACTER = 0.85, 0.068  # width of a legend without its names, and of a character, inches
_FAINT = {"light": "#555c66", "dark": "#a3abb6"}
PARAMETERS: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.edgecolor": "#8a919b",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


@runtime_checkable
class Curve(Protocol):
    """What is drawn of a denoiser on a family: `drawn` has a row of NaN where `curve` has none."""

    @property
    def label(self) -> str: ...
    @property
    def style(self) -> Style: ...
    @property
    def curve(self) -> pd.DataFrame: ...
    @property
    def drawn(self) -> pd.DataFrame: ...
    @property
    def worst_regret(self) -> float: ...


@runtime_checkable
class Panel(Protocol):
    """What is drawn of a family."""

    @property
    def label(self) -> str: ...
    @property
    def reference(self) -> Reference: ...
    @property
    def band(self) -> tuple[FloatArray, FloatArray]: ...
    @property
    def has_regret(self) -> bool: ...
    @property
    def shows_theory(self) -> bool: ...
    @property
    def methods(self) -> Sequence[Curve]: ...


def png(content: Content) -> bytes:
    """The figure as PNG."""
    with style(PARAMETERS):
        rows = len(content.sections)
        height = _ROW * rows
        figure = Figure(figsize=(_WIDTH, height))
        canvas = FigureCanvasAgg(figure)
        names = [label for section in content.sections for _, label in _legend_of(section)]
        legend = _LEGEND + _CHARACTER * max(map(len, names), default=0)
        panel = (_WIDTH - legend - 3 * _LEFT) / 2
        # Fixed margins, in inches: a layout that measures every text would take longer than the drawing.
        grid = figure.add_gridspec(
            rows,
            3,
            width_ratios=(panel, panel, legend),
            left=_LEFT / _WIDTH,
            right=1.0,
            wspace=_LEFT / ((2 * panel + legend) / 3),
            top=1 - _ABOVE / height,
            bottom=_BELOW / height,
            hspace=(_ABOVE + _BELOW) / (_ROW - _ABOVE - _BELOW),
        )
        for row, section in enumerate(content.sections):
            draw_mse(figure.add_subplot(grid[row, 0]), section)
            draw_regret(figure.add_subplot(grid[row, 1]), section)
            _legend(figure.add_subplot(grid[row, 2]), section)
        file = io.BytesIO()
        canvas.print_figure(file, format="png", dpi=_PIXELS_AN_INCH, metadata={"Software": None})
    return file.getvalue()


def draw_mse(axes: Axes, section: Panel, small: bool = False, theme: Theme = "light") -> None:
    """Mean squared error of every method, with the reference."""
    reference = section.reference
    axes.set_xscale("log")
    axes.set_yscale("log")
    if section.has_regret:
        _reference(axes, section, lambda mse: mse, small, theme)
    for method in section.methods:
        _line(axes, method, ("mse", "mse_low", "mse_high"), small, theme)
    values = [v for m in section.methods for v in m.curve["mse"]]
    top = 10 * float(np.nanmax(reference.mse)) if section.has_regret else np.inf
    if values and max(values) > top:
        axes.set_ylim(top=1.3 * top)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], _DEEPEST * axes.get_ylim()[1]))
    label = escaped(section.label, _LONGEST_TITLE if small else _LONGEST_NAME)
    axes.set_title(label, loc="left", y=1.0, fontsize=None if small else 10.5, fontweight="bold")
    _finish(axes, "MSE per pixel")


def draw_regret(axes: Axes, section: Panel, small: bool = False, theme: Theme = "light") -> None:
    """Regret of every method in dB; on the right, what that is as a ratio of errors."""
    axes.set_xscale("log")
    if not section.has_regret:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no reference is known:\nno regret", ha="center", va="center", transform=axes.transAxes)
        return
    reference = section.reference
    _reference(axes, section, lambda mse: 10 * np.log10(mse / reference.mse), small, theme)
    for method in section.methods:
        _line(axes, method, ("regret_db", "regret_db_low", "regret_db_high"), small, theme)
    most = _most_regret(section.methods)
    if most is not None:
        regrets = [value for method in section.methods for value in method.curve["regret_db"] if np.isfinite(value)]
        lowest = max(min(0.0, *regrets), -3 * most)
        axes.set_ylim(lowest - 0.05 * most, most)
        axes.set_title(f"cut at {most:.1f} dB", loc="right", y=1.0, fontsize=6 if small else 8.5, color=_FAINT[theme])
    ratios = axes.secondary_yaxis("right")
    ratios.set_yticks([10 * np.log10(ratio) for ratio in _RATIOS], [f"×{ratio:g}" for ratio in _RATIOS])
    ratios.spines["right"].set_visible(False)
    ratios.tick_params(length=0, pad=1, labelsize=6 if small else 8.5, labelcolor=_FAINT[theme])
    _finish(axes, "regret, dB" if small else f"regret to {words.REGRET_TO[reference.kind]}, dB")


def _most_regret(methods: Sequence[Curve]) -> float | None:
    """Where the regret axis is cut, or None where it need not be."""
    tops = [
        float(np.nanmax([m.worst_regret, m.curve["regret_db_high"].max()]))
        for m in methods
        if np.isfinite(m.worst_regret)
    ]
    far, near = [top for top in tops if top > _FAR], [top for top in tops if _CLOSE < top <= _FAR]
    if not far:
        return None
    return max(3.5, 1.3 * max(near) if near else 1.3 * min(far))


def _reference(axes: Axes, section: Panel, of: Callable[[np.ndarray], np.ndarray], small: bool, theme: Theme) -> None:
    """The reference, and where it is a bracket the curves that explain it; ``of`` takes an MSE to what is drawn."""
    reference = section.reference
    kind, sigma = reference.kind, reference.sigma
    for name, look in _theory(section, small, theme).items():
        axes.plot(sigma, of(reference.curves[name]), **look)  # pyright: ignore[reportArgumentType]
    if kind == "bracket":
        low, high = section.band
        # The edge shows a bracket that is narrower than a line.
        axes.fill_between(sigma, of(low), of(high), color=INK.on(theme), alpha=0.3, linewidth=0.8)
        return
    dash, width = (0, (5, 3)) if kind == "approximate" else "solid", 1.6 if small else 2.2
    mark = "_" if len(sigma) == 1 else ""
    axes.plot(sigma, of(reference.mse), color=INK.on(theme), linewidth=width, linestyle=dash, marker=mark)


def _theory(section: Panel, small: bool, theme: Theme) -> dict[str, dict[str, object]]:
    """How the further curves of the reference are drawn; empty where they are not."""
    dashes = theory_dashes(section.reference.curves) if section.shows_theory else {}
    width = 1.0 if small else 1.6
    return {
        name: {"color": GREY.on(theme), "linewidth": width, "linestyle": (0, dash)} for name, dash in dashes.items()
    }


def _line(axes: Axes, method: Curve, columns: tuple[str, str, str], small: bool, theme: Theme) -> None:
    sigma, value, low, high = (method.drawn[name].to_numpy(dtype=np.float64) for name in ("sigma", *columns))
    axes.fill_between(sigma, low, high, color=method.style.colour.on(theme), alpha=0.18, linewidth=0)
    axes.plot(sigma, value, **look(method, small, theme))  # pyright: ignore[reportArgumentType]


def look(method: Curve, small: bool = False, theme: Theme = "light") -> dict[str, object]:
    """How matplotlib draws a method."""
    return {
        "color": method.style.colour.on(theme),
        "linestyle": (0, method.style.dash) if method.style.dash else "solid",
        "marker": _MARKERS[method.style.marker],
        "markersize": 2.6 if small else 4.2,
        "linewidth": 0.8 if small else 1.2,
    }


def _legend(axes: Axes, section: Section) -> None:
    """Names beside the data, in groups by what is known."""
    axes.set_axis_off()
    lines = _legend_of(section)
    legend = axes.legend(
        [handle for handle, _ in lines],
        [label for _, label in lines],
        loc="upper left",
        bbox_to_anchor=(0, 1.02),
        borderaxespad=0,
        fontsize=8.8,
    )
    for text in legend.get_texts():
        if text.get_text().startswith(_KNOWS):
            text.set_fontweight("bold")


def _legend_of(section: Section) -> list[tuple[Line2D | Patch, str]]:
    """Every line of the legend: the reference, then the methods in groups by what they know."""
    found = reference_handles(section) if section.has_regret else []
    known = ""
    for method in section.methods:
        if method.knows != known:
            known = method.knows
            found.append((Line2D([], [], linestyle="none"), f"{_KNOWS}{escaped(known)}"))
        failed = " (failed cells)" if method.troubles else ""
        found.append((Line2D([], [], **look(method)), escaped(method.label) + failed))  # pyright: ignore[reportArgumentType]
    return found


def reference_handles(section: Panel, small: bool = False, theme: Theme = "light") -> list[tuple[Line2D | Patch, str]]:
    """The reference, and the further curves that are drawn, as they stand in a legend, each with its name."""
    kind = section.reference.kind
    dash = (0, (5, 3)) if kind == "approximate" else "solid"
    line = Line2D([], [], color=INK.on(theme), linewidth=1.6 if small else 2.2, linestyle=dash)
    handle = Patch(color=INK.on(theme), alpha=0.3) if kind == "bracket" else line
    further = [
        (Line2D([], [], **look), f"theory: {escaped(name)}")  # pyright: ignore[reportArgumentType]
        for name, look in _theory(section, small, theme).items()
    ]
    return [(handle, words.REFERENCE_NAME[kind]), *further]


def _finish(axes: Axes, name: str) -> None:
    axes.set_xlabel("noise level σ")
    axes.set_ylabel(name)
    low, high = axes.get_xlim()
    if high < _FEW_DECADES * low:  # one power of ten, or none, is no scale to read
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        for set_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            set_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def escaped(text: str, longest: int = _LONGEST_NAME) -> str:
    """A name as matplotlib may draw it: no mathematics, no sign the font lacks, not too long."""
    known = _characters()
    shown = "".join(mark if ord(mark) in known else mark.encode("unicode_escape").decode() for mark in text)
    if len(shown) > longest:
        shown = f"{shown[: longest - 1]}…"
    return shown.replace("$", r"\$")


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"  # its default font
    return frozenset(font_manager.get_font(path).get_charmap())
