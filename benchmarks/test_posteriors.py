"""Posterior samples by methods with an exact denoiser, and by the exact sampler: images a second on one thread."""

import pytest

import gahb_bench as gb
from gahb_bench.core import registry

IMAGES, SAMPLES = 8, 4


@pytest.fixture
def posed():
    problem = gb.problem("mask:keep=0.5", "calpha:size=16")
    return problem, problem.measure(problem.family.sample(range(IMAGES)), 0.1)


@pytest.mark.parametrize("method", [entry.name for entry in registry.entries("posteriors")])
def test_method(benchmark, posed, method):
    """Four samples of each image by a method as it comes, of calpha, half of whose pixels are masked."""
    args = (method, "mmse", *posed, SAMPLES)
    found = benchmark.pedantic(gb.sample_posterior, args=args, rounds=2)
    benchmark.extra_info["images_per_second"] = round(IMAGES / benchmark.stats.stats.min, 1)
    benchmark.extra_info["evaluations"] = found.evaluations


def test_exact_sampler(benchmark, posed):
    """The same number of exact samples, the posterior computed each time."""
    problem, measured = posed
    benchmark.pedantic(lambda: problem.exact(measured).sample(SAMPLES), rounds=3, warmup_rounds=1)
    benchmark.extra_info["images_per_second"] = round(IMAGES / benchmark.stats.stats.min, 1)


def test_choosing_pixels(benchmark):
    """Ten pixels of each image, one after the other, where the exact posterior variance is largest."""
    law = gb.family("calpha:size=16")
    args = (law, law.sample(range(IMAGES)), 0.1, gb.sampling.where_unsure, 10)
    benchmark.pedantic(gb.sampling.observe, args=args, rounds=2)
    benchmark.extra_info["images_per_second"] = round(IMAGES / benchmark.stats.stats.min, 1)
