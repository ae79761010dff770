"""What a regret is worth: excess over noise levels as information, in bits a pixel."""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline, PchipInterpolator

from gahb_bench.core.images import FloatArray
from gahb_bench.scoring.intervals import LEVEL

_FEWEST_LEVELS = 4  # below, a spline says nothing of the levels between


@dataclass(frozen=True)
class Bits:
    """Excess bits a pixel with a 95 % interval, and how far the interpolation between noise levels may be off."""

    value: float
    low: float
    high: float
    interpolation: float


UNKNOWN = Bits(float("nan"), float("nan"), float("nan"), float("nan"))


def excess_bits(sigma: FloatArray, excess: FloatArray) -> Bits:
    """What a denoiser loses, in bits a pixel over the range of noise levels.

        bits = 1/ln 2  integral of excess(sigma) / sigma^2 d ln sigma

    The reverse diffusion run with the denoiser instead of the posterior mean makes samples whose law at the least
    noise level is within that many bits a pixel (Kullback-Leibler) of the noisy law, beside the mismatch at the
    greatest; it is an equality where the denoiser is the posterior mean of some law. Between noise levels, the
    logarithm of the integrand is a cubic spline in ln sigma; its error is taken as its distance to the integral of the
    monotone cubic interpolation. The interval is a jackknife over images of the whole integral, with Student's t.

    Parameters
    ----------
    sigma : noise levels, increasing, ``(levels,)``
    excess : per-image excess over the exact posterior mean, per pixel, ``(levels, images)``

    Returns
    -------
    Bits
        NaN with fewer than four noise levels; without an interval with fewer than three images.

    References
    ----------
    Y. Song, C. Durkan, I. Murray, S. Ermon, "Maximum likelihood training of score-based diffusion models", NeurIPS
    2021, arXiv:2101.09258, theorem 1; S. Verdu, "Mismatched estimation and relative entropy", IEEE Trans. Inf. Theory
    2010, doi:10.1109/TIT.2010.2050800.

    Examples
    --------
    >>> levels = np.geomspace(0.01, 1, 9)
    >>> found = excess_bits(levels, np.tile(0.1 * levels[:, None] ** 2, 5))
    >>> bool(np.isclose(found.value, 0.1 * np.log(100) / np.log(2)))
    True
    """
    if len(sigma) < _FEWEST_LEVELS or not np.isfinite(excess).all():
        return UNKNOWN
    count = excess.shape[1]
    value, choice = _integral(sigma, excess.mean(axis=1))
    if count < 3:
        return Bits(value, float("nan"), float("nan"), choice)
    totals = excess.sum(axis=1)
    left = np.array([_integral(sigma, (totals - excess[:, i]) / (count - 1))[0] for i in range(count)])
    error = float(np.sqrt((count - 1) / count * ((left - left.mean()) ** 2).sum()))
    margin = float(stats.t.isf((1 - LEVEL) / 2, count - 1)) * error + choice
    return Bits(value, max(value - margin, 0.0), value + margin, choice)


def _integral(sigma: FloatArray, excess: FloatArray) -> tuple[float, float]:
    """The integral in bits, and the distance of another interpolation."""
    x, rate = np.log(sigma), np.maximum(excess, 0.0) / sigma**2
    if not (rate > 0).all():  # an optimum somewhere: no logarithm there
        monotone = float(PchipInterpolator(x, rate).integrate(x[0], x[-1])) / np.log(2)
        return monotone, abs(monotone - float(np.trapezoid(rate, x)) / np.log(2))
    fine = np.linspace(x[0], x[-1], 64 * (len(x) - 1) + 1)
    smooth, monotone = (
        float(np.trapezoid(np.exp(kind(x, np.log(rate))(fine)), fine)) / np.log(2)
        for kind in (CubicSpline, PchipInterpolator)
    )
    return smooth, abs(smooth - monotone)
