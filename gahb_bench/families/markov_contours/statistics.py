"""What is measured of samples of ``markov-contours``: whether they have a contour, and the increments of it."""

import numpy as np
import torch

from gahb_bench.core.statistics import Described, SampleStatistics, Seen, compare_distance, describe_distance
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.markov_contours.law import MarkovContours

_EDGES = np.arange(-2.5, 2.6, 0.5)  # of the bins of increments, standard deviations


class MarkovContoursStatistics(SampleStatistics[MarkovContours]):
    """Distance to the images of the law (`compare_distance`), and the law of the contour.

    The contour is fitted column by column, through the noise, by least squares over the positions of the law. Its
    increments are first differences for alpha = 1/2, second ones for 3/2. `increments`: their frequencies in bins of
    half a standard deviation; `correlation of increments`: the mean product of neighbours; both in standard deviations
    of an image, by permutation. `position`: the law of the mean of the contour (Kolmogorov-Smirnov).
    """

    def describe(self, seen: Seen) -> Described:
        law = self.family
        columns = law.contrast * torch.from_numpy(law.profiles)
        y = seen.noisy[:, 0].mT - (0.5 - law.contrast / 2)
        place = (y @ columns.T - columns.square().sum(dim=1) / 2).argmax(dim=2)  # (n, N)
        nearest = 0.5 - law.contrast / 2 + columns[place].mT[:, None]
        path = place.numpy() * 1.0
        e = np.diff(path, n=1 if law.alpha == 0.5 else 2, axis=1) / law.chain.increment
        bins = np.searchsorted(_EDGES, e)
        return {
            "increments": np.stack([(bins == k).mean(axis=1) for k in range(len(_EDGES) + 1)], axis=1),
            "correlation": np.clip(e[:, 1:] * e[:, :-1], -9, 9).mean(axis=1),
            "position": path.mean(axis=1),
            **describe_distance(seen, nearest),
        }

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        return compare_distance(samples, exact, tests) | {
            "increments": tests.mean_difference(samples["increments"], exact["increments"]),
            "correlation of increments": tests.mean_difference(samples["correlation"], exact["correlation"]),
            "position": tests.distribution(samples["position"], exact["position"]),
        }
