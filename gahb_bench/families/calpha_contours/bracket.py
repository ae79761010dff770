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
    progress: Callable[[int], None] | None = None,
) -> Bracket:
    """Bounds on the MMSE from chains started at the truth and chains started from the data.

    The truth is an exact draw from the posterior, so a chain t = 0, 1, ... started there is stationary. With A and B
    the first and last third of its sweeps, <.,.> the inner product per pixel, bars means over a window, and a, b the
    means of the last two thirds of two independent chains started from the data,

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
    n, device = len(batch), batch.images.device
    model = contour_model(family, device)
    y = batch.images[:, 0].double() - 0.5 + sigma * noise.unit_noise(batch)[:, 0].double()
    axes = ("planted bracket", batch.family, batch.seed, batch.split, repr(sigma), sweeps)
    streams = [list(rng.generators(*axes, role, indices=batch.indices)) for role in ("truth", "a", "b")]
    started = ContourSampler(model, y.repeat(2, 1, 1), sigma, Draws(streams[1] + streams[2], device))
    state = _join(_planted(model, batch), started.from_data())
    sampler = ContourSampler(
        model, y.repeat(3, 1, 1), sigma, Draws([stream for role in streams for stream in role], device)
    )
    third = sweeps // 3
    sums = torch.zeros(2, 3 * n, *y.shape[1:], dtype=torch.float64, device=device)
    squares = torch.zeros(2, n, dtype=torch.float64, device=device)
    counts = [0, 0]
    acceptance = torch.zeros(3 * n, dtype=torch.float64, device=device)
    for t in range(sweeps):
        state, accepted = sampler.sweep(state)
        acceptance += accepted / sweeps
        x = sampler.image(state)
        window = 0 if t < third else 1
        if t < third or t >= sweeps - third:
            sums[window, :n] += x[:n]
            squares[window] += x[:n].square().mean((1, 2))
            counts[window] += 1
        if t >= third:
            sums[1, n:] += x[n:]
    first, last = sums[0, :n] / counts[0], sums[1, :n] / counts[1]
    a, b = (sums[1, n:] / (sweeps - third)).split(n)
    half = (squares[0] / counts[0] + squares[1] / counts[1]) / 2
    middle, estimate = (first + last) / 2, (a + b) / 2
    return Bracket(
        lower=(half - _inner(first, last)).cpu().numpy(),
        upper=(half - 2 * _inner(middle, estimate) + _inner(a, b)).cpu().numpy(),
        upper_run=(half - 2 * _inner(middle, estimate) + _inner(estimate, estimate)).cpu().numpy(),
        genie=_genie_error(model, batch, y, sigma).cpu().numpy(),
        acceptance=acceptance.reshape(3, n).mean(0).cpu().numpy(),
    )


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


def _join(one: State, two: State) -> State:
    coefficients = torch.cat([one.coefficients, two.coefficients])
    if one.f0 is None or one.f1 is None or two.f0 is None or two.f1 is None:
        return State(coefficients)
    return State(coefficients, torch.cat([one.f0, two.f0]), torch.cat([one.f1, two.f1]))


def _inner(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).mean((1, 2))
