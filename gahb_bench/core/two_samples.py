"""Whether two sets of images are of one law: tests whose p-values hold whatever that law is."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gahb_bench.core import rng
from gahb_bench.core.images import FloatArray

_PERMUTATIONS = 4999  # the least p-value is one over one more
_AT_ONCE = 512  # permutations in one product of matrices
FORGIVEN = 0.01  # share of samples that may not be what all images of the law are
_EXTREME = 0.05  # share of the values of both sets together that count as extreme


@dataclass(frozen=True)
class Found:
    """A statistic of samples, and the probability of one at least as far off under the law."""

    value: float
    p_value: float


@dataclass(frozen=True)
class TwoSamples:
    """Tests of ``samples`` images against ``exact`` ones of a law, all by the same permutations of one seed."""

    samples: int
    exact: int
    seed: int = 0

    def mean_difference(self, a: FloatArray, b: FloatArray) -> Found:
        """Of features ``(samples, ...)`` and ``(exact, ...)``: how far their means are apart, over all features.

            value^2 = mean over features of ((mean a - mean b) / sd)^2,   sd that of both sets together

        in standard deviations of a single image; the p-value is by permutation of the images. Features that do not vary
        at all do not count.
        """
        z = np.concatenate([a.reshape(len(a), -1), b.reshape(len(b), -1)]).astype(np.float64)
        z = z - z.mean(axis=0)
        deviation = z.std(axis=0)
        z = z[:, deviation > 0] / deviation[deviation > 0]
        found = self._quadratic(z @ z.T / max(z.shape[1], 1))
        return Found(max(found.value, 0.0) ** 0.5, found.p_value)

    def energy(self, a: FloatArray, b: FloatArray) -> Found:
        """Energy distance ``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` of vectors ``(n, d)``, distances over sqrt(d).

        References
        ----------
        G. J. Szekely, M. L. Rizzo, "Energy statistics: a class of statistics based on distances", J. Stat. Plan.
        Inference 2013, doi:10.1016/j.jspi.2013.03.018, sections 2 and 7 (the test by permutation).
        """
        x = np.concatenate([a, b]).astype(np.float64)
        x = x - x.mean(axis=0)
        square = (x**2).sum(axis=1)
        distance = np.sqrt(np.maximum(square[:, None] + square - 2 * x @ x.T, 0.0) / x.shape[1])
        np.fill_diagonal(distance, 0.0)
        return self._quadratic(-distance)

    def distribution(self, a: FloatArray, b: FloatArray) -> Found:
        """Kolmogorov-Smirnov distance of numbers ``(samples,)`` and ``(exact,)``, with its asymptotic p-value."""
        found = stats.ks_2samp(a, b, method="asymp")
        return Found(float(found.statistic), float(found.pvalue))  # pyright: ignore[reportAttributeAccessIssue]

    def extremes(self, a: FloatArray, b: FloatArray) -> Found:
        """How many of the extreme values are samples', over what is due: 1 for the law, more for heavier tails.

        Extreme are the 5 % of all values that are farthest from the median, in ranks. How many of them are samples' is
        hypergeometric under the law; the p-value is two-sided.
        """
        both = np.concatenate([a, b])
        order = stats.rankdata(both)
        count = 2 * max(int(_EXTREME * len(both) / 2), 1)  # as many of either end
        extreme = np.argsort(-np.abs(order - (len(both) + 1) / 2), kind="stable")[:count]
        law = stats.hypergeom(len(both), len(a), count)
        seen = int((extreme < len(a)).sum())
        tail = float(min(law.cdf(seen), law.sf(seen - 1)))
        return Found(seen / (count * len(a) / len(both)), min(2 * tail, 1.0))

    def _quadratic(self, kernel: FloatArray) -> Found:
        """``c' K c`` with c = 1/samples on the samples, -1/exact on the others; large by chance as often as permuted.

        c sums to 0, so K counts up to what is added to whole rows and columns.
        """
        value = self._forms(kernel, np.arange(len(kernel))[None] < self.samples)[0]
        permuted = np.concatenate(
            [self._forms(kernel, self._labels[i : i + _AT_ONCE]) for i in range(0, _PERMUTATIONS, _AT_ONCE)]
        )
        above = int((permuted >= value * (1 - 1e-12)).sum())
        return Found(float(value), (1 + above) / (1 + _PERMUTATIONS))

    def _forms(self, kernel: FloatArray, labels: NDArray[np.bool_]) -> FloatArray:
        c = np.where(labels, 1 / self.samples, -1 / self.exact)
        return ((c @ kernel) * c).sum(axis=1)

    @cached_property
    def _labels(self) -> NDArray[np.bool_]:
        """Which of all images count as samples, a row each permutation."""
        stream = rng.generator("sample statistics", "permutations", self.seed)
        labels = np.tile(np.arange(self.samples + self.exact) < self.samples, (_PERMUTATIONS, 1))
        return stream.permuted(labels, axis=1)


def rare(flags: NDArray[np.bool_], rate: float) -> float:
    """p-value of so many images being what an image of the law is with probability at most ``rate``, (n,) bool.

    >>> rare(np.array([True] + 99 * [False]), 0.01) > 0.5, rare(np.array(20 * [True]), 0.01) < 1e-30
    (True, True)
    """
    return float(stats.binom.sf(flags.sum() - 1, len(flags), rate))


def share(flags: FloatArray) -> Found:
    """The share of samples that are (1, not 0) what all images of the law are; its p-value forgives 1 %."""
    return Found(float(flags.mean()), rare(flags == 0, FORGIVEN))
