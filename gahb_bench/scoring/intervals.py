"""95 % intervals over images for means of skewed errors, in closed form."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
FEW = 8.0  # effective number of images, below which an interval is unsure
_SPREAD = 1e-12  # relative spread below which values count as equal
_SYMMETRIC = 1e-9  # skewness of a mean below which it counts as none

Array = NDArray[np.float64]


def mean_interval(values: Array) -> tuple[Array, Array]:
    """Interval for the mean of each row of ``values`` ``(cells, images)``; NaN with fewer than 3 images.

        ends = mean - s q(+-t),   q(t) = 3/g (cbrt(1 + g t - g^2 / 6) - 1)

    with s the standard error of the mean, g its skewness (that of the images over the root of their number) and t
    Student's quantile: the transformation that removes the skewness of Student's t, whose inverse exists everywhere.
    Errors of denoisers are skewed: a few images carry much of the mean, and an interval must reach further up.

    References
    ----------
    P. Hall, "On the removal of skewness by transformation", J. R. Stat. Soc. B 54, 1992,
    doi:10.1111/j.2517-6161.1992.tb01876.x.
    """
    mean = values.mean(axis=-1)
    return _interval(mean, [values - mean[:, None]], np.abs(values).mean(axis=-1))


def ratio_interval(values: Array, reference: Array, paired: bool = True) -> tuple[Array, Array]:
    """Interval for ``mean(values) / mean(reference)``, rows paired image by image, or of images of their own.

    That of `mean_interval`, for the ratio's linear part in each image: ``(a_i - R b_i) / mean b``.
    """
    a, b = values.mean(axis=-1), reference.mean(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = a / b
        if paired:
            parts = [(values - ratio[:, None] * reference) / b[:, None]]
        else:
            parts = [(values - a[:, None]) / b[:, None], -ratio[:, None] * (reference - b[:, None]) / b[:, None]]
    return _interval(ratio, parts, np.abs(ratio))


def effective_number(values: Array) -> Array:
    """How many images carry the sum of each row: (sum v)^2 / sum v^2; infinite where nothing is lost.

    With few, an interval over images rests on whether rare images were drawn, and is unsure.
    """
    squares = (values**2).sum(axis=-1)
    lost = squares > 0
    return np.where(lost, values.sum(axis=-1) ** 2 / np.where(lost, squares, 1.0), np.inf)


def _interval(mean: Array, parts: list[Array], scale: Array) -> tuple[Array, Array]:
    """The interval of a mean whose deviations are sums of independent parts, each ``(cells, images)``, centred."""
    images = min(part.shape[-1] for part in parts)
    if images < 3:
        return np.full(len(mean), np.nan), np.full(len(mean), np.nan)
    variance, third, freedom = np.zeros_like(mean), np.zeros_like(mean), np.zeros_like(mean)
    for part in parts:
        count = part.shape[-1]
        own = (part**2).sum(axis=-1) / (count - 1) / count
        variance, third = variance + own, third + (part**3).mean(axis=-1) / count**2
        freedom = freedom + own**2 / (count - 1)
    error = np.sqrt(variance)
    varies = error > _SPREAD * scale
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.where(varies, third / error**3, 0.0)
        quantile = np.where(varies, stats.t.isf((1 - LEVEL) / 2, np.where(varies, variance**2 / freedom, 1.0)), 0.0)
    low, high = (mean - error * _untransformed(sign * quantile, skewness) for sign in (1, -1))
    return np.where(varies, low, mean), np.where(varies, high, mean)


def _untransformed(quantile: Array, skewness: Array) -> Array:
    """The quantile of Student's t of a skewed mean, from that of its transform."""
    skewed = np.abs(skewness) > _SYMMETRIC
    g = np.where(skewed, skewness, 1.0)
    return np.where(skewed, 3 / g * (np.cbrt(1 + g * quantile - g**2 / 6) - 1), quantile)
