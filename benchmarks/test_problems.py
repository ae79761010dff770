"""Inverse problems: exact posteriors and samples of them, images a second on one thread."""

import pytest

import gahb_bench as gb


@pytest.mark.parametrize(
    ("law", "operator", "images"),
    [
        ("calpha:size=32", "mask:keep=0.5", 64),
        ("calpha", "mask:keep=0.5", 64),
        ("calpha", "blur", 64),
        ("disks:size=32", "mask:keep=0.5", 8),
        ("disks:size=32", "blur", 8),
    ],
)
def test_exact_posterior(benchmark, law, operator, images):
    """Mean, variance of each pixel, evidence."""
    problem = gb.problem(operator, law)
    measured = problem.measure(problem.family.sample(range(images)), 0.1)
    problem.exact(measured.select([0]))  # what is made once
    benchmark.pedantic(problem.exact, args=(measured,), rounds=2)
    benchmark.extra_info["images_per_second"] = round(images / benchmark.stats.stats.min, 1)


@pytest.mark.parametrize(("law", "images"), [("calpha:size=32", 64), ("disks:size=32", 4)])
def test_samples(benchmark, law, images):
    """Sixteen posterior samples of each masked image, its posterior being at hand."""
    problem = gb.problem("mask:keep=0.5", law)
    posterior = problem.exact(problem.measure(problem.family.sample(range(images)), 0.1))
    benchmark.pedantic(posterior.sample, args=(16, 0), rounds=2)
    benchmark.extra_info["images_per_second"] = round(images / benchmark.stats.stats.min, 1)
