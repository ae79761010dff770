"""The posterior of a Markov contour by listing every path: the independent route, for tiny chains."""

import itertools
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.optimum import Check
from gahb_bench.families.markov_contours.law import ContourChain, MarkovContours, column_profiles
from gahb_bench.families.markov_contours.messages import forward_backward, functional_variance

_ROWS = 7  # of the tiny images


def every_path(chain: ContourChain) -> tuple[Tensor, Tensor]:
    """All paths that stay on the grid, ``(paths, columns)``, and their prior probabilities."""
    steps, weights = chain.increments
    weight = dict(zip(steps.tolist(), weights.tolist(), strict=True))
    moving = range(-chain.slopes, chain.slopes + 1) if chain.slopes else range(chain.positions)
    paths, probabilities = [], []
    for moved in itertools.product(moving, repeat=chain.columns):
        probability = np.prod([weight.get(b - a, 0.0) for a, b in itertools.pairwise(moved)])
        starts = range(chain.positions) if chain.slopes else [0]
        for start in starts:
            path = start + np.concatenate([[0], np.cumsum(moved[1:])]) if chain.slopes else np.array(moved)
            if path.min() >= 0 and path.max() < chain.positions:
                first = chain.first_slopes[moved[0] + chain.slopes] if chain.slopes else 1.0
                paths.append(path)
                probabilities.append(first * probability)
    prior = torch.tensor(probabilities, dtype=torch.float64)
    return torch.from_numpy(np.array(paths)), prior / prior.sum()


def enumerate_posterior(
    chain: ContourChain, profiles: Tensor, y: Tensor, sigma: float, v: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior mean of one image, its variance per pixel, and the posterior variance of ``<v, x>``."""
    paths, prior = every_path(chain)
    images = profiles[paths].mT
    posterior = torch.softmax(prior.log() - (images - y).square().sum((1, 2)) / (2 * sigma**2), dim=0)
    mean = torch.einsum("p,prc->rc", posterior, images)
    variance = (posterior * (images - mean).square().mean((1, 2))).sum()
    along = torch.einsum("prc,rc->p", images - mean, v)
    return mean, variance, (posterior * along.square()).sum()


def tiny_chain(family: MarkovContours) -> ContourChain:
    """A chain of the family's kind with few enough paths to list."""
    if family.alpha == 0.5:
        return replace(family.chain, columns=5, first=1, positions=5, per_pixel=1, increment=0.8)
    return replace(family.chain, columns=5, first=1, positions=5, per_pixel=1, increment=0.7, slopes=2)


def enumeration_checks(family: MarkovContours) -> list[Check]:
    """Forward-backward against enumeration: means, variances, and variances along random directions."""
    chain = tiny_chain(family)
    stream = rng.generator("enumeration", family.spec)
    profiles = torch.from_numpy(column_profiles(chain, _ROWS, family.edge))
    levels = torch.tensor([0.1, 0.3, 1.0], dtype=torch.float64)
    images = torch.stack([profiles[torch.from_numpy(chain.draw(stream))].mT for _ in levels])
    y = images + levels[:, None, None] * torch.from_numpy(stream.standard_normal(tuple(images.shape)))
    v = torch.from_numpy(stream.standard_normal(tuple(images.shape)))
    found = forward_backward(chain, profiles, y, levels)
    along = functional_variance(chain, profiles, y, levels, v, found.marginals)
    worst = torch.zeros(3, dtype=torch.float64)
    for i, sigma in enumerate(levels.tolist()):
        mean, variance, functional = enumerate_posterior(chain, profiles, y[i], sigma, v[i])
        errors = [
            (found.mean[i] - mean).abs().max(),
            (found.variance[i] / variance - 1).abs(),
            (along[i] / functional - 1).abs(),
        ]
        worst = torch.maximum(worst, torch.stack(errors))
    paths = len(every_path(chain)[0])
    detail = f"largest difference from a sum over all {paths} paths, three noise levels"
    names = ("posterior mean", "posterior variance (relative)", "variance along a direction (relative)")
    pairs = zip(names, worst.tolist(), strict=True)
    routes = ("forward-backward", "enumeration of all paths")
    return [Check(f"6  {name} = enumeration", value, 1e-9, detail, routes) for name, value in pairs]
