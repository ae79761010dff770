"""The posterior of a random walk with Gaussian jumps in closed form: the exact one, or the best linear estimate."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gahb_bench.families.levy.messages import WalkPosterior

_MEMORY = 2**27  # bytes of matrices at once


def gaussian_posterior(variance: float, y: Tensor, sigma: Tensor, observed: Tensor | None = None) -> WalkPosterior:
    """The posterior of a walk with N(0, variance) jumps.

        Lambda = D'D / variance,   D x = (x_1, x_2 - x_1, ...),    P = Lambda + diag(observed) / sigma^2
        mean = P^-1 (observed y / sigma^2),    Cov = P^-1
        log p(y) = -1/2 sum_observed (log(2 pi sigma^2) + (y - mean)^2 / sigma^2)
                   - mean' Lambda mean / 2 + log det Lambda / 2 - log det P / 2

    Arguments and result as of `walk_posterior`.
    """
    parts = [_posterior(variance, *part) for part in _tiles(y, sigma, observed)]
    empty = [(y.new_empty(y.shape), y.new_empty(y.shape), y.new_empty(0))]
    return WalkPosterior(*(torch.cat(pieces) for pieces in zip(*(parts or empty), strict=True)))


def gaussian_samples(
    variance: float,
    y: Tensor,
    sigma: Tensor,
    count: int,
    stream: np.random.Generator,
    observed: Tensor | None = None,
) -> Tensor:
    """Posterior samples, ``(count, n, N)``: ``mean + L^-T z`` with ``P = L L'``; arguments as of `walk_samples`."""
    z = torch.from_numpy(stream.standard_normal((*y.shape, count))).to(y.device)
    drawn, start = [], 0
    for part, level, seen in _tiles(y, sigma, observed):
        root = _root(variance, level, seen)
        mean = _mean(root, part, level, seen)
        noise = torch.linalg.solve_triangular(root.mT, z[start : start + len(part)], upper=True)
        drawn.append(mean + noise)
        start += len(part)
    return torch.cat(drawn).movedim(2, 0)


def _posterior(variance: float, y: Tensor, sigma: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    root = _root(variance, sigma, seen)
    mean = _mean(root, y, sigma, seen)[..., 0]
    inverse = torch.linalg.solve_triangular(root, torch.eye(y.shape[1]).to(root).expand_as(root), upper=False)
    steps = mean.diff(dim=1, prepend=torch.zeros_like(mean[:, :1]))
    level = sigma[:, None]
    misfit = torch.where(seen, ((y - mean) / level).square() + (2 * math.pi * level.square()).log(), 0.0)
    determinants = y.shape[1] * math.log(variance) + 2 * root.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    log = -0.5 * (misfit.sum(dim=1) + steps.square().sum(dim=1) / variance + determinants)
    return mean, inverse.square().sum(dim=1), log


def _mean(root: Tensor, y: Tensor, sigma: Tensor, seen: Tensor) -> Tensor:
    """``(n, N, 1)``."""
    return torch.cholesky_solve(torch.where(seen, y / sigma[:, None].square(), 0.0)[..., None], root)


def _root(variance: float, sigma: Tensor, seen: Tensor) -> Tensor:
    """The Cholesky factor of P, ``(n, N, N)``."""
    size = seen.shape[1]
    diagonal = torch.full((size,), 2 / variance, dtype=sigma.dtype, device=sigma.device)
    diagonal[-1] = 1 / variance
    beside = torch.full((size - 1,), -1 / variance, dtype=sigma.dtype, device=sigma.device)
    prior = diagonal.diag() + beside.diag(1) + beside.diag(-1)
    return torch.linalg.cholesky(prior + (seen / sigma[:, None].square()).diag_embed())


def _tiles(y: Tensor, sigma: Tensor, observed: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The signals, noise levels and what was seen, in parts whose matrices fit into memory."""
    seen = torch.ones_like(y, dtype=torch.bool) if observed is None else observed.expand(y.shape)
    size = max(1, _MEMORY // (24 * y.shape[1] ** 2))
    return zip(y.split(size), sigma.split(size), seen.split(size), strict=True)
