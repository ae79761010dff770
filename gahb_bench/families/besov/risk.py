"""Risks of a Bernoulli-Gaussian coefficient in white noise: the least one by quadrature, thresholding in closed form.

Throughout ``w = d + s z`` with ``d = b e``, b ~ Bernoulli(pi), e ~ N(0, t^2), z ~ N(0, 1), and

    r = t / s,   k = t^2 / (t^2 + s^2),   u = w / sqrt(t^2 + s^2)
    Q(w) = P(b = 0 | w) = 1 / (1 + exp(a + (r u)^2 / 2)),   a = log(pi / (1 - pi)) - log(1 + r^2) / 2

All functions broadcast over arrays of (pi, t, s).
"""

import numpy as np
from scipy.special import entr, expit, gammainc, gammaincc, ndtr

from gahb_bench.core.images import FloatArray

Values = FloatArray | float

_PANELS, _ORDER = 48, 16  # composite Gauss-Legendre: doubling either moves nothing above 1e-13
_TAIL = 40.0  # an integrand is cut where it is e^-40 of its largest value


def least_risk(pi: Values, t: Values, s: Values) -> tuple[FloatArray, FloatArray]:
    """E[V] and E[V^2] of the posterior variance ``V = Var(d | w)``: the least risk, and what its slope needs.

        V = (1 - Q) (k s^2 + Q k^2 w^2)
        E[V]   = pi (k s^2 + k^2 E_1[Q w^2])                                   E_1: given b = 1, w ~ N(0, t^2 + s^2)
        E[V^2] = pi E_1[(1 - Q) (k s^2 + Q k^2 w^2)^2]

    because (1 - Q) times the law of w is pi times its law given b = 1. Both are sums of positive terms, so nothing
    cancels. Relative error below 1e-12 (Gauss-Legendre in u, on the interval where Q is not negligible).

    References
    ----------
    D. Guo, Y. Wu, S. Shamai, S. Verdu, "Estimation in Gaussian noise: properties of the minimum mean-square error",
    IEEE Trans. Inf. Theory 2011, doi:10.1109/TIT.2011.2111010, proposition 9: ``d mmse / d snr = -E[V^2]``.
    """
    pi, t, s = _broadcast(pi, t, s)
    ratio, k = np.asarray((t / s) ** 2), np.asarray(t**2 / (t**2 + s**2))
    noise = np.asarray(k * s**2)
    u, weight, p, q = _rule(pi, ratio)
    signal = np.asarray(k * t**2)[..., None] * u**2  # k^2 w^2
    first = noise + (weight * q * signal).sum(axis=-1)
    flat = noise[..., None]
    second = noise**2 + (weight * (p * (flat + q * signal) ** 2 - flat**2)).sum(axis=-1)
    return np.asarray(pi * first), np.asarray(pi * second)


def information(pi: Values, t: Values, s: Values) -> FloatArray:
    """Mutual information I(d; w) in nats.

        I(d; w) = I(b; w) + pi log(1 + r^2) / 2,     I(b; w) = H(b) - E[H(b | w)]

    and ``E[H(b | w)] = pi E_1[h(Q) / (1 - Q)]`` with h the binary entropy.
    """
    pi, t, s = _broadcast(pi, t, s)
    ratio = np.asarray((t / s) ** 2)
    _, weight, p, q = _rule(pi, ratio)
    unsure = pi * (weight * (entr(q) + entr(p)) / p).sum(axis=-1)
    return np.asarray(entr(pi) + entr(1 - pi) - unsure + pi * np.log1p(ratio) / 2)


def threshold_risk(rule: str, threshold: Values, pi: Values, t: Values, s: Values) -> FloatArray:
    """Risk of keeping (``hard``) or shrinking (``soft``) what exceeds a threshold, in closed form.

    Given b the coefficient is Gaussian of variance v (0 or t^2), and with ``c = v / (v + s^2)``, T^2 = v + s^2

        E(eta(w) - d)^2 = c s^2 + E(eta(w) - c w)^2
        hard  E(eta(w) - c w)^2 = c^2 T^2 (1 - M_2) + (1 - c)^2 T^2 M_2
        soft  the same - 2 (1 - c) T threshold M_1 + threshold^2 M_0

    with ``M_i = E[|g|^i ; |g| > threshold / T]``, g ~ N(0, 1).
    """
    if rule not in ("hard", "soft"):
        raise ValueError(f"rule {rule!r}: 'hard' or 'soft'")
    threshold, pi, t, s = _broadcast(threshold, pi, t, s)
    on = _gaussian_threshold_risk(rule, threshold, t**2, s)
    off = _gaussian_threshold_risk(rule, threshold, np.zeros_like(t), s)
    return np.asarray(pi * on + (1 - pi) * off)


def _broadcast(*values: Values) -> tuple[FloatArray, ...]:
    return np.broadcast_arrays(*(np.asarray(value, dtype=np.float64) for value in values))


def _gaussian_threshold_risk(rule: str, threshold: Values, v: Values, s: Values) -> FloatArray:
    total = np.asarray(v + s**2)
    c, kept = v / total, s**2 / total
    a = threshold / np.sqrt(total)
    inside, outside = gammainc(1.5, a**2 / 2), gammaincc(1.5, a**2 / 2)  # 1 - M_2 and M_2
    risk = c * s**2 + total * (c**2 * inside + kept**2 * outside)
    if rule == "soft":
        density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
        risk = risk - 4 * kept * np.sqrt(total) * threshold * density + 2 * threshold**2 * ndtr(-a)
    return np.asarray(risk)


def _rule(pi: FloatArray, ratio: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Nodes u and weights for ``E_1[f]``, u standard normal and f even, and 1 - Q and Q there; nodes on a last axis.

    Past the last node Q is negligible: by then either u > 9 or its logit exceeds 40 more than at u = 0.
    """
    with np.errstate(divide="ignore"):
        logit = np.log(pi) - np.log1p(-pi) - np.log1p(ratio) / 2
    bounded = np.where(pi < 1, logit, 0.0)
    end = np.minimum(np.sqrt(2 * _TAIL), np.sqrt(2 * (_TAIL + np.maximum(-bounded, 0)) / ratio))
    x, w = np.polynomial.legendre.leggauss(_ORDER)
    x = ((np.arange(_PANELS)[:, None] + (x + 1) / 2) / _PANELS).ravel()
    w = np.tile(w / (2 * _PANELS), _PANELS)
    u = end[..., None] * x
    odds = np.where((pi < 1)[..., None], bounded[..., None] + ratio[..., None] * u**2 / 2, np.inf)
    weight = 2 * end[..., None] * w * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)
    return u, weight, expit(odds), expit(-odds)
