"""Posterior sampling for ``calpha-contours``: reversible Markov chains on the contour and the backgrounds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from gahb_bench.families.calpha_contours.model import ContourModel, contour_error, information, solve_mixture
from gahb_bench.families.calpha_contours.particles import LEAST_NOISE, column_fit, tempered

_STEP, _PATH = 0.6, 3.0  # longest leapfrog step, and length of a Hamiltonian move, in preconditioned units
_MOVES = 2  # Hamiltonian moves on either side of the backgrounds
_COOLING = 1.3  # ratio of the noise levels of the annealing, for chains that start from the data
_DOUBT = 0.1  # least noise level, in units of the contrast, at which columns are trusted to be independent


class Draws:
    """Random numbers for many chains, each from its own generator: a chain does not depend on its neighbours."""

    def __init__(self, streams: Iterable[np.random.Generator], device: torch.device) -> None:
        self.streams = list(streams)
        self.device = device

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, ``(chains, *shape)``."""
        return torch.from_numpy(np.stack([s.standard_normal(shape) for s in self.streams])).to(self.device)

    def uniform(self) -> Tensor:
        """One uniform number a chain, ``(chains,)``."""
        return torch.tensor([s.random() for s in self.streams], dtype=torch.float64, device=self.device)


@dataclass(frozen=True)
class State:
    """Chains: coefficients of the contours ``(n, N)`` in the model's basis, and backgrounds ``(n, N, N)`` or None."""

    coefficients: Tensor
    f0: Tensor | None = None
    f1: Tensor | None = None


