"""The exponent of a measured curve: the slope of log MSE against log sigma over a stated range, with its error."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from gahb_bench.core.errors import UsageError
from gahb_bench.core.optimum import Reference


@dataclass(frozen=True)
class Fit:
    """A fitted exponent beside what theory says.

    value, standard_error : least-squares slope of log mean MSE against log sigma, jackknife over images
    low, high : the range of sigma actually used, with ``levels`` noise levels in it
    reference : the same fit through the reference curve at the same noise levels (finite size); NaN if unknown
    asymptotic : the theoretical exponent for large images and small noise, or None
    """

    value: float
    standard_error: float
    low: float
    high: float
    levels: int
    reference: float
    asymptotic: float | None


def fit(scores: pd.DataFrame, reference: Reference, low: float, high: float) -> Fit:
    """Fit the exponent of one denoiser on one family over ``low <= sigma <= high``, both ends included.

    The images are the same at every noise level, so errors at different levels are correlated: the standard error is
    a jackknife over images of the whole fit, not a regression formula.

    Parameters
    ----------
    scores : pandas.DataFrame
        Rows of the score table, of one denoiser on one family.
    reference : Reference
        Known at these noise levels.

    Raises
    ------
    UsageError
        If the range holds fewer than two scored noise levels, some image failed there, or no image has an error there.
    """
    rows = scores[scores["sigma"].between(low * (1 - 1e-9), high * (1 + 1e-9))]
    grid = rows.pivot_table(index="sigma", columns="image", values="mse", dropna=False)
    values = grid.to_numpy(dtype=np.float64)
    if len(grid) < 2 or not np.isfinite(values).all() or not values.any(axis=1).all():
        names = [str(scores[name].iloc[0]) if len(scores) else "nothing" for name in ("denoiser", "family")]
        raise UsageError(
            f"no exponent for {names[0]!r} on {names[1]!r} over sigma in [{low:g}, {high:g}]: "
            "it takes at least two noise levels, every image scored at each, and an error above 0 there."
        )
    sigma = grid.index.to_numpy(dtype=np.float64)
    weights = _slope_weights(np.log(sigma))
    images = values.shape[1]
    value = float(weights @ np.log(values.mean(axis=1)))
    error = float("nan")
    if images > 1:
        without_one = (values.sum(axis=1, keepdims=True) - values) / (images - 1)
        with np.errstate(divide="ignore", invalid="ignore"):  # one image may have all the error: then it is not known
            slopes = weights @ np.log(without_one)
            error = float(np.sqrt((images - 1) / images * ((slopes - slopes.mean()) ** 2).sum()))
    law = reference.at(sigma).mse
    theory = float(weights @ np.log(law)) if np.isfinite(law).all() else float("nan")
    return Fit(value, error, float(sigma[0]), float(sigma[-1]), len(sigma), theory, reference.asymptotic_exponent)


def _slope_weights(x: np.ndarray) -> np.ndarray:
    """The weights w of the least-squares slope ``w . y`` through points (x, y)."""
    centred = x - x.mean()
    return centred / (centred**2).sum()
