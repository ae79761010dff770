"""Samples that the probability flow of exact denoisers makes are of the law; those of a wrong one are not."""

import pytest

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.scoring.sample_statistics import sample_statistics

HIGH = 80.0


def sampled(law, denoiser, count, low):
    """By Heun's method from white noise around 1/2, 79 evaluations."""
    start = starts.gaussian(law.shape, range(count), HIGH)
    start = type(start)(start.images.double(), start.seed, start.indices)
    made = make.sampler("heun")(denoiser, start, falling_levels(HIGH, low, 40))
    assert int(made.evaluations.max()) == 79
    return made.images


@pytest.mark.parametrize(
    "spec",
    [
        "gmm:size=32",
        "gmm:variant=points",
        "hierarchy:depth=4",
        "hierarchy:depth=4,rules=grammar",
        "calpha:size=16",
        pytest.param("disks:size=32", marks=pytest.mark.slow),
    ],
)
def test_samples_of_the_exact_denoiser_are_of_the_law(spec):
    """The last step leaves out variance: at a fifth of the tolerance, where the law has variances as small as that."""
    law = gb.family(spec)
    low = 0.002 if "disks" in spec else 0.0004
    images = sampled(law, gb.denoiser("mmse", family=law), 24 if "disks" in spec else 64, low)
    table = sample_statistics(law, images, tolerance=0.002).set_index("statistic")
    assert table["p_value"].min() > 1e-3, table.sort_values("p_value").head()
    shares = [name for name in table.index if "grammatical" in name or name in ("near the manifold", "made of symbols")]
    assert len(shares) == {"hierarchy:depth=4,rules=grammar": 5, "hierarchy:depth=4": 1, "disks:size=32": 1}.get(
        spec, 0
    )
    assert (table.loc[shares, "value"] >= 0.99).all()


def test_samples_of_a_wrong_filter_are_found():
    law, other = gb.family("calpha:size=16"), gb.family("calpha:alpha=1.5,size=16")
    images = sampled(law, gb.denoiser("mmse", family=other), 64, 0.0004)
    wrong = sample_statistics(law, images).set_index("statistic")
    assert (wrong.loc[["power spectrum", "mode variances", "shell variances", "largest mode"], "p_value"] < 1e-3).all()
    assert wrong.loc["shell variances", "value"] > 5 * wrong.loc["shell variances", "floor"]
    right = sample_statistics(other, images).set_index("statistic")
    assert right["p_value"].min() > 1e-3, "they are of the law that it is right for"
