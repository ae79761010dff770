"""What figures of several panels have in common: one legend, pictures without axes, PNG."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gahb_bench.reporting.figure.drawing import colours

DPI = 130
_LEGEND = 2.2  # width of an entry of a legend, inches


def legend(figure: Figure) -> None:
    """One legend of all panels below them, each name once."""
    found: dict[str, object] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    columns = max(1, int(figure.get_figwidth() / _LEGEND))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, fontsize=8.5)  # pyright: ignore[reportArgumentType]


def picture(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """An image ``(c, h, w)``, clipped to [0, 1] for display only; three channels as colours, otherwise the first.

    One of a single row is drawn as curves.
    """
    if image.shape[1] == 1:
        axes.plot(image[:, 0].T, linewidth=0.8)
    else:
        shown = image.clip(0, 1)
        axes.imshow(
            shown.transpose(1, 2, 0) if len(shown) == 3 else shown[0],
            cmap=colours("gray"),
            vmin=0,
            vmax=1,
            interpolation="nearest",
        )
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    if title:
        axes.set_title(title, fontsize=8)


def png(figure: Figure) -> bytes:
    """A figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
