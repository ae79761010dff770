"""Curvelets against the package that defines them, simulation, and wavelets."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.transforms.curvelets import CurveletFrame, multiple


def calpha(size: int = 64, alpha: float = 2.0) -> Calpha:
    return Calpha.from_parameters({"size": size, "alpha": alpha})


def noisy(size: int = 32, count: int = 3, sigma: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    batch = gb.family(f"calpha:size={size},alpha=1").sample(range(count))
    return batch.images.double(), gb.add_noise(batch, sigma).double()


@pytest.mark.parametrize(("shape", "scales", "wedges"), [((32, 32), 3, 3), ((64, 32), 4, 3), ((48, 48), 3, 6)])
def test_frame_equals_the_package_and_is_tight(shape: tuple[int, int], scales: int, wedges: int) -> None:
    from curvelets.numpy import UDCT

    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, *shape)))
    frame = CurveletFrame(*shape, scales, wedges)
    coefficients = frame.forward(x)
    counts = {3: [wedges, wedges], 4: [wedges, wedges, 2 * wedges]}[scales]
    transform = UDCT(shape, angular_wedges_config=np.array([[k, k] for k in counts]), window_threshold=0.0)
    for i in range(2):
        expected = [c for scale in transform.forward(x[i, 0].numpy()) for d in scale for c in d]
        for ours, theirs in zip(coefficients, expected, strict=True):
            np.testing.assert_allclose(ours[i, 0].numpy(), theirs, atol=1e-12)
    torch.testing.assert_close(frame.inverse(coefficients), x)
    energy = sum(float(c.abs().square().sum()) for c in coefficients)
    assert energy == pytest.approx(float(x.square().sum()), rel=1e-12)


def test_noise_levels_are_what_white_noise_gives() -> None:
    frame = CurveletFrame(32, 32, 3)
    z = torch.from_numpy(np.random.default_rng(0).standard_normal((600, 1, 32, 32)))
    measured = torch.stack([c.abs().square().mean().sqrt() for c in frame.forward(z)])
    torch.testing.assert_close(measured, frame.noise_levels(), rtol=0.02, atol=0)


def test_translation_invariant_curvelets_are_the_average_over_shifts() -> None:
    _, y = noisy(16, 2)
    decimated, invariant = (gb.denoiser(f"curvelet:threshold=2,scales=3,shifts={s}") for s in ("none", "all"))
    shifts = [(p, q) for p in range(4) for q in range(4)]  # 4 is the largest step of three scales
    average = sum(
        decimated(y.roll(shift, (-2, -1)), 0.1).roll((-shift[0], -shift[1]), (-2, -1)) for shift in shifts
    ) / len(shifts)
    torch.testing.assert_close(invariant(y, 0.1), average)
    assert (invariant(y, 0.1) - decimated(y, 0.1)).abs().max() > 1e-3


def test_curvelet_refusals_say_what_to_do() -> None:
    with pytest.raises(UsageError, match="scales=1 is not allowed: give at least 2 scales"):
        gb.denoiser("curvelet:scales=1")
    with pytest.raises(UsageError, match="wedges=4 is not allowed: it should be a multiple of 3"):
        gb.denoiser("curvelet:wedges=4")
    with pytest.raises(UsageError, match=f"divisible by {multiple(4, 3)}"):
        CurveletFrame(36, 36, 4)
    with pytest.raises(UsageError, match="too small"):
        gb.denoiser("curvelet:scales=6")(torch.rand(1, 1, 9, 9), 0.1)


def contours(count: int, size: int) -> torch.Tensor:
    """Two constant regions, contrast 1, separated by a smooth random contour, antialiased over one pixel."""
    rng = np.random.default_rng(0)
    rows, columns = np.arange(size)[:, None], np.arange(size)[None, :]
    images = []
    for _ in range(count):
        contour = rng.uniform(0, size) + sum(
            size / 8 / k**2 * rng.standard_normal() * np.cos(2 * np.pi * (k * columns / size + rng.uniform()))
            for k in (1, 2, 3)
        )
        depth = (rows - contour + size / 4) % size - size / 4
        images.append(1 / (1 + np.exp(-2 * depth)) - 1 / (1 + np.exp(-2 * (depth - size / 2))))
    return torch.from_numpy(np.stack(images))[:, None]


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2, 0.4])
def test_curvelets_beat_wavelets_on_contours(sigma: float) -> None:
    x = contours(32, 64)
    y = x + sigma * torch.from_numpy(np.random.default_rng(1).standard_normal(x.shape))
    curvelet = (gb.denoiser("curvelet")(y, sigma) - x).square().mean(dim=(1, 2, 3))
    wavelet = (gb.denoiser("wavelet:shifts=all")(y, sigma) - x).square().mean(dim=(1, 2, 3))
    gain = wavelet - curvelet
    assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5
    assert wavelet.mean() / curvelet.mean() > 10**0.05  # at least half a decibel
