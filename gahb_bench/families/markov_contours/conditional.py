"""The exact posterior of ``markov-contours`` images of which some pixels were seen."""

from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.conditional import Conditional, Conditioned, Streams, uniform
from gahb_bench.core.operator import Measurement
from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.families.markov_contours.messages import (
    cut,
    forward_backward,
    likelihood,
    log_evidence,
    moves_of,
    tiles,
)
from gahb_bench.families.markov_contours.oracles import profiles_of


class MarkovContoursConditional(Conditional[MarkovContours]):
    """Forward-backward with likelihoods of the pixels that were seen; contours are drawn from the last column back.

    Error: rounding.
    """

    operators: ClassVar = ("mask",)

    def condition(self, measured: Measurement) -> Conditioned:
        chain, sigma = self.family.chain, measured.sigma
        y = measured.y[:, 0]
        observed = None if measured.mask is None else measured.mask[:, 0]
        profiles = profiles_of(self.family, y.device)
        found = forward_backward(chain, profiles, y, sigma, observed)
        evidence = log_evidence(chain, profiles, y, sigma, observed)

        def draw(k: int, streams: Streams) -> Tensor:
            moves, out = moves_of(chain, y.device), y.new_empty(k, *measured.y.shape)
            for tile in tiles(chain, len(y), chain.columns):
                weights = likelihood(profiles, y[tile], sigma[tile], cut(observed, tile))
                messages = [a for a, _ in moves.messages(weights)]
                for sample in range(k):
                    u = uniform(1, streams[tile], (chain.columns,), y)[0]
                    states = [moves.draw_last(messages[-1], u[:, -1])]
                    for j in reversed(range(chain.columns - 1)):
                        states.append(moves.draw_before(messages[j], states[-1], u[:, j]))
                    path = moves.position_of(torch.stack(states[::-1], dim=1))  # (n, N)
                    out[sample, tile, 0] = profiles[path].mT
            return out

        return Conditioned(found.mean[:, None], _spread(found.marginals, profiles), evidence, draw)


def _spread(marginals: Tensor, profiles: Tensor) -> Tensor:
    """Posterior variance of each pixel, ``(n, 1, N, N)``, about the likeliest profile so that little cancels."""
    likeliest = profiles[marginals.argmax(2)]
    first = marginals @ profiles - likeliest
    square = marginals @ profiles.square() - likeliest * (2 * marginals @ profiles - likeliest)
    return (square - first.square()).clamp(min=0).mT[:, None]
