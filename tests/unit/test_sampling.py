"""Samples within a budget, and the exact error of samplers, against dense matrices, recursions and samples."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.core.sampler import Start
from gahb_bench.denoisers.wiener_data import gaussian_part
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.sampling import exact_error, sample
from gahb_bench.sampling.samples import check_request, levels_within
from gahb_bench.sampling.trajectory import TrajectoryVariance, late

LINEAR = ["euler", "heun", "dpm2m", "gradient-estimation", "heavy-ball", "teleport", "teleport:of=euler-maruyama"]
NOISY = ["edm-sde", "euler-maruyama", "langevin"]
LEVELS = [10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.05, 0.002, 0.0]
TINY = Calpha.from_parameters({"size": 8})
MMSE = gb.denoiser("mmse", family=TINY)


def coefficients(images, law):
    """In the modes of a Gaussian law, (n, d)."""
    return law.optimum.gaussian().analyse(images.double()).flatten(1).numpy()


# ---------------------------------------------------------------------------------------------------- the exact error


@pytest.mark.parametrize(
    "sampler", ["euler", "heun", "dpm2m", "gradient-estimation", "heavy-ball", "teleport:sigma=1.5"]
)
def test_the_exact_error_is_that_of_dense_matrices(sampler):
    """The sampler's matrix, from single pixels; the W2 distance of any two Gaussians, with matrix square roots."""
    made = make.sampler(sampler, TINY)
    units = torch.cat([torch.zeros(1, 64), torch.eye(64)]).double().reshape(-1, 1, 8, 8)
    ended = made(MMSE, Start(0.5 + units, 0, tuple(range(65))), LEVELS).images.flatten(1).numpy()
    matrix, mean = ended[1:] - ended[0], ended[0]
    place = np.stack(np.divmod(np.arange(64), 8), axis=-1)
    phase = 2 * np.pi / 8 * np.einsum("fi,pqi->fpq", place, place[:, None] - place[None, :])
    law = np.einsum("f,fpq->pq", TINY.spectrum.ravel(), np.cos(phase)) / 64
    for start, noisy in (("gaussian", 100 * np.eye(64)), ("exact", law + 100 * np.eye(64))):
        found = exact_error(TINY, sampler, levels=LEVELS, start=start)
        final = matrix.T @ noisy @ matrix
        root = square_root(law)
        squared = np.trace(final + law - 2 * square_root(root @ final @ root)) + np.square(mean - 0.5).sum()
        assert found.w2 == pytest.approx(np.sqrt(squared / 64), rel=1e-5)
        np.testing.assert_allclose(
            np.sort(found.variance.ravel()), np.sort(np.linalg.eigvalsh(final)), rtol=1e-6, atol=1e-12
        )


def square_root(matrix):
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return vectors * np.sqrt(values.clip(0)) @ vectors.T


def test_the_noise_that_is_added_is_counted_as_its_recursion_says():
    power = TINY.spectrum
    variance = np.full_like(power, 100.0)
    for sigma, lower in pairwise(LEVELS):
        removed = sigma**2 - lower**2
        variance = (1 - removed / (power + sigma**2)) ** 2 * variance + removed * (lower > 0)
    np.testing.assert_allclose(exact_error(TINY, "euler-maruyama", levels=LEVELS).variance[0], variance, rtol=1e-12)
    variance = np.full_like(power, 100.0)
    for sigma in LEVELS[:-1]:
        for _ in range(3):
            variance = (1 - 0.2 * sigma**2 / (power + sigma**2)) ** 2 * variance + 2 * 0.2 * sigma**2
    variance = (power / (power + LEVELS[-2] ** 2)) ** 2 * variance
    found = exact_error(TINY, "langevin:h=0.2,steps=3", levels=LEVELS)
    np.testing.assert_allclose(found.variance[0], variance, rtol=1e-12)
    assert found.evaluations == 3 * 8 + 1


@pytest.mark.parametrize("sampler", [*LINEAR, *NOISY])
@pytest.mark.parametrize("start", ["gaussian", "exact"])
def test_the_sample_variance_of_every_mode_is_the_closed_form(sampler, start):
    """Mode by mode n v / v_k is chi squared of n degrees of freedom, here as a standard normal z."""
    law, n = gb.family("calpha:size=16"), 256
    found = exact_error(law, sampler, 20, start=start)
    images = sample("mmse", law, sampler, 20, n, start=start).images
    squares = np.square(coefficients(images, law)).sum(axis=0) / found.variance.ravel()
    z = stats.norm.ppf(stats.chi2.cdf(squares, n))
    assert np.abs(z).max() < 4
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert found.evaluations <= 20


