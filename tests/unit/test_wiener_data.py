"""The Wiener filter of training images against dense linear algebra, its own definition, and the optimum."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.denoisers import training_set
from gahb_bench.denoisers.wiener_data import model
from gahb_bench.families.calpha.law import Calpha


def calpha(size: int = 64, alpha: float = 2.0) -> Calpha:
    return Calpha.from_parameters({"size": size, "alpha": alpha})


def noisy(size: int = 32, count: int = 3, sigma: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    batch = gb.family(f"calpha:size={size},alpha=1").sample(range(count))
    return batch.images.double(), gb.add_noise(batch, sigma).double()


def dense_covariance(law: Calpha, n: int, target: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, shrunk covariance and weight from their definitions, with dense matrices."""
    x = law.sample(range(n), split="train").images.double().reshape(n, -1).numpy()
    mean, pixels = x.mean(axis=0), x.shape[1]
    centred = x - mean
    sample = centred.T @ centred / n
    places = np.arange(law.size)
    shift = [np.ravel_multi_index(np.meshgrid((places + a) % law.size, (places + b) % law.size, indexing="ij"),
             (law.size, law.size)).ravel() for a in range(law.size) for b in range(law.size)]  # fmt: skip

    def project(matrix: np.ndarray) -> np.ndarray:
        if target == "identity":
            return np.trace(matrix) / pixels * np.eye(pixels)
        return np.mean([matrix[np.ix_(s, s)] for s in shift], axis=0)

    kept = project(sample)
    each = [np.outer(c, c) for c in centred]
    variance = sum((((m - sample) - (project(m) - kept)) ** 2).sum() for m in each) / n**2
    delta = 0.0 if target == "none" else min(1.0, variance / ((sample - kept) ** 2).sum())
    return mean, (1 - delta) * sample + delta * kept, delta


@pytest.mark.parametrize("target", ["none", "identity", "stationary"])
@pytest.mark.parametrize("n", [20, 100])
def test_full_covariance_equals_dense_linear_algebra(n: int, target: str) -> None:
    """Fewer and more images than the 64 pixels: Woodbury on the images, and on the root of the covariance."""
    law = calpha(size=8)
    y = gb.add_noise(law.sample(range(3)), 0.1).double()
    mean, covariance, delta = dense_covariance(law, n, target)
    assert target == "none" or 0 < delta <= 1
    for sigma in (0.03, 0.3):
        gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(64))
        expected = mean + (y.reshape(3, -1).numpy() - mean) @ gain.T
        x_hat = gb.denoiser(f"wiener-data:n={n},stationary=false,shrinkage={target}", law)(y, sigma)
        np.testing.assert_allclose(x_hat.reshape(3, -1).numpy(), expected, atol=1e-8)


def test_stationary_covariance_of_colour_images_is_that_of_each_channel() -> None:
    law = gb.family("coloured:of=(besov:size=16)")
    x, sigma = law.sample(range(50), split="train").images.double(), 0.2
    y = gb.add_noise(law.sample(range(2)), sigma).double()
    x_hat = gb.denoiser("wiener-data:n=50", law)(y, sigma)
    for channel in range(3):
        mean = float(x[:, channel].mean())
        spectrum = torch.fft.fft2(x[:, channel] - mean, norm="ortho").abs().square().mean(dim=0)
        spectrum[0, 0] *= 50 / 49
        gain = spectrum / (spectrum + sigma**2)
        expected = mean + torch.fft.ifft2(gain * torch.fft.fft2(y[:, channel] - mean)).real
        torch.testing.assert_close(x_hat[:, channel], expected, rtol=0, atol=1e-12)


