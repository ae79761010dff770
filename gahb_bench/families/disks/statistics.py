"""What is measured of samples of ``disks``: how far they are from any disk, and the law of the disks they are."""

from gahb_bench.core.statistics import (
    Described,
    SampleStatistics,
    Seen,
    compare_distance,
    describe_distance,
)
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.manifold import manifold
from gahb_bench.families.disks.oracles import Projection

_NAMES = ("center row", "center column", "radius", "foreground", "background")


class DisksStatistics(SampleStatistics[Disks]):
    """Distance to the manifold of disks (`compare_distance`), and the law of the fitted parameters.

    A disk is fitted to each image through the noise by least squares (`Projection`). Of every parameter that varies,
    the Kolmogorov-Smirnov distance between samples and exact images, not the prior: the fit of an image without
    contrast is arbitrary, for exact images too.
    """

    def describe(self, seen: Seen) -> Described:
        law = self.family
        theta = Projection.from_parameters({}).bind(law).fit(seen.noisy, seen.tolerance)
        disk = manifold(law, seen.clean.device).render(theta).reshape(seen.clean.shape)
        return {"theta": theta.numpy(), **describe_distance(seen, disk)}

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        found = compare_distance(samples, exact, tests)
        for axis, (name, (low, high)) in enumerate(zip(_NAMES, self.family.bounds, strict=True)):
            if high > low:
                found[name] = tests.distribution(samples["theta"][:, axis], exact["theta"][:, axis])
        return found
