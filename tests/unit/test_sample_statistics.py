"""Statistics of samples: uniform p-values for exact samples, tiny ones for each kind of wrong ones."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from scipy.special import ndtr

import gahb_bench as gb
from gahb_bench.core import two_samples
from gahb_bench.core.errors import UsageError
from gahb_bench.core.statistics import SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples, rare
from gahb_bench.families.calpha_contours.statistics import fit_contours
from gahb_bench.families.levy.jumps import JumpLaw
from gahb_bench.families.levy.statistics import cdf as noisy_cdf
from gahb_bench.scoring import sample_statistics as module
from gahb_bench.scoring.sample_statistics import COLUMNS, radial_power, sample_statistics

LAWS = [
    "besov:size=16",
    "calpha:size=8",
    "calpha-contours:size=16",
    "calpha-contours:background=constant,size=16",
    "coloured:of=(calpha:size=8)",
    "disks:size=16",
    "gmm:size=8",
    "gmm:variant=points",
    "gmm:variant=scales,components=3,size=8",
    "hierarchy:depth=3",
    "hierarchy:depth=3,rules=grammar",
    "levy:size=16",
    "levy:jumps=bernoulli-laplace,size=16",
    "levy:df=3,jumps=student,size=16",
    "markov-contours:size=16",
    "markov-contours:alpha=1.5,size=16",
]
WITHIN = 0.002  # the tolerance


def family(spec) -> Any:
    """Any law, whatever it has beside what all have."""
    return gb.family(spec)


def seen(images, tolerance=WITHIN, seed=0):
    stream = np.random.default_rng(seed)
    clean = images.double()
    return Seen(clean, clean + tolerance * torch.from_numpy(stream.standard_normal(clean.shape)), tolerance)


def every(law):
    return module._OfEveryLaw(law), law.sample_statistics


@pytest.mark.parametrize("spec", LAWS)
def test_p_values_of_exact_samples_are_uniform_or_larger(spec, monkeypatch):
    """16 sets of 16 samples against 48 exact images; a test of uniformity by Kolmogorov-Smirnov, one-sided."""
    monkeypatch.setattr(two_samples, "_PERMUTATIONS", 299)
    law, few, many, sets = family(spec), 16, 48, 16
    samples = law.sample(range(few * sets), seed=3).images
    exact = law.sample(range(many * sets), seed=3, split="val").images
    found: dict[str, list[float]] = {}
    for statistics in every(law):
        a, b = statistics.describe(seen(samples, seed=1)), statistics.describe(seen(exact, seed=2))
        for i in range(sets):
            x, y = ({k: np.array_split(v, sets)[i] for k, v in each.items()} for each in (a, b))
            for name, each in statistics.compare(x, y, TwoSamples(few, many, i)).items():
                found.setdefault(name, []).append(each.p_value)
    assert len(found) >= 10
    small = {name: scipy.stats.kstest(p, "uniform", alternative="greater").pvalue for name, p in found.items()}
    assert min(small.values()) > 1e-4, small
    assert all(0 < value <= 1 for p in found.values() for value in p)


def spoilt(spec, seed=7, count=64):
    """Samples of a law that is not the one compared with."""
    return family(spec).sample(range(count), seed=seed).images


def faint_disks():
    """Half way from the images of a law to others of it: on no manifold."""
    x = spoilt("disks:size=16")
    return (x + x.flip(0)) / 2


def half_way(spec, count=64):
    x = spoilt(spec, count=count)
    return 0.5 * (x + x.roll(1, 0))


def one_pixel_wrong(spec):
    x = spoilt(spec).clone()
    levels = torch.from_numpy(family(spec).intensities.astype(np.float32))
    x[:, 0, 1, 2] = levels[(torch.arange(len(x)) * 7) % len(levels)]
    return x


def one_component(spec):
    batch = family(spec).sample(range(600), seed=7)
    return batch.images[batch.latents["component"] < 8][:64]


WRONG = {
    "another alpha": (
        "calpha:size=16",
        lambda: spoilt("calpha:alpha=1.5,size=16"),
        ("power spectrum", "mode variances", "shell variances"),
    ),
    "too much contrast": (
        "calpha:size=16",
        lambda: spoilt("calpha:size=16,std=0.3"),
        ("mode variances", "shell variances"),
    ),
    "a mean that is off": (
        "calpha:size=16",
        lambda: spoilt("calpha:mean=0.8,size=16"),
        ("energy distance", "pixel mean"),
    ),
    "rough samples": ("calpha:size=16", lambda: rough("calpha:size=16"), ("total variation", "largest mode")),
    "between disks": ("disks:size=16", faint_disks, ("distance to the manifold", "near the manifold")),
    "large disks": ("disks:size=16", lambda: large_disks(), ("radius",)),
    "half of the modes": ("gmm:size=16", lambda: one_component("gmm:size=16"), ("shares of modes",)),
    "between modes": (
        "gmm:variant=points",
        lambda: half_way("gmm:variant=points"),
        ("between modes", "distance to a mode"),
    ),
    "between shells": (
        "gmm:variant=scales,components=2,size=16",
        lambda: spoilt("gmm:variant=scales,components=1,within=0.08,size=16"),
        ("between modes",),
    ),
    "jumps without tails": (
        "levy",
        lambda: spoilt("levy:jumps=gauss,scale=1.41421356"),
        ("increments", "largest increment"),
    ),
    "jumps twice as often": (
        "levy:jumps=bernoulli-laplace",
        lambda: spoilt("levy:jumps=bernoulli-laplace,rate=0.2"),
        ("increments", "jumps"),
    ),
    "jumps that depend on each other": ("levy", lambda: dependent_jumps(), ("dependence of neighbours",)),
    "jumps in bursts": ("levy", lambda: bursts(), ("dependence of sizes",)),
    "ungrammatical": (
        "hierarchy:depth=3,rules=grammar",
        lambda: one_pixel_wrong("hierarchy:depth=3,rules=grammar"),
        ("grammatical at level 0", "grammatical at level 2"),
    ),
    "other transitions": (
        "hierarchy:depth=3",
        lambda: spoilt("hierarchy:depth=3,key=1"),
        ("log-likelihood", "rules of level 2"),
    ),
    "no symbols": ("hierarchy:depth=3", lambda: spoilt("hierarchy:depth=3") + 0.02, ("made of symbols",)),
    "dense details": (
        "besov:size=16",
        lambda: spoilt("besov:gamma=0,size=16"),
        ("details of level 3", "activity of level 3"),
    ),
    "wide increments": (
        "markov-contours:size=16",
        lambda: spoilt("markov-contours:alpha=1.5,size=16"),
        ("increments",),
    ),
    "correlated increments": (
        "markov-contours:alpha=1.5,size=16",
        lambda: spoilt("markov-contours:size=16"),
        ("increments",),
    ),
    "rough contours": (
        "calpha-contours:background=constant,size=32",
        lambda: spoilt("calpha-contours:alpha=1,background=constant,size=32"),
        ("contour spectrum",),
    ),
    "blurred contours": (
        "calpha-contours:background=constant,size=32",
        lambda: half_way("calpha-contours:background=constant,size=32"),
        ("near the manifold",),
    ),
    "a colour that is off": (
        "coloured:of=(calpha:size=8)",
        lambda: spoilt("coloured:of=(calpha:alpha=1,size=8)"),
        ("shell variances",),
    ),
}


def rough(spec):
    x = spoilt(spec)
    return x + 0.1 * (torch.arange(x.shape[-1]) % 2 * 2 - 1)


def large_disks():
    batch = family("disks:size=16").sample(range(400), seed=7)
    return batch.images[batch.latents["radius"] > 3.0][:64]


def dependent_jumps():
    """Neighbours whose signs agree; each jump is of its law."""
    jumps = family("levy").sample(range(64), seed=7).latents["jumps"]
    return (jumps.abs() * jumps[:, :1].sign()).cumsum(1)[:, None, None].float()


def bursts():
    """Jumps of their law, in the order of their sizes: neighbours have signs of their own, and are alike in size."""
    jumps = family("levy").sample(range(64), seed=7).latents["jumps"]
    return jumps.gather(1, jumps.abs().argsort(dim=1)).cumsum(1)[:, None, None].float()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_samples_are_found(name, monkeypatch):
    monkeypatch.setattr(module, "_EXACT", 128)
    monkeypatch.setattr(two_samples, "_PERMUTATIONS", 1999)
    spec, make, statistics = WRONG[name]
    table = sample_statistics(family(spec), make(), tolerance=0.002)
    p = table.set_index("statistic")["p_value"]
    assert (p[list(statistics)] < 1e-3).all(), p[list(statistics)]


def test_the_table():
    law = family("calpha:size=8")
    x = law.sample(range(40)).images
    table = sample_statistics(law, x)
    assert tuple(table.columns) == COLUMNS
    assert table["statistic"].is_unique
    assert table["p_value"].between(0, 1).all()
    assert np.isfinite(table[["value", "floor"]]).all(axis=None)
    again = sample_statistics(law, x.double())
    np.testing.assert_allclose(again["value"], table["value"], rtol=1e-12)
    other = sample_statistics(law, x, seed=1).set_index("statistic")
    assert other.loc["energy distance", "floor"] != table.set_index("statistic").loc["energy distance", "floor"]


def test_the_floor_is_the_value_of_as_many_exact_images():
    law, count = family("calpha:size=8"), 40
    table = sample_statistics(law, spoilt("calpha:alpha=1,size=8", count=count), tolerance=0.002).set_index("statistic")
    exact = law.sample(range(count), split="val").images
    floor = sample_statistics(law, exact, tolerance=0.002).set_index("statistic")["value"]
    np.testing.assert_allclose(table.loc["norm", "floor"], floor["norm"], rtol=0.1)  # up to the noise of the tolerance
    assert table.loc["power spectrum", "value"] > 2 * table.loc["power spectrum", "floor"]


def test_samples_that_are_not_finite_count_as_such():
    law = family("calpha:size=8")
    x = law.sample(range(30)).images
    x[3, 0, 1, 1], x[9, 0, 0, 0] = torch.nan, torch.inf
    table = sample_statistics(law, x).set_index("statistic")
    assert table.loc["finite", "value"] == pytest.approx(28 / 30)
    assert table.loc["finite", "p_value"] == 0
    rest = sample_statistics(law, x[[i for i in range(30) if i not in (3, 9)]]).set_index("statistic")
    assert rest.loc["finite", "p_value"] == 1
    np.testing.assert_array_equal(table["value"].to_numpy()[1:], rest["value"].to_numpy()[1:])


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (torch.zeros(7, 1, 8, 8), {}, "7 finite samples of 7 are too few"),
        (torch.full((20, 1, 8, 8), torch.nan), {}, "0 finite samples of 20"),
        (torch.zeros(9, 1, 8, 9), {}, "images of shape"),
        (torch.zeros(9, 1, 8, 8), {"tolerance": -1.0}, "tolerance=-1"),
        (torch.zeros(9, 1, 8, 8), {"seed": -1}, "seed=-1"),
    ],
)
def test_what_is_not_allowed(samples, options, message):
    with pytest.raises(UsageError, match=message):
        sample_statistics(family("calpha:size=8"), samples, **options)


def test_a_law_with_no_statistics_of_its_own_has_those_of_every_law():
    table = sample_statistics(family("calpha:law=uniform,size=8"), spoilt("calpha:law=uniform,size=8"))
    assert "mode variances" not in set(table["statistic"])
    assert type(family("calpha:size=8").sample_statistics) is not SampleStatistics


def test_without_a_tolerance_exact_images_are_told_from_their_law_by_no_rounding():
    """Most details of besov, and most jumps of levy, are exactly 0; the images are rounded to float32."""
    for spec in ("besov:size=16", "levy:jumps=bernoulli-laplace"):
        table = sample_statistics(family(spec), spoilt(spec), tolerance=0.0)
        assert table["p_value"].min() > 1e-3, table.sort_values("p_value").head(3)


@pytest.mark.parametrize("jumps", ["gauss", "laplace", "student", "bernoulli-laplace"])
@pytest.mark.parametrize("s", [0.01, 0.7])
def test_the_law_of_noisy_jumps_by_quadrature(jumps, s):
    """``E[Phi((w - u) / s)]`` on both sides of the kink and the atom at 0."""
    law = JumpLaw(jumps, scale=0.8, df=1.5, rate=0.3)
    density = {"gauss": scipy.stats.norm, "student": scipy.stats.t(1.5)}.get(jumps, scipy.stats.laplace).pdf
    for w in (-2.0, -0.01, 0.0, 0.3, 9.0):
        near = [-abs(w) - 9 * s, -abs(w) + 9 * s, 0.0, abs(w) - 9 * s, abs(w) + 9 * s]
        cuts = sorted({-np.inf, np.inf, *near})
        parts = [
            scipy.integrate.quad(lambda u, w: density(u / 0.8) / 0.8 * ndtr((w - u) / s), *ends, (w,), epsabs=1e-12)
            for ends in pairwise(cuts)
        ]
        smooth = sum(part[0] for part in parts)
        expected = law.atom * ndtr(w / s) + (1 - law.atom) * smooth
        np.testing.assert_allclose(noisy_cdf(law, np.array(w), s), expected, atol=1e-8)


def test_permutations_by_hand():
    """Against the definitions: means of pairs, and a p-value that counts permutations one by one."""
    stream = np.random.default_rng(0)
    a, b = stream.standard_normal((5, 3)), stream.standard_normal((9, 3)) + 0.7
    tests = TwoSamples(5, 9, 0)

    def distance(x, y):
        return np.sqrt(((x[:, None] - y) ** 2).sum(axis=2) / 3).mean()

    def energy(x, y):
        return 2 * distance(x, y) - distance(x, x) - distance(y, y)

    found = tests.energy(a, b)
    assert found.value == pytest.approx(energy(a, b), rel=1e-10)
    both = np.concatenate([a, b])
    permuted = [energy(both[rows], both[~rows]) for rows in tests._labels[:400]]
    assert found.p_value == pytest.approx(np.mean(np.array(permuted) >= found.value), abs=0.05)
    z = (both - both.mean(axis=0)) / both.std(axis=0)
    apart = np.sqrt(((z[:5].mean(axis=0) - z[5:].mean(axis=0)) ** 2).mean())
    assert tests.mean_difference(a, b).value == pytest.approx(apart, rel=1e-10)
    constant = np.ones((5, 1)), np.ones((9, 1))
    assert tests.mean_difference(*constant) == Found(0.0, 1.0)


def test_extremes_are_hypergeometric():
    stream = np.random.default_rng(1)
    a, b = stream.standard_normal(40), stream.standard_normal(120)
    tests = TwoSamples(40, 120)
    assert tests.extremes(3 * a, b).p_value < 1e-3
    assert tests.extremes(3 * a, b).value == pytest.approx(4.0, rel=0.3), "all extremes are samples'"
    assert tests.extremes(0.1 * a, b).value == 0
    assert rare(np.array([True] * 5 + [False] * 95), 0.01) == pytest.approx(scipy.stats.binom.sf(4, 100, 0.01))


def test_the_power_of_a_wave_is_at_its_radius():
    x = 0.5 + torch.cos(2 * torch.pi * 3 * torch.arange(16.0) / 16).expand(2, 1, 16, 16)
    power = radial_power(x.double())
    assert power.argmax(axis=1).tolist() == [3, 3]
    radius = np.rint(np.hypot(*np.meshgrid(*[np.fft.fftfreq(16, 1 / 16)] * 2)))
    counts = np.unique(radius, return_counts=True)[1]
    assert float(power[0] @ counts) == pytest.approx(float((x[0] - 0.5).square().sum()))


def test_fitted_contours_are_those_of_the_images():
    law = family("calpha-contours:background=constant,size=32")
    batch = law.sample(range(6))
    off = fit_contours(law, batch.images[:, 0].double().numpy()) - batch.latents["contour"].numpy()
    assert np.abs(off - 32 * np.rint(off / 32)).max() < 1e-3


def test_a_grammar_is_parsed_as_it_was_written():
    law = family("hierarchy:depth=3,rules=grammar")
    batch = law.sample(range(5))
    for level, rules in enumerate(law.parse(batch.images.numpy())):
        np.testing.assert_array_equal(rules // law.productions, batch.latents[f"level{level}"].numpy())


def test_transitions_used_are_those_of_the_law_on_average():
    """Expected counts given the images: of all parents at each position, and in the mean the law's own."""
    law = family("hierarchy:depth=2,symbols=3,concentration=1")
    described = law.sample_statistics.describe(seen(law.sample(range(4000)).images))
    for level in range(2):
        counts = described[f"rules{level}"]
        np.testing.assert_allclose(counts.sum(axis=(2, 3)), 1, rtol=1e-9)
        parents = counts.sum(axis=3)
        np.testing.assert_allclose(parents, parents[:, :1].repeat(4, axis=1), rtol=1e-6)
        mean = counts.mean(axis=0)
        np.testing.assert_allclose(mean / mean.sum(axis=2, keepdims=True), law.transitions[level], atol=0.05)
    likelihood = np.exp(described["log-likelihood"])
    assert 0 < likelihood.min() <= likelihood.max() < 1


def test_the_cdf_of_besov_is_that_of_its_details():
    law = family("besov:size=16")
    described = law.sample_statistics.describe(seen(law.sample(range(200)).images))
    for j, (count, pi, t) in enumerate(law.scales, start=law.coarse):
        w = described[f"level {j}"]
        assert w.shape == (200, count)
        below = pi * ndtr(0.5 * t / np.hypot(t, WITHIN)) + (1 - pi) * ndtr(0.5 * t / WITHIN)
        assert (w < 0.5 * t).mean() == pytest.approx(below, abs=4 * 0.5 / np.sqrt(w.size))
