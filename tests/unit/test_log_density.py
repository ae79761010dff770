"""The log-density of noisy images: its derivatives against the posterior, its values against independent routes."""

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import Posterior, PosteriorMean
from gahb_bench.families.hierarchy.check import tiny_trees
from gahb_bench.families.markov_contours.check import every_path, tiny_chain
from gahb_bench.families.markov_contours.law import column_profiles
from gahb_bench.families.markov_contours.messages import log_evidence

LAWS = [
    "besov:size=8",
    "calpha:size=8",
    "coloured:of=(besov:size=8)",
    "disks:size=16",
    "gmm:size=8",
    "gmm:variant=points,within=0.1",
    "gmm:variant=scales,components=3,size=6",
    "hierarchy:depth=3",
    "hierarchy:depth=3,rules=grammar",
    "levy:size=4",
    "levy:jumps=gauss,size=4",
    "levy:jumps=bernoulli-laplace,size=3",
    "markov-contours:size=8",
    "markov-contours:alpha=1.5,size=8",
    "shuffled:of=(gmm:size=8)",
]


def family(spec) -> Any:
    """Any law, whatever it has beside what all have."""
    return gb.family(spec)


def mmse(law) -> Any:
    return gb.denoiser("mmse", family=law)


def noisy(spec, sigma, count=3):
    """The oracle, noisy images in float64, and a direction for each."""
    law = family(spec)
    batch = law.sample(range(count))
    z = unit_noise(batch).double()
    return mmse(law), batch.images.double() + sigma * z, z.flip(0)


def tolerance(spec):
    """Relative error of a slope: quadratures jump from rule to rule, and a lattice follows the noise level."""
    return {"disks": 3e-3, "levy": 1e-5}.get(spec.partition(":")[0], 1e-7)


@pytest.mark.parametrize("sigma", [0.03, 1.0])
@pytest.mark.parametrize("spec", LAWS)
def test_the_gradient_is_that_of_miyasawa(spec, sigma):
    oracle, y, v = noisy(spec, sigma)
    h = (1e-2 if "disks" in spec else 1e-3) * sigma
    near, far = (oracle.log_density(y + k * v, sigma) - oracle.log_density(y - k * v, sigma) for k in (h, 2 * h))
    slope = (8 * near - far) / (12 * h)
    exact = (v * (oracle(y, sigma) - y)).sum(dim=(1, 2, 3)) / sigma**2
    assert float((slope - exact).abs().max() / exact.abs().max()) < tolerance(spec)


@pytest.mark.parametrize("sigma", [0.3, 2.0])
@pytest.mark.parametrize("spec", LAWS)
def test_the_slope_in_the_noise_level_is_what_is_left_of_the_noise(spec, sigma):
    """It is E[|y - x|^2 | y] / sigma^3 - pixels / sigma: with the gradient, that settles all but one constant."""
    oracle, y, _ = noisy(spec, sigma)
    h = 1e-3 * sigma
    near, far = (oracle.log_density(y, sigma + k) - oracle.log_density(y, sigma - k) for k in (h, 2 * h))
    slope = (8 * near - far) / (12 * h)
    post, pixels = oracle.posterior(y, sigma), y[0].numel()
    left = (post.mean - y).square().sum(dim=(1, 2, 3)) + pixels * post.variance
    exact = left / sigma**3 - pixels / sigma
    assert float(((slope - exact) * sigma).abs().max()) / pixels < tolerance(spec)


@pytest.mark.parametrize("spec", LAWS)
def test_the_value_is_the_mean_likelihood_of_images_of_the_law(spec):
    """That is E_x N(y; x, sigma^2), by brute force over images of the law, within 4 standard errors."""
    sigma, count = 2.0, 3000
    oracle, y, _ = noisy(spec, sigma, 2)
    x = oracle.family.sample(range(count), split="val").images.double().flatten(1)
    y = y.flatten(1)
    square = y.square().sum(1)[:, None] + x.square().sum(1) - 2 * y @ x.T
    log = (-square / (2 * sigma**2) - x.shape[1] / 2 * np.log(2 * np.pi * sigma**2)).numpy()
    top = log.max(axis=1, keepdims=True)
    weight = np.exp(log - top)
    found = top[:, 0] + np.log(weight.mean(axis=1))
    error = weight.std(axis=1) / weight.mean(axis=1) / np.sqrt(count)
    assert (error < 0.1).all(), "the brute force says something"
    exact = oracle.log_density(y.reshape(2, *oracle.family.shape), sigma).numpy()
    assert (np.abs(exact - found) < 4 * error).all()


