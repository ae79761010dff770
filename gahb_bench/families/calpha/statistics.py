"""What is measured of samples of ``calpha``: the variance of every Fourier mode, whose law is known exactly."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtri_exp

from gahb_bench.core.images import FloatArray
from gahb_bench.core.statistics import Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.calpha.law import Calpha


class CalphaStatistics(SampleStatistics[Calpha]):
    """Variances of Fourier modes, over those of the law through the tolerance s.

        u_k = H_k(x - mean) / sqrt(lambda_k + s^2),   H the orthonormal Hartley transform;   sum_i u_ik^2 ~ chi^2(n)

    exactly, independent over the N^2 modes. `mode variances`: root mean square of ``mean_i u_ik^2 - 1``; `shell
    variances`: the same, of shells of one rounded radius; for both the p-value is that of chi^2, of the squared normal
    scores of modes or shells. `largest mode`: the largest normal score of a mode in modulus. With ``law=uniform`` the
    modes are not Gaussian, and nothing is measured.
    """

    def describe(self, seen: Seen) -> Described:
        spectrum = scipy.fft.fft2(seen.noisy[:, 0].numpy() - self.family.mean, norm="ortho")
        hartley = spectrum.real - spectrum.imag
        return {"score": hartley / np.sqrt(self.family.spectrum + seen.tolerance**2)}

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        del exact, tests
        law = self.family
        if law.law == "uniform":
            return {}
        score = samples["score"].reshape(len(samples["score"]), -1)
        square, count = (score**2).sum(axis=0), len(score)
        frequency = np.fft.fftfreq(law.size, 1 / law.size)
        radius = np.rint(np.hypot(frequency[:, None], frequency)).astype(np.int64).ravel()
        members = np.bincount(radius)
        modes = _normal_scores(square, count)
        shells = np.asarray(np.bincount(radius, weights=square), dtype=np.float64)
        shell_scores = _normal_scores(shells, count * members)
        largest = float(np.abs(modes).max())
        return {
            "mode variances": Found(_rms(square / count - 1), _omnibus(modes)),
            "shell variances": Found(_rms(shells / (count * members) - 1), _omnibus(shell_scores)),
            "largest mode": Found(largest, float(-np.expm1(len(modes) * np.log1p(-2 * stats.norm.sf(largest))))),
        }


def _normal_scores(square: FloatArray, freedom: NDArray[np.integer] | int) -> FloatArray:
    """Standard normal numbers with the tails of chi^2 numbers of so many degrees of freedom."""
    above, below = stats.chi2.logsf(square, freedom), stats.chi2.logcdf(square, freedom)
    exact = np.where(above < below, -ndtri_exp(above), ndtri_exp(below))
    spread = 2 / (9 * freedom)  # Wilson and Hilferty's, where probabilities underflow
    return np.where(np.isfinite(exact), exact, ((square / freedom) ** (1 / 3) - 1 + spread) / np.sqrt(spread))


def _omnibus(scores: FloatArray) -> float:
    return float(stats.chi2.sf((scores**2).sum(), len(scores)))


def _rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))
