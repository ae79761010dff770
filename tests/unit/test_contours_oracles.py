"""The oracles of ``calpha-contours``: the genie, the sampler, posterior-mean, the straightened basis."""

import math

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core import rng
from gahb_bench.families.calpha_contours.check import (
    CyclicWalkContours,
    cyclic_walk_variances,
    dense_genie,
    genie_checks,
)
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.mcmc import ContourSampler, Draws, State
from gahb_bench.families.calpha_contours.model import NotConvergedError, contour_model, given_contour, solve_mixture
from gahb_bench.families.calpha_contours.optimum import Straightened
from gahb_bench.families.calpha_contours.particles import tempered
from gahb_bench.transforms.straightening import Straightening
from gahb_bench.transforms.wavelets import WaveletTransform

CPU = torch.device("cpu")


def law(**parameters: object) -> CalphaContours:
    return CalphaContours.from_parameters(parameters)


def noisy(family: CalphaContours, count: int, sigma: float) -> tuple[gb.Batch, torch.Tensor]:
    """A batch, and its noisy images less 1/2."""
    batch = family.sample(range(count))
    return batch, (batch.images + sigma * unit_noise(batch))[:, 0].double() - 0.5


@pytest.mark.parametrize("size", [32, 33])
def test_mask_and_its_derivative(size: int) -> None:
    family = law(size=size, background="constant")
    model = contour_model(family, CPU)
    batch = family.sample(range(6))
    contour = batch.latents["contour"]
    mask, slope = model.mask(contour)
    torch.testing.assert_close(mask.float(), batch.latents["mask"][:, 0], atol=1e-6, rtol=0)
    ahead, behind = model.mask(contour + 1e-5)[0], model.mask(contour - 1e-5)[0]
    torch.testing.assert_close(slope, (ahead - behind) / 2e-5, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.basis.T @ model.basis, torch.eye(size, dtype=torch.float64))


def test_basis_diagonalises_the_contours_covariance() -> None:
    family = law(size=16)
    model = contour_model(family, CPU)
    lag = np.subtract.outer(np.arange(16), np.arange(16)) % 16
    covariance = torch.from_numpy(np.fft.ifft(family.contour_spectrum).real[lag])
    inside = model.basis.T @ covariance @ model.basis
    torch.testing.assert_close(inside.diagonal()[1:], 1 / model.precision[1:])
    torch.testing.assert_close(inside, torch.diag(inside.diagonal()), atol=1e-9, rtol=0)
    assert float(model.precision[0]) == 0.0


def test_genie_is_the_dense_conditional_mean() -> None:
    for check in genie_checks(law()):
        assert check.passed, check


def test_genie_has_the_risk_of_the_dense_posterior() -> None:
    family = law(size=16)
    batch, y = noisy(family, 200, 0.1)
    estimate = gb.denoiser("genie", family=family).given(batch)((y + 0.5)[:, None], 0.1)
    error = (estimate - batch.images).square().mean((1, 2, 3))
    _, variance = dense_genie(family, batch.select(range(40)), y[:40], 0.1)
    spread = math.hypot(float(error.std()) / math.sqrt(200), float(variance.std()) / math.sqrt(40))
    assert abs(float(error.mean() - variance.mean())) < 4 * spread
    assert spread < 0.05 * float(variance.mean())


