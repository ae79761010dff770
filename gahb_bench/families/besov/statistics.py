"""What is measured of samples of ``besov``: the law of the details at each level, which is known exactly."""

import math

import numpy as np
from scipy import stats
from scipy.special import logit, ndtr

from gahb_bench.core.images import FloatArray
from gahb_bench.core.statistics import Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.besov.law import Besov


class BesovStatistics(SampleStatistics[Besov]):
    """Of the details w at each level j, through the tolerance s.

        w ~ pi_j N(0, t_j^2 + s^2) + (1 - pi_j) N(0, s^2),   independent

    `details of level j`: the Kolmogorov-Smirnov distance of all of them to that law. `activity of level j`: the share
    that is likelier active than not, with its binomial p-value. `kurtosis of level j`: ``mean w^4 / (mean w^2)^2``; the
    p-value is that of the mean of w^4 against exact images', by permutation.
    """

    def describe(self, seen: Seen) -> Described:
        law = self.family
        w = law.transform.forward(seen.noisy - law.mean)[:, 0].numpy()
        bands = list(law.transform.subbands())
        own = {
            j: [w[:, band.rows, band.columns].reshape(len(w), -1) for band in bands if law.levels - band.level == j]
            for j in range(law.levels)
        }
        details = {f"level {law.coarse + j}": np.concatenate(parts, axis=1) for j, parts in own.items()}
        return details | {"tolerance": np.full(len(w), seen.tolerance)}

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        law, found = self.family, {}
        s = float(samples["tolerance"][0])
        for j, (_, pi, t) in enumerate(law.scales, start=law.coarse):
            w, name = samples[f"level {j}"], f"level {j}"
            wide = float(np.hypot(t, s))
            fit = stats.kstest(w.ravel(), _mixture_cdf, args=(pi, wide, s), mode="asymp")
            found[f"details of {name}"] = Found(float(fit.statistic), float(fit.pvalue))  # pyright: ignore[reportAttributeAccessIssue]
            if pi < 1:
                least = math.sqrt(max(2 * (math.log(wide / s) - float(logit(pi))), 0.0) / (s**-2 - wide**-2))
                active = int((np.abs(w) > least).sum())
                due = float(2 * _mixture_cdf(np.array(-least), pi, wide, s))
                found[f"activity of {name}"] = Found(
                    active / w.size, float(stats.binomtest(active, w.size, due).pvalue)
                )
            fourth, others = ((each[name] ** 4).mean(axis=1) for each in (samples, exact))
            kurtosis = float(fourth.mean() / (w**2).mean() ** 2)
            found[f"kurtosis of {name}"] = Found(kurtosis, tests.mean_difference(fourth, others).p_value)
        return found


def _mixture_cdf(w: FloatArray, pi: float, wide: float, narrow: float) -> FloatArray:
    return np.asarray(pi * ndtr(w / wide) + (1 - pi) * ndtr(w / narrow))
