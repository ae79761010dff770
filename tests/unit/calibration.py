"""Simulation-based calibration: the rank of the truth among samples of its posterior is uniform, if these are right."""

import numpy as np
import scipy.stats
import torch

from gahb_bench.core import rng

PROJECTIONS = 10
_SAME = 1e-5  # projections that differ by less are equal, up to the rounding of images to float32


def p_values(problem, images, sigma, samples, split="val"):
    """P-value of a chi-square test of the ranks in each of ten random projections.

    S. Talts, M. Betancourt, D. Simpson, A. Vehtari, A. Gelman, "Validating Bayesian inference algorithms with
    simulation-based calibration", 2018, arXiv:1804.06788.
    """
    batch = problem.family.sample(range(images), split=split)
    posterior = problem.exact(problem.measure(batch, sigma))
    drawn = posterior.sample(samples, seed=1).double().flatten(2)
    good = ~torch.isnan(drawn).any(dim=2).any(dim=0)
    assert good.float().mean() > 0.98
    stream = rng.generator("calibration")
    v = torch.from_numpy(stream.standard_normal((drawn.shape[2], PROJECTIONS)))
    truth, others = batch.images.double().flatten(1)[good] @ v, drawn[:, good] @ v
    less, equal = (others < truth - _SAME).sum(0), ((others - truth).abs() <= _SAME).sum(0)
    ranks = less.numpy() + np.floor(stream.random(less.shape) * (equal.numpy() + 1))
    counts = [np.bincount(rank.astype(int), minlength=samples + 1) for rank in ranks.T]
    return np.array([scipy.stats.chisquare(count).pvalue for count in counts])
