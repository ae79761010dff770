"""A mean difference in dB between two denoisers, and how sure it is: the jackknife over images."""

import math

import numpy as np

from gahb_bench.core.images import FloatArray

_FEWEST = 3  # images, below which nothing can be said
_DECIBEL = 10 / math.log(10)
_TINY = np.finfo(np.float64).tiny
_ROUNDING_DB = 1e-9  # a difference, or a standard error, below it is rounding


def mean_difference(a: FloatArray, b: FloatArray, paired: bool) -> dict[str, float]:
    """The mean over noise levels of the difference in dB, with its standard error, degrees of freedom and skewness.

        D     = mean over levels of 10 log10(mean b / mean a)
        u_i   = (n - 1) (mean over i of D without image i  -  D without image i)
        s^2   = sum u_i^2 / n (n - 1),   skewness = sum u_i^3 / n (n - 1) (n - 2) s^3

    An image counts at all noise levels together, so that their correlation is in the error. Unpaired, the variances
    and third cumulants of the two sides add, and the degrees of freedom are Welch's.

    Parameters
    ----------
    a, b : MSEs, levels by images (as many in both if paired)

    Returns
    -------
    dict
        ``difference_db, error_db, freedom, skewness``; all but the first NaN with fewer than 3 images.
    """
    value = float(np.mean(10 * np.log10(np.maximum(b.mean(axis=1), _TINY) / np.maximum(a.mean(axis=1), _TINY))))
    if abs(value) < _ROUNDING_DB:
        value = 0.0
    if min(a.shape[1], b.shape[1]) < _FEWEST:
        exact = paired and np.array_equal(a, b)
        return {"difference_db": value, "error_db": 0.0 if exact else np.nan, "freedom": np.nan, "skewness": np.nan}
    of_a, of_b = _influence(a), _influence(b)
    parts = [_moments(of_b - of_a)] if paired else [_moments(of_b), _moments(-of_a)]
    variance = sum(part[1] for part in parts)
    if variance == 0:
        return {"difference_db": value, "error_db": 0.0, "freedom": np.nan, "skewness": 0.0}
    freedom = variance**2 / sum(part[1] ** 2 / (part[0] - 1) for part in parts)  # Welch
    skewness = sum(part[2] for part in parts) / variance**1.5
    return {"difference_db": value, "error_db": math.sqrt(variance), "freedom": freedom, "skewness": skewness}


def _influence(values: FloatArray) -> FloatArray:
    """What each image adds to the mean over levels of 10 log10(mean MSE): jackknife, (n,)."""
    count = values.shape[1]
    without = np.maximum(values.sum(axis=1, keepdims=True) - values, _TINY)
    logs = _DECIBEL * np.log(without / (count - 1)).mean(axis=0)
    return (count - 1) * (logs.mean() - logs)


def _moments(influence: FloatArray) -> tuple[int, float, float]:
    """Count, and variance and third cumulant of the mean (unbiased); a spread that is rounding counts as none."""
    count = len(influence)
    centred = influence - influence.mean()
    variance = float((centred**2).sum() / (count - 1) / count)
    if math.sqrt(variance) < _ROUNDING_DB:
        return count, 0.0, 0.0
    third = float((centred**3).sum() / ((count - 1) * (count - 2)) / count)
    return count, variance, third