def test_genie_converges_at_small_noise_and_refuses_to_stop_early() -> None:
    family = law()
    sigma = 0.03 * family.contrast
    batch, y = noisy(family, 3, sigma)
    model = contour_model(family, CPU)
    mask, _ = model.mask(batch.latents["contour"])
    b, level = y - model.image(mask, 0.0, 0.0), torch.full((3,), sigma, dtype=torch.float64)
    u, iterations = solve_mixture(model, mask, b, level)
    applied = (1 - mask) * model.covariance((1 - mask) * u) + mask * model.covariance(mask * u) + sigma**2 * u
    residual = (applied - b).square().sum((1, 2)).sqrt() / b.square().sum((1, 2)).sqrt()
    assert float(residual.max()) < 1.1e-6
    assert 30 < iterations < 300
    with pytest.raises(NotConvergedError, match="would not be a bound"):
        solve_mixture(model, mask, b, level, iterations=iterations // 2)
    hasty = gb.denoiser("genie:iterations=20", family=family).given(batch)
    with pytest.raises(NotConvergedError):
        hasty((y + 0.5)[:, None], sigma)


def test_each_image_is_solved_by_itself() -> None:
    family = law(size=32)
    batch, _ = noisy(family, 6, 0.1)
    genie = gb.denoiser("genie", family=family)
    sigma = torch.tensor([0.01, 0.3, 0.02, 1.0, 0.05, 0.1], dtype=torch.float64)
    y = gb.add_noise(batch, sigma).double()
    together = genie.given(batch)(y, sigma)
    for i in range(6):
        alone = genie.given(batch.select([i]))(y[i : i + 1], float(sigma[i]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5 * float(sigma[i]), rtol=0)


@pytest.mark.parametrize("background", ["gaussian", "constant"])
def test_energy_gradient(background: str) -> None:
    family = law(size=16, background=background)
    batch, y = noisy(family, 3, 0.2)
    sampler = ContourSampler(contour_model(family, CPU), y, 0.2, Draws(rng.generators("t", indices=range(3)), CPU))
    fields = batch.latents["backgrounds"].double() if background == "gaussian" else None
    state = State(batch.latents["contour"] @ sampler.model.basis, *(fields.unbind(1) if fields is not None else ()))
    target = sampler._target(state)
    energy, gradient = target.energy(state.coefficients)
    x = sampler.image(state)
    prior = 0.5 * (state.coefficients.square() * sampler.model.precision).sum(1)
    torch.testing.assert_close(energy, (x - y).square().sum((1, 2)) / (2 * 0.2**2) + prior)
    for k in (0, 3, 15):
        nudge = torch.zeros(16, dtype=torch.float64)
        nudge[k] = 1e-5
        up, down = (target.energy(state.coefficients + sign * nudge)[0] for sign in (1, -1))
        torch.testing.assert_close(gradient[:, k], (up - down) / 2e-5 * sampler.scale[k], rtol=1e-5, atol=1e-5)


def test_backgrounds_are_drawn_from_their_conditional_law() -> None:
    """Mean and variance over many draws, against the genie and the dense posterior."""
    family = law(size=16)
    sigma, chains = 0.15, 1500
    batch, y = noisy(family, 1, sigma)
    model = contour_model(family, CPU)
    draws = Draws(rng.generators("draws", indices=range(chains)), CPU)
    sampler = ContourSampler(model, y.repeat(chains, 1, 1), sigma, draws)
    coefficients = (batch.latents["contour"] @ model.basis).repeat(chains, 1)
    images = sampler.image(sampler.draw_backgrounds(coefficients))
    mean, variance = dense_genie(family, batch, y, sigma)
    # squared distance of the mean of independent draws: variance / draws
    assert float((images.mean(0) - mean[0]).square().mean()) < 2 * float(variance) / chains
    assert float((images - mean).square().mean()) == pytest.approx(float(variance), rel=0.03)
    mask, _ = model.mask(batch.latents["contour"])
    found = given_contour(model, mask, y, torch.tensor([sigma], dtype=torch.float64))
    torch.testing.assert_close(found, mean, atol=1e-5, rtol=0)


@pytest.mark.parametrize("background", ["gaussian", "constant"])
def test_chains_accept_and_are_reversible_in_energy(background: str) -> None:
    """Acceptance is high, and chains from the truth keep its law: their residuals keep the noise's variance."""
    family = law(size=32, background=background)
    sigma = 0.1
    batch, y = noisy(family, 12, sigma)
    model = contour_model(family, CPU)
    sampler = ContourSampler(model, y, sigma, Draws(rng.generators("c", indices=range(12)), CPU))
    fields = batch.latents["backgrounds"].double() if background == "gaussian" else None
    state = State(batch.latents["contour"] @ model.basis, *(fields.unbind(1) if fields is not None else ()))
    accepted = torch.zeros(12, dtype=torch.float64)
    for _ in range(8):
        state, share = sampler.sweep(state)
        accepted += share / 8
    assert float(accepted.mean()) > 0.75
    noise_power = (y - sampler.image(state)).square().mean((1, 2)) / sigma**2
    assert float(noise_power.mean()) == pytest.approx(1.0, abs=5 * math.sqrt(2 / (12 * 32**2)))


def test_posterior_mean_is_a_function_of_y() -> None:
    family = law(size=16)
    denoiser = gb.denoiser("posterior-mean:sweeps=3,chains=2", family=family)
    y = gb.add_noise(family.sample(range(3)), 0.1)
    together = denoiser(y, 0.1)
    assert torch.equal(together, denoiser(y, 0.1))
    assert torch.equal(together[1:2], denoiser(y[1:2], 0.1))
    assert not torch.equal(denoiser(y[:1], 0.1), denoiser(y[:1] + 1e-3, 0.1))
    posterior = denoiser.posterior(y, 0.1)  # type: ignore[attr-defined]
    assert torch.equal(posterior.mean, together)
    assert bool((posterior.variance > 0).all())


@pytest.mark.slow
@pytest.mark.parametrize(("background", "sigma", "images"), [("constant", 0.1, 16), ("gaussian", 0.1, 8)])
def test_posterior_mean_reaches_the_bracket(background: str, sigma: float, images: int) -> None:
    family = law(background=background)
    batch = family.sample(range(images))
    x_hat = gb.denoiser("posterior-mean", family=family)(gb.add_noise(batch, sigma), sigma)
    error = (x_hat - batch.images).square().mean((1, 2, 3)).double()
    reference = family.reference([sigma])
    spread = 3 * math.hypot(float(error.std()) / math.sqrt(images), float(reference.standard_error[0]))
    assert float(error.mean()) > float(reference.lower[0]) - spread
    assert float(error.mean()) < 1.06 * float(reference.upper[0]) + spread
    assert spread < 0.35 * float(reference.mse[0])


@pytest.mark.parametrize("shift", ["fourier", "integer"])
@pytest.mark.parametrize("side", [16, 24])
def test_straightening_is_orthonormal(shift: str, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    contour = side * torch.rand(3, side, dtype=torch.float64, generator=generator)
    kind = "integer" if shift == "integer" else "fourier"
    straight = Straightening(contour, WaveletTransform("sym4", 3, side, side), kind)
    x, y = torch.randn(2, 3, 2, side, side, dtype=torch.float64, generator=generator)
    torch.testing.assert_close(straight.inverse(straight.forward(x)), x)
    torch.testing.assert_close((straight.forward(x) * straight.forward(y)).sum(), (x * y).sum())
    torch.testing.assert_close((straight.forward(x) * y).sum(), (x * straight.inverse(y)).sum())


def test_straightening_flattens_the_stripe() -> None:
    """The errors stated in its docstring, against the mask of a contour that is flat."""
    family = law(background="constant")
    batch = family.sample(range(40))
    flat = contour_model(family, CPU).mask(torch.zeros(1, 64, dtype=torch.float64))[0]
    wavelets = WaveletTransform("sym4", 4, 64, 64)
    errors = {}
    for shift in ("fourier", "integer"):
        basis = Straightening(batch.latents["contour"], wavelets, shift)
        errors[shift] = (basis.flatten(batch.latents["mask"].double())[:, 0] - flat).abs()
    assert float(errors["fourier"].max()) < 0.0065
    assert 0.001 < float(errors["fourier"].mean()) < 0.002
    assert 0.2 < float(errors["integer"].max()) < 0.28
    coefficients = Straightening(batch.latents["contour"], wavelets).forward(batch.images.double() - 0.5)
    plain = wavelets.forward(batch.images.double() - 0.5)
    missed, missed_plain = (
        1 - theta.square().flatten(1).topk(100).values.sum(1) / theta.square().flatten(1).sum(1)
        for theta in (coefficients, plain)
    )
    assert float(missed.mean()) < 0.3 * float(missed_plain.mean())


def test_ideal_weights_in_the_straightened_basis() -> None:
    family = law(size=32)
    batch = family.sample(range(8))
    y = gb.add_noise(batch, 0.1)
    wiener = gb.denoiser("straightened:levels=3", family=family)
    projector = gb.denoiser("straightened:levels=3,rule=projector", family=family)
    assert isinstance(wiener, Straightened)
    theta = wiener.transform(batch.latents["contour"]).forward(batch.images.double() - 0.5)
    ideal = {
        "wiener": (0.01 * theta.square() / (theta.square() + 0.01)).mean(),
        "projector": theta.square().clamp(max=0.01).mean(),
    }
    for name, oracle in (("wiener", wiener), ("projector", projector)):
        error = (oracle.given(batch)(y, 0.1) - batch.images).square().mean((1, 2, 3))
        assert abs(float(error.mean() - ideal[name])) < 4 * float(error.std()) / math.sqrt(8), name
    assert float(ideal["wiener"]) < float(ideal["projector"]) < 2 * float(ideal["wiener"])


@pytest.mark.parametrize(("seed", "indices"), [(54, (190, 228, 170)), (53, (238, 17))])
def test_no_image_is_left_in_a_wrong_mode(seed: int, indices: tuple[int, ...]) -> None:
    """Images on which every chain from a coarse contour fell into a false one, with fifteen times the least error."""
    family = gb.family("calpha-contours:background=constant,size=32")
    batch = family.sample(indices, seed=seed, split="test")
    y = gb.add_noise(batch, 1.0)
    posterior = gb.denoiser("posterior-mean", family).posterior(y, 1.0)
    error = (posterior.mean - batch.images).square().mean((1, 2, 3))
    assert (posterior.variance < 0.007).all(), "the truth has .0044 in the mean"
    assert (error < 0.01).all(), error


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_risk_of_the_particles_is_their_posterior_variance(sigma: float) -> None:
    """E|x - E[x | y]|^2 = E Var(x | y), where chains that are trapped have a larger risk than they say."""
    family = gb.family("calpha-contours:background=constant,size=32")
    batch = family.sample(range(40), split="test")
    posterior = gb.denoiser("posterior-mean", family).posterior(gb.add_noise(batch, sigma), sigma)
    excess = (posterior.mean - batch.images).square().mean((1, 2, 3)).double() - posterior.variance.double()
    assert abs(float(excess.mean())) < 4 * float(excess.std()) / math.sqrt(40)
    assert float(excess.std()) / math.sqrt(40) < 0.15 * float(posterior.variance.mean())


def test_two_runs_of_particles_agree_and_know_their_error() -> None:
    """Independent runs of one image differ by a hundredth of its posterior variance at most, where modes compete."""
    family = gb.family("calpha-contours:background=constant,size=32")
    assert isinstance(family, CalphaContours)
    model = contour_model(family, torch.device("cpu"))
    batch = family.sample(range(3), split="test")
    for sigma in (0.2, 1.0, 3.0):
        for image in gb.add_noise(batch, sigma).double()[:, 0] - 0.5:
            (one, its), (other, others) = (
                tempered(model, image, sigma, np.random.default_rng(run)).moments() for run in range(2)
            )
            assert float((one - other).square().mean()) < 0.01 * float(its)
            assert float(its) == pytest.approx(float(others), rel=0.05)


@pytest.mark.slow
def test_particles_find_the_posterior_variance_of_a_contour_that_can_be_computed() -> None:
    """A closed random walk, whose posterior is a product of transfer matrices: nothing is shared but the likelihood."""
    family = CyclicWalkContours.from_parameters({"size": 16, "background": "constant", "contrast": 1.0})
    model = contour_model(family, torch.device("cpu"))
    batch = family.sample(range(24), split="val")
    for sigma in (0.4, 1.0, 2.5):
        exact = cyclic_walk_variances(family, sigma, range(24))
        noisy = gb.add_noise(batch, sigma).double()[:, 0] - 0.5
        found = np.array([float(tempered(model, y, sigma, np.random.default_rng(0)).moments()[1]) for y in noisy])
        assert found.mean() == pytest.approx(exact.mean(), rel=0.02)
        assert np.abs(found / exact - 1).max() < 0.1
