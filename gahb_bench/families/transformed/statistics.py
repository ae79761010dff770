"""What samples of a transformed law are compared by."""

from gahb_bench.core.statistics import Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.transformed.law import Transformed


class TransformedStatistics(SampleStatistics[Transformed]):
    """The inner law's own statistics, of the inner images: white noise through the map is white noise."""

    def describe(self, seen: Seen) -> Described:
        inverse = self.family.inverse
        return self.family.inner.sample_statistics.describe(
            Seen(inverse(seen.clean), inverse(seen.noisy), seen.tolerance)
        )

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        copies = self.family.copies
        inner = TwoSamples(copies * tests.samples, copies * tests.exact, tests.seed)
        return self.family.inner.sample_statistics.compare(samples, exact, inner)
