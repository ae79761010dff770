"""Where a figure is drawn: the user's axes as they are, or a new figure in the pages' style."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from gahb_bench.core.errors import UsageError
from gahb_bench.reporting.figure.drawing import style
from gahb_bench.reporting.figure.figures import PARAMETERS
from gahb_bench.reporting.study.style import INK, NIGHT, Theme

_DARK: dict[Any, Any] = {
    **PARAMETERS,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), NIGHT),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK.dark),
    "grid.color": "#2b313a",
    "axes.edgecolor": "#69717c",
}
_PARAMETERS: dict[Theme, dict[Any, Any]] = {"light": PARAMETERS, "dark": _DARK}


@contextmanager
def axes_for(ax: Axes | None, size: tuple[float, float]) -> Iterator[tuple[Axes, Theme]]:
    """The user's axes as they are, or those of a new figure, for which the pages' style holds while it is drawn."""
    if ax is not None:
        if not isinstance(ax, Axes):
            raise UsageError(f"ax is one matplotlib Axes, of plt.subplots for example, not {type(ax).__name__}.")
        yield ax, _theme(ax.get_facecolor(), ax.figure.get_facecolor())
        return
    from matplotlib import pyplot, rcParams

    theme = _theme(rcParams["figure.facecolor"], rcParams["axes.facecolor"])
    with style(_PARAMETERS[theme]):
        _, axes = pyplot.subplots(figsize=size, layout="constrained")
        yield axes, theme
        for part in (axes, *axes.child_axes):
            for axis in part.xaxis, part.yaxis:  # later ticks are copies of the first, which is made when asked for
                axis.get_major_ticks(1)
                axis.get_minor_ticks(1)


def _theme(*backgrounds: Any) -> Theme:
    """Whether the first background that can be seen is light or dark, by its luma (ITU-R BT.601)."""
    seen = (colour[:3] for colour in map(to_rgba, backgrounds) if colour[3] > 0)
    return "dark" if np.dot(next(seen, (1, 1, 1)), (0.299, 0.587, 0.114)) < 0.5 else "light"


def draw_legend(axes: Axes, handles: list[Any], labels: list[str], theme: Theme, *, beside: bool) -> None:
    """A legend within the axes, or ``beside`` them, with letters that can be read on their background."""
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.1, 1.0)} if beside else {"loc": "best"}
    axes.legend(handles, labels, frameon=False, fontsize=8.5, labelcolor=INK.on(theme), **place)
