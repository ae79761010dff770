"""95 % BCa bootstrap intervals over images."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gahb_bench import rng

LEVEL = 0.95
_RESAMPLES = 2_999
_VALUES_AT_ONCE = 2**24

Array = NDArray[np.float64]


def mean_interval(values: Array) -> tuple[Array, Array]:
    """Interval for the mean of each row of ``values`` ``(cells, images)``; NaN with fewer than 3 images.

    Bias-corrected and accelerated bootstrap over the images, one seeded set of resamples.
    """
    return _interval((values,), lambda a, axis: np.mean(a, axis=axis))


def ratio_interval(values: Array, reference: Array) -> tuple[Array, Array]:
    """Interval for ``mean(values) / mean(reference)``, rows paired image by image."""
    return _interval((values, reference), lambda a, b, axis: np.mean(a, axis=axis) / np.mean(b, axis=axis))


def _interval(data: tuple[Array, ...], statistic: object) -> tuple[Array, Array]:
    cells, images = data[0].shape
    low, high = np.full(cells, np.nan), np.full(cells, np.nan)
    if images < 3:
        return low, high
    point = statistic(*data, axis=-1)  # pyright: ignore[reportCallIssue]
    # Rows in which the statistic cannot vary have an interval of no width, and no bootstrap distribution.
    spread = np.ptp(data[0] / data[-1], axis=-1) if len(data) > 1 else np.ptp(data[0], axis=-1)
    varies = spread > 1e-12 * np.abs(point)
    low[~varies] = high[~varies] = point[~varies]
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
