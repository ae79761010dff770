"""Speed of the contour families and their oracles, one thread."""

import time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import gahb_bench as gb
from gahb_bench.core.posterior import inform
from gahb_bench.families.calpha_contours.bracket import planted_bracket
from gahb_bench.families.calpha_contours.law import CalphaContours


@pytest.mark.benchmark(timer=time.process_time)  # a busy machine is no slower a generator
@pytest.mark.parametrize("parameters", ["background=gaussian", "background=constant", "law=paper"])
def test_generator(benchmark: BenchmarkFixture, parameters: str) -> None:
    """At least 2,500 images of 80 x 80 a second; the research code of the paper makes 930."""
    family = gb.family(f"calpha-contours:size=80,{parameters}")
    benchmark(family.sample, range(100))
    assert benchmark.stats is not None
    rate = 100 / benchmark.stats["min"]
    benchmark.extra_info["images_per_second"] = rate
    assert parameters == "law=paper" or rate > 2500


def test_markov_generator(benchmark: BenchmarkFixture) -> None:
    family = gb.family("markov-contours")
    benchmark(family.sample, range(100))


@pytest.mark.parametrize("alpha", [0.5, 1.5])
def test_forward_backward(benchmark: BenchmarkFixture, alpha: float) -> None:
    family = gb.family(f"markov-contours:alpha={alpha:g}")
    y = gb.add_noise(family.sample(range(4)), 0.1)
    benchmark.pedantic(gb.denoiser("mmse", family=family), args=(y, 0.1), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("sigma", [0.01, 0.1, 1.0])
def test_genie(benchmark: BenchmarkFixture, sigma: float) -> None:
    family = gb.family("calpha-contours")
    batch = family.sample(range(16))
    genie = inform(gb.denoiser("genie", family=family), batch)
    benchmark.pedantic(genie, args=(gb.add_noise(batch, sigma), sigma), rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("background", ["gaussian", "constant"])
def test_posterior_mean(benchmark: BenchmarkFixture, background: str) -> None:
    family = gb.family(f"calpha-contours:background={background}")
    y = gb.add_noise(family.sample(range(2)), 0.1)
    benchmark.pedantic(gb.denoiser("posterior-mean", family=family), args=(y, 0.1), rounds=2)


@pytest.mark.parametrize("background", ["gaussian", "constant"])
def test_bracket(benchmark: BenchmarkFixture, background: str) -> None:
    family = CalphaContours.from_parameters({"background": background})
    benchmark.pedantic(planted_bracket, args=(family, 0.1, range(4)), rounds=2)


def test_straightened(benchmark: BenchmarkFixture) -> None:
    family = gb.family("calpha-contours")
    batch = family.sample(range(32))
    oracle = inform(gb.denoiser("straightened", family=family), batch)
    benchmark(oracle, gb.add_noise(batch, 0.1), 0.1)
