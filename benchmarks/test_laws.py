"""Generators and oracles of besov, gmm, hierarchy and shuffled images and of Levy processes, on one thread."""

import time

import numpy as np
import pytest
import scipy.signal
from ratio import interleaved
from scipy import stats

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


@pytest.mark.benchmark(timer=time.process_time)  # seconds of one core
@pytest.mark.parametrize("spec", ["levy", "levy:jumps=student", "levy:jumps=bernoulli-laplace"])
def test_levy_optimum(benchmark, spec):
    """256 signals of 64 samples at sigma = 1: at least 500 a second."""
    family = gb.family(spec)
    y = gb.add_noise(family.sample(range(256)), 1.0)
    optimum = gb.denoiser("mmse", family)
    optimum(y, 1.0)
    benchmark(optimum, y, 1.0)
    rate = 256 / benchmark.stats.stats.min
    benchmark.extra_info["images_per_second"] = round(rate)
    assert rate > 500


def test_levy_optimum_beside_a_loop(benchmark):
    """The same posterior means one signal and one sample after the other, on cells of sigma/16: ten times slower."""
    family = gb.family("levy")
    y = gb.add_noise(family.sample(range(32)), 1.0).double()
    signals = y[:, 0, 0].numpy()
    optimum = gb.denoiser("mmse", family)
    means = np.stack([_one_by_one(signal, 1.0) for signal in signals])
    assert np.abs(means - optimum(y, 1.0)[:, 0, 0].numpy()).max() < 1e-3
    ours, theirs = interleaved(lambda: optimum(y, 1.0), lambda: [_one_by_one(s, 1.0) for s in signals], rounds=5)
    benchmark.extra_info["times_faster"] = round(theirs / ours, 1)
    benchmark(optimum, y, 1.0)
    assert theirs > 5 * ours


def _one_by_one(y: np.ndarray, sigma: float, cells: int = 16) -> np.ndarray:
    """Posterior mean of a Levy process with Laplace jumps of scale 1: forward and backward, probabilities of cells."""
    h, half = sigma / cells, 8 * cells
    centre, j = np.rint(y / h), np.arange(-half, half + 1)
    likelihood = np.exp(-0.5 * ((centre[:, None] + j) * h - y[:, None]) ** 2 / sigma**2)

    def jumps(m: np.ndarray) -> np.ndarray:
        return stats.laplace.cdf((m + 0.5) * h) - stats.laplace.cdf((m - 0.5) * h)

    kernels = [jumps(step + np.arange(-2 * half, 2 * half + 1)) for step in np.diff(centre)]
    ahead = [jumps(centre[0] + j) * likelihood[0]]
    for kernel, seen in zip(kernels, likelihood[1:], strict=True):
        state = scipy.signal.fftconvolve(ahead[-1] / ahead[-1].sum(), kernel, mode="valid") * seen
        ahead.append(np.maximum(state, 0))
    behind, means = np.ones(len(j)), []
    for k in reversed(range(len(y))):
        law = ahead[k] * behind
        means.append(law @ ((centre[k] + j) * h) / law.sum())
        if k:
            behind = scipy.signal.fftconvolve(behind * likelihood[k], kernels[k - 1][::-1], mode="valid")
            behind = np.maximum(behind / behind.max(), 0)
    return np.array(means[::-1])
