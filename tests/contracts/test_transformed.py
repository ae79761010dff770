"""Laws made of another law by an orthogonal map: all that is known of the inner law is known of them, for every law."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.families.transformed.law import Transformed

LAWS = {entry.name: gb.family(entry.name) for entry in registry.entries("families")}
MAPS = [name for name, law in LAWS.items() if isinstance(law, Transformed)]
INNER = [*(name for name in LAWS if name not in MAPS), "calpha:law=uniform"]
LEVELS = np.array([0.1, 10**-0.5])


def _made(spec, law):
    """An oracle of a law, or None where the law has none of this name."""
    try:
        return gb.denoiser(spec, law)
    except UsageError:
        return None


@pytest.fixture(params=[f"{name}:of=({inner})" for name in MAPS for inner in INNER])
def law(request):
    return gb.family(request.param)


def test_maps_are_orthogonal_and_inverted(law):
    x = law.inner.sample(range(2 * law.copies), split="val").images.double()
    centred = x - x.mean(dim=0)
    images, origin = law.forward(x), law.forward(0 * x)
    assert images.shape == (2, *law.shape)
    torch.testing.assert_close(law.inverse(images), x, rtol=0, atol=1e-12)
    moved = law.forward(centred) - origin
    assert float(moved.square().sum()) == pytest.approx(float(centred.square().sum()), rel=1e-12)


def test_images_and_latents_do_not_depend_on_how_the_batch_is_cut(law):
    whole = law.sample(range(4))
    parts = [law.sample(cut) for cut in ([0, 1], [2], [3])]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    for name, value in whole.latents.items():
        assert torch.equal(torch.cat([part.latents[name] for part in parts]), value)
    inner = law.inverse(whole.images.double())
    assert len({float(image.sum()) for image in inner}) == 4 * law.copies, "the inner images are not all different"


def test_the_reference_is_the_inner_one(law):
    ours, theirs = law.reference(LEVELS), law.inner.reference(LEVELS)
    assert theirs.note in ours.note
    assert law.inner.spec in ours.note
    assert ours.attained_by == (law.optimum.attained_by if ours.kind in ("exact", "linear") else ())
    same = replace(ours, note=theirs.note, attained_by=theirs.attained_by)
    assert same.as_table("").equals(theirs.as_table(""))


def test_what_attains_the_reference_exists(law):
    inner = law.inner.optimum
    *names, last = law.optimum.attained_by
    batch = law.sample(range(2))
    y = gb.add_noise(batch, 0.2).double()
    for ours, theirs in zip([*names, last], [*inner.attained_by, "mmse"], strict=True):
        known = _made(theirs, law.inner)
        if known is None:
            assert _made(ours, law) is None
        else:
            assert torch.equal(gb.denoiser(ours, law)(y, 0.2), law.forward(known(law.inverse(y), 0.2)))


def test_the_inner_posterior_mean_attains_the_reference_too(law):
    if _made("mmse", law) is None:
        assert _made("inner", law) is None
        return
    assert {"mmse", gb.denoiser("inner", law).spec} <= set(law.optimum.attained_by)
    curves = gb.curves(gb.score(law, ["inner:oracle=mmse"], LEVELS, images=4))
    np.testing.assert_allclose(curves["regret_db"], 0, atol=1e-4)


def test_there_is_a_check_where_there_is_a_posterior_mean_and_none_elsewhere(law):
    checks = law.optimum.checks()
    assert bool(checks) == (_made("mmse", law) is not None)
    assert all(check.passed for check in checks)


def test_the_posterior_mean_infers_nothing_to_draw(law):
    oracle = _made("mmse", law)
    if oracle is not None:
        assert oracle.inferred(gb.add_noise(law.sample(range(1)), 0.2), 0.2) is None


def test_the_defaults_are_the_inner_ones_that_know_the_law(law):
    inner = [spec for spec in law.inner.optimum.defaults() if gb.denoiser(spec, law.inner).knows == "law"]
    made = [gb.denoiser(spec, law) for spec in law.optimum.defaults()]
    if "mmse" in inner:
        assert [denoiser.spec for denoiser in made] == ["mmse"]
        assert isinstance(made[0], PosteriorMean)
    else:
        assert [denoiser.oracle for denoiser in made] == inner


def test_the_information_is_that_of_the_inner_images(law):
    ours, theirs = law.optimum.information(LEVELS), law.inner.optimum.information(LEVELS)
    assert (ours is None) == (theirs is None)
    if theirs is not None:
        np.testing.assert_array_equal(ours, law.copies * theirs)


def test_samples_are_those_of_the_inner_images(law):
    ours, theirs = law.optimum.samples, law.inner.optimum.samples
    assert (ours is None) == (theirs is None)
    if theirs is None:
        return
    assert ours.known(0.2) == theirs.known(0.2)
    y, sigma = gb.add_noise(law.sample(range(2)), 0.2).double(), torch.full((2,), 0.2, dtype=torch.float64)
    found = ours.sampled(y, sigma)
    inner = theirs.sampled(law.inverse(y), sigma.repeat_interleave(law.copies))
    assert len(found) == 2
    assert torch.equal(found.flatten(), inner.flatten())


def test_accuracy_and_facts_are_those_of_the_inner_oracle(law):
    ours, inner, theirs = _made("mmse", law), _made("inner", law), _made("mmse", law.inner)
    assert (ours is None) == (inner is None) == (theirs is None)
    if theirs is not None:
        assert ours.facts == inner.facts == theirs.facts
        assert ours.accuracy == theirs.accuracy
