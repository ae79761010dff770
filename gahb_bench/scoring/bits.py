"""What a regret is worth: excess over noise levels as information, in bits a pixel."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.integrate import cumulative_trapezoid
from scipy.interpolate import CubicSpline, PchipInterpolator, make_interp_spline

from gahb_bench.core.images import FloatArray
from gahb_bench.scoring.intervals import LEVEL

_FEWEST_LEVELS = 4  # below, a spline says nothing of the levels between
_STEPS = 64  # between two noise levels; an even number


@dataclass(frozen=True)
class Bits:
    """Excess bits a pixel with a 95 % interval, and how far the interpolation between noise levels may be off.

    by_level : what of them is lost about each noise level, to the middles (in log sigma) between it and its neighbours
    """

    value: float
    low: float
    high: float
    interpolation: float
    by_level: tuple[float, ...] = ()


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
    x = np.log(sigma)
    fine = _fine(x)
    rate = np.maximum(excess.mean(axis=1, keepdims=True), 0.0) / sigma[:, None] ** 2
    smooth, other = _between(x, rate, fine)
    value, choice = float(_bits(smooth, fine)[0]), float(np.abs(_bits(smooth - other, fine))[0])
    by_level = tuple(_by_level(smooth[:, 0], fine).tolist())
    if count < 3:
        return Bits(value, float("nan"), float("nan"), choice, by_level)
    left = (excess.sum(axis=1, keepdims=True) - excess) / (count - 1)
    without = _bits(_between(x, np.maximum(left, 0.0) / sigma[:, None] ** 2, fine)[0], fine)
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    margin = float(stats.t.isf((1 - LEVEL) / 2, count - 1)) * error + choice
    return Bits(value, max(value - margin, 0.0), value + margin, choice, by_level)


def difference(
    sigma: FloatArray, a: FloatArray, b: FloatArray, paired: bool, bands: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Bits]:
    """How many bits a pixel more b loses than a, over all noise levels and about some of them.

    Those of all noise levels are the difference of the two `excess_bits`; those about a noise level reach to the
    middles (in log sigma) between it and its neighbours, so that bits of bands add up. The interval is a jackknife over
    images, jointly where they are the same.

    Parameters
    ----------
    sigma : noise levels, increasing, ``(levels,)``
    a, b : per-image excess over the exact posterior mean, per pixel, ``(levels, images)``
    paired : whether image i is the same in both
    bands : which noise levels, ``(levels,)``, by name

    Returns
    -------
    dict of Bits
        By name; NaN with fewer than four noise levels, without an interval with fewer than three images.
    """
    if len(sigma) < _FEWEST_LEVELS or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return dict.fromkeys(bands, UNKNOWN)
    (smooth_a, other_a), (smooth_b, other_b) = (_about_levels(sigma, excess) for excess in (a, b))
    return {
        name: _difference(
            smooth_a[chosen].sum(axis=0),
            smooth_b[chosen].sum(axis=0),
            paired,
            float(np.abs((smooth_b[:, 0] - other_b - smooth_a[:, 0] + other_a)[chosen].sum())),
        )
        for name, chosen in bands.items()
    }


def _difference(a: FloatArray, b: FloatArray, paired: bool, choice: float) -> Bits:
    """Of bits of all images, and without each in turn, ``(1 + images,)``; choice: of the interpolation."""
    value = float(b[0] - a[0])
    parts = [b[1:] - a[1:]] if paired else [a[1:], b[1:]]
    count = min(len(part) for part in parts)
    if count < 3:
        return Bits(value, float("nan"), float("nan"), choice)
    error = np.sqrt(sum((len(part) - 1) * part.var() for part in parts))
    margin = float(stats.t.isf((1 - LEVEL) / 2, count - 1) * error) + choice
    return Bits(value, value - margin, value + margin, choice)


def over_families(found: list[Bits]) -> Bits:
    """The plain mean over families, whose images are independent; unknown where one of them is."""
    if not found:
        return UNKNOWN
    value = float(np.mean([each.value for each in found]))
    below, above = (
        float(np.sqrt(np.sum([(getattr(each, end) - each.value) ** 2 for each in found]))) / len(found)
        for end in ("low", "high")
    )
    return Bits(value, max(value - below, 0.0), value + above, float(np.mean([each.interpolation for each in found])))


def _fine(x: FloatArray) -> FloatArray:
    """Where the integrand is interpolated: ``_STEPS`` from each noise level to the next."""
    return np.interp(np.arange(_STEPS * (len(x) - 1) + 1) / _STEPS, np.arange(len(x)), x)


def _between(x: FloatArray, rate: FloatArray, fine: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Each column of the integrand, interpolated in two ways."""
    positive = (rate > 0).all(axis=0)
    found = np.empty((2, len(fine), rate.shape[1]))
    if positive.any():
        logs = np.log(rate[:, positive])
        for position, kind in enumerate((CubicSpline, PchipInterpolator)):
            found[position][:, positive] = np.exp(kind(x, logs)(fine))
    if not positive.all():  # an optimum somewhere: no logarithm there
        found[0][:, ~positive] = PchipInterpolator(x, rate[:, ~positive])(fine)
        found[1][:, ~positive] = make_interp_spline(x, rate[:, ~positive], k=1)(fine)
    return found[0], found[1]


def _bits(rate: FloatArray, fine: FloatArray) -> FloatArray:
    return np.trapezoid(rate, fine, axis=0) / np.log(2)


def _by_level(rate: FloatArray, fine: FloatArray) -> FloatArray:
    """The integral from middle to middle between noise levels, a row each."""
    until = cumulative_trapezoid(rate, fine, initial=0.0, axis=0) / np.log(2)
    ends = np.concatenate([until[:1], until[_STEPS // 2 :: _STEPS], until[-1:]])
    return np.diff(ends, axis=0)


def _about_levels(sigma: FloatArray, excess: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What is lost about each noise level on all images, and without each in turn: ``(levels, 1 + images)``.

    Also by the other interpolation, on all images, ``(levels,)``.
    """
    count, mean = excess.shape[1], excess.mean(axis=1, keepdims=True)
    without = (count * mean - excess) / max(count - 1, 1)
    x = np.log(sigma)
    fine = _fine(x)
    smooth, other = _between(x, np.maximum(np.hstack([mean, without]), 0.0) / sigma[:, None] ** 2, fine)
    return _by_level(smooth, fine), _by_level(other[:, 0], fine)