@dataclass(frozen=True)
class _Target:
    """The posterior of the contours given the backgrounds: y = low + step m(contour) + noise."""

    model: ContourModel
    y: Tensor
    sigma: float
    low: Tensor | float
    step: Tensor | float
    scale: Tensor
    longest: float

    def energy(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the log posterior density, ``(n,)``, and its gradient in units of `scale`."""
        model = self.model
        mask, slope = model.mask(coefficients @ model.basis.T)
        residual = (self.step * mask).add_(self.low).sub_(self.y)
        variance = self.sigma**2
        energy = residual.square().sum((1, 2)) / (2 * variance)
        along = slope.mul_(residual).mul_(self.step).sum(1) / variance
        pull = coefficients * model.precision
        return energy + 0.5 * (coefficients * pull).sum(1), (along @ model.basis + pull) * self.scale

    def hamiltonian_moves(self, coefficients: Tensor, draws: Draws, moves: int) -> tuple[Tensor, Tensor]:
        """Hamiltonian Monte Carlo with Metropolis acceptance: reversible; also the mean acceptance, ``(n,)``.

        The step length is random, independent of the state, between half the longest and the longest.
        """
        leaps = math.ceil(_PATH / self.longest)
        energy, gradient = self.energy(coefficients)
        accepted = torch.zeros_like(energy)
        for _ in range(moves):
            momentum = draws.normal(coefficients.shape[1])
            step = self.longest * (0.5 + 0.5 * draws.uniform())[:, None]
            before = energy + 0.5 * momentum.square().sum(1)
            place, slope, new_energy = coefficients, gradient, energy
            for _ in range(leaps):
                momentum = momentum - 0.5 * step * slope
                place = place + step * momentum * self.scale
                new_energy, slope = self.energy(place)
                momentum = momentum - 0.5 * step * slope
            after = new_energy + 0.5 * momentum.square().sum(1)
            take = draws.uniform().log() < before - after
            coefficients = torch.where(take[:, None], place, coefficients)
            gradient = torch.where(take[:, None], slope, gradient)
            energy = torch.where(take, new_energy, energy)
            accepted += take
        return coefficients, accepted / moves


class ContourSampler:
    """Markov chains that leave the posterior of ``calpha-contours`` given ``y`` unchanged.

    One sweep is H^2 for constant backgrounds, H the Hamiltonian move on the contour, and H^2 G H^2 for Gaussian ones,
    G the exact draw of both backgrounds given the contour. Both are self-adjoint and *positive* on the functions of
    finite variance under the posterior, since G is a projection; `planted_bracket` rests on that.

    References
    ----------
    R. M. Neal, "MCMC using Hamiltonian dynamics", Handbook of MCMC 2011, arXiv:1206.1901.
    G. Papandreou, A. Yuille, "Gaussian sampling by local perturbations", NIPS 2010 (the draw G by perturbation).
    """

    def __init__(self, model: ContourModel, y: Tensor, sigma: float, draws: Draws) -> None:
        self.model, self.y, self.sigma, self.draws = model, y, sigma, draws
        level = torch.tensor([sigma], dtype=torch.float64, device=y.device)
        error = contour_error(model, level)
        self.known = information(model, level, error)
        self.scale = 1 / (model.precision + self.known).sqrt()
        # where the contour is known worse than its edge is wide, the posterior is rougher than its Gaussian scales say
        blur = math.hypot(1.0, float(error) / model.edge)
        self.longest = _STEP * min(1.0, (2 / blur) ** 0.7)

    def sweep(self, state: State) -> tuple[State, Tensor]:
        """One reversible sweep, and the acceptance of its Hamiltonian moves ``(n,)``."""
        if self.model.spectrum is None:
            coefficients, accepted = self._target(state).hamiltonian_moves(state.coefficients, self.draws, _MOVES)
            return replace(state, coefficients=coefficients), accepted
        before, accepted = self._target(state).hamiltonian_moves(state.coefficients, self.draws, _MOVES)
        state = self.draw_backgrounds(before)
        after, also = self._target(state).hamiltonian_moves(before, self.draws, _MOVES)
        return replace(state, coefficients=after), (accepted + also) / 2

    def image(self, state: State) -> Tensor:
        """The image of each chain, less 1/2."""
        mask, _ = self.model.mask(state.coefficients @ self.model.basis.T)
        return self.model.image(mask, 0.0 if state.f0 is None else state.f0, 0.0 if state.f1 is None else state.f1)

    def draw_backgrounds(self, coefficients: Tensor) -> State:
        """Both backgrounds given the contour, exactly: a prior draw corrected by what the data say of it.

        u = A^-1 (y - base - (1-m) a - m b - sigma z),   f0 = a + C (1-m) u,   f1 = b + C m u
        """
        model = self.model
        assert model.white_gain is not None
        mask, _ = model.mask(coefficients @ model.basis.T)
        white = torch.view_as_complex(self.draws.normal(model.size, model.size, 2))
        prior = torch.fft.ifft2(white * model.white_gain)
        a, b = prior.real, prior.imag
        noise = self.sigma * self.draws.normal(model.size, model.size)
        level = torch.full_like(self.y[:, 0, 0], self.sigma)
        u, _ = solve_mixture(model, mask, self.y - model.image(mask, a, b) - noise, level, tolerance=1e-5)
        inside = mask * u
        return State(coefficients, a + model.covariance(u - inside), b + model.covariance(inside))

    def from_data(self, chains: int = 1) -> State:
        """Starting states that depend on ``y`` alone, where so many chains in a row see the same image.

        With much noise, where a chain would stay in the mode it fell into, tempered particles of that image; with
        little, a coarse random-walk contour and annealing in the noise level.
        """
        model = self.model
        if self.sigma >= LEAST_NOISE * model.contrast:
            seen = zip(self.y[::chains], self.draws.streams[::chains], strict=True)
            contours = torch.cat([tempered(model, y, self.sigma, stream).pick(chains) for y, stream in seen])
            return State(contours) if model.spectrum is None else self.draw_backgrounds(contours)
        coefficients = self._coarse_contour()
        top = LEAST_NOISE * model.contrast
        steps = 1 + math.ceil(math.log(top / self.sigma) / math.log(_COOLING))
        for i in range(1, steps + 1):
            level = top * (self.sigma / top) ** (i / steps)
            annealed = ContourSampler(model, self.y, level, self.draws)
            state = State(coefficients) if model.spectrum is None else annealed.draw_backgrounds(coefficients)
            coefficients, _ = annealed._target(state).hamiltonian_moves(coefficients, self.draws, 2 * _MOVES)
        return State(coefficients) if model.spectrum is None else self.draw_backgrounds(coefficients)

    def average(self, sweeps: int, chains: int = 1) -> tuple[Tensor, Tensor]:
        """Mean image less 1/2 ``(n, N, N)`` and posterior variance per pixel ``(n,)`` of chains started from the data.

        Here the sampler's ``y`` has one image where its draws have ``chains`` chains; the first third of the sweeps
        is not used.
        """
        sampler = ContourSampler(self.model, self.y.repeat_interleave(chains, dim=0), self.sigma, self.draws)
        state = sampler.from_data(chains)
        total, squares = torch.zeros_like(sampler.y), torch.zeros_like(sampler.y[:, 0, 0])
        for sweep in range(sweeps):
            state, _ = sampler.sweep(state)
            if sweep >= sweeps // 3:
                x = sampler.image(state)
                total, squares = total + x, squares + x.square().mean((1, 2))
        used = sweeps - sweeps // 3
        mean = total.unflatten(0, (len(self.y), chains)).mean(1) / used
        energy = squares.unflatten(0, (len(self.y), chains)).mean(1) / used
        return mean, energy - mean.square().mean((1, 2))

    def _target(self, state: State) -> _Target:
        low: Tensor | float = -self.model.contrast / 2
        step: Tensor | float = self.model.contrast
        if state.f0 is not None and state.f1 is not None:
            low, step = state.f0 + low, state.f1 - state.f0 + step
        return _Target(self.model, self.y, self.sigma, low, step, self.scale, self.longest)

    def _coarse_contour(self) -> Tensor:
        """A contour drawn on a half-pixel grid under a random-walk prior, smoothed towards the true prior.

        Forward filtering and backward sampling, as if the backgrounds of different columns were independent.
        """
        size = self.model.size
        cells = 2 * size
        places = torch.arange(cells, dtype=torch.float64, device=self.y.device) / 2
        fit = column_fit(self.model, self.y, max(self.sigma, _DOUBT * self.model.contrast), 2)
        weights = (fit - fit.amax(2, keepdim=True)).exp()
        away = torch.minimum(places, size - places)
        kernel = torch.exp(-0.5 * (away / self._increment()) ** 2)
        index = torch.arange(cells, device=self.y.device)
        kernel = kernel[(index[:, None] - index) % cells]
        forward = []
        message = torch.ones_like(weights[:, 0])
        for j in range(size):
            message = (message @ kernel if j else message) * weights[:, j] + 1e-300
            message = message / message.sum(1, keepdim=True)
            forward.append(message)
        path = [self._pick(forward[-1])]
        for j in reversed(range(size - 1)):
            path.append(self._pick(forward[j] * kernel[path[-1]]))
        contour = places[torch.stack(path[::-1], dim=1)]
        jumps = contour.diff(dim=1)
        contour = torch.cat([contour[:, :1], jumps - size * (jumps / size).round()], dim=1).cumsum(1)
        known = 1 / (1 / self.known + 0.1)
        return (contour @ self.model.basis) * known / (self.model.precision + known)

    def _increment(self) -> float:
        """Standard deviation of the prior's steps from column to column, at least 0.7 pixels."""
        basis = self.model.basis
        steps = (basis.roll(-1, dims=0) - basis).square().sum(0)[1:]
        return max(0.7, float((steps / self.model.precision[1:]).sum().div(self.model.size).sqrt()))

    def _pick(self, weights: Tensor) -> Tensor:
        cumulative = weights.cumsum(1)
        place = self.draws.uniform()[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, place).clamp(max=weights.shape[1] - 1)[:, 0]
