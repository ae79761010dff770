"""Tempered particles for ``calpha-contours``: contours from the prior to a posterior, with no mode left behind."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.families.calpha_contours.model import ContourModel, contour_error, information

PARTICLES = 1500
LEAST_NOISE = 0.3  # in units of the contrast: with less, a chain that starts from a coarse contour finds the one mode
PER_PIXEL = 8  # places a pixel at which the columns' likelihoods are tabulated; linear between them
_KEPT = 0.6  # effective share of the particles at each step of the temperature
_MOVES = 2  # Hamiltonian moves a temperature
_LEAPS, _STEP = 5, 0.5  # of a Hamiltonian move, the step in preconditioned units
_LOOSE = 0.3  # temperature below which the flat mean of a contour is also drawn afresh
_SHORTEST = 0.05  # least share of itself by which a contour's high frequencies are changed


@dataclass(frozen=True)
class ColumnFit:
    """Log-likelihood of a contour as a sum over columns: ``table[j, i]`` for column j at place ``i / per_pixel``."""

    table: Tensor
    per_pixel: int

    def at(self, contour: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihood ``(n,)`` of contours ``(n, N)``, pixels, and its derivative by each column ``(n, N)``."""
        left, right, part = self.places(contour)
        low, high = self.table.flatten()[left], self.table.flatten()[right]
        return torch.lerp(low, high, part).sum(1), (high - low) * self.per_pixel

    def places(self, contour: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The tabulated places on either side of each column, as indices of the flat table, and the part between."""
        columns, places = self.table.shape
        place = contour * self.per_pixel
        floor = place.floor()
        first = torch.arange(columns, device=contour.device) * places
        left = floor.long()
        return first + left % places, first + (left + 1) % places, place - floor


def column_fit(model: ContourModel, y: Tensor, sigma: float, per_pixel: int) -> Tensor:
    """Log-likelihood of each column alone for contours at 0, 1/per_pixel, ... pixels, ``(n, N, per_pixel N)``.

    A column is Gaussian with mean k and covariance (1-m) C (1-m) + m C m + sigma^2, C that of one column of a
    background; contours a pixel apart see the column shifted by a pixel. For constant backgrounds the sum over columns
    is the log-likelihood of the image; for Gaussian ones it takes those of different columns as independent.

    Parameters
    ----------
    y : images less 1/2, ``(n, N, N)``
    sigma : noise level, image units
    """
    size = model.size
    rows = torch.arange(size, device=y.device)
    shifted = y.mT[..., (rows[:, None] + rows) % size]  # (n, column, shift, row)
    fits = []
    for part in range(per_pixel):
        place = torch.full((1, size), part / per_pixel, dtype=torch.float64, device=y.device)
        m = model.mask(place)[0][0, :, 0]
        covariance = sigma**2 * torch.eye(size, dtype=m.dtype, device=m.device)
        if model.spectrum is not None and model.white_gain is not None:
            column = torch.fft.ifft(model.white_gain.square().mean(1) / size**2).real[(rows[:, None] - rows) % size]
            covariance = covariance + column * (m[:, None] * m + (1 - m[:, None]) * (1 - m))
        whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))
        residual = shifted - model.image(m, 0.0, 0.0)
        log_volume = whiten.diagonal().log().sum()
        fits.append(log_volume - 0.5 * (residual @ whiten.T).square().sum(3))
    return torch.stack(fits, dim=3).flatten(2)


def tempered(model: ContourModel, y: Tensor, sigma: float, random: np.random.Generator) -> "Particles":
    """Particles of the posterior of one image's contour, ``y`` the image less 1/2 ``(N, N)``.

    Exact but for tabulation with constant backgrounds; with Gaussian ones as `column_fit` approximates them, which is
    where to start chains.
    """
    level = torch.tensor([sigma], dtype=torch.float64, device=y.device)
    known = float(information(model, level, contour_error(model, level)))
    table = column_fit(model, y[None], sigma, PER_PIXEL)[0]
    return Particles(model, ColumnFit(table, PER_PIXEL), known, random)


def by_particles(model: ContourModel, sigma: float) -> bool:
    """Whether particles alone give the posterior mean: much noise, and backgrounds that a column's fit knows."""
    return model.spectrum is None and sigma >= LEAST_NOISE * model.contrast


class Particles:
    """Contours of one image, drawn from the prior and brought to the posterior by raising a power of the likelihood.

    The power grows from 0 to 1 in steps that leave an effective share of 0.6 of the particles; at each, they are drawn
    again by weight and moved by Hamiltonian Monte Carlo on all coefficients, by autoregressive draws of the high
    frequencies, and, while the power is small, by fresh draws of the flat mean. So the modes of the posterior hold the
    shares that are theirs, where a chain stays in the one it fell into.

    Parameters
    ----------
    fit : log-likelihood by columns
    information : on the contour of one column, pixels^-2 (see `model.information`)
    random : generator of all that is drawn

    References
    ----------
    R. M. Neal, "Annealed importance sampling", Statistics and Computing 2001; P. Del Moral, A. Doucet, A. Jasra,
    "Sequential Monte Carlo samplers", J. R. Stat. Soc. B 2006, doi:10.1111/j.1467-9868.2006.00553.x.
    """

    def __init__(
        self,
        model: ContourModel,
        fit: ColumnFit,
        information: float,
        random: np.random.Generator,
        count: int = PARTICLES,
    ) -> None:
        self.model, self.fit, self.information, self.random = model, fit, information, random
        self.deviation = torch.where(model.precision > 0, model.precision.rsqrt(), 0.0)
        self.beta, self.change = 0.0, 0.5
        self.coefficients = self._normal(count, model.size) * self.deviation
        self.coefficients[:, 0] = self._anywhere(count)
        self._look()
        while self.beta < 1:
            self._draw_again(self._next_beta())
            self.move(_MOVES)

    def move(self, times: int) -> None:
        """Moves that leave the tempered posterior as it is."""
        for _ in range(times):
            self._hamiltonian_move()
            self._high_frequencies()
            if self.beta < _LOOSE:
                moved = self.coefficients.clone()
                moved[:, 0] = self._anywhere(len(moved))
                self._accept(moved, torch.zeros_like(self.fitted))

    def pick(self, count: int) -> Tensor:
        """The coefficients of some particles, drawn with equal chances, ``(count, N)``."""
        chosen = self.random.integers(0, len(self.coefficients), count)
        return self.coefficients[torch.from_numpy(chosen).to(self.coefficients.device)]

    def moments(self, sweeps: int = 20) -> tuple[Tensor, Tensor]:
        """Mean image less 1/2 ``(N, N)`` and posterior variance per pixel, over particles that are moved on.

        For constant backgrounds, where a column depends on the contour's place in it alone: the law of that place, by
        counting, times what the column is there.
        """
        model, fit = self.model, self.fit
        shares, between = torch.zeros(2, fit.table.numel(), dtype=torch.float64, device=fit.table.device)
        for _ in range(sweeps):
            self.move(1)
            left, right, part = fit.places(self.coefficients @ model.basis.T)
            shares.index_add_(0, left.flatten(), (1 - part).flatten())
            shares.index_add_(0, right.flatten(), part.flatten())
            between.index_add_(0, left.flatten(), (part * (1 - part)).flatten())
        count = sweeps * len(self.coefficients)
        shares, between = shares.reshape(fit.table.shape) / count, between.reshape(fit.table.shape) / count
        places = torch.arange(fit.table.shape[1], dtype=torch.float64, device=shares.device) / fit.per_pixel
        mask, _ = model.mask(places[:, None].expand(-1, model.size))
        profiles = model.image(mask[:, :, 0], 0.0, 0.0)  # (place, row), linear between places
        steps = profiles.roll(-1, dims=0) - profiles
        mean = shares @ profiles
        energy = (shares @ profiles.square()).sum() - (between @ steps.square()).sum()
        return mean.T, (energy - mean.square().sum()) / model.size**2

    def _next_beta(self) -> float:
        """The power that leaves the effective share of the particles, or 1."""
        low, high = self.beta, 1.0
        if self._effective(1.0) >= _KEPT:
            return 1.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._effective(middle) >= _KEPT else (low, middle)
        return high

    def _effective(self, beta: float) -> float:
        weights = self._weights(beta)
        return float(weights.sum() ** 2 / weights.square().sum() / len(weights))

    def _weights(self, beta: float) -> Tensor:
        return ((beta - self.beta) * (self.fitted - self.fitted.max())).exp()

    def _draw_again(self, beta: float) -> None:
        """Systematic resampling by weight."""
        cumulative = self._weights(beta).cumsum(0)
        count = len(cumulative)
        at = (self.random.random() + torch.arange(count, dtype=torch.float64, device=cumulative.device)) / count
        chosen = torch.searchsorted(cumulative / cumulative[-1], at).clamp(max=count - 1)
        self.coefficients, self.beta = self.coefficients[chosen], beta
        self._look()

    def _look(self) -> None:
        self.fitted, self.slope = self._fit(self.coefficients)

    def _fit(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        fitted, slope = self.fit.at(coefficients @ self.model.basis.T)
        return fitted, slope @ self.model.basis

    def _hamiltonian_move(self) -> None:
        precision = self.model.precision
        scale = 1 / (precision + self.beta * self.information).sqrt()
        place, slope = self.coefficients, self.slope
        momentum = self._normal(*place.shape)
        step = _STEP * (0.5 + 0.5 * self._uniform(len(place)))[:, None]
        start = 0.5 * momentum.square().sum(1)
        fitted = self.fitted
        for _ in range(_LEAPS):
            momentum = momentum + 0.5 * step * scale * (self.beta * slope - precision * place)
            place = place + step * scale * momentum
            fitted, slope = self._fit(place)
            momentum = momentum + 0.5 * step * scale * (self.beta * slope - precision * place)
        pull = 0.5 * (precision * (place.square() - self.coefficients.square())).sum(1)
        kinetic = 0.5 * momentum.square().sum(1)
        self._accept(place, start - kinetic - pull, (fitted, slope))

    def _high_frequencies(self) -> None:
        """An autoregressive draw of the coefficients above a random frequency: it leaves the prior as it is."""
        first = int(self.random.integers(1, self.model.size))
        share = max(_SHORTEST, self.change * self.random.random())
        fresh = self._normal(*self.coefficients.shape) * self.deviation
        moved = math.sqrt(1 - share**2) * self.coefficients + share * fresh
        moved[:, :first] = self.coefficients[:, :first]
        accepted = self._accept(moved, torch.zeros_like(self.fitted))
        self.change = min(1.0, self.change * math.exp(0.2 * (accepted - 0.35)))

    def _accept(self, moved: Tensor, log_ratio: Tensor, fit: tuple[Tensor, Tensor] | None = None) -> float:
        """Metropolis acceptance, `log_ratio` being that of all but the likelihood; the share that was accepted."""
        fitted, slope = self._fit(moved) if fit is None else fit
        take = self._uniform(len(moved)).log() < self.beta * (fitted - self.fitted) + log_ratio
        self.coefficients = torch.where(take[:, None], moved, self.coefficients)
        self.slope = torch.where(take[:, None], slope, self.slope)
        self.fitted = torch.where(take, fitted, self.fitted)
        return float(take.double().mean())

    def _anywhere(self, count: int) -> Tensor:
        """The coefficient of a flat mean that may be anywhere on the circle."""
        return math.sqrt(self.model.size) * self.model.size * self._uniform(count)

    def _normal(self, *shape: int) -> Tensor:
        return torch.from_numpy(self.random.standard_normal(shape)).to(self.model.basis.device)

    def _uniform(self, count: int) -> Tensor:
        return torch.from_numpy(self.random.random(count)).to(self.model.basis.device)
