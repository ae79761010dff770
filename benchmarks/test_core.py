"""Generator, transform, oracle, denoisers and the whole run."""

import numpy as np
import pytest
import pywt
import torch
from ratio import interleaved

import gahb_bench as gb
from gahb_bench.core.posterior import inform
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan
from gahb_bench.transforms.wavelets import WaveletTransform


@pytest.mark.parametrize("size", [64, 80, 128])
def test_generator(benchmark, size):
    """At least 5,000 images of 80 x 80 a second on one thread."""
    family = gb.family(f"calpha:size={size}")
    benchmark(family.sample, range(256))
    rate = 256 / benchmark.stats.stats.min
    benchmark.extra_info["images_per_second"] = round(rate)
    if size == 80:
        assert rate > 5000


def test_noise(benchmark):
    batch = gb.family("calpha:size=64").sample(range(256))
    benchmark(gb.add_noise, batch, 0.1)
    benchmark.extra_info["images_per_second"] = round(256 / benchmark.stats.stats.min)


@pytest.mark.filterwarnings("ignore:Level value of")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_transform_against_pywavelets(benchmark, dtype):
    """64 images of 64 x 64, sym8, 3 levels: at least 3 times faster than PyWavelets on the whole batch at once.

    On two threads where there are two cores, as in use; PyWavelets has one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((64, 1, 64, 64))).to(dtype)
    array = x.numpy()
    transform = WaveletTransform("sym8", 3, 64, 64)

    def theirs():
        return pywt.wavedec2(array, "sym8", mode="periodization", level=3, axes=(-2, -1))

    ours_seconds, theirs_seconds = interleaved(lambda: transform.forward(x), theirs)
    benchmark.extra_info["times_faster_than_pywavelets"] = round(theirs_seconds / ours_seconds, 2)
    benchmark(transform.forward, x)
    torch.set_num_threads(threads)
    assert theirs_seconds / ours_seconds > 3


@pytest.mark.parametrize(
    "spec",
    [
        "mmse",
        "wavelet",
        "wavelet:rule=sure",
        "wavelet:shifts=all",
        "wavelet:rule=sure,shifts=all",
        "wavelet:rule=bayes,shifts=all",
        "ideal",
        "ideal:basis=fourier,rule=wiener",
    ],
)
def test_denoiser(benchmark, spec):
    family = gb.family("calpha:size=64")
    batch = family.sample(range(64))
    y = gb.add_noise(batch, 0.1)
    denoiser = inform(gb.denoiser(spec, family), batch)
    benchmark(denoiser, y, 0.1)
    benchmark.extra_info["images_per_second"] = round(64 / benchmark.stats.stats.min)


def test_whole_run(benchmark, tmp_path):
    """The main job's computation: 128 images, 13 noise levels, the default denoisers (report not included)."""
    plan = make_plan(["calpha"])
    folders = iter(tmp_path / str(number) for number in range(9))
    benchmark.pedantic(lambda: engine.run(plan, next(folders)), rounds=1)
    assert benchmark.stats.stats.min < 60
