"""The figures of a folder of posteriors: calibration histograms, and images."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from gahb_bench.reporting.figure.drawing import colours, style
from gahb_bench.reporting.figure.figures import PARAMETERS, escaped
from gahb_bench.reporting.figure.panels import DPI, png
from gahb_bench.reporting.posterior.content import Content, Row
from gahb_bench.running.posterior.folder import EXACT

_ACROSS = 4  # histograms a row
_BAND = 0.99
_ROWS = 16  # of images, at most
_COLOUR = "#3173a8"


def calibration(content: Content) -> bytes:
    """Ranks of the truth among the samples of each method: flat if these are right; the band holds 99 % of chance."""
    found = [(row, content.histogram(row)) for row in content.rows]
    shown = [(row, histogram) for row, histogram in found if histogram is not None]
    with style(PARAMETERS):
        lines = -(-len(shown) // _ACROSS)
        across = min(_ACROSS, len(shown))
        figure = Figure(figsize=(max(2.6 * across, 4.5), 2.1 * lines + 0.4), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        panels = list(figure.subplots(lines, across, squeeze=False).ravel())
        for axes, (row, (ends, height, images)) in zip(panels, shown, strict=False):
            share = np.diff(ends) / ends[-1]
            low, high = (stats.binom.ppf(q, images, share) / images / share for q in ((1 - _BAND) / 2, (1 + _BAND) / 2))
            places = ends / ends[-1]
            axes.stairs(high, places, baseline=low, fill=True, color="#d9d9d9")
            axes.stairs(height, places, color=_COLOUR, linewidth=1.5)
            axes.set(xlim=(0, 1), ylim=(0, max(2.2, float(height.max()) * 1.05)))
            axes.set_title(_label(row), fontsize=7.5)
            axes.tick_params(labelsize=7)
        for axes in panels[len(shown) :]:
            axes.set_visible(False)
        return png(figure)


def images(content: Content) -> bytes:
    """Two images: truth and measurement, then of the exact posterior and of each method the mean and samples."""
    made = content.made.pictures
    truth, measured = made[f"{EXACT}/truth"], made[f"{EXACT}/measured"]
    rows = [row for row in content.rows if f"{row.place}/mean" in made][:_ROWS]
    count = min(2, len(truth))
    columns = 1 + len(made[f"{EXACT}/samples"])
    low, high = (0.0, 1.0) if truth.min() > -0.5 and truth.max() < 1.5 else (float(truth.min()), float(truth.max()))
    with style(PARAMETERS):
        size = (1.05 * columns * count + 1.8, 1.12 * (len(rows) + 1) + 0.3)
        figure = Figure(figsize=size, layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows) + 1, columns * count, squeeze=False)
        for i in range(count):
            first = i * columns
            head = [("truth", truth[i]), ("A⁺ y", measured[i])]
            for place in range(columns):
                _show(grid[0][first + place], *(head[place] if place < len(head) else ("", None)), low, high)
            for line, row in zip(grid[1:], rows, strict=True):
                drawn = made.get(f"{row.place}/samples", np.zeros((0, count)))
                shown = [("mean", made[f"{row.place}/mean"][i])]
                shown += [(f"sample {number + 1}", sample[i]) for number, sample in enumerate(drawn)]
                for place in range(columns):
                    title, image = shown[place] if place < len(shown) else ("", None)
                    _show(line[first + place], title if row is rows[0] else "", image, low, high)
        for line, row in zip(grid[1:], rows, strict=True):
            line[0].set_ylabel(_label(row), fontsize=6.5, rotation=0, ha="right", va="center")
        return png(figure)


def _show(axes: Axes, title: str, image: np.ndarray | None, low: float, high: float) -> None:
    """An image; one of a single row as a curve."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    if image is None:
        axes.set_visible(False)
        return
    axes.set_title(title, fontsize=7)
    if image.shape[1] == 1:
        margin = 0.1 * (high - low)
        axes.plot(image[0, 0], color=_COLOUR, linewidth=1.0)
        axes.set_ylim(low - margin, high + margin)
        return
    picture = ((image - low) / (high - low)).clip(0, 1)
    picture = picture.transpose(1, 2, 0) if len(picture) == 3 else picture[0]
    axes.imshow(picture, cmap=colours("gray"), vmin=0, vmax=1, interpolation="nearest")


def _label(row: Row, most: int = 26) -> str:
    parts = row.label.split(", ", 1)
    return "\n".join(escaped(part if len(part) <= most else f"{part[: most - 2]}…") for part in parts)