@pytest.mark.parametrize("sigma", [0.01, 0.3])
def test_dense_gaussians(sigma):
    law = family("calpha:size=8")
    oracle, y, _ = noisy(law.spec, sigma)
    place = np.stack(np.divmod(np.arange(64), 8), axis=-1)
    phase = 2 * np.pi / 8 * np.einsum("fi,pqi->fpq", place, place[:, None] - place[None, :])
    covariance = np.einsum("f,fpq->pq", law.spectrum.ravel(), np.cos(phase)) / 64 + sigma**2 * np.eye(64)
    dense = scipy.stats.multivariate_normal(np.full(64, law.mean), covariance).logpdf(y.flatten(1).numpy())
    np.testing.assert_allclose(oracle.log_density(y, sigma).numpy(), dense, rtol=1e-10)


@pytest.mark.parametrize("rules", ["independent", "grammar"])
@pytest.mark.parametrize("sigma", [0.05, 0.4])
def test_hierarchies_by_enumeration_of_all_images(rules, sigma):
    """All 2^16 images of depth 2: P(image) as the sum over the 32 choices of the symbols above the pixels."""
    for law in tiny_trees(family(f"hierarchy:rules={rules}")):
        oracle, y, _ = noisy(law.spec, sigma, 2)
        patches = np.stack(np.meshgrid(*[np.arange(2)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
        blocks = y.reshape(-1, 2, 2, 2, 2).transpose(2, 3).reshape(-1, 4, 4).numpy()
        normal = scipy.stats.norm(law.intensities[patches], sigma)  # (16, 4)
        for block, found in zip(blocks, oracle.log_density(y, sigma).tolist(), strict=True):
            likelihood = np.array([normal.pdf(pixels).prod(axis=1) for pixels in block])  # (patch, 16)
            below = np.array([[_law(law, 1, b, patches) @ each for b in range(2)] for each in likelihood])
            total = np.mean(
                [
                    _law(law, 0, root, patches) @ np.prod([below[p, patches[:, p]] for p in range(4)], axis=0)
                    for root in range(2)
                ]
            )
            assert found == pytest.approx(np.log(total), rel=1e-10)


def _law(law, level, parent, patches):
    """P(the four children are each of the patches | parent), from the rules."""
    if law.rules == "independent":
        return np.prod([law.transitions[level, p, parent][patches[:, p]] for p in range(4)], axis=0)
    return np.mean([(patches == one).all(axis=1) for one in law.tuples[level][parent]], axis=0)


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_markov_contours_by_enumeration_of_all_paths(alpha):
    chain = tiny_chain(family(f"markov-contours:alpha={alpha}"))
    profiles = torch.from_numpy(column_profiles(chain, 7, 0.5))
    paths, prior = every_path(chain)
    images = profiles[paths].mT
    stream = np.random.default_rng(0)
    for sigma in (0.1, 1.0):
        y = images[:3] + sigma * torch.from_numpy(stream.standard_normal((3, *images.shape[1:])))
        square = (images[:, None] - y).square().sum((2, 3))
        log = prior.log()[:, None] - square / (2 * sigma**2) - images[0].numel() / 2 * np.log(2 * np.pi * sigma**2)
        found = log_evidence(chain, profiles, y, torch.full((3,), sigma, dtype=torch.float64))
        np.testing.assert_allclose(found.numpy(), log.logsumexp(dim=0).numpy(), rtol=1e-10)


def test_of_no_images_and_of_a_level_for_each():
    oracle, y, _ = noisy("calpha:size=8", 0.1)
    assert oracle.log_density(y[:0], 0.1).shape == (0,)
    levels = torch.tensor([0.1, 0.2, 0.3])
    each = torch.cat([oracle.log_density(y[i : i + 1], float(s)) for i, s in enumerate(levels)])
    torch.testing.assert_close(oracle.log_density(y.float(), levels), each, rtol=1e-5, atol=0)
    assert oracle.log_density(y.float(), 0.1).dtype == torch.float64


class Unsaid(PosteriorMean):
    """A posterior mean that states no density."""

    name = "unsaid"

    def moments(self, y, sigma):
        return Posterior(y, sigma)


def test_an_oracle_that_states_none_says_so():
    oracle = Unsaid().bind(gb.family("calpha:size=8"))
    with pytest.raises(UsageError, match="states no log-density of noisy images: ask an oracle that does"):
        oracle.log_density(torch.zeros(1, 1, 8, 8), 0.1)
    with pytest.raises(UsageError, match="images of shape"):
        mmse("calpha:size=8").log_density(torch.zeros(1, 1, 8, 9), 0.1)
