"""The MMSE of a scale mixture, by quadrature over the distance to the mean.

Every component has the same mean m and a multiple of the identity as its covariance, so that all depends on y through
``rho = |y - m|^2``. With ``t_k = s_k^2 + s^2``, gains ``g_k = s_k^2 / t_k`` and responsibilities r_k(rho),

    rho | k  ~  t_k chi^2(P),   P pixels,   g = sum_k r_k g_k,   v = sum_k r_k (g_k - g)^2
    Cov(x|y) = s^2 g I + v (y - m)(y - m)',   so that   tr = P s^2 g + rho v
    mmse = E[tr] / P,   d log mmse / d log s = (2 / s^2) E[tr Cov^2] / E[tr]
    I(x; y) = -E[log p(y)] - P log(2 pi e s^2) / 2

The trapezoidal rule in log rho converges exponentially for these analytic integrands: relative error below 1e-9.

References
----------
L. N. Trefethen, J. A. C. Weideman, "The exponentially convergent trapezoidal rule", SIAM Review 2014,
doi:10.1137/130932132; D. Guo et al., 2011, doi:10.1109/TIT.2011.2111010 (the slope, for vectors: d mmse / d snr is
``-E tr Cov(x|y)^2``).
"""

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp

from gahb_bench.core.images import FloatArray
from gahb_bench.families.gmm.law import Gmm

_TAIL = 1e-18  # of chi^2, on either side
_FINENESS = 9  # steps a smallest scale of the integrand; twice as many change nothing above 1e-9


def scale_risk(family: Gmm, sigmas: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """MMSE per pixel, its local exponent, and the mutual information I(x; y) in nats, at each noise level."""
    rows = [_risk(family.scales**2, family.weights, int(np.prod(family.shape)), float(sigma)) for sigma in sigmas]
    mse, exponent, information = np.array(rows).T
    return mse, exponent, information


def _risk(power: FloatArray, weights: FloatArray, pixels: int, sigma: float) -> tuple[float, float, float]:
    total = power + sigma**2
    gain, noise = power / total, sigma**2
    trace = square = entropy = 0.0
    for weight, own in zip(weights, total, strict=True):
        log_rho, mass = _distances(own, total, pixels)
        rho = np.exp(log_rho)[:, None]
        log_joint = np.log(weights) - pixels / 2 * np.log(2 * np.pi * total) - rho / (2 * total)
        log_p = logsumexp(log_joint, axis=1, keepdims=True)
        r = np.exp(log_joint - log_p)
        mixed = (r * gain).sum(axis=1, keepdims=True)
        along = rho[:, 0] * (r * (gain - mixed) ** 2).sum(axis=1)
        across = noise * mixed[:, 0]
        trace += weight * float(mass @ (pixels * across + along))
        square += weight * float(mass @ ((pixels - 1) * across**2 + (across + along) ** 2))
        entropy -= weight * float(mass @ log_p[:, 0])
    return trace / pixels, 2 / noise * square / trace, entropy - pixels / 2 * np.log(2 * np.pi * np.e * noise)


def _distances(own: float, total: FloatArray, pixels: int) -> tuple[FloatArray, FloatArray]:
    """Nodes log rho and their weights, for rho ~ own chi^2(pixels).

    Responsibilities of components i and j change over ``1 / (rho |1/t_i - 1/t_j| / 2)``; of those that matter where
    rho is about ``own pixels``, the neighbours of this component are the farthest.
    """
    place = int(np.argmin(np.abs(total - own)))
    near = total[max(place - 1, 0) : place + 2]
    low, high = (np.log(own * edge) for edge in (stats.chi2.ppf(_TAIL, pixels), stats.chi2.isf(_TAIL, pixels)))
    change = float(np.exp(high) / 2 * np.abs(1 / near - 1 / own).max())
    step = min(np.sqrt(2 / pixels), 1 / max(change, 1e-300)) / _FINENESS
    log_rho = np.linspace(low, high, int(np.ceil((high - low) / step)) + 1)
    x = log_rho - np.log(own)
    log_mass = pixels / 2 * (x - np.log(2)) - np.exp(x) / 2 - gammaln(pixels / 2)
    return log_rho, np.exp(log_mass) * (log_rho[1] - log_rho[0])
