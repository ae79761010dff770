"""Forward-backward messages for contours that are Markov chains: exact posterior marginals and variances.

Images are ``(n, N, N)`` float64, ``profiles`` ``(positions, N)`` is the column seen for each position.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.conditional import choose
from gahb_bench.families.markov_contours.law import ContourChain

_MEMORY = 2**28  # bytes of stored forward messages at once


@dataclass(frozen=True)
class ContourPosterior:
    """Given y: mean image ``(n, N, N)``, per-pixel variance ``(n,)``, and the law of each position ``(n, N, P)``."""

    mean: Tensor
    variance: Tensor
    marginals: Tensor


def forward_backward(
    chain: ContourChain, profiles: Tensor, y: Tensor, sigma: Tensor, observed: Tensor | None = None
) -> ContourPosterior:
    """The exact posterior of the contour and of the image, for the discretised law.

        log-likelihood of column j at position p:   (<y_j, t_p> - |t_p|^2 / 2) / sigma^2
        P(c_j = p | y)  proportional to  sum_v F_j(v, p) B_j(v, p)
        mean_j = sum_p P(c_j = p | y) t_p
        variance = N^-2 sum_j ( sum_p P(c_j = p | y) |t_p - t_q|^2 - |mean_j - t_q|^2 ),   q the likeliest position

    Messages are float64 and rescaled at every column; variances are taken about t_q so that nothing cancels. Of an
    image of which only some pixels were seen, where ``observed`` ``(1 or n, N, N)`` is 1 and y is 0 elsewhere, the
    likelihood takes |t_p|^2 over those alone.
    """
    moves = moves_of(chain, y.device)
    marginals = y.new_empty(len(y), chain.columns, chain.positions)
    for tile in tiles(chain, len(y), chain.columns):
        marginals[tile] = _marginals(moves, likelihood(profiles, y[tile], sigma[tile], cut(observed, tile)))
    mean = marginals @ profiles
    likeliest = marginals.argmax(2)
    spread = (marginals * _squared_distances(profiles)[likeliest]).sum(2)
    offset = (mean - profiles[likeliest]).square().sum(2)
    variance = (spread - offset).sum(1) / profiles.shape[1] / chain.columns
    return ContourPosterior(mean.mT, variance, marginals)


def functional_variance(
    chain: ContourChain, profiles: Tensor, y: Tensor, sigma: Tensor, v: Tensor, marginals: Tensor
) -> Tensor:
    """Posterior variance of ``<v, x> = sum_j h_j(c_j)``, ``(n,)``, by forward moments of the running sum.

        A_k(p) = sum over paths ending at p of (their weight) (h_0 + ... + h_j)^k,   k = 0, 1, 2

    h_j is centred by its posterior mean, so that nothing cancels.
    """
    moves = moves_of(chain, y.device)
    h = v.mT @ profiles.T
    h = h - (h * marginals).sum(2, keepdim=True)
    out = torch.empty_like(sigma)
    for tile in tiles(chain, len(y), 4):
        weights = likelihood(profiles, y[tile], sigma[tile])
        zeroth = moves.start(len(weights))
        first, second = torch.zeros_like(zeroth), torch.zeros_like(zeroth)
        for j in range(chain.columns):
            if j:
                zeroth, first, second = (moves.forward(a) for a in (zeroth, first, second))
            own, gain = moves.spread(weights[:, j]), moves.spread(h[tile, j])
            zeroth, first, second = zeroth * own, first * own, second * own
            second = second + gain * (2 * first + gain * zeroth)
            first = first + gain * zeroth
            total = moves.total(zeroth)
            zeroth, first, second = zeroth / total, first / total, second / total
        out[tile] = (moves.total(second) - moves.total(first).square()).flatten()
    return out


def log_evidence(
    chain: ContourChain, profiles: Tensor, y: Tensor, sigma: Tensor, observed: Tensor | None = None
) -> Tensor:
    """``log p_sigma(y)``, ``(n,)``: what the forward messages sum to, over what they sum to without any evidence.

    Where only some pixels were seen (see `forward_backward`) it is the density of those.
    The latter is the probability that a path stays on the grid, on which the law is conditioned.
    """
    moves = moves_of(chain, y.device)
    count = y[0].numel() if observed is None else observed.sum((1, 2))
    energy = y.square().sum((1, 2)) / sigma**2 + count * torch.log(2 * torch.pi * sigma**2)
    out = -energy / 2 - _log_total(moves, profiles.new_ones(1, chain.columns, chain.positions))
    for tile in tiles(chain, len(y), 4):
        log = _log_likelihood(profiles, y[tile], sigma[tile], cut(observed, tile))
        largest = log.amax(2)
        out[tile] += _log_total(moves, (log - largest[:, :, None]).exp()) + largest.sum(1)
    return out


def _log_total(moves: "Moves", weights: Tensor) -> Tensor:
    """Log of the sum over all paths of their probability times their weights, ``(n,)``."""
    total = weights.new_zeros(len(weights))
    for _, here in moves.messages(weights):
        total = total + here.flatten().log()
    return total


def _squared_distances(profiles: Tensor) -> Tensor:
    """|t_p - t_q|^2, ``(positions, positions)``."""
    centred = profiles - profiles.mean(0)
    energy = centred.square().sum(1)
    return (energy[:, None] + energy - 2 * centred @ centred.T).clamp_(min=0).fill_diagonal_(0)


def likelihood(profiles: Tensor, y: Tensor, sigma: Tensor, observed: Tensor | None = None) -> Tensor:
    """Likelihood of each column at each position, ``(n, N, P)``, its largest value 1."""
    log = _log_likelihood(profiles, y, sigma, observed)
    return (log - log.amax(2, keepdim=True)).exp()


def _log_likelihood(profiles: Tensor, y: Tensor, sigma: Tensor, observed: Tensor | None) -> Tensor:
    """Log-likelihood of each column at each position, ``(n, N, P)``, but for what no position changes."""
    square = profiles.square()
    energy = square.sum(1) if observed is None else observed.mT @ square.T
    return (y.mT @ profiles.T - 0.5 * energy) / sigma[:, None, None].square()


def cut(observed: Tensor | None, tile: slice) -> Tensor | None:
    """What was seen of some of the images, of a mask for all or for each."""
    return observed if observed is None or len(observed) == 1 else observed[tile]


def _marginals(moves: "Moves", weights: Tensor) -> Tensor:
    """P(c_j = p | y), ``(n, N, P)``."""
    messages = [a for a, _ in moves.messages(weights)]
    out = torch.empty_like(weights)
    out[:, -1] = moves.positions(messages[-1])
    b = torch.ones_like(messages[-1])
    for j in reversed(range(weights.shape[1] - 1)):
        b = moves.backward(b * moves.spread(weights[:, j + 1]))
        b = b / moves.largest(b)
        joint = moves.positions(messages[j] * b)
        out[:, j] = joint / joint.sum(1, keepdim=True)
    return out


class Moves:
    """The random walk on positions: states ``(n, P)``."""

    def __init__(self, chain: ContourChain, device: torch.device) -> None:
        self.chain = chain
        self.kernel = _kernel(chain, chain.positions).to(device)

    def messages(self, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The forward message of every column, summing to 1, and what it summed to."""
        a = self.start(len(weights))
        for j in range(self.chain.columns):
            a = (self.forward(a) if j else a) * self.spread(weights[:, j])
            total = self.total(a)
            a = a / total
            yield a, total

    def draw_last(self, a: Tensor, u: Tensor) -> Tensor:
        """A state of each of n chains, as a number, from the last forward message and uniform numbers ``(n,)``."""
        return choose(a.flatten(1), u)

    def draw_before(self, a: Tensor, after: Tensor, u: Tensor) -> Tensor:
        """The state before a given one, from the forward message of its column."""
        return choose(a * self.kernel[after], u)

    def position_of(self, state: Tensor) -> Tensor:
        """The index of a state's position."""
        return state % self.chain.positions

    def start(self, n: int) -> Tensor:
        return self.kernel.new_full((n, self.chain.positions), 1 / self.chain.positions)

    def forward(self, a: Tensor) -> Tensor:
        return a @ self.kernel

    def backward(self, b: Tensor) -> Tensor:
        return b @ self.kernel  # the increments are symmetric

    def spread(self, weights: Tensor) -> Tensor:
        return weights

    def positions(self, a: Tensor) -> Tensor:
        return a

    def total(self, a: Tensor) -> Tensor:
        return a.sum(1, keepdim=True)

    def largest(self, b: Tensor) -> Tensor:
        return b.amax(1, keepdim=True)