@pytest.mark.parametrize(("sampler", "order"), [("euler", 1), ("heun", 2), ("dpm2m", 2), ("heavy-ball", 1)])
def test_the_distance_falls_with_the_order_until_the_floor(sampler, order):
    def w2(steps, zero):
        return exact_error(TINY, sampler, levels=falling_levels(10.0, 0.002, steps, zero=zero), start="exact").w2

    errors = [w2(steps, zero=False) for steps in (100, 200)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)
    last = w2(1500, zero=True)
    floor = np.sqrt(np.mean((TINY.spectrum / np.sqrt(TINY.spectrum + 0.002**2) - np.sqrt(TINY.spectrum)) ** 2))
    assert 0.8 * floor < last, "the step from the lowest level to 0 is a Wiener filter"
    assert last < (1.2 if order == 2 else 20) * floor


def test_the_parts_of_the_error_add_up_and_an_exact_start_has_no_start_error():
    for sampler in [*LINEAR, *NOISY]:
        found, exact = (exact_error("calpha:size=16", sampler, 20, start=start) for start in ("gaussian", "exact"))
        assert exact.start == 0
        assert exact.w2 == exact.discretisation == found.discretisation
        assert abs(found.start - found.discretisation) - 1e-12 <= found.w2 <= found.start + found.discretisation + 1e-12
        assert found.start > 0


def test_at_many_steps_the_start_error_is_that_of_the_flow():
    found = exact_error(TINY, "dpm2m", 3000)
    flow = 10 * np.sqrt(TINY.spectrum / (TINY.spectrum + 100)) - np.sqrt(TINY.spectrum)
    assert found.start == pytest.approx(np.sqrt(np.mean(flow**2)), rel=1e-3)


def test_a_law_of_another_mean_is_started_from_the_wrong_one():
    law = gb.family("calpha:mean=0.3,size=8")
    found, centred = exact_error(law, "heun", 20), exact_error(TINY, "heun", 20)
    images = sample("mmse", law, "heun", 20, 400).images.double()
    mean = float(images.mean()) - 0.3
    response = np.sqrt(centred.variance[0, 0, 0]) / 10
    shift = 0.2 * response
    assert mean == pytest.approx(shift, abs=4 * np.sqrt(centred.variance[0, 0, 0]) / 8 / 20)
    assert found.w2**2 == pytest.approx(centred.w2**2 + shift**2)
    np.testing.assert_allclose(found.variance, centred.variance)


def test_a_walk_of_gaussian_jumps_is_a_gaussian_law_of_other_modes():
    """Its samples have the variance in closed form, along the eigenvectors of min(i, j)."""
    law, n = gb.family("levy:jumps=gauss,size=6"), 4000
    found = exact_error(law, "euler", 12, start="exact")
    gaussian = law.optimum.gaussian()
    assert gaussian is not None
    drawn = sample("mmse", law, "euler", 12, n, start="exact").images
    z = (gaussian.analyse(drawn).square().mean(dim=0).numpy() / found.variance - 1) * np.sqrt(n / 2)
    assert np.abs(z).max() < 4
    with pytest.raises(UsageError, match="is not Gaussian"):
        exact_error("levy:size=6")


@pytest.mark.parametrize("law", ["shuffled:of=(calpha:size=8)", "coloured:of=(calpha:size=8)"])
def test_a_law_seen_through_an_orthogonal_map_has_the_same_error(law):
    assert exact_error(law, "edm-sde", 9).w2 == pytest.approx(exact_error("calpha:size=8", "edm-sde", 9).w2)


@pytest.mark.parametrize("law", ["gmm:size=8", "disks:size=16", "calpha:law=uniform,size=8", "besov:size=8"])
def test_laws_that_are_not_gaussian_are_refused(law):
    with pytest.raises(UsageError, match=r"is not Gaussian.*gb\.sample"):
        exact_error(law)


@pytest.mark.parametrize("sampler", ["ascent", "levenberg-marquardt-langevin", "teleport:of=lml"])
def test_samplers_that_are_not_linear_are_refused(sampler):
    with pytest.raises(UsageError, match="is not linear"):
        exact_error(TINY, sampler)


# ---------------------------------------------------------------------------------------------------------- gb.sample


