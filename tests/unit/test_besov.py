"""Sparse wavelet images: the law, its optimum by quadrature, and the price of the threshold rules."""

import itertools

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import gahb_bench as gb
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.families.besov import optimum as oracle
from gahb_bench.families.besov import risk as besov_risk
from gahb_bench.families.besov.law import Besov

SIGMAS = np.logspace(-2.5, 0.5, 13)


def make(**parameters):
    return Besov.from_parameters(parameters)


def optimum(family):
    return oracle.Mmse.from_parameters({}).bind(family)


SMALL = make(size=32)


def risks(family, denoisers, sigma, images):
    """Squared error of each denoiser on the same noisy images, ``(denoisers, images)``."""
    batch = family.sample(range(images), split="val")
    x = batch.images.double()
    y = scale_noise(x, unit_noise(batch).double(), sigma)
    return np.stack([(d(y, sigma) - x).square().mean(dim=(1, 2, 3)).numpy() for d in denoisers])


def z_score(values, expected):
    return (values.mean() - expected) / (values.std(ddof=1) / np.sqrt(len(values)))


def brute_force(pi, t, s):
    """E[V], E[V^2] and I(d; w) by adaptive integration over w, from the definitions."""

    def integrand(w, what):
        weights = np.array([(1 - pi) / s, pi / np.hypot(t, s)])
        exponents = -0.5 * np.array([w / s, w / np.hypot(t, s)]) ** 2
        law = weights * np.exp(exponents) / np.sqrt(2 * np.pi)
        total = law.sum()
        if total == 0.0:
            return 0.0
        p, k = law[1] / total, t**2 / (t**2 + s**2)
        mean, square = p * k * w, p * (k * s**2 + (k * w) ** 2)
        return total * {1: square - mean**2, 2: (square - mean**2) ** 2, 3: -np.log(total)}[what]

    edges = np.unique(np.concatenate([[0.0], s * np.linspace(0.5, 12, 24), np.hypot(t, s) * np.linspace(1, 12, 12)]))
    parts = [
        [quad(integrand, a, b, (what,), epsabs=0, epsrel=1e-12)[0] for what in (1, 2, 3)]
        for a, b in itertools.pairwise(edges)
    ]
    first, second, entropy = 2 * np.sum(parts, axis=0)
    return first, second, entropy - 0.5 * np.log(2 * np.pi * np.e * s**2)


def test_images_do_not_depend_on_the_cut():
    whole = SMALL.sample(range(7))
    parts = [SMALL.sample([i]) for i in range(7)]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert torch.equal(whole.latents["active"], torch.cat([part.latents["active"] for part in parts]))
    assert torch.equal(SMALL.sample([5, 2]).images, whole.images[[5, 2]])


def test_coefficients_follow_the_law():
    family = make(size=32, density=0.7, gamma=0.8, alpha=1.5)
    batch = family.sample(range(400), split="val")
    d = family.transform.forward(batch.images.double() - family.mean)
    active = batch.latents["active"][:, None]
    assert d[~active].abs().max() < 1e-6  # single precision of the images
    pi, t = (torch.from_numpy(value) for value in family.coefficient_law)
    for density, deviation in {(float(a), float(b)) for a, b in zip(pi.ravel(), t.ravel(), strict=True)}:
        here = ((pi == density) & (t == deviation)).expand(d.shape)
        share = float(active[here].double().mean())
        assert abs(share - density) <= 4 * np.sqrt(density * (1 - density) / int(here.sum()))
        squares = (d[here & active] / deviation).square()
        assert abs(squares.mean() - 1) < 4 * np.sqrt(2 / len(squares))
    count, density, deviation = family.scales.T
    assert (count * density * deviation**2).sum() / 32**2 == pytest.approx(family.std**2)


def test_quadrature_against_adaptive_integration():
    draws = rng.generator("test-besov")
    for _ in range(12):
        pi, s = 10 ** draws.uniform(-3.5, -0.01), 10 ** draws.uniform(-3, 1)
        first, second, information = brute_force(pi, 1.0, s)
        assert besov_risk.least_risk(pi, 1.0, s) == pytest.approx((first, second), rel=1e-9)
        assert besov_risk.information(pi, 1.0, s) == pytest.approx(information, rel=1e-7, abs=1e-11)


