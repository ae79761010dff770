"""Figures for a paper: the curves of a few families, at the width of a column, with their fonts inside."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from gahb_bench.core.errors import UsageError, unknown
from gahb_bench.reporting.figure.drawing import MADE_BY, style
from gahb_bench.reporting.figure.figures import PARAMETERS, draw_mse, draw_regret, escaped, look, reference_handles
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.section import Section

WIDTHS = {"single": 3.5, "double": 7.0}  # inches
FORMATS = (".pdf", ".svg", ".png")
_COLUMNS = {"single": 1, "double": 3}  # families side by side
_MOST = {"single": 2, "double": 6}  # families that can be read on one page
_LEGEND_COLUMNS = {"single": 2, "double": 4}
_PANEL, _LEGEND_LINE, _MARGIN = 1.65, 0.135, 0.2  # inches: heights
_PIXELS_AN_INCH = 400
_PARAMETERS: dict[Any, Any] = {
    **PARAMETERS,
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    "pdf.fonttype": 42,  # whole TrueType fonts, which journals ask for
    "svg.fonttype": "path",  # letters as outlines: the same wherever it is opened
    "svg.hashsalt": "gahb_bench",
}


def figure(content: Content, ending: str, width: str) -> bytes:
    """MSE above, regret below, a family a column; one legend for all of them.

    Parameters
    ----------
    content : Content
    ending : str
        ``.pdf``, ``.svg`` or ``.png``.
    width : str
        ``single`` (3.5 in, up to 2 families) or ``double`` (7 in, up to 6).

    Raises
    ------
    UsageError
        For another ending or width, or more families than can be read.
    """
    if ending.lower() not in FORMATS:
        raise unknown("kind of figure", ending, FORMATS)
    if width not in WIDTHS:
        raise unknown("width of a figure", width, WIDTHS)
    sections = content.sections
    if len(sections) > _MOST[width]:
        raise UsageError(
            f"{len(sections)} families do not fit a figure of width {width}: at most {_MOST[width]} can be read. "
            "Choose some with --family, or make several figures."
        )
    with style(_PARAMETERS):
        drawn = _draw(sections, width)
        file = io.BytesIO()
        kind = ending[1:].lower()
        drawn.canvas.print_figure(file, format=kind, dpi=_PIXELS_AN_INCH, metadata=MADE_BY[kind])
    return file.getvalue()


def _draw(sections: Sequence[Section], width: str) -> Figure:
    handles, labels = _legend(sections)
    columns = min(_COLUMNS[width], len(sections))
    blocks = -(-len(sections) // columns)
    across = _LEGEND_COLUMNS[width]
    lines = -(-len(handles) // across)
    height = 2 * blocks * _PANEL + lines * _LEGEND_LINE + _MARGIN
    drawn = Figure(figsize=(WIDTHS[width], height), layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03))
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(2 * blocks, columns, squeeze=False, sharex=False)
    for position in range(blocks * columns):
        block, column = divmod(position, columns)
        pair = axes[2 * block, column], axes[2 * block + 1, column]
        if position >= len(sections):
            for empty in pair:
                empty.set_axis_off()
            continue
        draw_mse(pair[0], sections[position], small=True)
        draw_regret(pair[1], sections[position], small=True)
        pair[0].set_xlabel("")
        pair[1].set_xlim(pair[0].get_xlim())
        if column:
            for panel in pair:
                panel.set_ylabel("")
    drawn.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=across,
        columnspacing=1.0,
        handlelength=2.6,
        labelspacing=0.25,
    )
    return drawn


def _legend(sections: Sequence[Section]) -> tuple[list[Any], list[str]]:
    """One entry for each kind of reference and each method, wherever it is drawn; the ideal ones are marked."""
    theory = {
        label: handle
        for section in sections
        if section.has_regret
        for handle, label in reference_handles(section, small=True)
    }
    methods: dict[str, Method] = {m.label: m for section in sections for m in section.methods}
    handles, labels = list(theory.values()), list(theory)
    for label, method in methods.items():
        handles.append(Line2D([], [], **look(method, small=True)))  # pyright: ignore[reportArgumentType]
        labels.append(escaped(label) + (" (ideal)" if method.ideal else ""))
    return handles, labels
