"""What is measured of samples of a law, as an object beside the law."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import numpy as np

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.plugin import Plugin
from gahb_bench.core.two_samples import Found, TwoSamples, share

F = TypeVar("F", bound=Plugin)

Described = Mapping[str, FloatArray]

LEAST_TOLERANCE = 1e-5  # of what is compared: rounding of float32 stays below it
_NEAR = 3.0  # tolerances, root mean square over pixels


@dataclass(frozen=True)
class Seen:
    """Images to be described: as they are, and through white noise; float64 ``(n, c, h, w)`` each.

    tolerance : standard deviation of the noise, > 0. What is compared through it forgives errors far below it.
    """

    clean: Images
    noisy: Images
    tolerance: float


class SampleStatistics(Generic[F]):
    """Statistics of samples of one law; a law names its own by the class attribute ``statistics``.

    A subclass says how an image is described, and how two sets of described images are compared.

    flag : the name of the feature that is 1 for samples that are of no use, else 0; None where there is none
    """

    flag: ClassVar[str | None] = None

    def __init__(self, family: F) -> None:
        self.family = family

    def describe(self, seen: Seen) -> Described:
        """Features of each image by name, first axis n: each image's own, and the same whatever the others are."""
        del seen
        return {}

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        """Statistics of the samples by name, with p-values that are uniform, or larger, if they are of the law.

        ``exact`` describes exact images, of which there are as many or more; a statistic whose law is known in closed
        form needs none.
        """
        del samples, exact, tests
        return {}


def describe_distance(seen: Seen, nearest: Images) -> Described:
    """Distances per pixel (root mean square) to the images of the manifold that fit best through the noise."""
    away, through = (
        (images - nearest).flatten(1).square().mean(dim=1).sqrt().numpy() for images in (seen.clean, seen.noisy)
    )
    near = away <= _NEAR * seen.tolerance
    return {"away": away, "through": through, "near": near.astype(np.float64)}


def compare_distance(samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
    """Of what `describe_distance` says.

    `distance to the manifold`: root mean square over samples of their distance as they are; of d dimensions, exact
    images have about ``tolerance sqrt(d / pixels)``, as the fit is through the noise. Its p-value is that of the
    distances through the noise (Kolmogorov-Smirnov). `near the manifold`: the share within 3 tolerances.
    """
    distance = float(np.sqrt((samples["away"] ** 2).mean()))
    return {
        "distance to the manifold": Found(distance, tests.distribution(samples["through"], exact["through"]).p_value),
        "near the manifold": share(samples["near"]),
    }
