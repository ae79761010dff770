"""Least squares on the manifold of disks: candidates from a grid, then Levenberg-Marquardt in the prior's box."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gahb_bench.families.disks.grid import Grid
from gahb_bench.families.disks.manifold import Manifold
from gahb_bench.families.disks.quadrature import Likelihood

_ITERATIONS = 30
_TILE = 1 << 18  # pixels handled at once


@dataclass
class Fit:
    """Parameters ``(n, 5)``, residual sum of squares ``(n,)`` and tangent vectors ``(n, 5, N^2)`` of fitted disks."""

    theta: Tensor
    rss: Tensor
    tangent: Tensor

    def improve(self, where: Tensor, other: "Fit") -> None:
        """Replace the fits ``where`` (indices) by those of ``other`` that are better."""
        better = other.rss < self.rss[where]
        chosen = where[better]
        self.theta[chosen], self.rss[chosen] = other.theta[better], other.rss[better]
        self.tangent[chosen] = other.tangent[better]


def project(
    grid: Grid, y: Tensor, sigma: Tensor, likelihood: Likelihood, candidates: int, slack: float, settled: float
) -> Fit:
    """The disk nearest to each image: ``argmin |y - x(theta)|^2`` over the prior's box.

    Parameters
    ----------
    y, sigma : flat images ``(n, N^2)`` and their noise levels ``(n,)``
    likelihood : of these images at the nodes of the grid
    candidates : at most this many nodes are refined, none within the neighbourhood of a better one
    slack : a node is a candidate if its log-likelihood is within this of the best node's
    settled : a fit stops when a step changes its log-likelihood by less than this
    """
    remaining, nodes = likelihood.gain.clone(), grid.nodes[0]
    reach = 0.04 * grid.model.size
    everyone = torch.arange(len(y), device=y.device)
    best: Fit | None = None
    first = remaining.amax(1)
    for turn in range(candidates):
        top, index = remaining.max(1)
        chosen = everyone[top > first - 2 * sigma**2 * slack] if turn else everyone
        if not len(chosen):
            break
        at = index[:, None]
        start = torch.cat([nodes[index], likelihood.f.gather(1, at), likelihood.b.gather(1, at)], dim=1)
        fit = refine(grid.model, y[chosen], start[chosen], 2 * settled * sigma[chosen] ** 2)
        if best is None:
            best = fit
        else:
            best.improve(chosen, fit)
        if turn < candidates - 1:
            for image in chosen.tolist():
                near = ((nodes - nodes[index[image]]).abs() < reach).all(1)
                remaining[image, near] = -torch.inf
    assert best is not None
    return best


def refine(model: Manifold, y: Tensor, theta: Tensor, least: Tensor) -> Fit:
    """Levenberg-Marquardt from given parameters, steps projected on the prior's box; never uphill.

    Each image stops by itself, when a step lowers its sum of squares by less than ``least`` (or than rounding).
    """
    step = max(1, _TILE // model.pixels)
    parts = [_refine(model, y[i : i + step], theta[i : i + step], least[i : i + step]) for i in range(0, len(y), step)]
    if not parts:
        return Fit(theta, theta.new_zeros(0), theta.new_zeros(0, 5, model.pixels))
    return Fit(*(torch.cat([getattr(part, name) for part in parts]) for name in ("theta", "rss", "tangent")))


def _refine(model: Manifold, y: Tensor, theta: Tensor, least: Tensor) -> Fit:
    theta = torch.minimum(torch.maximum(theta, model.low), model.high)
    x, J = model.tangent(theta)
    residual = y - x
    fit = Fit(theta, (residual**2).sum(1), J)
    damping = torch.full_like(fit.rss, 1e-3)
    going = torch.arange(len(y), device=y.device)
    reach = torch.tensor([1.5, 1.5, 1.5, torch.inf, torch.inf], dtype=torch.float64, device=y.device)
    for _ in range(_ITERATIONS):
        J, t = fit.tangent[going], fit.theta[going]
        slope = (J @ residual[going, :, None])[:, :, 0]
        held = ((t <= model.low) & (slope <= 0)) | ((t >= model.high) & (slope >= 0)) | ~model.varies
        step = _damped_step(J, slope, held, damping[going])
        trial = torch.minimum(torch.maximum(t + torch.clamp(step, -reach, reach), model.low), model.high)
        x, J = model.tangent(trial)
        rest = y[going] - x
        rss = (rest**2).sum(1)
        change = fit.rss[going] - rss
        better = change > 0
        kept = going[better]
        fit.theta[kept], fit.rss[kept], fit.tangent[kept] = trial[better], rss[better], J[better]
        residual[kept] = rest[better]
        damping[going] = torch.where(better, damping[going] * 0.1, damping[going] * 8).clamp(1e-9, 1e9)
        small = change < least[going] + 1e-14 * rss
        done = torch.where(better, small, damping[going] > 1e6) | ((trial - t).abs().amax(1) < 1e-13)
        going = going[~done]
        if not len(going):
            break
    return fit


def _damped_step(J: Tensor, slope: Tensor, held: Tensor, damping: Tensor) -> Tensor:
    """The step of the free parameters: ``(J'J + damping diag) step = J'residual``."""
    H = J @ J.mT
    diagonal = torch.diagonal(H, dim1=1, dim2=2)
    ridge = damping[:, None] * diagonal + 1e-12 * diagonal.amax(1, keepdim=True) + 1e-300
    free = (~held).to(H.dtype)
    H = (H + torch.diag_embed(ridge)) * free[:, :, None] * free[:, None, :] + torch.diag_embed(1 - free)
    return torch.linalg.solve(H, (slope * free)[:, :, None])[:, :, 0]
