"""Colour images: an orthogonal mix of three inner images, whose optimum is that of each opponent channel."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.families.coloured import Coloured
from gahb_bench.verification.verify import verify

Q = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
INNER = ["calpha:alpha=1,size=16", "besov:size=16", "gmm:variant=points", "hierarchy:depth=3", "disks:size=16"]


def make(of):
    return Coloured.from_parameters({"of": of})


def test_opponent_channels_are_orthonormal():
    np.testing.assert_allclose(Q @ Q.T, np.eye(3), atol=1e-15)
    law = make("calpha:size=16")
    x = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    expected = 0.5 + np.einsum("oc,nchw->nohw", Q, x.numpy() - 0.5)
    found = law.inverse(x).reshape(2, 3, 16, 16)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)
    np.testing.assert_allclose(law.forward(found.reshape(6, 1, 16, 16)).numpy(), x.numpy(), atol=1e-14)


@pytest.mark.parametrize("of", INNER)
def test_images_are_mixes_of_three_inner_ones(of):
    law = make(of)
    images, latents = law.draw(rng.generators("test", indices=range(2)), 2)
    streams = [stream for stream in rng.generators("test", indices=range(2)) for _ in range(3)]
    inner, inner_latents = law.inner.draw(iter(streams), 6)
    expected = 0.5 + np.einsum("oc,nohw->nchw", Q, inner.reshape(2, 3, *law.shape[1:]) - 0.5)
    np.testing.assert_allclose(images, expected, atol=1e-6)
    assert images.shape == (2, *law.shape)
    assert latents.keys() == inner_latents.keys()
    for name, value in latents.items():
        assert value.shape == (2, 3, *inner_latents[name].shape[1:])
        assert np.array_equal(value.reshape(inner_latents[name].shape), inner_latents[name])


@pytest.mark.parametrize("of", INNER)
@pytest.mark.parametrize("sigma", [0.03, 0.3])
def test_the_optimum_is_the_inner_one_in_each_opponent_channel(of, sigma):
    law = make(of)
    mmse, inner = gb.denoiser("mmse", law), gb.denoiser("mmse", law.inner)
    assert isinstance(mmse, PosteriorMean)
    assert isinstance(inner, PosteriorMean)
    batch = law.sample(range(3), split="val")
    y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
    v = unit_noise(batch).double().flip(0)
    levels = torch.full((3,), sigma, dtype=torch.float64)
    theirs = inner.posterior(law.inverse(y), sigma)
    ours = mmse.posterior(y, sigma)
    assert torch.equal(ours.mean, law.forward(theirs.mean))
    assert torch.equal(ours.mean, mmse(y, sigma))
    assert torch.equal(ours.variance, theirs.variance.reshape(3, 3).mean(dim=1))
    direction = law.inverse(0.5 + v) - 0.5
    product = law.forward(inner.covariance(law.inverse(y), levels.repeat_interleave(3), direction)) - 0.5
    centred = product - (law.forward(torch.zeros_like(law.inverse(y))) - 0.5)
    torch.testing.assert_close(mmse.covariance(y, levels, v), centred, rtol=1e-9, atol=1e-12 * sigma**2)


@pytest.mark.parametrize(
    "of",
    ["calpha:size=16", "besov:size=16", "hierarchy:depth=3", pytest.param("disks:size=16", marks=pytest.mark.long)],
)
def test_identities(of):
    checks = list(verify(make(of), images=64, sigmas=(0.2,)))
    assert len(checks) > 10
    assert all(check.passed for check in checks), [check for check in checks if not check.passed]


@pytest.mark.parametrize("of", INNER[:2])
def test_noise_levels_may_differ_from_image_to_image(of):
    mmse, batch = gb.denoiser("mmse", make(of)), make(of).sample(range(3))
    levels = torch.tensor([0.05, 0.1, 0.4])
    y = gb.add_noise(batch, levels)
    alone = torch.cat([mmse(y[[i]], float(levels[i])) for i in range(3)])
    torch.testing.assert_close(mmse(y, levels), alone, rtol=0, atol=1e-6)


def test_oracles_that_are_not_the_mmse():
    law = make("calpha:law=uniform,size=16")
    assert "inner:oracle=wiener" in law.optimum.defaults()
    y = law.sample(range(3)).images.double()
    expected = law.forward(gb.denoiser("wiener", law.inner)(law.inverse(y), 0.1))
    assert torch.equal(gb.denoiser("inner:oracle=wiener", law)(y, 0.1), expected)
    with pytest.raises(UsageError, match="knows the latents"):
        gb.denoiser("inner:oracle=genie", make("besov:size=16"))
    with pytest.raises(UsageError, match="wienr"):
        gb.denoiser("inner:oracle=wienr", law)


@pytest.mark.parametrize(
    "spec", ["shuffled:of=(coloured:of=(besov:size=16))", "coloured:of=(shuffled:of=(besov:size=16))"]
)
def test_maps_of_maps(spec):
    law = gb.family(spec)
    assert law.spec == spec
    assert law.shape == (3, 16, 16)
    innermost = law.inner.inner
    assert np.array_equal(law.reference([0.1, 0.3]).mse, innermost.reference([0.1, 0.3]).mse)
    batch = law.sample(range(2))
    y = gb.add_noise(batch, 0.2).double()
    grey = law.inner.inverse(law.inverse(y))
    assert grey.shape == (6, 1, 16, 16)
    expected = law.forward(law.inner.forward(gb.denoiser("mmse", innermost)(grey, 0.2)))
    assert torch.equal(gb.denoiser("mmse", law)(y, 0.2), expected)
    assert set(batch.latents) == {"active"}
    assert batch.latents["active"].shape == (2, 3, 16, 16)


@pytest.mark.parametrize("of", ["coloured", "shuffled:of=(coloured:of=(calpha:size=16))"])
def test_colour_is_made_of_grey_images(of):
    with pytest.raises(UsageError, match=r"coloured: of=.*is not allowed: its images have 3 channels"):
        gb.family(f"coloured:of=({of})")


def test_images_of_another_shape_are_refused():
    with pytest.raises(UsageError, match="shape"):
        gb.denoiser("mmse", make("calpha:size=16"))(torch.zeros(1, 1, 16, 16), 0.1)


def test_treating_channels_alone_costs_nothing_where_the_law_is_gaussian():
    """They are then independent; where it is not, the optimum of each channel alone would be another."""
    law = make("calpha:size=16")
    y = gb.add_noise(law.sample(range(4)), 0.1).double()
    alone = gb.denoiser("mmse", law.inner)(y.flatten(0, 1).unsqueeze(1), 0.1).reshape(y.shape)
    torch.testing.assert_close(gb.denoiser("mmse", law)(y, 0.1), alone, rtol=0, atol=1e-12)


def test_a_callable_made_for_one_channel_says_how_to_bring_it():
    grey = gb.score("coloured:of=(calpha:size=16)", [_grey_only], [0.1], images=2)
    assert (grey["status"] == "failed").all()
    assert grey["reason"].str.contains("it works with gb.denoiser(_grey_only, channels=1)", regex=False).all()


def _grey_only(y, sigma):
    if y.shape[1] != 1:
        raise ValueError("one channel only")
    return y
