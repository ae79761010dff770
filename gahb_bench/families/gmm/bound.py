"""An upper bound in closed form on what not knowing the component costs, for where that cost is too rare to sample.

The cost is ``B = E[ sum_k r_k |m_k - x_hat|^2 ] = 1/2 sum_{k,l} E[ r_k r_l |m_k - m_l|^2 ]``. With p_k the law of y
given component k, a_k its weight, and p the law of y (a harmonic mean is at most the geometric one)

    p r_k r_l <= a_k a_l p_k p_l / (a_k p_k + a_l p_l) <= sqrt(a_k a_l p_k p_l) / 2

    B <= 1/2 sum_{k<l} sqrt(a_k a_l) int sqrt(p_k p_l) |m_k - m_l|^2 dy

and each integral is Gaussian: with S_k = C_k + s^2 I, all diagonal in the same basis, ``sqrt(p_k p_l)`` is

    prod_f [ 4 S_k S_l / (S_k + S_l)^2 ]^{1/4} exp( -|mu_k - mu_l|^2 / (4 (S_k + S_l)) )

times the law of mean ``(S_l mu_k + S_k mu_l) / (S_k + S_l)`` and variance ``2 S_k S_l / (S_k + S_l)``.

References
----------
A. Bhattacharyya, "On a measure of divergence between two statistical populations defined by their probability
distributions", Bull. Calcutta Math. Soc. 1943 (the factor above).
"""

import numpy as np
import scipy.fft

from gahb_bench.core.images import FloatArray
from gahb_bench.families.gmm.law import Gmm


def between_bound(family: Gmm, sigmas: FloatArray) -> FloatArray:
    """Upper bound on B per pixel at each noise level."""
    pixels = float(np.prod(family.shape))
    means = scipy.fft.fft2(family.means, norm="ortho")
    return np.array([_bound(family.weights, means, family.spectra, float(sigma)) / pixels for sigma in sigmas])


def _bound(weights: FloatArray, means: np.ndarray, spectra: FloatArray, sigma: float) -> float:
    total, gain = spectra + sigma**2, spectra / (spectra + sigma**2)
    centre = (1 - gain) * means  # m_k = centre_k + gain_k y
    bound = 0.0
    for k in range(1, len(weights)):
        both = total[:k] + total[k]
        log = np.log(4 * total[:k] * total[k] / both**2) / 4 - np.abs(means[:k] - means[k]) ** 2 / (4 * both)
        y = (total[k] * means[:k] + total[:k] * means[k]) / both
        away = np.abs(centre[:k] - centre[k] + (gain[:k] - gain[k]) * y) ** 2
        away += (gain[:k] - gain[k]) ** 2 * 2 * total[:k] * total[k] / both
        overlap = np.sqrt(weights[:k] * weights[k]) * np.exp(log.sum(axis=(1, 2)))
        bound += 0.5 * float(overlap @ away.sum(axis=(1, 2)))
    return bound