def test_quadrature_is_converged(monkeypatch):
    pi, s = 10 ** np.linspace(-6, -1e-4, 30)[:, None], 10 ** np.linspace(-6, 4, 50)
    coarse = besov_risk.least_risk(pi, 1.0, s)
    monkeypatch.setattr(besov_risk, "_PANELS", 96)
    fine = besov_risk.least_risk(pi, 1.0, s)
    np.testing.assert_allclose(coarse[0], fine[0], rtol=1e-13)
    np.testing.assert_allclose(coarse[1], fine[1], rtol=1e-9)


def test_information_is_the_integral_of_the_mmse():
    nodes, weights = np.polynomial.legendre.leggauss(64)
    for low, high in ((0.003, 0.1), (0.1, 3.0)):
        half = np.log(high / low) / 2
        sigma = low * np.exp(half * (nodes + 1))
        integral = half * (weights @ (np.prod(SMALL.shape) * SMALL.reference(sigma).mse / sigma**2))
        ends = SMALL.optimum.information(np.array([low, high]))
        assert integral == pytest.approx(ends[0] - ends[1], rel=1e-7)


def test_independent_route():
    checks = SMALL.optimum.checks()
    assert len(checks) == 2 * SMALL.levels
    assert all(check.passed for check in checks), checks


def test_empirical_risk_is_the_quadrature_at_every_level():
    images = 200
    batch = SMALL.sample(range(images), split="val")
    x, z = batch.images.double(), unit_noise(batch).double()
    mmse = optimum(SMALL)
    reference = SMALL.reference(SIGMAS)
    assert reference.kind == "exact"
    for sigma, expected in zip(SIGMAS, reference.mse, strict=True):
        posterior = mmse.posterior(scale_noise(x, z, sigma), sigma)
        squared = (posterior.mean - x).square().mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(squared, expected)) < 3
        assert abs(z_score(posterior.variance.numpy(), expected)) < 3
        assert abs(z_score(squared - posterior.variance.numpy(), 0.0)) < 3


def test_gaussian_coefficients_recover_linear_shrinkage():
    family = make(size=32, gamma=0)
    t = torch.from_numpy(family.coefficient_law[1])
    gains = (t**2)[None] / (t**2 + torch.from_numpy(SIGMAS[:, None, None] ** 2))
    reference = family.reference(SIGMAS)
    np.testing.assert_allclose(reference.mse, SIGMAS**2 * gains.mean(dim=(1, 2)).numpy(), rtol=1e-12)
    slope = 2 * gains.square().sum(dim=(1, 2)) / gains.sum(dim=(1, 2))
    np.testing.assert_allclose(reference.exponent, slope.numpy(), rtol=1e-10)
    y = family.sample(range(3)).images.double()
    linear = family.mean + family.transform.inverse(gains[4] * family.transform.forward(y - family.mean))
    assert torch.allclose(optimum(family)(y, SIGMAS[4]), linear, rtol=0, atol=1e-12)


def test_exponent_is_the_slope_of_the_curve():
    step = 1e-4
    pair = [SMALL.reference(SIGMAS * np.exp(sign * step)).mse for sign in (-1, 1)]
    np.testing.assert_allclose(SMALL.reference(SIGMAS).exponent, np.log(pair[1] / pair[0]) / (2 * step), rtol=1e-6)


@pytest.mark.parametrize(("alpha", "gamma", "tolerance"), [(2.0, 0.0, 0.03), (1.0, 0.0, 0.03), (1.0, 1.0, 0.12)])
def test_exponent_tends_to_the_theory(alpha, gamma, tolerance):
    family = make(size=2048, coarse=0, alpha=alpha, gamma=gamma)
    sigmas = np.geomspace(1e-2, 1.0, 30) if alpha == 1 else np.geomspace(1e-3, 0.1, 30)
    reference = family.reference(sigmas)
    measured = np.polyfit(np.log(sigmas), np.log(reference.mse), 1)[0]
    assert reference.asymptotic_exponent == pytest.approx(2 - (2 - gamma) / (alpha + 1))
    assert measured == pytest.approx(reference.asymptotic_exponent, abs=tolerance)  # logarithms remain if gamma > 0


