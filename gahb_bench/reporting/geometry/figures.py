"""The figures of a folder of geometry: spectra, eigenvectors, sensitivity fields, adaptivity, overlap."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from gahb_bench.reporting.figure.drawing import colours, style
from gahb_bench.reporting.figure.figures import PARAMETERS, escaped
from gahb_bench.reporting.figure.panels import DPI, legend, picture, png
from gahb_bench.reporting.geometry.content import Family, interval
from gahb_bench.reporting.geometry.spectra import draw_line, draw_spectra, mean_spectra, short_name
from gahb_bench.running.geometry.folder import Geometry

_SHOWN = 8  # eigenvectors a row
_FIELDS = ("steepest pixel", "median pixel", "flattest pixel")
_BASES = {
    "fourier": ((1, 2), "Fourier basis"),
    "dct": ((1, 4), "DCT basis"),
    "wavelet": ((5, 2), "wavelet basis"),
    "straightened fourier": ((7, 2), "straightened Fourier basis"),
    "straightened wavelet": ((9, 2, 2, 2), "straightened wavelet basis"),
}
_BASE_COLOURS = {
    "fourier": "#888888",
    "dct": "#b0b0b0",
    "wavelet": "#666666",
    "straightened fourier": "#c98500",
    "straightened wavelet": "#7e5400",
}
_SIGNED = "RdBu_r"
_NOTHING = 1e-9  # share of the energy below which all of it is captured


def spectra(family: Family) -> bytes:
    """Eigenvalues of S against their number, a panel a noise level; mean over images."""

    def draw(axes: Axes, sigma: float) -> None:
        found = mean_spectra(family.spectra[family.spectra["sigma"] == sigma])
        shown = {name: found[name] for name in family.denoisers if name in found}
        draw_spectra(axes, shown, family.looks, family.optimum)

    return _panels(family, draw, "eigenvalue of (J + J′)/2")


def adaptivity(family: Family) -> bytes:
    """Energy of x - 1/2 outside the first vectors of each basis: geometric means over images, with 95 % intervals."""

    def draw(axes: Axes, sigma: float) -> None:
        rows = family.bases[family.bases["sigma"] == sigma]
        least = 1.0
        for denoiser, basis in [*((name, name) for name in family.denoisers), *(("", name) for name in _BASES)]:
            own = rows[(rows["denoiser"] == denoiser) & (rows["basis"] == basis)]
            if own.empty:
                continue
            left = 1 - own.pivot_table(index="vectors", columns="image", values="captured")
            left = left[(left > _NOTHING).all(axis=1)]
            x, logs = left.index.to_numpy(dtype=float), np.log(left.to_numpy())
            middle, low, high = np.exp([interval(row) for row in logs]).reshape(-1, 3).T
            if denoiser:
                colour = _line(axes, family, denoiser, x, middle)
                least = min(least, float(middle.min(initial=1.0)))
            else:
                colour, (dash, label) = _BASE_COLOURS[basis], _BASES[basis]
                axes.plot(x, middle, color=colour, linestyle=(0, dash), linewidth=1.3, label=label)
            if np.isfinite(low).any():
                axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.set(xscale="log", yscale="log", xlabel="vectors k", ylim=(max(least / 3, 1e-6), 1.3))

    return _panels(family, draw, "energy of x − 1/2 outside the first k")


def overlap(family: Family) -> bytes:
    """Overlap with the true eigenspace, and dimensions, against the noise level."""
    with style(PARAMETERS):
        columns = [("dimension", "dimensions kept (eigenvalues > 1/2)", "linear"), ("trace", "tr J", "linear")]
        if family.optimum is not None:
            columns = [
                ("overlap", "overlap with the true eigenspace", "linear"),
                ("wasted", "dimensions kept outside it", "linear"),
                *columns,
            ]
        figure = Figure(figsize=(3.4 * max(len(columns), 3), 3.3), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        for axes, (column, label, scale) in zip(
            figure.subplots(1, len(columns), squeeze=False)[0], columns, strict=True
        ):
            for name in family.denoisers:
                found = np.array([family.mean(name, sigma, column) for sigma in family.sigmas])
                colour = _line(axes, family, name, np.array(family.sigmas), found[:, 0], marker=True)
                if np.isfinite(found[:, 1:]).any():
                    axes.fill_between(family.sigmas, found[:, 1], found[:, 2], color=colour, alpha=0.15, linewidth=0)
            axes.set(xscale="log", yscale=scale, xlabel="noise σ (image units)", title=label)
            axes.set_xticks(family.sigmas, [family.labels[sigma] for sigma in family.sigmas])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_formatter(NullFormatter())
            if column == "overlap":
                axes.set_ylim(0, 1.03)
            axes.title.set_fontsize(9.5)
        legend(figure)
        return png(figure)


def eigenvectors(family: Family, made: Geometry, sigma: float) -> bytes | None:
    """Leading eigenvectors at the first image, a row a denoiser: the truth on top, one colour scale a row."""
    rows = _pictures(family, made, sigma, "vectors")
    if not rows:
        return None
    with style(PARAMETERS):
        count = min(_SHOWN, min(len(vectors) for _, vectors in rows))
        figure = Figure(figsize=(1.25 * (count + 2) + 0.7, 1.5 * len(rows) + 0.5), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), count + 2, squeeze=False)
        for line, (name, vectors) in zip(grid, rows, strict=True):
            place = f"{family.spec}/{name}/{sigma!r}"
            picture(line[0], made.pictures[f"{place}/noisy"], "noisy" if line is grid[0] else "")
            picture(line[1], made.pictures[f"{place}/estimate"], "estimate" if line is grid[0] else "")
            line[0].set_ylabel(escaped(short_name(name)), fontsize=8)
            limit = float(np.abs(vectors[:count]).max())
            for axes, vector, value in zip(
                line[2:], vectors[:count], made.pictures[f"{place}/values"][:count], strict=True
            ):
                _signed(axes, vector, limit)
                axes.set_title(f"λ = {value:.3f}", fontsize=8)
        figure.suptitle(f"{escaped(family.spec)}, σ = {family.labels[sigma]}, image 0", fontsize=9.5)
        return png(figure)


def fields(family: Family, made: Geometry, sigma: float) -> bytes | None:
    """Rows of J at three pixels of the first image: what each estimate looks at; one colour scale a row."""
    rows = [(name, found) for name, found in _pictures(family, made, sigma, "fields") if len(found)]
    if not rows:
        return None
    with style(PARAMETERS):
        count = min(len(found) for _, found in rows)
        figure = Figure(figsize=(1.6 * (count + 1) + 0.7, 1.7 * len(rows) + 0.5), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        for line, (name, found) in zip(figure.subplots(len(rows), count + 1, squeeze=False), rows, strict=True):
            clean = made.pictures[f"{family.spec}/{name}/{sigma!r}/clean"]
            picture(line[0], clean, "clean" if line[0].get_subplotspec().is_first_row() else "")
            line[0].set_ylabel(escaped(short_name(name)), fontsize=8)
            limit = float(np.abs(found).max()) or 1.0
            for axes, field, title in zip(line[1:], found, _FIELDS, strict=False):
                _signed(axes, field, limit)
                if axes.get_subplotspec().is_first_row():
                    axes.set_title(title, fontsize=8)
            line[-1].annotate(f"±{limit:.2g}", (1.04, 0.5), xycoords="axes fraction", fontsize=7.5, va="center")
        figure.suptitle(f"{escaped(family.spec)}, σ = {family.labels[sigma]}, image 0", fontsize=9.5)
        return png(figure)


def _panels(family: Family, draw: Callable[[Axes, float], None], label: str) -> bytes:
    """A panel a noise level, at most four a row, with one legend below."""
    with style(PARAMETERS):
        columns = min(4, len(family.sigmas))
        lines = -(-len(family.sigmas) // columns)
        figure = Figure(figsize=(max(3.3 * columns, 4.2) + 0.3, 3.1 * lines + 0.9), layout="constrained", dpi=DPI)
        FigureCanvasAgg(figure)
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
        for axes, sigma in zip(grid, family.sigmas, strict=False):
            draw(axes, sigma)
            axes.set_title(f"σ = {family.labels[sigma]}", fontsize=9.5)
        for axes in grid[len(family.sigmas) :]:
            axes.set_visible(False)
        for axes in grid[::columns]:
            axes.set_ylabel(label)
        legend(figure)
        return png(figure)


def _line(axes: Axes, family: Family, name: str, x: np.ndarray, y: np.ndarray, marker: bool = False) -> str:
    return draw_line(axes, name, x, y, family.looks[name], name == family.optimum, marker)


def _pictures(family: Family, made: Geometry, sigma: float, what: str) -> list[tuple[str, np.ndarray]]:
    places = [(name, f"{family.spec}/{name}/{sigma!r}/{what}") for name in family.denoisers]
    return [(name, made.pictures[place]) for name, place in places if place in made.pictures]


def _signed(axes: Axes, image: np.ndarray, limit: float) -> None:
    """Signed values in colours; of one row, as a curve."""
    if image.shape[1] == 1:
        axes.plot(image[:, 0].T, linewidth=0.8)
        axes.set(ylim=(-limit, limit))
    else:
        axes.imshow(_plane(image), cmap=colours(_SIGNED), vmin=-limit, vmax=limit, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)


def _plane(image: np.ndarray) -> np.ndarray:
    """One plane to draw: the channels of a vector side by side, below each other."""
    return image[0] if len(image) == 1 else np.concatenate(list(image), axis=0)
