"""Spectra of Jacobians: eigenvalues against their number, a line a denoiser."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gahb_bench.reporting.figure.figures import escaped
from gahb_bench.reporting.geometry.content import shown_name
from gahb_bench.reporting.study.style import GREY, Style, Theme

_LIMITS = (-0.5, 1.5)  # eigenvalues beyond are not shown
_LONGEST = 34


def draw_spectra(
    axes: Axes,
    spectra: Mapping[str, np.ndarray],
    looks: Mapping[str, Style],
    optimum: str | None,
    theme: Theme = "light",
) -> None:
    """Eigenvalues ``(k,)`` in falling order, by denoiser; what is above 1/2 is kept rather than removed."""
    for name, values in spectra.items():
        draw_line(axes, name, np.arange(1.0, len(values) + 1), values, looks[name], name == optimum, theme=theme)
    axes.axhline(0.5, color=GREY.on(theme), linewidth=0.8, linestyle=(0, (2, 3)))
    axes.axhline(0, color=GREY.on(theme), linewidth=0.8)
    low, high = axes.get_ylim()
    axes.set(xscale="log", xlabel="number of the eigenvalue")
    axes.set_ylim(max(low, _LIMITS[0]), min(high, _LIMITS[1]))


def mean_spectra(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Means over images by denoiser, of rows of spectra.parquet of one family and noise level."""
    return {
        str(name): own.groupby("index")["eigenvalue"].mean().to_numpy()
        for name, own in rows.groupby("denoiser", sort=False)
    }


def draw_line(
    axes: Axes,
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    look: Style,
    thick: bool,
    marker: bool = False,
    theme: Theme = "light",
) -> str:
    """One line of a denoiser, under its name; the colour it has."""
    axes.plot(
        x,
        y,
        color=look.colour.on(theme),
        linestyle=(0, tuple(part / 1.5 for part in look.dash)) if look.dash else "-",
        linewidth=2.2 if thick else 1.5,
        marker="o" if marker else None,
        markersize=3.5,
        label=escaped(short_name(name)),
    )
    return look.colour.on(theme)


def short_name(denoiser: str, longest: int = _LONGEST) -> str:
    """A name as it is shown, cut where it is long."""
    text = shown_name(denoiser)
    return text if len(text) <= longest else f"{text[: longest - 2]}…"
