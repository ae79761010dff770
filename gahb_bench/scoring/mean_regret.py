"""The regret of a denoiser over all noise levels, as one number with its interval."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from gahb_bench.core.images import FloatArray as Array
from gahb_bench.scoring.intervals import LEVEL


@dataclass(frozen=True)
class MeanRegret:
    """Mean over noise levels of the regret in dB, its interval, and the standard error over images."""

    value: float
    low: float
    high: float
    standard_error: float


NOTHING = MeanRegret(float("nan"), float("nan"), float("nan"), float("nan"))


def mean_regret(values: Array, best: Array, reference: Array, lower: Array, upper: Array) -> MeanRegret:
    """Mean over noise levels of 10 log10(mse / reference), with a 95 % interval.

    The same images serve every level, so errors at different levels are correlated: the standard error is a jackknife
    over images of the whole mean, with Student's t. What is not known of the reference adds to either end.

    Parameters
    ----------
    values : array, shape (levels, images)
        Per-image MSE of the denoiser, > 0.
    best : array, shape (levels, images)
        Per-image MSE of the denoiser that attains the reference, on the same images: where it is finite the regret is
        paired with it. Rows of NaN where it is not known.
    reference, lower, upper : arrays, shape (levels,)
        The reference and what it lies between (equal where it is known without error); used in the other rows.
    """
    paired = np.all(np.isfinite(best), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(paired, 0.0, _decibel(upper / reference)).mean()
        above = np.where(paired, 0.0, _decibel(reference / lower)).mean()
        best = np.where(paired[:, None], best, reference[:, None])
        value = float(np.mean(_decibel(values.mean(axis=1)) - _decibel(best.mean(axis=1))))
        count = values.shape[1]
        if count < 3:
            return MeanRegret(value, float("nan"), float("nan"), float("nan"))
        left = _decibel(_without_one(values)) - _decibel(_without_one(best))
    means = left.mean(axis=0)
    error = float(np.sqrt((count - 1) / count * ((means - means.mean()) ** 2).sum()))
    margin = float(stats.t.isf((1 - LEVEL) / 2, count - 1)) * error
    return MeanRegret(value, value - float(below) - margin, value + float(above) + margin, error)


def over_families(regrets: list[MeanRegret]) -> MeanRegret:
    """The plain mean over families. Their images are independent: the interval is of these families, not of others."""
    if not regrets:
        return NOTHING
    value = float(np.mean([regret.value for regret in regrets]))
    low, high = (
        float(np.sqrt(np.sum([(getattr(regret, end) - regret.value) ** 2 for regret in regrets]))) / len(regrets)
        for end in ("low", "high")
    )
    error = float(np.sqrt(np.sum([regret.standard_error**2 for regret in regrets]))) / len(regrets)
    return MeanRegret(value, value - low, value + high, error)


def _without_one(values: Array) -> Array:
    """Means over all images but one, an image a column."""
    return (values.sum(axis=1, keepdims=True) - values) / (values.shape[1] - 1)


def _decibel(ratio: Array) -> Array:
    return 10 * np.log10(ratio)
