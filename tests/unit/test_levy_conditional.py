"""Levy processes of which some samples were seen: against dense algebra and importance sampling; calibration."""

import math

import numpy as np
import pytest
import torch
from calibration import p_values

import gahb_bench as gb
from gahb_bench.channels.problem import Problem
from gahb_bench.core import rng
from gahb_bench.core.operator import Measurement
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.families.levy.law import Levy

GAUSS = "levy:jumps=gauss,scale=0.5,size=12"
SPARSE = ["levy:size=6", "levy:jumps=student,df=3,size=6", "levy:jumps=bernoulli-laplace,rate=0.3,size=6"]


def measure(problem: Problem, images: int = 3, sigma: float | torch.Tensor = 0.4) -> Measurement:
    return problem.measure(problem.family.sample(range(images), split="val"), sigma).to(torch.float64)


def seen_of(measured):
    """Places of the samples that were seen."""
    return np.flatnonzero(measured.mask.flatten())


@pytest.mark.parametrize("pattern", ["random", "block", "columns"])
def test_gaussian_jumps_by_dense_algebra(pattern):
    problem = gb.problem(f"mask:keep=0.4,pattern={pattern}", GAUSS)
    sigma = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    measured = measure(problem, sigma=sigma)
    found = problem.exact(measured)
    time = np.arange(1.0, 13)
    prior = 0.25 * np.minimum(time[:, None], time)
    seen = seen_of(measured)
    assert 0 < len(seen) < 12
    for i in range(3):
        noisy = prior[np.ix_(seen, seen)] + float(sigma[i]) ** 2 * np.eye(len(seen))
        y, gain = measured.y[i].flatten().numpy()[seen], prior[:, seen] @ np.linalg.inv(noisy)
        np.testing.assert_allclose(found.mean[i].flatten(), gain @ y, atol=1e-10)
        np.testing.assert_allclose(found.pixel_variance[i].flatten(), np.diag(prior - gain @ prior[seen]), atol=1e-10)
        log = -(y @ np.linalg.solve(noisy, y) + np.linalg.slogdet(2 * math.pi * noisy)[1]) / 2
        assert float(found.log_evidence[i]) == pytest.approx(log, abs=1e-9)
    gain = prior[:, seen] @ np.linalg.inv(prior[np.ix_(seen, seen)] + float(sigma[1]) ** 2 * np.eye(len(seen)))
    covariance = prior - gain @ prior[seen]
    drawn = found.sample(4000, seed=3)[:, 1].flatten(1).numpy()
    scale = np.sqrt(np.diag(covariance))
    assert np.abs(np.cov(drawn.T) - covariance).max() < 5 * scale.max() ** 2 * (2 / 4000) ** 0.5
    assert (np.abs(drawn.mean(0) - found.mean[1].flatten().numpy()) < 5 * scale / 4000**0.5).all()


@pytest.mark.parametrize("spec", SPARSE)
def test_sparse_jumps_by_importance_sampling(spec):
    """Signals of the law, weighted by the likelihood of what was seen; the mask shows the last sample."""
    problem = gb.problem("mask:keep=0.5,key=3", spec)
    measured, count = measure(problem, 2, sigma=1.0), 400_000
    assert seen_of(measured)[-1] == 5
    found = problem.exact(measured)
    stream = rng.generator("importance", spec)
    law = problem.family
    assert isinstance(law, Levy)
    x = law.law.draw(stream, count * 6).reshape(count, 6).cumsum(1)
    seen = seen_of(measured)
    for i in range(2):
        off = x[:, seen] - measured.y[i].flatten().numpy()[seen]
        log = -(off**2).sum(1) / 2
        weights = np.exp(log - log.max())
        share = weights / weights.sum()
        mean = share @ x
        error = np.sqrt(share**2 @ (x - mean) ** 2)
        assert (np.abs(found.mean[i].flatten().numpy() - mean) < 4.5 * error).all()
        spread = share @ (x - mean) ** 2
        wobble = np.sqrt(share**2 @ ((x - mean) ** 2 - spread) ** 2)
        assert (np.abs(found.pixel_variance[i].flatten().numpy() - spread) < 4.5 * wobble + 1e-3 * spread).all()
        evidence = math.log(weights.mean()) + log.max() - len(seen) / 2 * math.log(2 * math.pi)
        assert float(found.log_evidence[i]) == pytest.approx(evidence, abs=4.5 * weights.std() / weights.mean() / 632)


@pytest.mark.parametrize("spec", ["levy:size=16", "levy:jumps=bernoulli-laplace,size=16", "levy:jumps=gauss,size=16"])
def test_what_hides_nothing_gives_the_plain_denoiser(spec):
    problem = gb.problem("mask:keep=1", spec)
    measured = measure(problem)
    oracle = posterior_mean(problem.family)
    assert oracle is not None
    plain, found = oracle.posterior(measured.y, 0.4), problem.exact(measured)
    torch.testing.assert_close(found.mean, plain.mean, atol=1e-10, rtol=0)
    torch.testing.assert_close(found.variance, plain.variance, atol=1e-10, rtol=0)


@pytest.mark.parametrize("spec", ["levy:jumps=gauss,size=16", "levy:size=16", "levy:jumps=student,size=8"])
def test_samples_are_calibrated(spec):
    assert p_values(gb.problem("mask:keep=0.4", spec), 60, 1.0, samples=5).min() > 1e-3


def test_samples_do_not_depend_on_how_the_batch_is_cut():
    problem = gb.problem("mask:keep=0.4", "levy:size=16")
    whole = measure(problem)
    part = problem.exact(whole.select([2, 0])).sample(3, 7)
    torch.testing.assert_close(part, problem.exact(whole).sample(3, 7)[:, [2, 0]], atol=1e-9, rtol=0)
