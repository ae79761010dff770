"""What is measured of samples of ``gmm``: which modes they are in, and whether they are in any."""

from typing import ClassVar

import numpy as np
import scipy.stats

from gahb_bench.core.statistics import Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples, rare
from gahb_bench.families.gmm.law import Gmm
from gahb_bench.families.gmm.oracles import Mmse

_CREDIBLE = 0.99  # probability of the region around a mode outside of which a sample is between the modes


class GmmStatistics(SampleStatistics[Gmm]):
    """Shares of modes, and samples between modes.

    `shares of modes`: total variation distance of the shares of the likeliest components; the p-value is that of the
    difference of shares from exact images', by permutation.

    `between modes`: the share of samples outside the region of 99 % of every component,

        (x - mu_k)' (C_k + s^2)^{-1} (x - mu_k)  >  that quantile of chi^2(pixels),   s the tolerance

    which is mode interpolation, hallucination. An image of the law is there with probability at most 1 %, which the
    p-value, of a binomial law, forgives. With ``variant=scales`` the region of a component is a shell: the inner tail
    counts as the outer one.

    `distance to a mode`: the law of that least distance (Kolmogorov-Smirnov), which tells samples too near to the
    middle of their mode as well.

    References
    ----------
    S. K. Aithal, P. Maini, Z. C. Lipton, J. Z. Kolter, NeurIPS 2024, arXiv:2406.09358, section 4 (mode interpolation).
    """

    flag: ClassVar = "outside"

    def describe(self, seen: Seen) -> Described:
        oracle, law = Mmse().bind(self.family), self.family
        sigma = seen.noisy.new_full((len(seen.noisy),), seen.tolerance)
        tiles = [tile for _, tile in oracle.tiles(seen.noisy, sigma)]
        distance = np.concatenate([tile.distance.numpy() for tile in tiles])
        region = scipy.stats.chi2(np.prod(law.shape))
        tail = region.sf(distance)
        if law.variant == "scales":
            tail = 2 * np.minimum(tail, region.cdf(distance))
        likeliest = tail.max(axis=1)
        mode = np.concatenate([tile.responsibilities.argmax(dim=1).numpy() for tile in tiles])
        return {
            "mode": np.eye(law.components)[mode],
            "distance": distance.min(axis=1),
            "outside": (likeliest < 1 - _CREDIBLE).astype(np.float64),
        }

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        outside = samples["outside"] > 0
        apart = np.abs(samples["mode"].mean(axis=0) - exact["mode"].mean(axis=0)).sum() / 2
        return {
            "shares of modes": Found(float(apart), tests.mean_difference(samples["mode"], exact["mode"]).p_value),
            "between modes": Found(float(outside.mean()), rare(outside, 1 - _CREDIBLE)),
            "distance to a mode": tests.distribution(samples["distance"], exact["distance"]),
        }