def test_full_covariance_of_colour_images_holds_all_channels_together() -> None:
    law, n, sigma = gb.family("coloured:of=(calpha:size=8)"), 100, 0.2
    x = law.sample(range(n), split="train").images.double().reshape(n, -1).numpy()
    covariance = (x - x.mean(axis=0)).T @ (x - x.mean(axis=0)) / n
    assert np.abs(covariance[:64, 64:]).max() > 1e-4, "in the sample channels are correlated"
    y = gb.add_noise(law.sample(range(2)), sigma).double()
    gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(192))
    expected = x.mean(axis=0) + (y.reshape(2, -1).numpy() - x.mean(axis=0)) @ gain.T
    x_hat = gb.denoiser(f"wiener-data:n={n},stationary=false,shrinkage=none", law)(y, sigma)
    np.testing.assert_allclose(x_hat.reshape(2, -1).numpy(), expected, atol=1e-8)


def test_stationary_covariance_equals_its_definition() -> None:
    law, n = calpha(size=8), 12
    x = law.sample(range(n), split="train").images.double()[:, 0].numpy()
    mean = x.mean()
    spectrum = (np.abs(np.fft.fft2(x - mean, norm="ortho")) ** 2).mean(axis=0)
    spectrum[0, 0] *= n / (n - 1)
    y = gb.add_noise(law.sample(range(3)), 0.1).double()
    gain = spectrum / (spectrum + 0.01)
    expected = mean + np.fft.ifft2(gain * np.fft.fft2(y[:, 0].numpy() - mean)).real
    x_hat = gb.denoiser(f"wiener-data:n={n}", law)(y, 0.1)
    np.testing.assert_allclose(x_hat[:, 0].numpy(), expected, atol=1e-12)


def test_shrinkage_weight_is_near_the_best_one() -> None:
    """The estimated weight against the one that minimises the true distance to the covariance, over training sets."""
    law, n = calpha(size=8), 30
    kernel = np.fft.ifft2(law.spectrum).real
    a, b = np.divmod(np.arange(64), 8)
    truth = kernel[(a[:, None] - a) % 8, (b[:, None] - b) % 8]
    level = np.trace(truth) / 64 * np.eye(64)
    estimated, above, below = [], 0.0, 0.0
    for seed in range(30):
        x = law.sample(range(n), seed=seed, split="train").images.double().reshape(n, -1).numpy()
        centred = x - x.mean(axis=0)
        sample = centred.T @ centred / n
        kept = np.trace(sample) / 64 * np.eye(64)
        rest, true_rest = sample - kept, truth - level
        above, below = above + (rest * (rest - true_rest)).sum(), below + (rest**2).sum()
        estimated.append(model(gb.family(law.spec), n, "train", seed, False, "identity", "cpu").delta)
    assert np.mean(estimated) == pytest.approx(above / below, rel=0.2)


def test_it_is_made_apart_from_a_derivative_that_is_being_taken() -> None:
    """Its first call is within `torch.func`, on a law that draws its images in torch."""
    law, sigma = gb.family("coloured:of=(gmm:size=4)"), 0.2
    y = gb.add_noise(law.sample(range(1)), sigma).double()
    D = gb.denoiser("wiener-data:n=13", law)
    training_set._part.cache_clear()
    model.cache_clear()
    J = torch.func.jacrev(lambda noisy: D(noisy, sigma))(y).reshape(48, 48)
    torch.testing.assert_close((J @ y.flatten()).reshape(y.shape), D(y, sigma) - D(torch.zeros_like(y), sigma))


@pytest.mark.parametrize("alpha", [1.0, 2.0, 3.0])
def test_wiener_data_is_within_a_tenth_of_a_decibel_of_the_optimum(alpha: float) -> None:
    law = calpha(alpha=alpha)
    table = gb.score(law, ["mmse", "wiener-data:n=1000,stationary=true"], [0.003, 0.03, 0.3, 3], images=32)
    mse = table.groupby(["sigma", "denoiser"]).mse.mean().unstack()
    loss = 10 * np.log10(mse["wiener-data"] / mse["mmse"])
    assert loss.max() < 0.1
