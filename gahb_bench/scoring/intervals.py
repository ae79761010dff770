"""95 % BCa bootstrap intervals over images."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gahb_bench import rng

LEVEL = 0.95
_RESAMPLES = 2_999
_VALUES_AT_ONCE = 2**24
_SPREAD = 1e-12  # relative spread below which values count as equal

Array = NDArray[np.float64]


def mean_interval(values: Array) -> tuple[Array, Array]:
    """Interval for the mean of each row of ``values`` ``(cells, images)``; NaN with fewer than 3 images.

    Bias-corrected and accelerated bootstrap over the images, one seeded set of resamples.
    """
    return _interval((values,), _mean, varies=np.ptp(values, axis=-1) > _SPREAD * np.abs(values).mean(axis=-1))


def ratio_interval(values: Array, reference: Array) -> tuple[Array, Array]:
    """Interval for ``mean(values) / mean(reference)``, rows paired image by image."""
    ratio = values / reference
    return _interval((values, reference), _ratio, varies=np.ptp(ratio, axis=-1) > _SPREAD * ratio.mean(axis=-1))


def _mean(values: Array, axis: int) -> Array:
    return np.mean(values, axis=axis)


def _ratio(values: Array, reference: Array, axis: int) -> Array:
    return np.mean(values, axis=axis) / np.mean(reference, axis=axis)


def _interval(data: tuple[Array, ...], statistic: Callable[..., Array], varies: NDArray) -> tuple[Array, Array]:
    """Rows that do not vary have an interval of no width, and no bootstrap distribution."""
    cells, images = data[0].shape
    low, high = np.full(cells, np.nan), np.full(cells, np.nan)
    if images < 3:
        return low, high
    low[~varies] = high[~varies] = statistic(*data, axis=-1)[~varies]
    if varies.any():
        found = stats.bootstrap(
            tuple(part[varies] for part in data),
            statistic,
            n_resamples=_RESAMPLES,
            batch=max(1, _VALUES_AT_ONCE // (images * int(varies.sum()))),
            paired=len(data) > 1,
            axis=-1,
            confidence_level=LEVEL,
            method="BCa",
            rng=rng.generator("bootstrap"),
        ).confidence_interval
        low[varies], high[varies] = found.low, found.high
    return low, high