@pytest.mark.parametrize("rule", ["hard", "soft"])
def test_threshold_risk_in_closed_form(rule):
    stream = rng.generator("test-besov-thresholds")
    pi, t, s, threshold = 0.3, 1.0, 0.4, 0.9
    d = t * stream.standard_normal(400_000) * (stream.random(400_000) < pi)
    w = d + s * stream.standard_normal(400_000)
    size = np.maximum(np.abs(w) - (threshold if rule == "soft" else 0.0), 0.0)
    errors = (np.sign(w) * size * (np.abs(w) > threshold) - d) ** 2
    assert abs(z_score(errors, besov_risk.threshold_risk(rule, threshold, pi, t, s))) < 3.5


def test_limits_of_threshold_risk():
    pi, t, s = 0.3, 1.0, 0.4
    for rule in ("hard", "soft"):
        assert besov_risk.threshold_risk(rule, 0.0, pi, t, s) == pytest.approx(s**2, rel=1e-12)
        assert besov_risk.threshold_risk(rule, 1e3, pi, t, s) == pytest.approx(pi * t**2, rel=1e-12)
    with pytest.raises(ValueError, match="'hard' or 'soft'"):
        besov_risk.threshold_risk("firm", 1.0, pi, t, s)


def test_every_price_is_positive_and_the_genie_is_below():
    reference = SMALL.reference(SIGMAS)
    for name, curve in reference.curves.items():
        assert ((curve < reference.mse) if name == "genie" else (curve > reference.mse)).all(), name


def test_threshold_rules_are_strictly_above():
    rules = ["hard", "soft", "sure", "bayes"]
    made = [gb.denoiser(f"wavelet:rule={rule},levels={SMALL.levels}") for rule in rules]
    for sigma in (0.03, 0.1, 0.3):
        best, *others = risks(SMALL, [optimum(SMALL), *made], sigma, images=128)
        exact = SMALL.reference(sigma).curves
        for rule, squared in zip(rules, others, strict=True):
            assert z_score(squared - best, 0.0) > 3, (rule, sigma)
            if rule in exact and rule != "bayes":
                assert abs(z_score(squared, exact[rule][0])) < 3.5


def test_genie_has_its_risk_and_needs_the_latents():
    sigma = 0.1
    batch = SMALL.sample(range(128), split="val")
    y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
    genie = gb.denoiser("genie", SMALL)
    squared = (genie.given(batch)(y, sigma) - batch.images).square().mean(dim=(1, 2, 3)).numpy()
    assert abs(z_score(squared, SMALL.reference(sigma).curves["genie"][0])) < 3.5
    with pytest.raises(UsageError, match="given"):
        genie(y, sigma)


def test_second_order_tweedie_and_orthogonality():
    mmse = optimum(SMALL)
    batch = SMALL.sample(range(64), split="val")
    x = batch.images.double()
    v = torch.from_numpy(rng.generator("test-besov-v").standard_normal((64, 1, 32, 32)))
    for sigma in (0.01, 0.1, 1.0):
        y, step = scale_noise(x, unit_noise(batch).double(), sigma), 1e-4 * sigma
        slope = (mmse(y + step * v, sigma) - mmse(y - step * v, sigma)) / (2 * step)
        right = (v * mmse.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
        torch.testing.assert_close(sigma**2 * (v * slope).sum(dim=(1, 2, 3)), right, rtol=1e-4, atol=0)
        inner = ((x - mmse(y, sigma)) * (mmse(y, sigma) - x.mean())).mean(dim=(1, 2, 3)).numpy()
        assert abs(z_score(inner, 0.0)) < 3.5


@pytest.mark.parametrize("sigma", [1e-3, 100.0])
def test_extreme_noise_levels(sigma):
    family = make(size=32, density=0.05)
    batch = family.sample(range(4))
    y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
    posterior = optimum(family).posterior(y, sigma)
    assert posterior.mean.isfinite().all()
    assert (posterior.variance > 0).all()
    reference = family.reference(sigma)
    prior = np.mean(family.coefficient_law[0] * family.coefficient_law[1] ** 2)
    assert 0 < reference.mse[0] < min(sigma**2, prior)
    if sigma == 100.0:
        assert reference.mse[0] == pytest.approx(prior, rel=1e-2)


def test_what_is_not_allowed():
    for text, problem in (
        ("size=48", "power of two"),
        ("coarse=6", "smaller than the image"),
        ("wavelet=bior2.2", "orthogonal wavelet"),
    ):
        with pytest.raises(UsageError, match=problem):
            gb.family(f"besov:{text}")
