"""The optimum of a bounded receptive field, against dense linear algebra, simulation and other local methods."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.calpha.local import local_mmse_risk, patch_modes

SIGMAS = np.array([0.003, 0.03, 0.3, 3.0])


def calpha(size: int = 64, alpha: float = 2.0) -> Calpha:
    return Calpha.from_parameters({"size": size, "alpha": alpha})


def dense(law: Calpha, patch: int, sigma: float) -> tuple[np.ndarray, float]:
    """The filter and its risk from the covariance matrix of the patch, built from the sum over Fourier modes."""
    k = np.fft.fftfreq(law.size, 1 / law.size)
    radius = patch // 2
    pixels = np.array([(a, b) for a in range(-radius, radius + 1) for b in range(-radius, radius + 1)])
    difference = pixels[:, None] - pixels[None, :]
    phase = difference[..., 0, None, None] * k[:, None] + difference[..., 1, None, None] * k[None, :]
    covariance = (law.spectrum * np.cos(2 * np.pi * phase / law.size)).mean(axis=(2, 3))
    centre = len(pixels) // 2
    c = covariance[centre]
    weights = np.linalg.solve(covariance + sigma**2 * np.eye(len(pixels)), c)
    return weights.reshape(patch, patch), covariance[centre, centre] - c @ weights


@pytest.mark.parametrize(("size", "alpha"), [(8, 2.0), (9, 1.0), (10, 3.0)])
@pytest.mark.parametrize("patch", [1, 3, 5, 7])
def test_risk_and_filter_equal_dense_linear_algebra(size: int, alpha: float, patch: int) -> None:
    law = calpha(size=size, alpha=alpha)
    oracle = gb.denoiser(f"local-mmse:patch={patch}", family=law)
    impulse = torch.full((1, 1, size, size), law.mean, dtype=torch.float64)
    impulse[..., 0, 0] += 1
    for sigma in SIGMAS:
        weights, risk = dense(law, patch, sigma)
        assert local_mmse_risk(law, patch, np.array([sigma]))[0] == pytest.approx(risk, rel=1e-8)
        response = (oracle(impulse, float(sigma))[0, 0] - law.mean).roll((patch // 2,) * 2, (0, 1)).numpy()
        np.testing.assert_allclose(response[:patch, :patch], weights, atol=1e-9)
        response[:patch, :patch] = 0
        np.testing.assert_allclose(response, 0, atol=1e-12)  # nothing outside the receptive field


@pytest.mark.parametrize("size", [8, 9])
def test_equal_to_the_mmse_when_the_patch_covers_the_image(size: int) -> None:
    law = calpha(size=size)
    inside = 7 if size == 8 else 9
    covariance = np.fft.ifft2(law.spectrum).real
    a, b = np.divmod(np.arange(size**2), size)
    dense_image = covariance[(a[:, None] - a) % size, (b[:, None] - b) % size]
    gain = dense_image @ np.linalg.inv(dense_image + 0.01 * np.eye(size**2))
    risk = np.trace(dense_image - gain @ dense_image) / size**2
    assert local_mmse_risk(law, 9, np.array([0.1]))[0] == pytest.approx(risk, rel=1e-10)
    assert dense(law, inside, 0.1)[1] == pytest.approx(risk, rel=1e-9 if size == 9 else 0.05)
    assert local_mmse_risk(law, 9, SIGMAS) == pytest.approx(law.reference(SIGMAS).mse, rel=1e-12)
    y = gb.add_noise(law.sample(range(3)), 0.1)
    covering = gb.denoiser("local-mmse:patch=9", family=law)
    torch.testing.assert_close(covering(y, 0.1), gb.denoiser("mmse", family=law)(y, 0.1))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_risk_decreases_with_the_patch_to_the_mmse(alpha: float) -> None:
    law = calpha(size=33, alpha=alpha)
    curves = np.array([local_mmse_risk(law, patch, SIGMAS) for patch in range(1, 35, 2)])
    assert (np.diff(curves[:-1], axis=0) < 1e-9 * curves[:-2]).all()
    assert (curves[0] > 1.01 * curves[-1]).all()  # and the loss of a small receptive field is not nothing
    assert (curves >= law.reference(SIGMAS).mse * (1 - 1e-8)).all()
    prior = law.spectrum.mean()
    assert curves[0] == pytest.approx(prior * SIGMAS**2 / (prior + SIGMAS**2), rel=1e-12)  # one pixel: scalar shrinkage


def test_patch_modes_of_the_whole_image_give_the_mmse() -> None:
    """The formula itself, not only the shortcut, reaches the Wiener risk and its exponent."""
    law = calpha(size=31)
    modes = patch_modes(np.fft.ifft2(law.spectrum).real, 31)
    reference = law.reference(SIGMAS)
    np.testing.assert_allclose(modes.risk(SIGMAS), reference.mse, rtol=1e-8)
    np.testing.assert_allclose(modes.exponent(SIGMAS), reference.exponent, rtol=1e-6)


def test_exponent_is_the_slope_of_the_risk() -> None:
    modes = patch_modes(np.fft.ifft2(calpha(size=16).spectrum).real, 5)
    step = 1e-4
    slope = np.log(modes.risk(SIGMAS * (1 + step)) / modes.risk(SIGMAS * (1 - step))) / np.log((1 + step) / (1 - step))
    np.testing.assert_allclose(modes.exponent(SIGMAS), slope, rtol=1e-5)


@pytest.mark.parametrize("patch", [3, 7, 15])
def test_simulated_risk_is_the_closed_form(patch: int) -> None:
    law = calpha(size=32)
    table = gb.score(law, [f"local-mmse:patch={patch}"], SIGMAS, images=200)
    groups = table.groupby("sigma").mse
    z = (groups.mean().to_numpy() - local_mmse_risk(law, patch, SIGMAS)) / groups.sem().to_numpy()
    assert (np.abs(z) < 3.5).all()
    assert (groups.sem().to_numpy() < 0.1 * groups.mean().to_numpy()).all()  # a test that could see a difference


def test_per_image_noise_levels() -> None:
    law = calpha(size=16)
    oracle = gb.denoiser("local-mmse:patch=5", family=law)
    y = gb.add_noise(law.sample(range(4)), 0.1)
    sigma = torch.tensor([0.1, 0.3, 0.1, 1.0])
    expected = torch.cat([oracle(y[i : i + 1], float(sigma[i])) for i in range(4)])
    torch.testing.assert_close(oracle(y, sigma), expected)


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="odd"):
        gb.denoiser("local-mmse:patch=4", family="calpha:size=16")
    with pytest.raises(UsageError, match="law=gaussian"):
        gb.denoiser("local-mmse", family="calpha:law=uniform")
