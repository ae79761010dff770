"""The MMSE of a mixture of points on a grid, by quadrature on the line.

The weight of grid point (i, j) is ``ratio^(g i + j)`` with g points a side, a product, so the two pixels are
independent mixtures on the line, of weights ``ratio^(g i)`` and ``ratio^j``. For one of them, with modes m_i,

    y ~ p = sum_i a_i N(m_i, w^2 + s^2),   V(y) = w^2 s^2 / (w^2 + s^2) + sum_i r_i(y) (c_i(y) - c(y))^2
    mmse = E[V],   d mmse / d log s = (2 / s^2) E[V^2],   I(x; y) = -E[log p(y)] - log(2 pi e s^2) / 2

with c_i the Wiener estimate towards m_i, r_i its responsibility and c = sum_i r_i c_i. The trapezoidal rule converges
exponentially for these analytic integrands: relative error below 1e-11.

References
----------
L. N. Trefethen, J. A. C. Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 2014,
doi:10.1137/130932132; D. Guo et al., 2011, doi:10.1109/TIT.2011.2111010, proposition 9 (the slope).
"""

import numpy as np

from gahb_bench.core.images import FloatArray
from gahb_bench.families.gmm.law import Gmm

_REACH = 9.0  # standard deviations on either side of the outermost modes
_FINENESS = 12  # steps a smallest scale of the integrand


def point_risk(family: Gmm, sigmas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """MMSE per pixel, its local exponent, and the mutual information I(x; y) in nats, at each noise level."""
    side = round(family.components**0.5)
    modes = family.means[:side, 0, 1]
    axes = [family.ratio ** (step * np.arange(side, dtype=np.float64)) for step in (side, 1)]
    rows = []
    for sigma in sigmas:
        parts = [_line(modes, weights / weights.sum(), family.within, float(sigma)) for weights in axes]
        first, second, information = np.sum(parts, axis=0)
        rows.append((first / 2, 2 / sigma**2 * second / first, information))
    mse, exponent, information = np.array(rows).T
    return mse, exponent, information


def _line(modes: FloatArray, weights: FloatArray, within: float, sigma: float) -> tuple[float, float, float]:
    """E[V], E[V^2] and I(x; y) of one pixel."""
    total, k = within**2 + sigma**2, within**2 / (within**2 + sigma**2)
    spread = np.sqrt(total)
    between = float(modes[-1] - modes[0]) if len(modes) > 1 else spread
    step = min(spread, total / between) / _FINENESS  # responsibilities change over total / (distance of modes)
    reach = _REACH * spread
    y = np.arange(modes[0] - reach, modes[-1] + reach + step, step)
    logs = np.log(weights) - (y[:, None] - modes) ** 2 / (2 * total) - np.log(2 * np.pi * total) / 2
    largest = logs.max(axis=1, keepdims=True)
    r = np.exp(logs - largest)
    scale = r.sum(axis=1, keepdims=True)
    r, log_p = r / scale, (largest + np.log(scale))[:, 0]
    centre = (1 - k) * modes  # c_i up to k y, the same for every i
    variance = sigma**2 * k + (r * (centre - (r @ centre)[:, None]) ** 2).sum(axis=1)
    p = np.exp(log_p) * step
    entropy = -float(p @ log_p)
    return float(p @ variance), float(p @ variance**2), entropy - np.log(2 * np.pi * np.e * sigma**2) / 2
