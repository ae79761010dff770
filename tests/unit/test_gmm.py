"""Gaussian mixtures: the law, its optimum against dense matrices and quadrature, and mode interpolation."""

import numpy as np
import pytest
import scipy.stats
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha import optimum as calpha_oracle
from gahb_bench.families.calpha.law import Calpha, power_spectrum
from gahb_bench.families.gmm import optimum as oracle
from gahb_bench.families.gmm.bound import between_bound
from gahb_bench.families.gmm.check import dense_posterior
from gahb_bench.families.gmm.law import Gmm, oriented_spectrum
from gahb_bench.families.gmm.points import point_risk
from gahb_bench.families.gmm.scales import scale_risk
from gahb_bench.verification.identities import z_score

VARIANTS = ["fields", "points", "scales"]


def make(variant="fields", **parameters):
    return Gmm.from_parameters({"variant": variant, **parameters})


def small(variant):
    """Components that are confused at noise levels in the usual range."""
    return make(variant, size=12, components=4 if variant == "fields" else 9, within=0.06, between=0.1, ratio=0.8)


def optimum(family):
    return oracle.Mmse.from_parameters({}).bind(family)


def noisy(family, sigma, images):
    batch = family.sample(range(images), split="val")
    x = batch.images.double()
    return batch, x, scale_noise(x, unit_noise(batch).double(), sigma)


def per_pixel(difference):
    return difference.square().mean(dim=(1, 2, 3)).numpy()


@pytest.mark.parametrize("variant", VARIANTS)
def test_images_do_not_depend_on_the_cut(variant):
    family = small(variant)
    whole = family.sample(range(9))
    parts = [family.sample([i]) for i in range(9)]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert torch.equal(whole.latents["component"], torch.cat([part.latents["component"] for part in parts]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_samples_follow_the_law(variant):
    family = small(variant)
    batch = family.sample(range(3000), split="val")
    k = batch.latents["component"].numpy()
    share = np.bincount(k, minlength=family.components) / 3000
    assert (np.abs(share - family.weights) < 4.5 * np.sqrt(family.weights / 3000)).all()
    whitened = np.fft.fft2(batch.images[:, 0].double().numpy() - family.means[k], norm="ortho")
    whitened = np.abs(whitened) ** 2 / family.spectra[k]
    assert abs(whitened.mean() - 1) < 5 * np.sqrt(2 / whitened.size)
    assert (np.abs(whitened.mean(axis=0) - 1) < 5 * np.sqrt(2 / 3000)).all()


def test_spectrum_of_a_texture():
    np.testing.assert_allclose(
        oriented_spectrum(16, 1.5, 0.1, 1.0, 0.7), power_spectrum(16, 1.5, 0.1, mean_mode=True), rtol=1e-12
    )
    for size in (12, 15):
        spectrum = oriented_spectrum(size, 2.0, 0.1, 2.0, 0.5)
        assert spectrum.sum() - spectrum[0, 0] == pytest.approx(0.01 * size**2)
        mirrored = np.roll(spectrum[::-1, ::-1], (1, 1), axis=(0, 1))
        np.testing.assert_allclose(spectrum, mirrored, rtol=1e-12)
    turned = oriented_spectrum(16, 2.0, 0.1, 2.0, np.pi / 2)
    np.testing.assert_allclose(turned, oriented_spectrum(16, 2.0, 0.1, 2.0, 0.0).T, rtol=1e-9)
    assert turned[1, 0] > 30 * turned[0, 1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_independent_route(variant):
    checks = make(variant).optimum.checks()
    assert len(checks) == 16
    assert all(check.passed for check in checks), checks


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5])
def test_posterior_is_dense_linear_algebra(sigma):
    family = make(size=6, components=5, within=0.1, between=0.05, ratio=0.7)
    _, _, y = noisy(family, sigma, 5)
    v = torch.from_numpy(rng.generator("test-gmm-v").standard_normal((5, 1, 6, 6)))
    exact = dense_posterior(family, y, sigma, v)
    posterior = optimum(family).posterior(y, sigma)
    close = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(posterior.mean, exact.mean, **close)
    torch.testing.assert_close(posterior.variance, exact.variance, **close)
    torch.testing.assert_close(optimum(family).latent_posterior(y, sigma)["component"], exact.responsibilities, **close)
    torch.testing.assert_close(optimum(family).covariance(y, sigma, v), exact.covariance, **close)


def test_points_posterior_by_brute_force():
    """The posterior on a fine grid of images, from the prior density alone."""
    family, sigma = small("points"), 0.15
    _, _, y = noisy(family, sigma, 3)
    line = np.linspace(-0.6, 1.6, 1101)
    x = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1)
    prior = sum(
        weight * np.exp(-((x - mu[0]) ** 2).sum(axis=-1) / (2 * family.within**2))
        for weight, mu in zip(family.weights, family.means, strict=True)
    )
    posterior = optimum(family).posterior(y, sigma)
    for index in range(3):
        law = prior * np.exp(-((x - y[index, 0, 0].numpy()) ** 2).sum(axis=-1) / (2 * sigma**2))
        law /= law.sum()
        mean = (law[..., None] * x).sum(axis=(0, 1))
        np.testing.assert_allclose(posterior.mean[index, 0, 0].numpy(), mean, atol=1e-10)
        variance = (law[..., None] * (x - mean) ** 2).sum() / 2
        assert float(posterior.variance[index]) == pytest.approx(variance, abs=1e-10)


