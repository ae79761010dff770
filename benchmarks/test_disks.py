"""Disks: generator and oracles, images a second on one thread."""

import pytest

import gahb_bench as gb
from gahb_bench.core.posterior import inform


@pytest.mark.parametrize("size", [64, 80, 128])
def test_generator(benchmark, size):
    """At least 5,000 images of 80 x 80 a second."""
    family = gb.family(f"disks:size={size}")
    benchmark(family.sample, range(256))
    rate = 256 / benchmark.stats.stats.min
    benchmark.extra_info["images_per_second"] = round(rate)
    if size == 80:
        assert rate > 5000


@pytest.mark.parametrize("sigma", [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
def test_posterior_mean(benchmark, sigma):
    """At N = 64 at least 60 images a second at sigma = .003, and at least 20 at every noise level."""
    family = gb.family("disks")
    oracle = gb.denoiser("mmse", family)
    y = gb.add_noise(family.sample(range(64)), sigma)
    oracle(y[:4], sigma)  # the grids are made once
    benchmark.pedantic(oracle, args=(y, sigma), rounds=3, warmup_rounds=1)
    rate = 64 / benchmark.stats.stats.min
    benchmark.extra_info["images_per_second"] = round(rate, 1)
    assert rate > (60 if sigma == 0.003 else 20)


@pytest.mark.parametrize("spec", ["projection", "tangent"])
def test_other_oracles(benchmark, spec):
    family = gb.family("disks")
    batch = family.sample(range(64))
    y = gb.add_noise(batch, 0.3)
    oracle = inform(gb.denoiser(spec, family), batch)
    benchmark.pedantic(oracle, args=(y, 0.3), rounds=3, warmup_rounds=1)
    benchmark.extra_info["images_per_second"] = round(64 / benchmark.stats.stats.min, 1)
