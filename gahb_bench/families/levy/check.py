"""The posterior of a short Levy process by two independent routes: quadrature over its jumps, and dense algebra."""

import itertools
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import special, stats

from gahb_bench.core import rng
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Check
from gahb_bench.families.levy.gaussian import gaussian_posterior
from gahb_bench.families.levy.jumps import JumpLaw
from gahb_bench.families.levy.messages import walk_posterior

LENGTH = 3  # of the short signals
_NODES = 20  # of a panel
_PANEL = 7.0  # its width at most, in sigma
_REACH = 7.0  # of the noise, in sigma
_LEVELS = (0.3, 1.0)  # in scales of the jumps


@dataclass(frozen=True)
class Moments:
    """Mean ``(3,)`` and covariance ``(3, 3)`` of a signal given y, and ``log p(y)``, nats."""

    mean: FloatArray
    covariance: FloatArray
    log_evidence: float


def quadrature(law: JumpLaw, y: FloatArray, sigma: float) -> Moments:
    """Given three noisy samples, by Gauss-Legendre quadrature over the three jumps, and the sum over their atoms."""
    noise = _REACH * sigma
    steps = np.diff(y, prepend=0.0)
    reach = [noise, 2 * noise, 2 * noise]
    rules = [_rule(law, step - far, step + far, sigma) for step, far in zip(steps, reach, strict=True)]
    u = np.stack(np.meshgrid(*(nodes for nodes, _ in rules), indexing="ij"), axis=-1).reshape(-1, LENGTH)
    prior = np.einsum("i,j,k->ijk", *(weights for _, weights in rules)).ravel()
    x = u.cumsum(axis=1)
    weights = prior * np.exp(-((y - x) ** 2).sum(axis=1) / (2 * sigma**2))
    total = weights.sum()
    mean = weights @ x / total
    centred = x - mean
    covariance = (weights / total * centred.T) @ centred
    return Moments(mean, covariance, float(np.log(total) - LENGTH * np.log(np.sqrt(2 * np.pi) * sigma)))


def density(law: JumpLaw, u: FloatArray) -> FloatArray:
    """Density of the jumps, without the atom."""
    if law.kind == "gauss":
        return stats.norm.pdf(u, scale=law.scale)
    if law.kind == "student":
        return stats.t.pdf(u / law.scale, law.df) / law.scale
    return (1 - law.atom) * stats.laplace.pdf(u, scale=law.scale)


def dense(law: JumpLaw, y: FloatArray, sigma: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of Gaussian jumps: means and variances of signals ``(n, N)``, and log evidence ``(n,)``, from the covariance."""
    time = np.arange(1.0, y.shape[1] + 1)
    covariance = law.variance * np.minimum(time[:, None], time)
    noisy = covariance + sigma**2 * np.eye(len(time))
    gain = np.linalg.solve(noisy, covariance).T
    variance = np.diag(covariance - gain @ covariance)
    log = stats.multivariate_normal(cov=noisy).logpdf(y)
    return y @ gain.T, np.broadcast_to(variance, y.shape), np.atleast_1d(log)


def quadrature_checks(law: JumpLaw) -> list[Check]:
    """Messages against quadrature over the jumps (identity 6): means, variances, evidence of three samples."""
    stream = rng.generator("levy quadrature", law.kind)
    worst = np.zeros(3)
    for level in _LEVELS:
        sigma = level * law.scale
        y = law.draw(stream, LENGTH).cumsum() + sigma * stream.standard_normal(LENGTH)
        expected = quadrature(law, y, sigma)
        found = walk_posterior(law, torch.from_numpy(y)[None], torch.tensor([sigma], dtype=torch.float64))
        errors = (
            np.abs(found.mean[0].numpy() - expected.mean).max() / sigma,
            np.abs(found.variance[0].numpy() / np.diag(expected.covariance) - 1).max(),
            abs(float(found.log_evidence[0]) - expected.log_evidence),
        )
        worst = np.maximum(worst, errors)
    names = ("mean (in sigma)", "variance (relative)", "log evidence (nats)")
    routes = ("messages on a lattice", "quadrature over the jumps")
    pairs = zip(names, worst.tolist(), strict=True)
    return [Check(f"6  {name} = quadrature, N={LENGTH}", value, 1e-4, routes=routes) for name, value in pairs]


def walk_checks(law: JumpLaw) -> list[Check]:
    """Gaussian jumps (identity 6): the oracle's algebra and messages, each against the dense covariance, N = 16."""
    stream = rng.generator("levy gaussian", law.kind)
    size, count, checks = 16, 4, []
    routes = {"linear algebra": partial(gaussian_posterior, law.variance), "messages": partial(walk_posterior, law)}
    for level in (0.1, 1.0):
        sigma = level * law.scale
        x = np.stack([law.draw(stream, size).cumsum() for _ in range(count)])
        y = x + sigma * stream.standard_normal(x.shape)
        mean, variance, log = dense(law, y, sigma)
        levels = torch.full((count,), sigma, dtype=torch.float64)
        for name, route in routes.items():
            found = route(torch.from_numpy(y), levels)
            error = max(
                np.abs(found.mean.numpy() - mean).max() / sigma,
                np.abs(found.variance.numpy() / variance - 1).max(),
                np.abs(found.log_evidence.numpy() - log).max(),
            )
            identity = f"6  {name} = dense algebra, sigma={sigma:g}"
            checks.append(Check(identity, float(error), 1e-6, routes=(name, "dense algebra")))
    return checks


def _rule(law: JumpLaw, low: float, high: float, sigma: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights for one jump between two ends: panels of equal width on each side of 0; the atom."""
    edges = []
    for left, right in itertools.pairwise(np.unique([low, *([0.0] if low < 0 < high else []), high])):
        edges += itertools.pairwise(np.linspace(left, right, int(np.ceil((right - left) / (_PANEL * sigma))) + 1))
    nodes, weights = special.roots_legendre(_NODES)
    u = np.concatenate([(left + right) / 2 + (right - left) / 2 * nodes for left, right in edges])
    w = np.concatenate([(right - left) / 2 * weights for left, right in edges]) * density(law, u)
    return (np.append(u, 0.0), np.append(w, law.atom)) if law.atom else (u, w)
