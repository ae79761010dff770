"""Shuffled images: the inner family and its optimum, pixel by pixel in another order."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.families.shuffled import Shuffled
from gahb_bench.verification.identities import z_score

INNER = [
    "calpha:alpha=1,size=16",
    "besov:size=16",
    "gmm:size=16",
    "gmm:variant=points",
    "hierarchy:depth=3",
    "shuffled:key=3,of=(calpha:size=16)",
]


def make(of, key=0):
    return Shuffled.from_parameters({"of": of, "key": key})


def posterior_mean(family):
    found = gb.denoiser("mmse", family)
    assert isinstance(found, PosteriorMean)
    return found


def test_specs_nest_in_canonical_form():
    family = gb.family("shuffled:of=(calpha:size=32,alpha=1.0)")
    assert family.spec == "shuffled:of=(calpha:alpha=1,size=32)"
    assert gb.family(family.spec) == family
    assert gb.family("shuffled:of=(calpha:alpha=1,size=32)").sample([3]).images.equal(family.sample([3]).images)
    assert gb.family("shuffled:of=calpha").spec == "shuffled"
    assert gb.family("shuffled:of=(shuffled:of=(besov:size=32))").spec == "shuffled:of=(shuffled:of=(besov:size=32))"


@pytest.mark.parametrize("of", INNER)
def test_images_are_the_inner_ones_in_another_order(of):
    family = make(of)
    images, latents = family.draw(rng.generators("test", indices=range(4)), 4)
    inner, inner_latents = family.inner.draw(rng.generators("test", indices=range(4)), 4)
    shuffled = torch.from_numpy(images)
    assert torch.equal(family.inverse(shuffled), torch.from_numpy(inner))
    assert torch.equal(family.forward(torch.from_numpy(inner)), shuffled)
    assert latents.keys() == inner_latents.keys()
    assert all(np.array_equal(latents[name], inner_latents[name]) for name in latents)


def test_the_permutation_is_fixed_and_depends_on_the_key():
    family = make("calpha:size=16")
    assert sorted(family.permutation) == list(range(256))
    assert np.array_equal(family.permutation, make("besov:size=16").permutation)
    assert not np.array_equal(family.permutation, make("calpha:size=16", key=1).permutation)
    neighbours = np.abs(np.diff(family.permutation)) == 1
    assert neighbours.mean() < 0.05


@pytest.mark.parametrize("of", INNER)
@pytest.mark.parametrize("sigma", [1e-3, 0.1, 100.0])
def test_optimum_is_the_inner_optimum_image_by_image(of, sigma):
    family = make(of)
    batch = family.sample(range(5), split="val")
    y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
    v = unit_noise(batch).double().flip(0)
    levels = torch.full((5,), sigma, dtype=torch.float64)
    found, inner = posterior_mean(family), posterior_mean(family.inner)
    assert torch.equal(family.inverse(found(y, sigma)), inner(family.inverse(y), sigma))
    ours, theirs = found.posterior(y, sigma), inner.posterior(family.inverse(y), sigma)
    assert torch.equal(family.inverse(ours.mean), theirs.mean)
    assert torch.equal(ours.variance, theirs.variance)
    product = inner.covariance(family.inverse(y), levels, family.inverse(v))
    assert torch.equal(family.inverse(found.covariance(y, levels, v)), product)
    assert ours.mean.isfinite().all()


@pytest.mark.parametrize("of", ["calpha:alpha=1,size=16", "hierarchy:depth=3", "besov:size=16"])
def test_identities(of):
    family = make(of)
    mmse = posterior_mean(family)
    batch = family.sample(range(200), split="val")
    x = batch.images.double()
    v = torch.from_numpy(rng.generator("test-shuffled-v").standard_normal((200, *family.shape)))
    for sigma in (0.1, 0.5):
        y = scale_noise(x, unit_noise(batch).double(), sigma)
        posterior = mmse.posterior(y, sigma)
        squared = (posterior.mean - x).square().mean(dim=(1, 2, 3)).numpy()
        reference = family.reference(sigma)
        assert abs(z_score(squared - posterior.variance.numpy())) < 3.5
        assert abs(z_score(squared - reference.mse[0], extra_error=float(reference.standard_error[0]))) < 3.5
        step = 1e-4 * sigma
        slope = (mmse(y + step * v, sigma) - mmse(y - step * v, sigma)) / (2 * step)
        right = (v * mmse.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
        torch.testing.assert_close(sigma**2 * (v * slope).sum(dim=(1, 2, 3)), right, rtol=1e-4, atol=1e-9 * sigma**2)


@pytest.mark.parametrize("of", INNER)
def test_reference_is_the_inner_one(of):
    family = make(of)
    ours, theirs = family.reference([0.1, 0.3]), family.inner.reference([0.1, 0.3])
    assert np.array_equal(ours.mse, theirs.mse)
    assert np.array_equal(ours.exponent, theirs.exponent)
    assert ours.kind == theirs.kind
    assert family.inner.spec in ours.note


def test_independent_route():
    checks = make("calpha", key=5).optimum.checks()
    assert len(checks) == 2
    assert all(check.passed for check in checks), checks


def test_locality_is_worth_something():
    """A wavelet denoiser is much worse on shuffled images than on the inner ones; the optimum is not."""
    family = make("calpha:size=32")
    wavelet, sigma = gb.denoiser("wavelet"), 0.1
    regret = []
    for law in (family, family.inner):
        batch = law.sample(range(32), split="val")
        x = batch.images.double()
        y = scale_noise(x, unit_noise(batch).double(), sigma)
        best = (gb.denoiser("mmse", law)(y, sigma) - x).square().mean()
        regret.append(10 * np.log10(float((wavelet(y, sigma) - x).square().mean() / best)))
        assert float(best) == pytest.approx(law.reference(sigma).mse[0], rel=0.1)
    assert regret[0] > regret[1] + 5


def test_oracles_that_are_not_the_mmse():
    """Where only the best linear denoiser is known, so it is here."""
    family = make("calpha:law=uniform,size=16")
    assert "inner:oracle=wiener" in family.optimum.defaults()
    assert make("calpha:size=16").optimum.defaults() == ["mmse"]
    assert make("besov:size=16").optimum.defaults() == ["mmse"]  # the genie knows latents
    y = family.sample(range(3)).images.double()
    wiener = gb.denoiser("wiener", family.inner)(family.inverse(y), 0.1)
    assert torch.equal(family.inverse(gb.denoiser("inner:oracle=wiener", family)(y, 0.1)), wiener)
    with pytest.raises(UsageError, match="best linear"):
        gb.denoiser("mmse", family)
    with pytest.raises(UsageError, match="knows the latents"):
        gb.denoiser("inner:oracle=genie", make("besov:size=16"))


def test_what_is_not_allowed():
    with pytest.raises(UsageError, match=r"shuffled: of=calfa is not allowed: unknown family 'calfa'"):
        gb.family("shuffled:of=calfa")
    with pytest.raises(UsageError, match="size=4"):
        gb.family("shuffled:of=(calpha:size=4)")
    with pytest.raises(UsageError, match="shape"):
        gb.denoiser("mmse", make("calpha:size=16"))(torch.zeros(1, 1, 8, 8), 0.1)