@pytest.mark.parametrize("schedule", ["karras", "log"])
@pytest.mark.parametrize("sampler", ["euler", "heun", "langevin:steps=3", "teleport:of=heun,sigma=0.1"])
def test_a_budget_is_used_as_far_as_it_goes_and_never_exceeded(sampler, schedule):
    made = make.sampler(sampler)
    for budget in (7, 20, 33):
        levels = levels_within(made, budget, schedule)
        assert [levels[0], *levels[-2:]] == [10, 0.002, 0]
        assert made.evaluations(levels) <= budget
        assert made.evaluations(falling_levels(10.0, 0.002, len(levels), schedule=schedule)) > budget


def test_a_budget_that_is_too_small_is_refused():
    for sampler, budget in (("heun", 2), ("langevin:steps=5", 10)):
        with pytest.raises(UsageError, match=rf"{budget} evaluations are too few.*takes {budget + 1} or more"):
            sample("mmse", TINY, sampler, budget)
    with pytest.raises(UsageError, match="takes up to 8 here"):
        sample("mmse", TINY, "euler", 7, levels=LEVELS)
    with pytest.raises(UsageError, match="give ascent:most=50"):
        sample("mmse", TINY, "ascent", 50)


def test_what_samples_depend_on():
    whole = sample("mmse", TINY, "edm-sde", 9, 4)
    part = sample("mmse", TINY, "edm-sde", 9, range(2, 4))
    torch.testing.assert_close(part.images, whole.images[2:])
    torch.testing.assert_close(part.trajectory_variance, whole.trajectory_variance[2:])
    assert (part.indices, whole.evaluations.tolist()) == ((2, 3), [9] * 4)
    other = sample("mmse", TINY, "edm-sde", 9, 4, seed=1)
    assert not torch.isclose(other.images, whole.images).flatten(1).all(dim=1).any()
    far = [sample(name, TINY, "euler", levels=[10, 9.999], samples=2).images for name in ("mmse", "identity")]
    torch.testing.assert_close(*far, rtol=0, atol=0.01)  # from the same noise


def test_an_exact_start_is_a_noisy_image_of_the_law():
    images = sample("identity", TINY, "euler", levels=[10, 9.999], samples=3, start="exact").images
    expected = starts.exact(TINY.sample(range(3), split="val"), 10.0).images
    torch.testing.assert_close(images, expected, rtol=0, atol=5e-3)


def test_a_blind_denoiser_is_sampled_by_ascent_unless_told_otherwise():
    def blind(y, sigma):
        return 0.5 + 0.9 * (y - 0.5)

    found = sample(blind, TINY, None, 30, 2)
    assert found.sampler == "ascent:most=30"
    assert bool(found.images.isnan().all()), "it does not end within so few"
    assert sample("mmse", TINY, None, 9, 2).sampler == "heun"
    assert sample(blind, TINY, "heun", 9, 2).images.isfinite().all()


def test_what_is_refused():
    with pytest.raises(UsageError, match="knows the image"):
        sample("ideal", "calpha:size=8")
    with pytest.raises(UsageError, match="unknown start 'exakt'"):
        sample("mmse", TINY, start="exakt")
    with pytest.raises(UsageError, match="unknown schedule 'linear'"):
        sample("mmse", TINY, schedule="linear")
    for evaluations, samples, seed in ((0, 1, 0), (10**6, 1, 0), (9, 0, 0), (9, range(0), 0), (9, 1, -1)):
        with pytest.raises(UsageError, match="is not allowed"):
            sample("mmse", TINY, "heun", evaluations, samples, seed)
    with pytest.raises(UsageError, match="the device 'cuda:99' cannot be used"):
        sample("mmse", TINY, device="cuda:99")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ((9.5, 1, 0, "gaussian"), "evaluations=9.5 is not allowed: give a whole number"),
        ((9, "5", 0, "gaussian"), "samples='5' is not allowed: give a whole number"),
        ((9, 1, 0, None), "unknown start 'None'"),
    ],
)
def test_other_types_are_refused(given, reason):
    with pytest.raises(UsageError, match=reason):
        check_request(*given)


def test_levels_may_be_a_tensor():
    levels = torch.tensor([10.0, 1.0, 0.1, 0.0])
    assert exact_error("calpha:size=8", levels=levels).w2 == pytest.approx(
        exact_error("calpha:size=8", levels=levels.tolist()).w2
    )


