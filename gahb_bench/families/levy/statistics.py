"""What is measured of samples of ``levy``: the law of the increments, which is known exactly."""

import numpy as np
from scipy import stats
from scipy.special import log_ndtr, ndtr

from gahb_bench.core.images import FloatArray
from gahb_bench.core.statistics import Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.levy.jumps import JumpLaw
from gahb_bench.families.levy.law import Levy

_JUMP = 5.0  # tolerances: a smaller increment is taken for noise
_NODES = 64  # of the quadrature: its error is below 1e-8 where s is at most the scale of the jumps


class LevyStatistics(SampleStatistics[Levy]):
    """Of the increments u of a signal, each seen through its own noise of the tolerance s, ``w = u + s z``.

    `increments`: the Kolmogorov-Smirnov distance of all of them to their law, that of the jumps convolved with
    N(0, s^2). `largest increment`: that of the largest ``|w|`` of a signal to the largest of N independent ones.
    `jumps`: the share of ``|w| > 5 s``, with its binomial p-value, where jumps are rare.

    `dependence of neighbours`, `of sizes`: correlations of one increment with the next, of ``c = 2 F(w) - 1`` and of
    ``|c|``, which are uniform under the law: 0 for independent increments, with deviation ``1 / sqrt(pairs)``.

    References
    ----------
    M. Unser, P. D. Tafti, "An Introduction to Sparse Stochastic Processes", Cambridge University Press 2014.
    """

    def describe(self, seen: Seen) -> Described:
        noise = (seen.noisy - seen.clean).flatten(1).numpy()
        u = np.diff(seen.clean.flatten(1).numpy(), axis=1, prepend=0.0)
        return {"increments": u + noise, "tolerance": np.full(len(u), seen.tolerance)}

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        del exact, tests  # the law is known
        law, w, s = self.family.law, samples["increments"], float(samples["tolerance"][0])
        within = 2 * cdf(law, np.abs(w), s) - 1  # of |w|: the probability of a smaller one
        found = {
            "increments": _distance(0.5 + np.sign(w) * within / 2),
            "largest increment": _distance(within.max(axis=1) ** w.shape[1]),
            "dependence of neighbours": _correlation(np.sign(w) * within),
            "dependence of sizes": _correlation(2 * within - 1),
        }
        if law.atom:
            jumps, due = int((np.abs(w) > _JUMP * s).sum()), float(2 * cdf(law, np.array(-_JUMP * s), s))
            found["jumps"] = Found(jumps / w.size, float(stats.binomtest(jumps, w.size, due).pvalue))
        return found


def cdf(law: JumpLaw, w: FloatArray, s: float) -> FloatArray:
    """``P(u + s z <= w)`` of a jump u and z ~ N(0, 1), with s > 0; by quadrature for Student's law."""
    if law.kind == "gauss":
        return np.asarray(ndtr(w / np.hypot(law.scale, s)))
    if law.kind == "student":
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        steps = [a * stats.t.cdf((w - s * x) / law.scale, law.df) for x, a in zip(nodes, weights, strict=True)]
        return np.asarray(sum(steps) / weights.sum())
    b = law.scale
    above, below = (0.5 * np.exp(sign * w / b + (s / b) ** 2 / 2 + log_ndtr(-sign * w / s - s / b)) for sign in (1, -1))
    return np.asarray(ndtr(w / s) + (1 - law.atom) * (above - below))


def _distance(uniform: FloatArray) -> Found:
    """Kolmogorov-Smirnov distance of numbers to the uniform law on [0, 1]."""
    fit = stats.kstest(uniform.ravel(), "uniform", mode="asymp")
    return Found(float(fit.statistic), float(fit.pvalue))  # pyright: ignore[reportAttributeAccessIssue]


def _correlation(c: FloatArray) -> Found:
    """Mean of ``3 c_i c_{i+1}``, c uniform on [-1, 1]: its terms have mean 0, variance 1, and do not correlate."""
    terms = 3 * c[:, 1:] * c[:, :-1]
    value = float(terms.mean())
    return Found(value, float(2 * stats.norm.sf(abs(value) * np.sqrt(terms.size))))
