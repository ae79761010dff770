import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.noise import unit_noise
from gahb_bench.transforms.wavelets import WaveletTransform


@pytest.mark.parametrize("rule", ["projector", "wiener"])
@pytest.mark.parametrize("basis", ["fourier", "wavelet"])
def test_risk_is_the_closed_form_of_an_ideal(basis, rule):
    """E|x_hat - x|^2 = sum c^2 s^2 / (c^2 + s^2), or sum min(c^2, s^2), over the noise on one image."""
    family, sigma, draws = gb.family("calpha:size=16,alpha=1"), 0.2, 3000
    one = family.sample([0])
    x = one.images.double()
    if basis == "fourier":
        energy = torch.fft.fft2(x, norm="ortho").abs().square()
    else:
        energy = WaveletTransform("sym8", 2, 16, 16).forward(x).square()
    weight = (energy > sigma**2).double() if rule == "projector" else energy / (energy + sigma**2)
    expected = ((1 - weight) ** 2 * energy + weight**2 * sigma**2).mean().item()
    many = family.sample([0] * draws)
    z = unit_noise(family.sample(range(draws))).double()
    ideal = gb.denoiser(f"ideal:basis={basis},rule={rule}").given(many)
    squared = (ideal(x + sigma * z, sigma) - x).square().mean(dim=(1, 2, 3)).numpy()
    assert squared.mean() == pytest.approx(expected, abs=4 * squared.std() / draws**0.5)


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
    for basis in ("fourier", "wavelet"):
        x_hat = gb.denoiser(f"ideal:basis={basis}").given(batch)(gb.add_noise(batch, 1e-6), 1e-6)
        assert np.abs(x_hat.numpy() - batch.images.numpy()).max() < 1e-4
