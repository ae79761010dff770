"""Forward-backward messages for contours that are Markov chains: exact posterior marginals and variances.

Images are ``(n, N, N)`` float64, ``profiles`` ``(positions, N)`` is the column seen for each position.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gahb_bench.families.markov_contours.law import ContourChain

_MEMORY = 2**28  # bytes of stored forward messages at once


@dataclass(frozen=True)
class ContourPosterior:
    """Given y: mean image ``(n, N, N)``, per-pixel variance ``(n,)``, and the law of each position ``(n, N, P)``."""

    mean: Tensor
    variance: Tensor
    marginals: Tensor


def forward_backward(chain: ContourChain, profiles: Tensor, y: Tensor, sigma: Tensor) -> ContourPosterior:
    """The exact posterior of the contour and of the image, for the discretised law.

        log-likelihood of column j at position p:   (<y_j, t_p> - |t_p|^2 / 2) / sigma^2
        P(c_j = p | y)  proportional to  sum_v F_j(v, p) B_j(v, p)
        mean_j = sum_p P(c_j = p | y) t_p
        variance = N^-2 sum_j ( sum_p P(c_j = p | y) |t_p - t_q|^2 - |mean_j - t_q|^2 ),   q the likeliest position

    Messages are float64 and rescaled at every column; variances are taken about t_q so that nothing cancels.
    """
    moves = _moves(chain, y.device)
    parts = [
        _marginals(moves, _likelihood(profiles, y[tile], sigma[tile])) for tile in _tiles(chain, len(y), chain.columns)
    ]
    marginals = torch.cat(parts) if parts else y.new_empty(0, chain.columns, chain.positions)
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
    moves = _moves(chain, y.device)
    h = v.mT @ profiles.T
    h = h - (h * marginals).sum(2, keepdim=True)
    out = torch.empty_like(sigma)
    for tile in _tiles(chain, len(y), 4):
        weights = _likelihood(profiles, y[tile], sigma[tile])
        zeroth = moves.start(len(weights))
        first, second = torch.zeros_like(zeroth), torch.zeros_like(zeroth)
        for j in range(chain.columns):
            if j:
                zeroth, first, second = (moves.forward(a) for a in (zeroth, first, second))
            likelihood, gain = moves.spread(weights[:, j]), moves.spread(h[tile, j])
            zeroth, first, second = zeroth * likelihood, first * likelihood, second * likelihood
            second = second + gain * (2 * first + gain * zeroth)
            first = first + gain * zeroth
            total = moves.total(zeroth)
            zeroth, first, second = zeroth / total, first / total, second / total
        out[tile] = (moves.total(second) - moves.total(first).square()).flatten()
    return out


def log_evidence(chain: ContourChain, profiles: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
    """``log p_sigma(y)``, ``(n,)``: what the forward messages sum to, over what they sum to without any evidence.

    The latter is the probability that a path stays on the grid, on which the law is conditioned.
    """
    moves = _moves(chain, y.device)
    energy = y.square().sum((1, 2)) / sigma**2 + y[0].numel() * torch.log(2 * torch.pi * sigma**2)
    out = -energy / 2 - _log_total(moves, profiles.new_ones(1, chain.columns, chain.positions))
    for tile in _tiles(chain, len(y), 4):
        log = _log_likelihood(profiles, y[tile], sigma[tile])
        largest = log.amax(2)
        out[tile] += _log_total(moves, (log - largest[:, :, None]).exp()) + largest.sum(1)
    return out


def _log_total(moves: "_Moves", weights: Tensor) -> Tensor:
    """Log of the sum over all paths of their probability times their weights, ``(n,)``."""
    a, total = moves.start(len(weights)), weights.new_zeros(len(weights))
    for j in range(weights.shape[1]):
        a = (moves.forward(a) if j else a) * moves.spread(weights[:, j])
        here = moves.total(a)
        a, total = a / here, total + here.flatten().log()
    return total


def _squared_distances(profiles: Tensor) -> Tensor:
    """|t_p - t_q|^2, ``(positions, positions)``."""
    centred = profiles - profiles.mean(0)
    energy = centred.square().sum(1)
    return (energy[:, None] + energy - 2 * centred @ centred.T).clamp_(min=0).fill_diagonal_(0)


def _likelihood(profiles: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
    """Likelihood of each column at each position, ``(n, N, P)``, its largest value 1."""
    log = _log_likelihood(profiles, y, sigma)
    return (log - log.amax(2, keepdim=True)).exp()


def _log_likelihood(profiles: Tensor, y: Tensor, sigma: Tensor) -> Tensor:
    """Log-likelihood of each column at each position, ``(n, N, P)``, but for what no position changes."""
    return (y.mT @ profiles.T - 0.5 * profiles.square().sum(1)) / sigma[:, None, None].square()


def _marginals(moves: "_Moves", weights: Tensor) -> Tensor:
    """P(c_j = p | y), ``(n, N, P)``."""
    columns = weights.shape[1]
    messages = []
    a = moves.start(len(weights))
    for j in range(columns):
        a = (moves.forward(a) if j else a) * moves.spread(weights[:, j])
        a = a / moves.total(a)
        messages.append(a)
    out = torch.empty_like(weights)
    out[:, -1] = moves.positions(messages[-1])
    b = torch.ones_like(a)
    for j in reversed(range(columns - 1)):
        b = moves.backward(b * moves.spread(weights[:, j + 1]))
        b = b / moves.largest(b)
        joint = moves.positions(messages[j] * b)
        out[:, j] = joint / joint.sum(1, keepdim=True)
    return out


class _Moves:
    """The random walk on positions: states ``(n, P)``."""

    def __init__(self, chain: ContourChain, device: torch.device) -> None:
        self.chain = chain
        self.kernel = _kernel(chain, chain.positions).to(device)

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


class _SlopeMoves(_Moves):
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
def _moves(chain: ContourChain, device: torch.device) -> _Moves:
    return _SlopeMoves(chain, device) if chain.slopes else _Moves(chain, device)


def _kernel(chain: ContourChain, states: int) -> Tensor:
    """Probability of each increment, ``(states, states)``, zero beyond the longest."""
    steps, weights = chain.increments
    reach = len(steps) // 2
    distance = np.abs(np.subtract.outer(np.arange(states), np.arange(states)))
    return torch.from_numpy(np.where(distance <= reach, weights[reach + np.minimum(distance, reach)], 0.0))


def _tiles(chain: ContourChain, n: int, stored: int) -> Iterator[slice]:
    """Cuts of a batch that keep the stored messages within memory."""
    state = 8 * chain.positions * (2 * chain.slopes + 1)
    size = max(1, int(_MEMORY / (state * stored)))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
