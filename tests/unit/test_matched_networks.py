"""Networks whose form is that of a law's optimum: exact at the law's own numbers, near the optimum once trained."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import make_settings
from gahb_bench.training.trainer import Trainer

SIGMAS = (0.01, 0.1, 0.5, 2.0)


def hierarchy(module, law):
    module.transitions.copy_(torch.from_numpy(law.transitions).flatten(2, 3).unflatten(2, (law.symbols, -1)).log())


def grammar(module, law):
    children = one_hot(torch.from_numpy(law.tuples), law.symbols).double()  # (level, a, r, p, b)
    module.transitions.copy_(60 * children.permute(0, 3, 1, 2, 4).flatten(2, 3))


def mixture(module, law):
    half = law.spectra[:, None, :, : law.size // 2 + 1]
    module.start.copy_(torch.from_numpy(law.means)[:, None])
    module.spectra.copy_(torch.from_numpy(half / module.std**2).log() / 5)
    module.weights.copy_(torch.from_numpy(law.weights).log())


def wiener(module, law):
    half = torch.from_numpy(law.spectrum)[None, None, :, : law.size // 2 + 1]
    module.start.fill_(law.mean)
    module.spectra.copy_((half / module.std**2).log() / 5)


def chain(module, law):
    walk = law.chain
    module.places.fill_(-1e3)
    module.places[walk.first : walk.first + walk.positions] = 0
    module.jump_law.copy_(torch.from_numpy(walk.increments[1]).log())
    module.profile.copy_(torch.tensor([0, 0, math.log(law.edge) / 0.1]))


@pytest.mark.parametrize(
    ("network", "family", "told"),
    [
        ("bp-unet:symbols=4", "hierarchy:depth=3,symbols=4", hierarchy),
        ("bp-unet:symbols=3,productions=5", "hierarchy:depth=3,symbols=3,productions=5,rules=grammar", grammar),
        ("mixture:components=5", "gmm:size=16,components=5,ratio=0.7", mixture),
        ("mixture:components=3", "gmm:size=9,components=3", mixture),
        ("mixture:components=1", "calpha:size=16", wiener),
        ("chain", "markov-contours:size=16", chain),
    ],
)
def test_told_the_law_it_is_the_posterior_mean(network, family, told):
    law = gb.family(family)
    module = gb.network(network).build(law.shape, 0.5, 0.25).double()
    with torch.no_grad():
        told(module, law)
        batch, optimum = law.sample(range(4)), gb.denoiser("mmse", family=law)
        for sigma in SIGMAS:
            y = gb.add_noise(batch, sigma).double()
            x_hat = module(y, torch.full((4,), sigma, dtype=torch.float64))
            single = module.float()(y.float(), torch.full((4,), sigma))
            module.double()
            torch.testing.assert_close(x_hat, optimum(y, sigma), atol=2e-6, rtol=0)  # of numbers kept in float32
            torch.testing.assert_close(single, x_hat.float(), atol=1e-4, rtol=0)


def laplace(size, scale):
    return -size / scale - math.log(2 * scale)


@pytest.mark.parametrize(("family", "told"), [("levy:size=16", 0.0), ("levy:jumps=bernoulli-laplace,size=16", 0.1)])
def test_told_the_law_of_the_jumps_a_chain_is_the_posterior_mean_of_signals(family, told):
    """But for its lattice, and the values of log f between its knots."""
    law = gb.family(family)
    module = gb.network("chain").build(law.shape, 0.0, 4.0)
    with torch.no_grad():
        module.jump_law.copy_(laplace(module.near * module.knots.sinh(), 1.0) + math.log(told or 1) - module.start)
        module.none.fill_(math.log(1 - told) if told else -1e3)
        batch, optimum = law.sample(range(8)), gb.denoiser("mmse", family=law)
        for sigma in SIGMAS:
            y = gb.add_noise(batch, sigma)
            x_hat = module(y, torch.full((8,), sigma))
            assert float((x_hat - optimum(y, sigma)).abs().max()) < 0.05 * sigma
            excess = (x_hat - optimum(y, sigma)).square().mean() / optimum.posterior(y, sigma).variance.mean()
            assert float(excess) < 1e-3


def test_a_chain_of_signals_has_a_derivative():
    module = gb.network("chain").build((1, 1, 8), 0.0, 2.0)
    y = gb.add_noise(gb.family("levy:size=8").sample([0]), 0.5)
    jacobian = torch.func.jacrev(lambda noisy: module(noisy, torch.tensor([0.5])))(y).reshape(8, 8)
    forward = torch.func.jacfwd(lambda noisy: module(noisy, torch.tensor([0.5])))(y).reshape(8, 8)
    torch.testing.assert_close(forward, jacobian, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(jacobian, jacobian.T, atol=1e-3, rtol=0)  # of a posterior mean, whatever was learned


@pytest.mark.parametrize("network", ["shrinkage", "mixture:components=2", "bp-unet:symbols=3", "chain", "linear"])
def test_bfloat16_is_not_for_them(network):
    """Under autocast they compute what they compute without it."""
    law = gb.family("besov:size=8,coarse=0")
    module = gb.network(network).build(law.shape, 0.5, 0.25)
    y, sigma = gb.add_noise(law.sample(range(2)), 0.1), torch.tensor([0.1, 0.2])
    with torch.autocast("cpu", torch.bfloat16):
        low = module(y, sigma)
    assert torch.equal(low, module(y, sigma))


@pytest.mark.parametrize(
    ("network", "family", "steps", "regret"),
    [
        ("shrinkage", "besov:size=8,coarse=0", 400, 0.05),
        ("mixture:components=1", "calpha:size=8", 400, 0.05),
        ("mixture:components=2", "gmm:size=8,components=2", 500, 0.2),
        ("bp-unet:symbols=4", "hierarchy:depth=3,symbols=4", 400, 0.2),
        ("chain", "markov-contours:size=8", 300, 0.5),
        ("chain", "levy:size=8", 60, 0.1),
    ],
)
def test_trained_from_a_random_start_it_is_near_the_optimum(network, family, steps, regret, tmp_path):
    """By the learning rate of its own, from noisy pairs alone."""
    told = []
    settings = make_settings(family, network, {"steps": steps, "validate_every": steps, "validation_images": 32})
    fit(settings, tmp_path / "t", progress=lambda now: told.append(now.measured))
    assert settings.learning_rate == settings.architecture.learning_rate != 2e-3
    assert told[-1].mean_regret_db < regret


def test_a_mixture_starts_from_training_images_far_apart(tmp_path):
    settings = make_settings("gmm:size=16,components=6", "mixture:components=6", {"images": 200, "steps": 1})
    trainer = Trainer(settings, TrainingFolder(tmp_path, settings, main=True), "cpu", 0, 1)
    trainer.batches.close()
    batch = settings.law.sample(range(200), split="train")
    places = [int((batch.images == start).all(dim=(1, 2, 3)).nonzero()) for start in trainer.network.start]
    assert len(set(batch.latents["component"][places].tolist())) == 6  # one of each component


def test_a_learning_rate_that_is_given_wins():
    assert make_settings("besov:size=16", "shrinkage", {"learning_rate": 0.003}).learning_rate == 0.003
    assert make_settings("besov:size=16", "shrinkage", {}).learning_rate == 0.01
    assert make_settings("besov:size=16", "edm-unet", {}).learning_rate == 2e-3


def test_the_tree_is_as_deep_as_the_sides_allow():
    depths = {side: len(gb.network("bp-unet").build((1, side, side), 0.5, 0.25).transitions) for side in (8, 12, 15)}
    assert depths == {8: 3, 12: 2, 15: 0}
    assert len(gb.network("bp-unet:depth=2").build((1, 8, 16), 0.5, 0.25).transitions) == 2
    with pytest.raises(UsageError, match="divisible by 8"):
        gb.network("bp-unet:depth=3").build((1, 12, 12), 0.5, 0.25)


def test_shrinkage_is_linear_in_nothing_but_acts_on_each_coefficient_alone():
    """A change of one wavelet coefficient of y changes the same coefficient of the estimate and no other."""
    law = gb.family("besov:size=16")
    module = gb.network("shrinkage").build(law.shape, 0.5, 0.25).double()
    y, sigma = gb.add_noise(law.sample([0]), 0.1).double(), torch.tensor([0.1], dtype=torch.float64)
    transform = module.transform
    with torch.no_grad():
        before = transform.forward(module(y, sigma))
        w = transform.forward(y)
        w[0, 0, 5, 11] += 0.3
        after = transform.forward(module(transform.inverse(w), sigma))
    changed = (after - before).abs() > 1e-9
    assert np.argwhere(changed[0, 0].numpy()).tolist() == [[5, 11]]