def test_the_variance_along_a_trajectory():
    """Against all estimates, kept: those at the level where three quarters of the levels are over, or below."""
    seen = []

    def denoise(y, sigma):
        seen.append((sigma, MMSE(y, sigma)))
        return seen[-1][1]

    found = sample(denoise, TINY, "heun", levels=LEVELS, evaluations=99, samples=3)
    assert late(np.array(LEVELS)) == LEVELS[6]
    counted = torch.stack([x_hat for sigma, x_hat in seen if sigma < 1.001 * LEVELS[6]]).double()
    assert 2 < len(counted) < len(seen)
    expected = counted.var(dim=0, correction=0).flatten(1).mean(dim=1)
    torch.testing.assert_close(found.trajectory_variance, expected)


@pytest.mark.parametrize(("steps", "kept"), [(160, 40), (10, 3), (5, 2), (2, 2), (1, 1)])
def test_the_variance_begins_in_the_last_quarter_and_has_two_levels_where_there_are_two(steps, kept):
    """The shares of the levels > 0 at which estimates are counted; a level 0, where there is none, changes nothing."""
    levels = np.linspace(10, 1, steps)
    assert int((levels <= late(levels)).sum()) == kept
    assert late(np.append(levels, 0.0)) == late(levels)


def test_the_variance_along_a_trajectory_of_images_that_end_one_by_one():
    variance = TrajectoryVariance(torch.zeros(3, 1, 1, 2), 0.5)
    for which, sigma, value in ((None, [0.4, 0.6, 0.4], 1.0), (torch.tensor([0, 1]), [0.3, 0.2], 3.0)):
        variance(which, torch.tensor(sigma), torch.full((len(sigma), 1, 1, 2), value))
    assert variance.value.nan_to_num(-1).tolist() == [1.0, -1.0, -1.0]


# ------------------------------------------------------------------------------------------------------ two moments


@pytest.mark.parametrize(
    "law",
    [
        "besov:size=8",
        "calpha:size=8",
        "calpha:law=uniform,mean=0.2,size=9",
        "coloured:of=(calpha:size=8)",
        "gmm:ratio=0.8,size=8",
        "gmm:ratio=0.8,variant=points",
        "levy:jumps=gauss,size=8",
        "levy:size=8",
        "shuffled:of=(calpha:size=8)",
    ],
)
def test_the_two_moments_of_a_law_are_those_of_its_images(law):
    """The coefficients of images have mean 0, the stated variances, and no covariance along random directions."""
    family, n = gb.family(law), 4000
    gaussian = family.optimum.gaussian()
    assert gaussian is not None
    images = family.sample(range(n)).images.double()
    a = gaussian.analyse(images)
    torch.testing.assert_close(gaussian.synthesise(a), images, rtol=0, atol=1e-10)
    torch.testing.assert_close((a[0] - a[1]).square().sum(), (images[0] - images[1]).square().sum())
    whitened = (a / gaussian.variances.sqrt()).flatten(1).numpy()
    directions = np.random.Generator(np.random.Philox(0)).standard_normal((whitened.shape[1], 12))
    along = whitened @ (directions / np.linalg.norm(directions, axis=0))
    for moments, expected in ((along, 0), (along**2, 1), (along[:, :6] * along[:, 6:], directions_product(directions))):
        z = (moments.mean(axis=0) - expected) / moments.std(axis=0) * np.sqrt(n)
        assert np.abs(z).max() < 4.5


def directions_product(directions):
    unit = directions / np.linalg.norm(directions, axis=0)
    return (unit[:, :6] * unit[:, 6:]).sum(axis=0)


def test_elsewhere_the_two_moments_are_estimated_from_training_images():
    law = gb.family("disks:size=16")
    assert law.optimum.gaussian() is None
    gaussian = gaussian_part(law, 3000)
    a = gaussian.analyse(law.sample(range(2000)).images)
    top = gaussian.variances.flatten() > 1e-2
    ratio = (a.square().mean(dim=0) / gaussian.variances).flatten()[top]
    assert int(top.sum()) > 15
    assert float((ratio - 1).abs().median()) < 0.1
    noisy, exact = 3.0, gb.denoiser("wiener-data:n=3000,stationary=false", family=law)
    y = starts.gaussian(law.shape, range(2), noisy).images.double()
    slope = (gaussian.flow(y, noisy, noisy - 1e-4) - y) / -1e-4
    torch.testing.assert_close(slope, (y - exact(y, noisy)) / noisy, rtol=0, atol=1e-4)