class _SlopeMoves(Moves):
    """The integrated random walk: states ``(n, V, P)``; the slope moves first, then the position by the new slope."""

    def __init__(self, chain: ContourChain, device: torch.device) -> None:
        self.chain = chain
        self.kernel = _kernel(chain, 2 * chain.slopes + 1).to(device)
        self.first_slopes = torch.from_numpy(chain.first_slopes).to(device)

    def start(self, n: int) -> Tensor:
        return (self.first_slopes[:, None] / self.chain.positions).expand(n, -1, self.chain.positions)

    def forward(self, a: Tensor) -> Tensor:
        return self._shift(self.kernel @ a, 1)

    def backward(self, b: Tensor) -> Tensor:
        return self.kernel @ self._shift(b, -1)

    def spread(self, weights: Tensor) -> Tensor:
        return weights[:, None]

    def positions(self, a: Tensor) -> Tensor:
        return a.sum(1)

    def total(self, a: Tensor) -> Tensor:
        return a.sum((1, 2), keepdim=True)

    def largest(self, b: Tensor) -> Tensor:
        return b.amax((1, 2), keepdim=True)

    def draw_before(self, a: Tensor, after: Tensor, u: Tensor) -> Tensor:
        slope, position = after // self.chain.positions, after % self.chain.positions
        before = position - (slope - self.chain.slopes)  # the position moved by the new slope
        weights = a.gather(2, before[:, None, None].expand(-1, a.shape[1], 1))[..., 0] * self.kernel[slope]
        return choose(weights, u) * self.chain.positions + before

    def _shift(self, a: Tensor, sign: int) -> Tensor:
        """``out[v, p] = a[v, p - sign * slope(v)]``, zero off the grid: a sheared view of a padded copy."""
        n, count, positions = a.shape
        slopes = self.chain.slopes
        width = positions + 2 * slopes
        padded = a.new_zeros(n, count, width)
        padded[:, :, slopes : slopes + positions] = a
        strides = (count * width, width - sign, 1)
        return padded.as_strided((n, count, positions), strides, slopes + sign * slopes)


@lru_cache(maxsize=8)
def moves_of(chain: ContourChain, device: torch.device) -> Moves:
    """The walk of a chain, made once."""
    return _SlopeMoves(chain, device) if chain.slopes else Moves(chain, device)


def _kernel(chain: ContourChain, states: int) -> Tensor:
    """Probability of each increment, ``(states, states)``, zero beyond the longest."""
    steps, weights = chain.increments
    reach = len(steps) // 2
    distance = np.abs(np.subtract.outer(np.arange(states), np.arange(states)))
    return torch.from_numpy(np.where(distance <= reach, weights[reach + np.minimum(distance, reach)], 0.0))


def tiles(chain: ContourChain, n: int, stored: int) -> Iterator[slice]:
    """Cuts of a batch that keep the stored messages within memory."""
    state = 8 * chain.positions * (2 * chain.slopes + 1)
    size = max(1, int(_MEMORY / (state * stored)))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
