"""Generators and oracles of besov, gmm, hierarchy and shuffled images, on one thread."""

import pytest

import gahb_bench as gb

LAWS = [
    "besov",
    "gmm",
    "gmm:variant=points",
    "hierarchy",
    "hierarchy:rules=grammar",
    "shuffled:of=(calpha:size=64)",
]
LEAST = {"hierarchy": 50, "hierarchy:rules=grammar": 50}  # images a second that the optimum must reach


@pytest.mark.parametrize("spec", LAWS)
def test_generator(benchmark, spec):
    """At least a thousand images of 64 x 64 a second."""
    family = gb.family(spec)
    family.sample([0])
    benchmark(family.sample, range(256))
    rate = 256 / benchmark.stats.stats.min
    benchmark.extra_info["images_per_second"] = round(rate)
    assert rate > 1000


@pytest.mark.parametrize("sigma", [0.01, 0.3])
@pytest.mark.parametrize("spec", LAWS)
def test_optimum(benchmark, spec, sigma):
    """The posterior mean of 32 images; 64 x 64 trees of 16 symbols at least at 50 images a second."""
    family = gb.family(spec)
    y = gb.add_noise(family.sample(range(32)), sigma)
    optimum = gb.denoiser("mmse", family)
    optimum(y, sigma)
    benchmark(optimum, y, sigma)
    rate = 32 / benchmark.stats.stats.min
    benchmark.extra_info["images_per_second"] = round(rate)
    assert rate > LEAST.get(spec, 100)


@pytest.mark.parametrize("spec", ["besov", "gmm:variant=points"])
def test_reference(benchmark, spec):
    """13 noise levels by quadrature, in less than a second."""
    benchmark(gb.family(spec).reference, [10 ** (-2.5 + 0.25 * i) for i in range(13)])
    assert benchmark.stats.stats.min < 1
