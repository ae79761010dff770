"""The exact posterior of ``levy`` signals of which some samples were seen."""

from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.conditional import Conditional, Conditioned, Streams
from gahb_bench.core.operator import Measurement
from gahb_bench.families.levy.law import Levy
from gahb_bench.families.levy.oracles import Mmse


class LevyConditional(Conditional[Levy]):
    """Messages with likelihoods of the samples that were seen; signals are drawn from the last sample back.

    Error: that of the lattice, see `Mmse`; of Gaussian jumps, rounding. A stretch of student jumps that ends unseen has
    no mean (df = 1) or no variance (df <= 2): what is given there is of signals within the reach that `Mmse.walk`
    states.
    """

    operators: ClassVar = ("mask",)

    def condition(self, measured: Measurement) -> Conditioned:
        y, sigma = measured.y, measured.sigma
        oracle = Mmse().bind(self.family)
        seen = torch.ones_like(y) if measured.mask is None else measured.mask.expand(y.shape)
        observed = seen[:, 0, 0].bool()
        found = oracle.walk(y, sigma, observed)

        def draw(k: int, streams: Streams) -> Tensor:
            each = [
                oracle.samples(y[i : i + 1], sigma[i : i + 1], k, stream, observed[i : i + 1])
                for i, stream in enumerate(streams)
            ]
            return torch.cat(each, dim=1)

        mean, variance = (part[:, None, None] for part in (found.mean, found.variance))
        return Conditioned(mean, variance, found.log_evidence, draw)
