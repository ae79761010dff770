from dataclasses import replace

import numpy as np
import pytest
import scipy.fft
import torch

import gahb_bench as gb
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.transforms.curvelets import CurveletFrame
from gahb_bench.transforms.wavelets import WaveletTransform


@pytest.mark.parametrize("rule", ["projector", "wiener"])
@pytest.mark.parametrize("basis", ["fourier", "wavelet", "dct"])
def test_risk_is_the_closed_form_of_an_ideal(basis, rule):
    """E|x_hat - x|^2 = sum c^2 s^2 / (c^2 + s^2), or sum min(c^2, s^2), over the noise on one image."""
    family, sigma, draws = gb.family("calpha:size=16,alpha=1"), 0.2, 3000
    one = family.sample([0])
    x = one.images.double()
    if basis == "fourier":
        energy = torch.fft.fft2(x, norm="ortho").abs().square()
    elif basis == "dct":
        energy = torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho")).square()
    else:
        energy = WaveletTransform("sym8", 2, 16, 16).forward(x).square()
    weight = (energy > sigma**2).double() if rule == "projector" else energy / (energy + sigma**2)
    expected = ((1 - weight) ** 2 * energy + weight**2 * sigma**2).mean().item()
    many = family.sample([0] * draws)
    z = unit_noise(family.sample(range(draws))).double()
    ideal = gb.denoiser(f"ideal:basis={basis},rule={rule}").given(many)
    squared = (ideal(x + sigma * z, sigma) - x).square().mean(dim=(1, 2, 3)).numpy()
    assert squared.mean() == pytest.approx(expected, abs=4 * squared.std() / draws**0.5)


@pytest.mark.parametrize("basis", ["fourier", "wavelet", "dct", "curvelet", "best"])
def test_channels_are_weighted_one_by_one_in_the_basis_of_the_image(basis):
    batch = gb.family("coloured:of=(calpha:size=24)").sample(range(3))
    y = gb.add_noise(batch, 0.2)

    def ideal(name, images, noisy):
        known = replace(batch, images=images)
        return gb.denoiser(f"ideal:basis={name}").given(known)(noisy, 0.2)

    def alone(name):
        return torch.cat([ideal(name, batch.images[:, [c]], y[:, [c]]) for c in range(3)], dim=1)

    x_hat = ideal(basis, batch.images, y)
    if basis != "best":
        assert torch.equal(x_hat, alone(basis))
        return
    tried = [alone(name) for name in ("fourier", "wavelet", "dct")]
    for image in range(3):
        assert sum(torch.equal(x_hat[image], each[image]) for each in tried) == 1, "one basis for all channels"


def test_wiener_weights_beat_projectors():
    family = gb.family("calpha:size=32")
    table = gb.score(family, ["ideal:basis=fourier", "ideal:basis=fourier,rule=wiener", "mmse"], [0.1], images=64)
    mse = table.groupby("denoiser")["mse"].mean()
    assert mse["ideal:basis=fourier,rule=wiener"] < mse["ideal:basis=fourier"]
    assert mse["ideal:basis=fourier,rule=wiener"] < mse["mmse"], (
        "an ideal that knows the image is not bounded by the MMSE"
    )


def test_odd_sizes():
    family = gb.family("calpha:size=17")
    batch = family.sample(range(2))
    for basis in ("fourier", "wavelet", "dct", "best"):
        x_hat = gb.denoiser(f"ideal:basis={basis}").given(batch)(gb.add_noise(batch, 1e-6), 1e-6)
        assert np.abs(x_hat.numpy() - batch.images.numpy()).max() < 1e-4


def test_best_takes_the_basis_of_least_risk_for_each_image():
    """Half of the images are sparse in one basis, half in another: each keeps its own estimate."""
    rng = np.random.default_rng(0)
    waves = torch.zeros(4, 1, 16, 16, dtype=torch.float64)
    for i in range(4):
        coefficients = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
        coefficients[0, 0, rng.integers(16), rng.integers(16)] = 4.0
        waves[i] = (
            torch.from_numpy(scipy.fft.idctn(coefficients.numpy(), axes=(2, 3), norm="ortho"))[0]
            if i % 2
            else WaveletTransform("sym8", 2, 16, 16).inverse(coefficients)[0]
        )
    batch = replace(gb.family("calpha:size=16").sample(range(4)), images=waves)
    y = waves + 0.1 * torch.from_numpy(rng.standard_normal(waves.shape))
    best, dct, wavelet = (
        gb.denoiser(f"ideal:basis={name}").given(batch)(y, 0.1) for name in ("best", "dct", "wavelet")
    )
    assert torch.equal(best[1::2], dct[1::2])
    assert torch.equal(best[0::2], wavelet[0::2])
    assert not torch.allclose(dct, wavelet)


def test_ideal_curvelets():
    """Below their stated risk, and everything is kept where nothing is noise."""
    batch = gb.family("calpha:size=32,alpha=1").sample(range(8))
    x, sigma = batch.images.double(), 0.1
    oracle = gb.denoiser("ideal:basis=curvelet").given(batch)
    frame = CurveletFrame(32, 32, 4)
    levels = frame.noise_levels().tolist()
    coefficients = zip(frame.forward(x), levels, strict=True)
    bound = sum(float(c.abs().square().clamp(max=(sigma * n) ** 2).sum()) for c, n in coefficients) / x.numel()
    mse = float((oracle(gb.add_noise(batch, sigma).double(), sigma) - x).square().mean())
    assert 0.05 * bound < mse < bound
    torch.testing.assert_close(oracle(x, 1e-9), x)
