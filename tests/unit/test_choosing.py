"""Pixels observed one after the other: against dense linear algebra, against chance, whatever says where."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.channels.mask import Mask
from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.sampling import at_random, by_exact_samples, by_samples, observe, where_unsure

SPEC, SIGMA = "calpha:size=8", 0.1


def images(count, spec=SPEC, seed=0):
    return gb.family(spec).sample(range(count), seed=seed)


def covariance(size):
    """Of `calpha`, from its spectrum by a sum of cosines, ``(pixels, pixels)``."""
    spectrum = Calpha.from_parameters({"size": size}).spectrum
    place = np.stack(np.divmod(np.arange(size**2), size), axis=1)
    lag = place[:, None] - place[None]
    out = np.zeros((size**2, size**2))
    for k in np.ndindex(size, size):
        out += spectrum[k] * np.cos(2 * np.pi * (lag @ np.array(k)) / size)
    return out / size**2


def test_the_next_pixel_has_the_largest_variance_by_linear_algebra():
    seen = observe(SPEC, images(3), SIGMA, where_unsure, pixels=7)
    prior = covariance(8)
    assert seen.counts.tolist() == list(range(8))
    for image, places in enumerate(seen.places.tolist()):
        assert len(set(places)) == 7
        for count in range(8):
            shown = places[:count]
            gain = prior[:, shown] @ np.linalg.inv(prior[np.ix_(shown, shown)] + SIGMA**2 * np.eye(count))
            left = np.diag(prior - gain @ prior[shown])
            assert seen.variance[count, image] == pytest.approx(left.mean(), rel=1e-9)
            if count < 7:
                others = np.delete(left, shown)
                assert left[places[count]] >= others.max() * (1 - 1e-9)
                assert others.min() < others.max() * (1 - 1e-3) or count == 0


def test_of_a_gaussian_law_the_choice_does_not_depend_on_what_was_measured():
    one, other = (observe(SPEC, images(2, seed=seed), SIGMA, where_unsure, pixels=8) for seed in (0, 1))
    assert (one.places == one.places[0]).all()
    assert torch.equal(one.places, other.places)
    assert not torch.equal(one.error, other.error)


@pytest.mark.parametrize(("spec", "count", "group"), [("calpha:size=8", 48, 1), ("disks:size=16", 8, 2)])
def test_chosen_pixels_tell_more_than_random_ones(spec, count, group):
    batch = images(count, spec)
    greedy, random = (observe(spec, batch, SIGMA, rule, 8, group) for rule in (where_unsure, at_random()))
    assert greedy.error[-1].mean() < random.error[-1].mean()
    less = (random.variance[-1] - greedy.variance[-1]).numpy()  # of the errors, what is due
    assert less.mean() > 2 * less.std(ddof=1) / count**0.5
    torch.testing.assert_close(greedy.error[0], random.error[0])  # nothing is observed
    for seen in (greedy, random):
        off = (seen.error[-1] - seen.variance[-1]).numpy()
        assert abs(off.mean()) < 4 * off.std(ddof=1) / count**0.5  # the posterior of what was chosen is exact


def test_what_is_said_is_that_of_the_exact_posterior_of_these_pixels():
    law, batch = gb.family(SPEC), images(2)
    seen = observe(law, batch, SIGMA, at_random(3), pixels=5, group=2)
    assert seen.counts.tolist() == [0, 2, 4, 5]
    pixels = torch.zeros(2, 64).scatter(1, seen.places[:, :4], 1).reshape(2, 1, 8, 8)
    problem = gb.problem(Mask.from_parameters({}).given(pixels), law)
    exact = problem.exact(problem.measure(batch, SIGMA))
    error = (exact.mean - batch.images).square().mean(dim=(1, 2, 3)).double()
    torch.testing.assert_close(seen.error[2], error, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(seen.variance[2], exact.variance.double(), rtol=1e-4, atol=1e-7)


def test_random_order_is_of_the_image_and_the_seed():
    whole, part = (observe(SPEC, images(3).select(list(at)), SIGMA, at_random(1), 64) for at in ([0, 1, 2], [2]))
    assert torch.equal(whole.places[2], part.places[0])
    assert torch.equal(whole.places.sort(dim=1).values, torch.arange(64).expand(3, -1))
    assert not torch.equal(whole.places[0], whole.places[1])
    assert not torch.equal(part.places, observe(SPEC, images(3).select([2]), SIGMA, at_random(2), 64).places)


@pytest.mark.parametrize("rule", [by_exact_samples(400), by_samples("ensemble:particles=8,steps=8", "mmse", 4)])
def test_ensembles_choose_pixels_of_large_variance(rule):
    batch = images(6, "calpha:size=8")
    unsure = observe("calpha:size=8", batch, SIGMA, rule, pixels=6)
    random = observe("calpha:size=8", batch, SIGMA, at_random(), pixels=6)
    assert unsure.variance[-1].mean() < random.variance[-1].mean()


def test_what_is_not_allowed_is_said():
    batch = images(1)
    for pixels, group in ((0, 1), (65, 1), (2, 0)):
        with pytest.raises(UsageError, match="observe 1 to 64 pixels"):
            observe(SPEC, batch, SIGMA, where_unsure, pixels, group)
    with pytest.raises(UsageError, match="at least 2"):
        by_exact_samples(1)
    with pytest.raises(UsageError, match="at least 2"):
        by_samples("diffpir", "mmse", 1)
    with pytest.raises(UsageError, match="one estimate"):
        by_samples("pnp", "mmse", 4)
    with pytest.raises(UsageError, match="is not known"):
        observe("besov:size=16", images(1, "besov:size=16"), SIGMA, where_unsure, 1)
