"""Images a second of the analytic denoisers, and the memoriser against a plain `torch.cdist`."""

import pytest
import torch
from ratio import interleaved

import gahb_bench as gb

SPECS = [
    "empirical:n=1000",
    "local:n=1000,patch=7",
    "local-equivariant:n=10,patch=7",
    "local-equivariant:n=10,patch=33",
    "locality:n=1000",
    "locality:n=1000,stationary=true",
    "mixture-score:n=1000",
]


@pytest.mark.parametrize("spec", SPECS)
def test_throughput(benchmark, spec):
    """One thread, 32 x 32, what is computed once (training images, clusters, Wiener filters) already at hand."""
    family = gb.family("calpha:size=32")
    y = gb.add_noise(family.sample(range(8)), 0.1)
    denoiser = gb.denoiser(spec, family)
    denoiser(y, 0.1)
    benchmark.pedantic(denoiser, (y, 0.1), rounds=5)
    benchmark.extra_info["images_per_second"] = round(8 / benchmark.stats.stats.min, 1)


@pytest.mark.parametrize("n", [1000, 4000])
def test_empirical_against_a_plain_cdist(benchmark, n):
    """16 images of 64 x 64, training images at hand: the same numbers, at no less than half the speed."""
    family, sigma = gb.family("calpha:size=64"), 0.1
    y = gb.add_noise(family.sample(range(16)), sigma).double()
    x = family.sample(range(n), split="train").images.double().flatten(1)
    ours = gb.denoiser(f"empirical:n={n}", family)

    def plain():
        distance = torch.cdist(y.flatten(1), x).square()
        return ((-distance / (2 * sigma**2)).softmax(dim=1) @ x).reshape(y.shape)

    torch.testing.assert_close(ours(y, sigma), plain(), rtol=0, atol=1e-8)
    ours_seconds, plain_seconds = interleaved(lambda: ours(y, sigma), plain, rounds=10)
    benchmark.extra_info["times_faster_than_a_plain_cdist"] = round(plain_seconds / ours_seconds, 2)
    benchmark.pedantic(ours, (y, sigma), rounds=3)
    assert plain_seconds / ours_seconds > 0.5
