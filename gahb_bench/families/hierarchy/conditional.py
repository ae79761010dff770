"""The exact posterior of ``hierarchy`` images of which some pixels were seen."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.conditional import Conditional, Conditioned, Streams, uniform
from gahb_bench.core.operator import Measurement
from gahb_bench.families.hierarchy.law import Hierarchy
from gahb_bench.families.hierarchy.messages import downward, draws_of, sample_down
from gahb_bench.families.hierarchy.oracles import Mmse, pixel_moments


class HierarchyConditional(Conditional[Hierarchy]):
    """Sum-product with nothing said by the leaves that were not seen; samples are drawn from the root down.

    Error: rounding.

        log p(y) = log sum_a exp l_root(a) / q + what the messages were divided by - M/2 log 2 pi sigma^2

    of the M pixels that were seen; under the grammar each of the (4^L - 1) / 3 parents chose one of m tuples.
    """

    operators: ClassVar = ("mask",)

    def condition(self, measured: Measurement) -> Conditioned:
        law, y, sigma, observed = self.family, measured.y, measured.sigma, measured.mask
        assert observed is not None
        oracle = Mmse().bind(law)
        rules, x = oracle.rules(y.device), torch.from_numpy(law.intensities).to(y.device)
        mean, variance, evidence = torch.empty_like(y), torch.empty_like(y), torch.empty_like(sigma)
        for cut, tile in oracle.tiles(y, sigma, observed):
            mean[cut, 0], variance[cut, 0] = pixel_moments(downward(tile, rules)[-1], x)
            evidence[cut] = tile.total
        nearest = (y[..., None] - x).square().amin(dim=-1)
        density = nearest / (2 * sigma[:, None, None, None] ** 2) + sigma[:, None, None, None].log()
        evidence = evidence - (observed * (density + math.log(2 * math.pi) / 2)).sum(dim=(1, 2, 3))

        def draw(k: int, streams: Streams) -> Tensor:
            out = y.new_empty(k, *y.shape)
            sides = draws_of(rules)
            for cut, tile in oracle.tiles(y, sigma, observed):
                for sample in range(k):
                    u = uniform(1, streams[cut], (sum(side**2 for side in sides),), y)[0]
                    parts = u.split([side**2 for side in sides], dim=1)
                    parts = [part.unflatten(1, (side, side)) for part, side in zip(parts, sides, strict=True)]
                    out[sample, cut, 0] = x[sample_down(tile, rules, parts)]
            return out

        return Conditioned(mean, variance, evidence, draw)
