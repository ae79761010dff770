"""What is measured of samples of a law, as an object beside the law."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.plugin import Plugin
from gahb_bench.core.two_samples import Found, TwoSamples

F = TypeVar("F", bound=Plugin)

Described = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Seen:
    """Images to be described: as they are, and through white noise; float64 ``(n, c, h, w)`` each.

    tolerance : standard deviation of the noise; 0 adds none. What is compared through it forgives errors far below it.
    """

    clean: Images
    noisy: Images
    tolerance: float


class SampleStatistics(Generic[F]):
    """Statistics of samples of one law; a law names its own by the class attribute ``statistics``.

    A subclass says how an image is described, and how two sets of described images are compared.
    """

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
