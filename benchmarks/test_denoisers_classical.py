"""Images a second of the classical denoisers, and the batched wavelets against a library in a loop."""

import numpy as np
import pytest
import torch
from ratio import interleaved
from skimage.restoration import denoise_wavelet

import gahb_bench as gb
from gahb_bench.core.posterior import inform

SPECS = [
    "gaussian-blur",
    "wavelet",
    "wavelet:shifts=all",
    "tv",
    "tv:solver=bregman",
    "nlm",
    "nlm:patch=5,distance=6",
    "dct",
    "dct:patch=8",
    "curvelet",
    "curvelet:shifts=none",
    "wiener-data",
    "local-mmse:patch=15",
    "ideal:basis=best",
    "ideal:basis=curvelet",
]


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("spec", SPECS)
def test_throughput(benchmark, spec, size):
    """One thread, what is computed once (windows, training covariance) already at hand."""
    count = 16 if size == 64 else 2
    family = gb.family(f"calpha:size={size}")
    batch = family.sample(range(count))
    y = gb.add_noise(batch, 0.1)
    denoiser = inform(gb.denoiser(spec, family), batch)
    denoiser(y, 0.1)
    benchmark.pedantic(denoiser, (y, 0.1), rounds=5)
    benchmark.extra_info["images_per_second"] = round(count / benchmark.stats.stats.min, 1)


@pytest.mark.filterwarnings("ignore:Level value of")
def test_wavelets_against_scikit_image_in_a_loop(benchmark):
    """64 images of 64 x 64, hard universal threshold, sym8, 4 levels: at least 10 times faster at equal quality."""
    batch = gb.family("calpha:size=64").sample(range(64))
    sigma = 0.1
    y = gb.add_noise(batch, sigma)
    ours = gb.denoiser("wavelet:levels=4")
    settings = {"sigma": sigma, "wavelet": "sym8", "mode": "hard", "wavelet_levels": 4, "method": "VisuShrink"}

    def theirs():
        return np.stack([denoise_wavelet(image, rescale_sigma=False, **settings) for image in y[:, 0].numpy()])

    def mse(x_hat):
        return float((torch.as_tensor(x_hat) - batch.images[:, 0]).square().mean())

    assert mse(ours(y, sigma)[:, 0]) < 10**0.05 * mse(theirs())
    ours_seconds, theirs_seconds = interleaved(lambda: ours(y, sigma), theirs, rounds=25)
    benchmark.extra_info["times_faster_than_scikit_image"] = round(theirs_seconds / ours_seconds, 1)
    benchmark(ours, y, sigma)
    assert theirs_seconds / ours_seconds > 10
