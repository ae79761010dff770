"""Samples of the posterior of disks, from what a quadrature found of it. Part of their posterior.

Centre and radius start at nodes drawn by their weights, which is nearly the posterior, and make Metropolis steps that
leave it invariant, with the intensities integrated out: so nothing is left of the nodes' spacing, and where there are
several modes each keeps its weight. The intensities are then drawn given centre and radius.

References
----------
N. Metropolis, A. W. Rosenbluth, M. N. Rosenbluth, A. H. Teller, E. Teller, "Equation of state calculations by fast
computing machines", J. Chem. Phys. 21, 1953, doi:10.1063/1.1699114.
"""

import torch
from torch import Tensor

from gahb_bench.core.conditional import Streams, normal, uniform
from gahb_bench.families.disks.intensities import WINDOW, Statistics, integrate, line
from gahb_bench.families.disks.local import cut_normal
from gahb_bench.families.disks.manifold import Manifold
from gahb_bench.families.disks.quadrature import Moments
from gahb_bench.families.disks.view import SeenRule, View

_SCALES = (1.4, 0.7, 0.2)  # of the steps in turn, in posterior standard deviations: across, within, and around a node
_ROUNDS = 8
_MASKS = 1 << 20  # mask values held at once
_POINTS = 257  # at which the law of f is tabulated


def draw(view: View, model: Manifold, found: Moments, y: Tensor, sigma: Tensor, k: int, streams: Streams) -> Tensor:
    """Samples of each image's posterior, ``(k, n, N^2)``.

    Parameters
    ----------
    found : with ``drawn`` ``(n, k, 3)`` and ``scatter``
    y, sigma : what was seen ``(n, M)`` and its noise ``(n,)``
    streams : one an image
    """
    steps = len(_SCALES) * _ROUNDS
    move, accept = normal(k, streams, (steps, 3), y), uniform(k, streams, (steps,), y)
    last = uniform(k, streams, (2,), y)
    tiles = torch.arange(len(y), device=y.device).split(max(_MASKS // (k * model.pixels), 1))
    images = [_tile(view, model, found.at(i), y[i], sigma[i], move[:, i], accept[:, i], last[:, i]) for i in tiles]
    return torch.cat(images, dim=1)


def _tile(
    view: View, model: Manifold, found: Moments, y: Tensor, sigma: Tensor, move: Tensor, accept: Tensor, last: Tensor
) -> Tensor:
    """The samples of a few images, ``(k, n, N^2)``; random numbers are ``(k, n, ...)``."""
    state, wide = found.drawn.nan_to_num(), sigma[:, None].expand(found.drawn.shape[:2])

    def weigh(geometry: Tensor) -> tuple[SeenRule, Statistics, Tensor]:
        rule = SeenRule(view, model, geometry, torch.zeros_like(wide), 0)
        stats = Statistics(*(value.flatten() for value in rule.statistics(y, sigma)))
        law = integrate(stats, wide.flatten(), model.vary_foreground, model.vary_background)
        return rule, stats, law.log_mass.reshape(wide.shape)

    if model.axes:
        power, axes = torch.linalg.eigh(found.scatter.nan_to_num())
        root = axes * power.clamp(min=0).sqrt()[:, None, :] * model.varies[:3, None]
        mass = weigh(state)[2]
        for step in range(accept.shape[2]):
            trial = state + _SCALES[step % len(_SCALES)] * (move[:, :, step].transpose(0, 1) @ root.mT)
            inside = ((trial >= model.low[:3]) & (trial <= model.high[:3])).all(dim=2)
            other = weigh(trial)[2]
            better = inside & (accept[:, :, step].T.log() < other - mass)
            state, mass = torch.where(better[..., None], trial, state), torch.where(better, other, mass)
    rule, stats, _ = weigh(state)
    u = last.transpose(0, 1).flatten(0, 1)
    f, b = draw_intensities(stats, wide.flatten(), u, model.vary_foreground, model.vary_background)
    f, b = f.reshape(wide.shape)[..., None], b.reshape(wide.shape)[..., None]
    return (b + (f - b) * rule.masks).transpose(0, 1)


def draw_intensities(stats: Statistics, sigma: Tensor, u: Tensor, vary_f: bool, vary_b: bool) -> tuple[Tensor, Tensor]:
    """The intensities f and b, ``(t,)`` each, given the geometry, from uniform numbers ``(t, 2)``.

    f from its law, b integrated out, which is tabulated where it has mass (its spacing is a twentieth of a standard
    deviation); b from the normal law that it has given f, cut to [0, 1].
    """
    w, v, A, B, C = stats
    f, b = torch.ones_like(w), torch.zeros_like(w)
    if vary_f and not vary_b:
        return _cut(w / A, sigma / A.sqrt(), u[:, 0]), b
    if vary_f:
        schur = A - B * B / C
        middle, sd = (w - v * B / C) / schur, sigma / schur.sqrt()
        nearest = middle.clamp(0, 1)
        off = (middle - nearest).abs() / sd
        reach = WINDOW / (off + (off * off + WINDOW).sqrt()) * sd
        left, right = (nearest - reach).clamp(min=0), (nearest + reach).clamp(max=1)
        at = left[:, None] + (right - left)[:, None] * torch.linspace(0, 1, _POINTS, dtype=w.dtype, device=w.device)
        f = _tabulated(at, stats, sigma, u[:, 0])
    if vary_b:
        b = _cut((v - B * f) / C, sigma / C.sqrt(), u[:, 1])
    return f, b


def _tabulated(at: Tensor, stats: Statistics, sigma: Tensor, u: Tensor) -> Tensor:
    """The quantile u of f, from its density at points ``(t, points)``, evenly spaced."""
    w, v, A, B, C, s = (value[:, None].expand_as(at) for value in (*stats, sigma))
    log = line(v - B * at, C, s)[0] + (2 * w * at - A * at * at) / (2 * s * s)
    density = torch.exp(log - log.amax(1, keepdim=True))
    ends = torch.cumulative_trapezoid(density, dim=1)
    ends = torch.cat([torch.zeros_like(ends[:, :1]), ends], dim=1)
    goal = u[:, None] * ends[:, -1:]
    after = torch.searchsorted(ends, goal, right=True).clamp(1, at.shape[1] - 1)
    low, high = ends.gather(1, after - 1), ends.gather(1, after)
    part = ((goal - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    return torch.lerp(at.gather(1, after - 1), at.gather(1, after), part)[:, 0]


def _cut(mean: Tensor, sd: Tensor, u: Tensor) -> Tensor:
    """The quantile u of N(mean, sd^2) cut to [0, 1]."""
    z, _ = cut_normal(torch.special.ndtri(u.clamp(1e-16, 1 - 1e-16)), -mean / sd, (1 - mean) / sd)
    return (mean + sd * z).clamp(0, 1)
