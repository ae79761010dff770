"""The planted bracket: a certified lower and upper bound on the MMSE of ``calpha-contours`` by simulation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.channels import gaussian as noise
from gahb_bench.core import rng
from gahb_bench.core.images import Batch, FloatArray
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.mcmc import ContourSampler, Draws, State
from gahb_bench.families.calpha_contours.model import ContourModel, contour_model, given_contour
from gahb_bench.families.calpha_contours.particles import by_particles, tempered

SWEEPS = 45  # of which a third separates the two windows of each chain
_TILE = 4  # images at once: their chains fit in a processor's cache


@dataclass(frozen=True)
class Bracket:
    """What one noise level's chains say of the MMSE, per pixel, one value an image ``(n,)``.

    lower : expectation at most the MMSE, whatever the mixing
    upper : expectation at least the MMSE: the risk of the mean of infinitely many chains started from the data
    upper_run : expectation at least the MMSE: the risk of the mean of the two chains that were run
    genie : squared error of E[x | y, contour]; its expectation is at most the MMSE
    acceptance : of the Hamiltonian moves
    """

    lower: FloatArray
    upper: FloatArray
    upper_run: FloatArray
    genie: FloatArray
    acceptance: FloatArray

    @property
    def gap(self) -> FloatArray:
        """``upper - lower``: the squared distance between truth-started and data-started chain means, less noise."""
        return self.upper - self.lower


def planted_bracket(
    family: CalphaContours,
    sigma: float,
    indices: Sequence[int],
    *,
    seed: int = 0,
    sweeps: int = SWEEPS,
    progress: Callable[[int], object] | None = None,
) -> Bracket:
    """Bounds on the MMSE from chains started at the truth and chains started from the data.

    The truth is an exact draw from the posterior, so a chain t = 0, 1, ... started there is stationary. With A and B
    the first and last third of its sweeps, <.,.> the inner product per pixel, bars means over a window, and a, b the
    means of the last two thirds of two independent chains started from the data (or of two runs of tempered particles),

        v = ( mean_A |x|^2 + mean_B |x|^2 ) / 2
        lower = v - <x_A, x_B>                                = mean over s in A, t in B of |x_s - x_t|^2 / 2
        upper = v - <(x_A + x_B)/2, a + b> + <a, b>           = mean over t in A, B of <a - x_t, b - x_t>

    E lower = MMSE - Cov(x_s, x_t) given y, and the covariance is not negative because a sweep is a positive
    operator: a lower bound however slowly the chain mixes. Each x_t is a posterior draw independent of a and b given
    y, so E upper = E|x - E[a | y]|^2, the risk of a denoiser: an upper bound. Their difference,
    <x_A - a, x_B - b> symmetrised, shows how well the chains mixed.

    Parameters
    ----------
    sigma : float
        Noise level, image units.
    indices : sequence of int
        Images of the split ``val``: their noise is the paired draw of every other method.
    sweeps : int
        Sweeps of each chain, at least 9.
    progress : callable, optional
        Called with the number of images done.
    """
    parts = []
    done = 0
    for start in range(0, len(indices), _TILE):
        batch = family.sample(indices[start : start + _TILE], seed=seed, split="val")
        parts.append(_bracket_tile(family, batch, sigma, sweeps))
        done += len(batch)
        if progress is not None:
            progress(done)
    return Bracket(*(np.concatenate([getattr(part, key) for part in parts]) for key in Bracket.__dataclass_fields__))


def _bracket_tile(family: CalphaContours, batch: Batch, sigma: float, sweeps: int) -> Bracket:
    device = batch.images.device
    model = contour_model(family, device)
    y = batch.images[:, 0].double() - 0.5 + sigma * noise.unit_noise(batch)[:, 0].double()
    axes = ("planted bracket", batch.family, batch.seed, batch.split, repr(sigma), sweeps)
    truth, *runs = (Draws(rng.generators(*axes, role, indices=batch.indices), device) for role in ("truth", "a", "b"))
    (first, last), half, acceptance = _planted_windows(model, batch, ContourSampler(model, y, sigma, truth), sweeps)
    a, b = (_mean_from_data(model, y, sigma, sweeps, draws) for draws in runs)
    middle, estimate = (first + last) / 2, (a + b) / 2
    return Bracket(
        lower=(half - _inner(first, last)).cpu().numpy(),
        upper=(half - 2 * _inner(middle, estimate) + _inner(a, b)).cpu().numpy(),
        upper_run=(half - 2 * _inner(middle, estimate) + _inner(estimate, estimate)).cpu().numpy(),
        genie=_genie_error(model, batch, y, sigma).cpu().numpy(),
        acceptance=acceptance.cpu().numpy(),
    )


def _planted_windows(
    model: ContourModel, batch: Batch, sampler: ContourSampler, sweeps: int
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Chains from the truth: mean images of the first and last third, mean squares ``(n,)`` and acceptance ``(n,)``."""
    third = sweeps // 3
    state = _planted(model, batch)
    means, squares = torch.zeros_like(sampler.y).repeat(2, 1, 1, 1), torch.zeros_like(sampler.y[:, 0, 0])
    acceptance = torch.zeros_like(squares)
    for t in range(sweeps):
        state, accepted = sampler.sweep(state)
        acceptance += accepted / sweeps
        window = 0 if t < third else 1
        if t < third or t >= sweeps - third:
            x = sampler.image(state)
            means[window] += x / third
            squares += x.square().mean((1, 2)) / (2 * third)
    return (means[0], means[1]), squares, acceptance


def _mean_from_data(model: ContourModel, y: Tensor, sigma: float, sweeps: int, draws: Draws) -> Tensor:
    """An estimate of the posterior mean less 1/2 that depends on y alone, ``(n, N, N)``."""
    if by_particles(model, sigma):
        seen = zip(y, draws.streams, strict=True)
        return torch.stack([tempered(model, image, sigma, stream).moments()[0] for image, stream in seen])
    return ContourSampler(model, y, sigma, draws).average(sweeps)[0]


def _planted(model: ContourModel, batch: Batch) -> State:
    """The true latents as a state: an exact draw from the posterior."""
    coefficients = batch.latents["contour"] @ model.basis
    if model.spectrum is None:
        return State(coefficients)
    f0, f1 = batch.latents["backgrounds"].double().unbind(1)
    return State(coefficients, f0, f1)


def _genie_error(model: ContourModel, batch: Batch, y: Tensor, sigma: float) -> Tensor:
    """Squared error of E[x | y, contour], per pixel; 0 where the contour says all."""
    if model.spectrum is None:
        return torch.zeros_like(y[:, 0, 0])
    mask, _ = model.mask(batch.latents["contour"])
    estimate = given_contour(model, mask, y, torch.full_like(y[:, 0, 0], sigma))
    return (estimate - (batch.images[:, 0].double() - 0.5)).square().mean((1, 2))


def _inner(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).mean((1, 2))
