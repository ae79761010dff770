"""Forward-backward messages on a lattice: the exact posterior of a Levy process, of which parts were seen in noise."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from gahb_bench.core.errors import UsageError
from gahb_bench.families.levy.jumps import JumpLaw
from gahb_bench.families.levy.lattice import Lattice, lattices

_MEMORY = 2**25  # bytes of messages at once
_UNLIKELY = 1e-8  # of the largest product of messages; below, the rounding of Fourier transforms would count
_BLOCK = 64  # outputs of a convolution that is summed directly, at once


@dataclass(frozen=True)
class WalkPosterior:
    """Given y: means and variances of the samples, ``(n, N)``, and ``log p(y)`` of those observed, ``(n,)``, nats."""

    mean: Tensor
    variance: Tensor
    log_evidence: Tensor


def walk_posterior(
    law: JumpLaw, y: Tensor, sigma: Tensor, observed: Tensor | None = None, fineness: float = 1.0
) -> WalkPosterior:
    """The posterior of signals ``x_k = u_1 + ... + u_k`` given noisy ones, by messages on a lattice.

        F_k(x) = L_k(x) sum_x' F_k-1(x') P(x - x'),   B_k-1(x') = sum_x P(x - x') L_k(x) B_k(x)
        P(x_k = x | y)  proportional to  F_k(x) B_k(x),     L_k(x) = exp(-(y_k - x)^2 / (2 sigma^2)), 1 if not observed

    Parameters
    ----------
    law : JumpLaw
    y : Tensor, shape (n, N), float64
        Noisy signals; what is not observed may hold any finite number.
    sigma : Tensor, shape (n,), float64
    observed : Tensor, shape (n, N) or (1, N), bool; None if everything is
    fineness : float
        The lattice is so many times finer than it is made by itself.

    Raises
    ------
    UsageError
        If a signal is too wide for the lattice, or y is impossible under the law in double precision.

    References
    ----------
    U. Kamilov, P. Pad, A. Amini, M. Unser, "MMSE estimation of sparse Levy processes", IEEE Trans. Signal Process.
    2013, doi:10.1109/TSP.2012.2222394.
    """

    def moments(walk: "_Walk", _: Tensor) -> tuple[Tensor, ...]:
        return walk.moments()

    return WalkPosterior(*_each(law, y, sigma, observed, fineness, moments, 4))


def walk_samples(
    law: JumpLaw,
    y: Tensor,
    sigma: Tensor,
    count: int,
    stream: np.random.Generator,
    observed: Tensor | None = None,
    fineness: float = 1.0,
) -> Tensor:
    """Posterior samples, ``(count, n, N)``, by backward sampling: points of the lattice, jumps of exactly 0 included.

        x_N ~ F_N,    x_k ~ F_k(x) P(x_k+1 - x)

    ``stream`` gives ``count n N`` uniform numbers; the rest as of `walk_posterior`.
    """
    uniform = torch.from_numpy(stream.random((count, *y.shape))).to(y.device)

    def drawn(walk: "_Walk", chosen: Tensor) -> tuple[Tensor, ...]:
        return (walk.draw(uniform[:, chosen].movedim(0, 1)),)

    return _each(law, y, sigma, observed, fineness, drawn, 4 + 2 * count)[0].movedim(1, 0)


def _each(
    law: JumpLaw,
    y: Tensor,
    sigma: Tensor,
    observed: Tensor | None,
    fineness: float,
    compute: Callable[["_Walk", Tensor], tuple[Tensor, ...]],
    held: int,
) -> list[Tensor]:
    """What is computed of every signal, part by part: ``held`` messages a sample are kept of each at once."""
    seen = torch.ones_like(y, dtype=torch.bool) if observed is None else observed.expand(y.shape)
    parts, order = [], []

    def add(chosen: Tensor, lattice: Lattice, *, direct: bool) -> None:
        walk = _Walk(law, lattice, y[chosen], sigma[chosen, None], seen[chosen], direct=direct)
        found = compute(walk, chosen)
        exact = walk.least > (0 if direct else _UNLIKELY)
        if bool(exact.all()):
            parts.append(found)
            order.append(chosen)
            return
        if direct:
            raise UsageError(
                "these noisy signals are impossible under the law, in double precision: they jump by far more than its "
                "jumps and sigma reach. Were they made by it, in its units, with this sigma?"
            )
        for which, slow in ((exact, False), (~exact, True)):
            if bool(which.any()):
                add(chosen[which], lattice.select(which), direct=slow)

    for chosen, lattice in _tiles(law, y, sigma, seen, fineness, held):
        add(chosen, lattice, direct=False)
    back = torch.cat(order).argsort()
    return [torch.cat(pieces)[back] for pieces in zip(*parts, strict=True)]


def _tiles(
    law: JumpLaw, y: Tensor, sigma: Tensor, seen: Tensor, fineness: float, held: int
) -> Iterator[tuple[Tensor, Lattice]]:
    """The windows of all signals, cut so that their messages fit into memory."""
    for chosen, lattice in lattices(law, y.detach(), sigma, seen, fineness):
        size = max(1, int(_MEMORY / (8 * held * y.shape[1] * (2 * lattice.half + 1))))
        for places in torch.arange(len(chosen), device=y.device).split(size):
            yield chosen[places], lattice.select(places)


class _Walk:
    """The messages of some signals with windows of one width. Every message is scaled to a sum, or a largest, of 1.

    least : the smallest product of two messages, which were so scaled, of each signal, ``(n,)``
    """

    def __init__(self, law: JumpLaw, lattice: Lattice, y: Tensor, sigma: Tensor, seen: Tensor, *, direct: bool) -> None:
        self.law, self.lattice = law, lattice
        self.sigma, self.seen, self.direct = sigma, seen, direct
        self.residual = y - lattice.centre * lattice.h  # of the observation, from the middle of its window
        self.values = lattice.offsets * lattice.h  # of the points, from there
        self.length = next_fast_len(4 * lattice.half + 1, real=True)
        self.least = torch.ones_like(sigma[:, 0])
        self.jumps: list[Tensor] = []  # or, if not direct, their transforms
        self.filtered: list[Tensor] = []
        self.log_evidence = torch.zeros_like(y[:, 0])
        for k in range(y.shape[1]):
            self._forward(k)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means and variances ``(n, N)``, log evidence ``(n,)``."""
        means, variances = [], []
        behind = torch.ones_like(self.filtered[-1])
        for k in reversed(range(len(self.filtered))):
            joint = self.filtered[k] * behind
            total = joint.sum(dim=1, keepdim=True)
            self._note(total)
            marginal = joint / total
            mean = (marginal * self.values).sum(dim=1, keepdim=True)
            means.append(mean[:, 0])
            variances.append((marginal * (self.values - mean).square()).sum(dim=1))
            if k:
                behind = self._correlated(k, behind * self._likelihood(k)[0]).flip(1)
                behind = behind / behind.amax(dim=1, keepdim=True)
        shift = self.lattice.centre * self.lattice.h
        return shift + torch.stack(means[::-1], dim=1), torch.stack(variances[::-1], dim=1), self.log_evidence

    def draw(self, uniform: Tensor) -> Tensor:
        """Backward samples ``(n, count, N)`` from uniform numbers of the same shape."""
        points = 2 * self.lattice.half + 1
        weights = self.filtered[-1][:, None].expand(-1, uniform.shape[1], -1)
        places = []
        for k in reversed(range(uniform.shape[2])):
            cumulative = weights.cumsum(dim=2)
            target = uniform[..., k : k + 1] * cumulative[..., -1:]
            place = torch.searchsorted(cumulative.contiguous(), target.contiguous(), right=True).clamp(max=points - 1)
            places.append(place)
            if k:
                jumps = self._weights(k)[0].unfold(1, points, 1)  # row r: of jumps to point r, from the last point on
                chosen = jumps.gather(1, place.expand(-1, -1, points)).flip(2)
                weights = chosen * self.filtered[k - 1][:, None]
                self._note(weights.sum(dim=2).amin(dim=1, keepdim=True))
        where = torch.cat(places[::-1], dim=2) - self.lattice.half
        return (self.lattice.centre[:, None] + where) * self.lattice.h[:, None]

    def _likelihood(self, k: int) -> tuple[Tensor, Tensor]:
        """L_k at the points, its largest value 1, and the log of its integral over y_k times that, ``(n, 1)``."""
        log = -0.5 * ((self.residual[:, k : k + 1] - self.values) / self.sigma).square()
        largest = log.detach().amax(dim=1, keepdim=True)
        seen = self.seen[:, k : k + 1]
        log = torch.where(seen, log - largest, torch.zeros_like(log))
        constant = largest - (math.sqrt(2 * math.pi) * self.sigma).log()
        return log.exp(), torch.where(seen, constant, torch.zeros_like(constant))

    def _weights(self, k: int) -> tuple[Tensor, Tensor]:
        """Probabilities of the jumps to time k, the largest 1, and the log of what they were divided by, ``(n, 1)``."""
        log = self.lattice.log_jumps(self.law, k)
        largest = log.amax(dim=1, keepdim=True)
        return (log - largest).exp(), largest

    def _forward(self, k: int) -> None:
        weights, largest = self._weights(k)
        self.jumps.append(weights if self.direct else torch.fft.rfft(weights, n=self.length))
        reached = self._correlated(k, self.filtered[-1].flip(1)) if k else weights
        likelihood, constant = self._likelihood(k)
        state = reached * likelihood
        total = state.sum(dim=1, keepdim=True)
        self._note(total)
        self.filtered.append(state / total)
        self.log_evidence = self.log_evidence + (total.log() + largest + constant)[:, 0]

    def _correlated(self, k: int, message: Tensor) -> Tensor:
        """``out_s = sum_t jumps_s+t message_t`` over the points s, t of two windows.

        By Fourier transforms, whose rounding is that of the largest number; or directly, where each is exact.
        """
        points, jumps = message.shape[1], self.jumps[k]
        if not self.direct:
            product = jumps * torch.fft.rfft(message, n=self.length).conj()
            return torch.fft.irfft(product, n=self.length)[:, :points].clamp(min=0)
        starts = range(0, points, _BLOCK)
        blocks = [jumps[:, s : min(s + _BLOCK, points) + points - 1].unfold(1, points, 1) for s in starts]
        return torch.cat([(block @ message[..., None])[..., 0] for block in blocks], dim=1)

    def _note(self, total: Tensor) -> None:
        self.least = torch.minimum(self.least, total.detach()[:, 0])
