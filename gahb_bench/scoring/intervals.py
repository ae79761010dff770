"""95 % BCa bootstrap intervals over images."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gahb_bench.core import rng

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


def ratio_interval(values: Array, reference: Array, paired: bool = True) -> tuple[Array, Array]:
    """Interval for ``mean(values) / mean(reference)``, rows paired image by image, or of images of their own."""
    if not paired:
        varies = (np.ptp(values, axis=-1) > 0) | (np.ptp(reference, axis=-1) > 0)
        return _interval((values, reference), _ratio, varies, paired=False)
    ratio = values / reference
    return _interval((values, reference), _ratio, varies=np.ptp(ratio, axis=-1) > _SPREAD * ratio.mean(axis=-1))


def _mean(values: Array, axis: int) -> Array:
    return np.mean(values, axis=axis)


def _ratio(values: Array, reference: Array, axis: int) -> Array:
    return np.mean(values, axis=axis) / np.mean(reference, axis=axis)


def _interval(
    data: tuple[Array, ...], statistic: Callable[..., Array], varies: NDArray, paired: bool = True
) -> tuple[Array, Array]:
    """Rows that do not vary have an interval of no width, and no bootstrap distribution."""
    cells, images = len(data[0]), min(part.shape[-1] for part in data)
    low, high = np.full(cells, np.nan), np.full(cells, np.nan)
    if images < 3:
        return low, high
    low[~varies] = high[~varies] = statistic(*data, axis=-1)[~varies]
    if varies.any():
        found = stats.bootstrap(
            tuple(part[varies] for part in data),
            statistic,
            n_resamples=_RESAMPLES,
            batch=max(1, _VALUES_AT_ONCE // (max(part.shape[-1] for part in data) * int(varies.sum()))),
            paired=paired and len(data) > 1,
            axis=-1,
            confidence_level=LEVEL,
            method="BCa",
            rng=rng.generator("bootstrap"),
        ).confidence_interval
        low[varies], high[varies] = found.low, found.high
    return low, high