def test_one_component_is_wiener():
    family = make(size=16, components=1, within=0.1, anisotropy=1.0)
    field = Calpha.from_parameters({"size": 16, "std": 0.1})
    mu = torch.from_numpy(family.means)
    sigmas = np.array([0.01, 0.1, 1.0])
    for sigma in sigmas:
        _, _, y = noisy(family, float(sigma), 3)
        wiener = calpha_oracle.Mmse.from_parameters({}).bind(field)(y - mu + 0.5, float(sigma)) - 0.5 + mu
        torch.testing.assert_close(optimum(family)(y, float(sigma)), wiener, rtol=0, atol=1e-12)
    reference, closed = family.reference(sigmas), field.reference(sigmas)
    np.testing.assert_allclose(reference.mse, closed.mse, rtol=1e-12)
    np.testing.assert_allclose(reference.exponent, closed.exponent, rtol=2e-3)
    assert (reference.standard_error < 1e-15).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_identities(variant):
    family = small(variant)
    mmse = optimum(family)
    v = torch.from_numpy(rng.generator("test-gmm-v").standard_normal((500, *family.shape)))
    for sigma in (0.02, 0.1, 0.3, 1.0):
        _, x, y = noisy(family, sigma, 500)
        posterior = mmse.posterior(y, sigma)
        squared = per_pixel(posterior.mean - x)
        assert abs(z_score(squared - posterior.variance.numpy())) < 3.5
        inner = ((x - posterior.mean) * (posterior.mean - x.mean())).mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(inner)) < 3.5
        step = 1e-4 * sigma
        slope = (mmse(y + step * v, sigma) - mmse(y - step * v, sigma)) / (2 * step)
        right = (v * mmse.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
        torch.testing.assert_close(sigma**2 * (v * slope).sum(dim=(1, 2, 3)), right, rtol=1e-3, atol=1e-9 * sigma**2)
        reference = family.reference(sigma)
        error = float(reference.standard_error[0])
        assert abs(z_score(squared - reference.mse[0], extra_error=error)) < 3.5
        assert abs(z_score(posterior.variance.numpy() - reference.mse[0], extra_error=error)) < 3.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_responsibilities_are_calibrated(variant):
    family = small(variant)
    sigma = 0.03 if variant == "scales" else 0.3
    batch, _, y = noisy(family, sigma, 2000)
    r = optimum(family).responsibilities(y, sigma)
    best, guess = r.max(dim=1)
    right = (guess == batch.latents["component"]).double()
    assert 0.3 < float(right.mean()) < 0.99
    assert abs(z_score((right - best).numpy())) < 3.5


def test_points_quadrature():
    """Information is the integral of the MMSE, the exponent is the slope, and both ends are known."""
    nodes, weights = np.polynomial.legendre.leggauss(80)
    for family in (make("points"), make("points", components=9, ratio=0.6, within=0.02)):
        half = np.log(100) / 2
        sigma = 0.02 * np.exp(half * (nodes + 1))
        mse, _, _ = point_risk(family, sigma)
        _, _, ends = point_risk(family, np.array([0.02, 2.0]))
        assert half * (weights @ (2 * mse / sigma**2)) == pytest.approx(ends[0] - ends[1], rel=1e-9)
        levels = np.array([0.01, 0.1, 1.0])
        step = [point_risk(family, levels * np.exp(h))[0] for h in (-1e-4, 1e-4)]
        np.testing.assert_allclose(point_risk(family, levels)[1], np.log(step[1] / step[0]) / 2e-4, rtol=1e-5)
        prior = family.weights @ (family.means[:, 0] ** 2).mean(axis=-1) + family.within**2
        prior -= ((family.weights @ family.means[:, 0]) ** 2).mean()
        assert point_risk(family, np.array([1e4]))[0] == pytest.approx(prior, rel=1e-6)


@pytest.mark.parametrize(
    "parameters", [{"size": 4}, {"size": 32, "components": 2}, {"size": 8, "ratio": 0.5, "between": 3.0}]
)
def test_scales_quadrature(parameters):
    """Information is the integral of the MMSE, the exponent is the slope, and both ends are known."""
    family = make("scales", **parameters)
    nodes, weights = np.polynomial.legendre.leggauss(40)
    half = np.log(100) / 2
    sigma = 0.02 * np.exp(half * (nodes + 1))
    pixels = np.prod(family.shape)
    mse, _, _ = scale_risk(family, sigma)
    ends = family.optimum.information(np.array([0.02, 2.0]))
    assert half * (weights @ (pixels * mse / sigma**2)) == pytest.approx(ends[0] - ends[1], rel=1e-8)
    levels = np.array([0.01, 0.1, 1.0])
    step = [scale_risk(family, levels * np.exp(h))[0] for h in (-1e-4, 1e-4)]
    np.testing.assert_allclose(scale_risk(family, levels)[1], np.log(step[1] / step[0]) / 2e-4, rtol=1e-5)
    assert scale_risk(family, np.array([1e5]))[0] == pytest.approx(family.weights @ family.scales**2, rel=1e-6)
    assert scale_risk(family, np.array([1e-4]))[0] == pytest.approx(1e-8, rel=1e-4)


def test_the_scales_are_those_stated():
    np.testing.assert_allclose(make("scales", components=3, within=0.1, between=0.4).scales, [0.1, 0.2, 0.4])
    assert make("scales", components=1, within=0.1).scales.tolist() == [0.1]


def test_bound_on_the_cost_of_not_knowing_the_component():
    """Above the exact cost, and not by much where it is rare."""
    family = make("points", components=4, within=0.05)
    sigmas = np.geomspace(0.02, 3.0, 12)
    exact = point_risk(family, sigmas)[0] - (family.within * sigmas) ** 2 / (family.within**2 + sigmas**2)
    bound = between_bound(family, sigmas)
    assert (exact <= bound).all()
    assert 0 < exact[0] < bound[0] < 10 * exact[0] < 1e-7


def test_rare_confusions_widen_the_error():
    family = make(size=16, between=0.1, within=0.1, anisotropy=1.5)
    sigmas = np.array([0.003, 0.06])
    reference = family.reference(sigmas)
    within = np.array([oracle._within(family, sigma) for sigma in sigmas])
    reached = reference.mse + reference.standard_error
    assert (reached >= within + between_bound(family, sigmas) * (1 - 1e-9)).all()
    assert reference.standard_error[0] < 1e-6 * reference.mse[0]


def test_exponent_is_the_slope_of_the_curve():
    family = make(size=24)
    sigmas = np.array([0.01, 0.1])
    pair = [family.reference(sigmas * np.exp(h)).mse for h in (-0.02, 0.02)]
    np.testing.assert_allclose(family.reference(sigmas).exponent, np.log(pair[1] / pair[0]) / 0.04, rtol=5e-3)
    assert family.reference(0.01).asymptotic_exponent == pytest.approx(4 / 3)


def test_mode_interpolation_of_points():
    """Samples are outside as often as stated; the posterior mean lies between the modes where they are confused."""
    family = make("points")
    x = family.sample(range(4000), split="val").images
    share = oracle.outside_modes(family, x, level=0.9).double().mean()
    assert 0.1 - 4 * np.sqrt(0.09 / 4000) - 0.01 < share < 0.1 + 4 * np.sqrt(0.09 / 4000)
    _, _, y = noisy(family, 0.002, 500)
    assert oracle.outside_modes(family, optimum(family)(y, 0.002)).double().mean() < 0.03
    _, _, y = noisy(family, 0.2, 500)
    assert oracle.outside_modes(family, optimum(family)(y, 0.2)).double().mean() > 0.4
    middle = torch.full((1, 1, 1, 2), 0.5)
    assert oracle.outside_modes(family, middle).item()
    assert not oracle.outside_modes(family, middle, tolerance=0.1).item()
    with pytest.raises(UsageError, match="credible region"):
        oracle.outside_modes(family, x, level=1.0)


def test_mode_interpolation_of_fields():
    family = make(size=16)
    x = family.sample(range(400), split="val").images
    assert oracle.outside_modes(family, x).double().mean() < 0.03
    halfway = torch.from_numpy((family.means[:1] + family.means[1:2]) / 2)[None]
    assert oracle.outside_modes(family, halfway, tolerance=0.02).item()
    rough = x + 0.01 * unit_noise(family.sample(range(400), split="val"))
    assert oracle.outside_modes(family, rough).all()
    assert oracle.outside_modes(family, rough, tolerance=0.01).double().mean() < 0.03
    radius = scipy.stats.chi2.ppf(0.99, 256)
    assert radius == pytest.approx(256, rel=0.3)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("sigma", [1e-3, 100.0])
def test_extreme_noise_levels(variant, sigma):
    family = make(variant)
    _, x, y = noisy(family, sigma, 6)
    posterior = optimum(family).posterior(y, sigma)
    assert posterior.mean.isfinite().all()
    assert (posterior.variance > 0).all()
    r = optimum(family).responsibilities(y, sigma)
    torch.testing.assert_close(r.sum(dim=1), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-12)
    if sigma == 1e-3:
        assert per_pixel(posterior.mean - x).max() < 9 * sigma**2
    else:
        centre = torch.from_numpy(np.einsum("k,khw->hw", family.weights, family.means))
        assert (posterior.mean - centre).abs().max() < 0.15


def test_what_is_not_allowed():
    for text, problem in (
        ("variant=points,components=15", "square number"),
        ("variant=scales,between=0.02", "at least the smallest one"),
        ("components=0", "greater than or equal to 1"),
        ("ratio=2", "less than or equal to 1"),
    ):
        with pytest.raises(UsageError, match=problem):
            gb.family(f"gmm:{text}")
