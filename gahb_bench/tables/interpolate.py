"""Stored curves between their noise levels: one interpolation for all that is tabulated, with its error."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator, UnivariateSpline

from gahb_bench.core.images import FloatArray
from gahb_bench.tables import store

_MISSED = 8.0  # at a level left out, a spline is off by this many times what it is between levels, at least
LEAST_LEVELS = 4  # that a cubic goes through


def stored_curves(family: str, *, rule: int) -> list[pd.DataFrame]:
    """The stored curves of a law, as `gahb_bench.tables.store.by_level`: those with four levels or more.

    The user's own comes first, and takes the place of the shipped one where it reaches: levels of both, which were
    measured on other images, are never mixed in one spline.
    """
    tables = [store.by_level(rows) for rows in store.find("curves", family, rule=rule)]
    return [table for table in tables if len(table) >= LEAST_LEVELS]


def stored_curve(family: str, *, rule: int) -> pd.DataFrame | None:
    """The first of the `stored_curves`, or None."""
    return next(iter(stored_curves(family, rule=rule)), None)


def along_curves(curves: Sequence[pd.DataFrame], quantity: str, at: FloatArray) -> FloatArray:
    """A quantity at any noise levels, each from the first curve that covers it (see `between_levels`).

    Returns
    -------
    array ``(3, levels)``
        Values, standard errors and local exponents; NaN where no curve reaches.
    """
    found = np.full((3, len(at)), np.nan)
    for curve in reversed(curves):
        levels = curve.index.to_numpy()
        inside = covers(levels, at)
        values, errors = curve[quantity].to_numpy(), curve[f"{quantity}_se"].to_numpy()
        found[:, inside] = between_levels(levels, values, errors, at[inside])
    return found


def covers(levels: FloatArray, at: FloatArray) -> NDArray[np.bool_]:
    """Which noise levels lie within a table's (ascending)."""
    return (at >= levels[0] * (1 - store.ON_A_LEVEL)) & (at <= levels[-1] * (1 + store.ON_A_LEVEL))


def between_levels(
    levels: FloatArray, values: FloatArray, errors: FloatArray, at: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A stored curve at other noise levels: values, standard errors, and local exponents; NaN outside the table.

    Cubic spline of log value against log level. Between levels the error adds, in quadrature, that of the
    interpolation: the distance of the spline from the monotone cubic one, or, where that is more, an eighth of how far
    the spline misses the nearest levels if they are left out, which is on twice the spacing and so 16 times as far for
    even spacing, times the form 16 t^2 (1 - t)^2 of a spline's error in its gap. Exponents are those of a smoothing
    spline that misses the values by half a standard error, since neighbouring levels may be close; they do not depend
    on what else is asked.
    """
    x, y = np.log(levels), np.log(values)
    spline, monotone = CubicSpline(x, y, extrapolate=False), PchipInterpolator(x, y, extrapolate=False)
    inside = covers(levels, at)
    u = np.where(inside, np.log(np.clip(at, levels[0], levels[-1])), np.nan)
    value = np.exp(spline(u))
    relative = np.where(inside, np.interp(u, x, errors / values), np.nan)
    missed = _share_of_gap(x, u) * np.interp(u, x[1:-1], _left_out(x, y)) / _MISSED
    choice = np.expm1(np.fmax(np.abs(spline(u) - monotone(u)), missed))
    smooth = UnivariateSpline(x, y, w=values / errors, k=3, s=len(x) / 4)
    exponent = np.where(inside, smooth(np.where(inside, u, x[0]), 1), np.nan)
    return value, value * np.hypot(relative, choice), exponent


def _left_out(x: FloatArray, y: FloatArray) -> FloatArray:
    """How far a cubic spline through all other points misses each of the inner ones."""
    others = [np.delete(np.arange(len(x)), inner) for inner in range(1, len(x) - 1)]
    return np.array([abs(CubicSpline(x[k], y[k])(x[i]) - y[i]) for i, k in enumerate(others, start=1)])


def _share_of_gap(x: FloatArray, u: FloatArray) -> FloatArray:
    """``16 t^2 (1 - t)^2`` at the positions t of u between two neighbouring x: 0 on them, 1 halfway."""
    right = np.clip(np.searchsorted(x, u), 1, len(x) - 1)
    t = (u - x[right - 1]) / (x[right] - x[right - 1])
    return 16 * t**2 * (1 - t) ** 2
