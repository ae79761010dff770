"""The figures of a study of generalisation: place, regret, samples, theories against n; mosaics of samples."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from gahb_bench.reporting.figure.drawing import colours, style
from gahb_bench.reporting.figure.figures import PARAMETERS
from gahb_bench.reporting.figure.panels import DPI, legend, picture, png
from gahb_bench.reporting.generalization.content import KINDS, Content
from gahb_bench.reporting.study.style import COLOURS, GREY, INK, Colour
from gahb_bench.running.generalization.folder import TRUTH

_LEAST = 1e-4  # r below is drawn here
_LOOKS = {  # of theories, as their classes state them
    TRUTH: (INK, "o"),
    "memoriser": (GREY, "s"),
    "shifted memoriser": (COLOURS["crimson"], "D"),
    "local": (COLOURS["plum"], "s"),
    "local-equivariant": (COLOURS["plum"], "^"),
    "locality": (COLOURS["ochre"], "v"),
    "gaussian score": (COLOURS["blue"], "^"),
    "mixture score": (COLOURS["blue"], "s"),
}
_MOSAIC = (  # rows: what is shown, of which network
    ("sample", "a", "sample of A"),
    ("nearest", "a", "nearest in\nA's set"),
    ("moved", "a", "nearest in\nA's, moved"),
    ("sample", "b", "sample of B,\nsame seeds"),
    ("nearest", "b", "nearest in\nB's set"),
    ("moved", "b", "nearest in\nB's, moved"),
)
_COLUMNS = 5  # of a mosaic
_WIDTH = 12.9  # of figures of several panels, inches


def transition(content: Content) -> bytes:
    """The place, t and r, on noisy training images against n, a line a noise level."""

    def place(axes: Axes) -> None:
        _by_level(axes, content, "t_train")
        for value in (0, 1):
            axes.axhline(value, color=GREY.light, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set(title="t on training images: 0 memoriser, 1 truth", ylim=(-0.1, 1.15))

    def off(axes: Axes) -> None:
        _by_level(axes, content, "r_train", floor=_LEAST)
        axes.set(title="r, off the axis between them", yscale="log")

    return _panels(content, [place, off])


def regret(content: Content) -> bytes:
    """Train and test regret in dB, a line a noise level, and in bits."""

    def train(axes: Axes) -> None:
        _by_level(axes, content, "train_regret_db")
        axes.axhline(0, color=GREY.light, linewidth=0.8)
        axes.set(title="regret on training images, dB")

    def test(axes: Axes) -> None:
        _by_level(axes, content, "test_regret_db")
        axes.set(title="regret on test images, dB", ylim=(0, None))

    def bits(axes: Axes) -> None:
        _of_all(axes, content, {"test_bits": ("test images", INK, "o"), "train_bits": ("training images", GREY, "s")})
        axes.axhline(0, color=GREY.light, linewidth=0.8)
        axes.set(title="regret over all σ, bits a pixel")

    return _panels(content, [train, test, bits])


def samples(content: Content) -> bytes:
    """What the two networks share: model variance, correlation of samples; how near samples are to the training set."""

    def variance(axes: Axes) -> None:
        _by_level(axes, content, "model_variance")
        axes.set(title="model variance: 0 shared, 1 independent", ylim=(0, None))

    def correlation(axes: Axes) -> None:
        _of_all(axes, content, {"sample_correlation": ("correlation of samples", INK, "o")})
        axes.set(title="correlation of samples, same seeds", ylim=(None, 1.05))

    def nearest(axes: Axes) -> None:
        looks = {
            "nearest_share": ("share of samples nearer to their own set", COLOURS["crimson"], "o"),
            "shifted_share": ("the same, training images moved", COLOURS["rust"], "D"),
            "shifted_ratio": ("squared distance, own / other, moved", COLOURS["teal"], "s"),
        }
        _of_all(axes, content, looks)
        axes.axhline(0.5, color=GREY.light, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set(title="nearest training image", ylim=(-0.05, None))

    return _panels(content, [variance, correlation, nearest])


def theories(content: Content) -> bytes | None:
    """Distance to every theory and to the truth against n: a column a noise level, a row a kind of images."""
    if not content.theories:
        return None
    count = len(content.sigmas)
    with style(PARAMETERS):
        figure = Figure(figsize=(max(3.1 * count + 0.4, 4.8), 6.6), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(KINDS), count, squeeze=False, sharey="row")
        for line, (kind, words) in zip(grid, KINDS.items(), strict=True):
            for axes, sigma in zip(line, content.sigmas, strict=True):
                for name in content.theories:
                    found = [content.distance(kind, n, sigma).get(name, math.nan) for n in content.sizes]
                    colour, marker = _LOOKS.get(name, (COLOURS["green"], "x"))
                    looks = {"color": colour.light, "marker": marker, "markersize": 4.5}
                    axes.plot(content.sizes, found, **looks, label=name, linewidth=2.2 if name == TRUTH else 1.3)
                axes.set_title(f"σ = {content.labels[sigma]}, {words}", fontsize=9)
                _sizes(axes, content)
            line[0].set_ylabel("distance beside the MMSE, dB")
        legend(figure)
        return png(figure)


def mosaic(content: Content, n: int) -> bytes | None:
    """Samples of both networks from the same seeds, each with the nearest image of the training set of its network."""
    pictures = content.pictures
    if not len(pictures.get(f"n={n}/sample-a", ())):
        return None
    columns = min(_COLUMNS, len(pictures[f"n={n}/sample-a"]))
    with style(PARAMETERS):
        figure = Figure(figsize=(1.2 * columns + 1.5, 1.28 * len(_MOSAIC) + 0.7), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(_MOSAIC), columns, squeeze=False)
        for line, (what, network, words) in zip(grid, _MOSAIC, strict=True):
            for column, axes in enumerate(line):
                picture(axes, pictures[f"n={n}/{what}-{network}"][column])
                if what != "sample":
                    away = pictures[f"n={n}/{what}-distance-{network}"][column]
                    axes.set_xlabel(f"{away:.3f} away", fontsize=9.5, labelpad=2)
            line[0].set_ylabel(words, fontsize=9.5)
        figure.suptitle(f"n = {n:,}", fontsize=10.5)
        return png(figure)


def _panels(content: Content, draw: list[Callable[[Axes], None]]) -> bytes:
    """Panels side by side, with n below each and one legend."""
    with style(PARAMETERS):
        figure = Figure(figsize=(_WIDTH, 3.9), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        for axes, panel in zip(figure.subplots(1, len(draw), squeeze=False)[0], draw, strict=True):
            panel(axes)
            axes.title.set_fontsize(9.5)
            _sizes(axes, content)
        legend(figure)
        return png(figure)


def _sizes(axes: Axes, content: Content) -> None:
    """The axis of n."""
    axes.set(xscale="log", xlabel="training images n")
    axes.set_xticks(content.sizes, [f"{n:,}" for n in content.sizes])
    axes.xaxis.set_minor_locator(NullLocator())


def _by_level(axes: Axes, content: Content, measure: str, floor: float = -math.inf) -> None:
    """A line a noise level through the mean of the networks; points where each of them is."""
    shades = colours("viridis")(np.linspace(0, 0.88, len(content.sigmas)))
    for sigma, colour in zip(content.sigmas, shades, strict=True):
        rows = content.of(measure, sigma)
        axes.plot(rows["n"], rows["value"].clip(lower=floor), ".", color=colour, markersize=5, alpha=0.7)
        mean = [max(content.mean(measure, n, sigma), floor) for n in content.sizes]
        axes.plot(content.sizes, mean, color=colour, linewidth=1.5, label=f"σ = {content.labels[sigma]}")


def _of_all(axes: Axes, content: Content, looks: Mapping[str, tuple[str, Colour, str]]) -> None:
    """Measures over all noise levels: a line through the mean of the networks, the interval of each shaded."""
    for measure, (label, colour, marker) in looks.items():
        mean = [content.mean(measure, n) for n in content.sizes]
        axes.plot(content.sizes, mean, color=colour.light, linewidth=1.5, marker=marker, markersize=4, label=label)
        for _, rows in content.of(measure).groupby("split", dropna=False):
            axes.fill_between(rows["n"], rows["low"], rows["high"], color=colour.light, alpha=0.1, linewidth=0)
