"""Analytic denoisers of a training set against their definitions, pair by pair, and against each other."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import multivariate_normal

import gahb_bench as gb
from gahb_bench import defaults
from gahb_bench.core import memory, registry
from gahb_bench.core.errors import UsageError
from gahb_bench.denoisers import training_set
from gahb_bench.denoisers.analytic import local_equivariant, locality, mixture_score, weights
from gahb_bench.tuning import tune

NAMES = ["empirical", "local", "local-equivariant", "locality", "mixture-score"]

LAWS = ["calpha:size=8", "disks:size=16", "coloured:of=(calpha:size=8)", "gmm:variant=points"]


def training(law: str, n: int, split: str = "train", seed: int = 0) -> torch.Tensor:
    return gb.family(law).sample(range(n), seed=seed, split=split).images.double()


def noisy(law: str, sigma: float, count: int = 3, split: str = "test") -> torch.Tensor:
    return gb.add_noise(gb.family(law).sample(range(count), split=split), sigma).double()


def posterior_mean(y: np.ndarray, x: np.ndarray, value: np.ndarray, sigma: float) -> np.ndarray:
    """E[value_i | y] for one vector y = x_i + sigma z, i uniform: the definition, in extended precision."""
    distance = ((y.astype(np.longdouble) - x) ** 2).sum(axis=1)
    w = np.exp(-(distance - distance.min()) / (2 * sigma**2))
    return (w @ value) / w.sum()


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("sigma", [0.03, 0.3, 3.0])
def test_empirical_equals_brute_force(law: str, sigma: float) -> None:
    x, y = training(law, 40), noisy(law, sigma, split="train")
    flat = x.flatten(1).numpy()
    expected = np.stack([posterior_mean(each, flat, flat, sigma) for each in y.flatten(1).numpy()])
    found = gb.denoiser("empirical:n=40", law)(y, sigma)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected.astype(float), rtol=0, atol=1e-10)


@pytest.mark.slow
def test_empirical_of_100_000_images_stays_below_2_gib() -> None:
    """They would take 1.6 GB in single precision alone; the peak of a process of its own, all of Python included."""
    script = """if True:
        import resource, sys
        import gahb_bench as gb
        law = gb.family("calpha:size=64")
        y = gb.add_noise(law.sample(range(8)), 0.1)
        assert gb.denoiser("empirical:n=100000", law)(y, 0.1).isfinite().all()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
    """
    peak = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert peak < 2**31


@pytest.mark.parametrize("options", ["split=train-a", "seed=3", "split=train-b,seed=1"])
def test_empirical_knows_the_training_images_that_it_names(options: str) -> None:
    given = dict(option.split("=") for option in options.split(","))
    x = training("calpha:size=8", 1, given.get("split", "train"), int(given.get("seed", 0)))
    found = gb.denoiser(f"empirical:n=1,{options}", "calpha:size=8")(noisy("calpha:size=8", 0.1), 0.1)
    torch.testing.assert_close(found, x.expand_as(found))


@pytest.mark.parametrize("sigma", [0.05, 0.2, 1.0])
def test_the_derivative_of_empirical_is_the_posterior_covariance(sigma: float) -> None:
    """J = Cov(x_i | y) / sigma^2, by `torch.func` forwards and backwards."""
    law = "gmm:size=4"
    x, y = training(law, 50).flatten(1), noisy(law, sigma, count=1, split="train")
    w = (-(y.flatten() - x).square().sum(dim=1) / (2 * sigma**2)).softmax(dim=0)
    centred = x - w @ x
    expected = (centred * w[:, None]).mT @ centred / sigma**2
    D = gb.denoiser("empirical:n=50", law)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        found = jacobian(lambda noisy: D(noisy, sigma))(y).reshape(16, 16)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def around(x: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """The periodic patch around a pixel of images (..., c, h, w), flat; a side that covers the image takes it once."""
    p, q = min(side, x.shape[-2]), min(side, x.shape[-1])
    rows, columns = np.arange(p) + row - p // 2, np.arange(q) + column - q // 2
    taken = np.take(np.take(x, rows, axis=-2, mode="wrap"), columns, axis=-1, mode="wrap")
    return taken.reshape(*x.shape[:-3], -1)


def by_patches(y: np.ndarray, x: np.ndarray, sigma: float, side: int, everywhere: bool) -> np.ndarray:
    """`local`, or `local-equivariant`, of one image pixel by pixel."""
    expected = np.empty_like(y)
    places = list(np.ndindex(y.shape[1:]))
    for q in places:
        sources = places if everywhere else [q]
        patches = np.concatenate([around(x, *r, side) for r in sources])
        values = np.concatenate([x[:, :, r[0], r[1]] for r in sources])
        expected[:, q[0], q[1]] = posterior_mean(around(y, *q, side), patches, values, sigma)
    return expected


@pytest.mark.parametrize("name", ["local", "local-equivariant"])
@pytest.mark.parametrize(("law", "side"), [(LAWS[0], 3), (LAWS[0], 7), (LAWS[2], 1), (LAWS[2], 5), (LAWS[3], 1)])
def test_patch_posteriors_equal_brute_force(name: str, law: str, side: int) -> None:
    for sigma in (0.05, 0.5):
        x, y = training(law, 6).numpy(), noisy(law, sigma, count=2)
        everywhere = name == "local-equivariant"
        expected = np.stack([by_patches(each, x, sigma, side, everywhere) for each in y.numpy()])
        found = gb.denoiser(f"{name}:n=6,patch={side}", law)(y, sigma)
        np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("side", [9, 17, 33])
def test_local_with_a_patch_that_covers_the_image_is_empirical(side: int) -> None:
    law, sigma = "calpha:size=8", 0.3
    y = noisy(law, sigma)
    found = gb.denoiser(f"local:n=30,patch={side}", law)(y, sigma)
    torch.testing.assert_close(found, gb.denoiser("empirical:n=30", law)(y, sigma), rtol=0, atol=1e-11)


@pytest.mark.parametrize("law", ["calpha:size=8", "hierarchy:depth=3", "coloured:of=(calpha:size=8)"])
@pytest.mark.parametrize("sigma", [0.1, 1.0])
def test_local_equivariant_with_a_patch_that_covers_the_image_is_empirical_over_all_shifts(
    law: str, sigma: float
) -> None:
    x, y = training(law, 5), noisy(law, sigma)
    shifts = torch.cat([x.roll(shift, (2, 3)) for shift in np.ndindex(*x.shape[2:])]).flatten(1).numpy()
    expected = np.stack([posterior_mean(each, shifts, shifts, sigma) for each in y.flatten(1).numpy()])
    found = gb.denoiser(f"local-equivariant:n=5,patch={max(x.shape) + 1}", law)(y, sigma)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected.astype(float), rtol=0, atol=1e-10)


def test_local_equivariant_commutes_with_shifts_and_local_does_not() -> None:
    law, sigma = "calpha:size=8", 0.2
    y = noisy(law, sigma)
    for name, commutes in (("local-equivariant", True), ("local", False)):
        D = gb.denoiser(f"{name}:n=5,patch=3", law)
        difference = float((D(y.roll((2, 5), (2, 3)), sigma) - D(y, sigma).roll((2, 5), (2, 3))).abs().max())
        assert (difference < 1e-10) == commutes


def test_local_equivariant_with_patch_1_shrinks_each_pixel_by_itself() -> None:
    """One nondecreasing function of the pixel, the same everywhere: the posterior mean under the grey values."""
    law, sigma = "calpha:size=8", 0.2
    values = training(law, 8).flatten().numpy()
    D = gb.denoiser("local-equivariant:n=8,patch=1", law)
    y = torch.linspace(-0.5, 1.5, 64, dtype=torch.float64).reshape(1, 1, 8, 8)
    x_hat = D(y, sigma).flatten()
    assert (x_hat.diff() > 0).all()
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    found = D(y.flatten()[shuffled].reshape(y.shape), sigma).flatten()
    torch.testing.assert_close(found, x_hat[shuffled], rtol=0, atol=1e-12)
    expected = [posterior_mean(np.array([float(v)]), values[:, None], values[:, None], sigma)[0] for v in y.flatten()]
    np.testing.assert_allclose(x_hat.numpy(), np.array(expected, dtype=float), rtol=0, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "sigma"), [(3, 0.3), (1, 0.1), (3, 0.1)])
def test_local_comes_down_to_the_best_of_its_receptive_field(side: int, sigma: float) -> None:
    """E|D - local-mmse|^2, beside the risk of local-mmse, falls with n from 100 to 10,000 and is small at the end."""
    law = "calpha:size=8"
    y = noisy(law, sigma, count=64)
    best = gb.denoiser(f"local-mmse:patch={side}", law)
    risk = float(best.risk([sigma])[0])
    above = []
    for n in (100, 1000, 10_000):
        found = gb.denoiser(f"local:n={n},patch={side}", law)(y, sigma)
        above.append(float((found - best(y, sigma)).square().mean()) / risk)
    assert above[0] > 2 * above[1] > 4 * above[2]
    assert above[2] < 0.15


def by_masks(y: np.ndarray, x: np.ndarray, weights: np.ndarray, threshold: float, sigma: float) -> np.ndarray:
    """`locality` of one flat image, value by value, with the Wiener filters in the rows of ``weights``."""
    expected = np.empty_like(y)
    for q, row in enumerate(weights):
        looked_at = np.abs(row) >= threshold * row[q]
        expected[q] = posterior_mean(y[looked_at], x[:, looked_at], x[:, q], sigma)
    return expected


@pytest.mark.parametrize("law", [LAWS[0], LAWS[2], LAWS[3]])
@pytest.mark.parametrize(("sigma", "threshold"), [(0.05, 0.02), (0.3, 0.1), (1.0, 0.5)])
def test_locality_equals_its_definition(law: str, sigma: float, threshold: float) -> None:
    x, y = training(law, 30).flatten(1).numpy(), noisy(law, sigma, count=2)
    covariance = np.cov(x.T, bias=True)
    weights = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(len(covariance)))
    share = (np.abs(weights) >= threshold * np.diag(weights)[:, None]).mean()
    assert share < 1 or law == LAWS[3], "some of the image is not looked at"
    expected = np.stack([by_masks(each, x, weights, threshold, sigma) for each in y.flatten(1).numpy()])
    found = gb.denoiser(f"locality:n=30,threshold={threshold}", law)(y, sigma)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", ["calpha:size=8", "coloured:of=(calpha:size=8)"])
def test_stationary_locality_looks_where_the_stationary_wiener_filter_does(law: str) -> None:
    sigma, x, y = 0.2, training(law, 30), noisy(law, 0.2, count=2)
    wiener = gb.denoiser("wiener-data:n=30", law)
    weights = torch.func.jacrev(lambda noisy: wiener(noisy, sigma))(y[:1]).reshape(x[0].numel(), -1).numpy()
    flat = x.flatten(1).numpy()
    expected = np.stack([by_masks(each, flat, weights, 0.1, sigma) for each in y.flatten(1).numpy()])
    found = gb.denoiser("locality:n=30,stationary=true,threshold=0.1", law)(y, sigma)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=0, atol=1e-10)


def test_locality_that_looks_everywhere_is_empirical() -> None:
    law, sigma = "calpha:size=8", 0.3
    y = noisy(law, sigma)
    for options in ("", ",stationary=true"):
        found = gb.denoiser(f"locality:n=100,threshold=1e-12{options}", law)(y, sigma)
        torch.testing.assert_close(found, gb.denoiser("empirical:n=100", law)(y, sigma), rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", ["gmm:size=4", "coloured:of=(calpha:size=8)", "gmm:variant=points"])
@pytest.mark.parametrize(("n", "components"), [(40, 3), (300, 2)])
def test_mixture_score_is_the_posterior_mean_of_the_gaussians_of_its_clusters(
    law: str, n: int, components: int
) -> None:
    """Fewer and more images a cluster than pixels; each cluster is where k-means would leave it."""
    x, sigma = training(law, n).flatten(1).numpy(), 0.3
    D = gb.denoiser(f"mixture-score:n={n},components={components}", law)
    made = mixture_score._mixture(gb.family(law), n, "train", 0, components, "cpu")
    means = np.stack([part.mean.flatten().numpy() for part in made])
    labels = ((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert len(made) == components
    y, density, estimates = noisy(law, sigma).flatten(1).numpy(), [], []
    for k in range(components):
        members = x[labels == k]
        np.testing.assert_allclose(members.mean(axis=0), means[k], rtol=0, atol=1e-12)
        total = np.cov(members.T, bias=True) + sigma**2 * np.eye(x.shape[1])
        density.append(np.log(len(members) / n) + multivariate_normal(means[k], total).logpdf(y))
        estimates.append(y - sigma**2 * (y - means[k]) @ np.linalg.inv(total))
    expected = np.einsum("kn,knp->np", softmax(np.stack(density), axis=0), np.stack(estimates))
    found = D(torch.from_numpy(y).reshape(3, *gb.family(law).shape), sigma)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", ["calpha:size=8", "coloured:of=(calpha:size=8)", "disks:size=16"])
def test_mixture_score_with_one_component_is_the_gaussian_score(law: str) -> None:
    for n, sigma in ((30, 0.1), (300, 0.5)):
        y = noisy(law, sigma)
        found = gb.denoiser(f"mixture-score:n={n},components=1", law)(y, sigma)
        wiener = gb.denoiser(f"wiener-data:n={n},stationary=false,shrinkage=none", law)
        torch.testing.assert_close(found, wiener(y, sigma), rtol=0, atol=1e-9)


@pytest.mark.parametrize("law", ["calpha:size=8", "disks:size=16", "gmm:variant=points"])
def test_mixture_score_with_a_component_for_each_image_is_empirical(law: str) -> None:
    for sigma in (0.05, 0.5):
        y = noisy(law, sigma, split="train")
        found = gb.denoiser("mixture-score:n=20,components=20", law)(y, sigma)
        torch.testing.assert_close(found, gb.denoiser("empirical:n=20", law)(y, sigma), rtol=0, atol=1e-10)


def test_mixture_score_finds_well_separated_components() -> None:
    """On points in two pixels, of a mixture itself, it is near the optimum; one Gaussian is not."""
    law, sigma = gb.family("gmm:variant=points"), 0.1
    table = gb.score(law, ["mmse", *(f"mixture-score:components={k}" for k in (1, 16))], [sigma], images=64)
    mse = table.groupby("denoiser").mse.mean()
    assert mse["mixture-score:components=16"] < 1.05 * mse["mmse"]
    assert mse["mixture-score:components=1"] > 1.15 * mse["mmse"]


def test_mixture_score_of_images_that_repeat_has_fewer_components() -> None:
    law = "hierarchy:depth=1,symbols=2,rules=grammar,productions=1"
    x = training(law, 50)
    distinct = x.flatten(1).unique(dim=0)
    assert len(distinct) < 10
    y = noisy(law, 0.3)
    found = gb.denoiser("mixture-score:n=50", law)(y, 0.3)
    torch.testing.assert_close(found, gb.denoiser("empirical:n=50", law)(y, 0.3), rtol=0, atol=1e-10)


ALL = [
    "empirical",
    "local:patch=3",
    "local-equivariant:patch=9",
    "local:patch=0",
    "locality",
    "locality:stationary=true",
]


@pytest.mark.parametrize("spec", ALL)
@pytest.mark.parametrize("sigma", [1e-4, 0.1, 100.0])
def test_one_training_image_is_returned_at_any_noise_level(spec: str, sigma: float) -> None:
    """Over all shifts it is returned where the noise is small, at the shift that fits."""
    law = "calpha:size=8"
    x = training(law, 1)
    name, _, options = spec.partition(":")
    D = gb.denoiser(f"{name}:{','.join(filter(None, [options, 'n=1']))}", law, tune=False)
    x_hat = D(x + sigma, sigma) if "equivariant" not in name else D(x.roll(3, -1) + 1e-5, min(sigma, 0.01)).roll(-3, -1)
    torch.testing.assert_close(x_hat, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [*ALL, "local-equivariant:patch=3", "mixture-score:components=3"])
def test_jacobians_by_three_routes(spec: str) -> None:
    """Forwards and backwards under `torch.func`, and central differences, at two noise levels in one batch."""
    law, levels = "coloured:of=(gmm:size=4)", torch.tensor([0.2, 0.5])
    y = noisy(law, 0.2, count=2)
    name, _, options = spec.partition(":")
    D = gb.denoiser(f"{name}:{','.join(filter(None, [options, 'n=12']))}", law, tune=False)
    size, step = y.numel(), 1e-5
    backwards, forwards = (
        made(lambda noisy: D(noisy, levels))(y).reshape(size, size) for made in (torch.func.jacrev, torch.func.jacfwd)
    )
    units = step * torch.eye(size, dtype=torch.float64).reshape(-1, *y.shape)
    steps = torch.stack([((D(y + u, levels) - D(y - u, levels)) / (2 * step)).flatten() for u in units], dim=1)
    torch.testing.assert_close(forwards, backwards, rtol=0, atol=1e-10)
    torch.testing.assert_close(forwards, steps, rtol=0, atol=1e-5)
    assert float(forwards.abs().max()) > 1e-3


@pytest.mark.parametrize(("spec", "finest"), [*((spec, 1) for spec in ALL), ("local-equivariant:patch=3", 50)])
def test_how_the_work_is_cut_changes_nothing_beyond_rounding(
    spec: str, finest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    law = "coloured:of=(calpha:size=8)"
    levels = torch.tensor([0.1, 0.3, 0.1, 1.0, 0.05])
    y = noisy(law, 0.2, count=5)
    name, _, options = spec.partition(":")
    spec = f"{name}:{','.join(filter(None, [options, 'n=23']))}"
    whole = gb.denoiser(spec, law, tune=False)(y, levels)
    for numbers in (finest, 3 * 8 * 8 * 7):
        training_set._part.cache_clear()
        mixture_score._mixture.cache_clear()
        for module in (weights, local_equivariant, locality, training_set):
            for constant in ("NUMBERS_AT_ONCE", "_NUMBERS_AT_ONCE", "_CACHED"):
                if hasattr(module, constant):
                    monkeypatch.setattr(module, constant, numbers)
        cut = gb.denoiser(spec, law, tune=False)(y, levels)
        torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)
    one_by_one = torch.cat([gb.denoiser(spec, law, tune=False)(y[i : i + 1], levels[i]) for i in range(5)])
    torch.testing.assert_close(one_by_one, whole, rtol=0, atol=1e-12)


def test_patches_are_calibrated_on_validation_images_and_grow_with_the_noise() -> None:
    """Each odd side by brute force; the table has the best one, and the denoiser uses it."""
    law, sigmas = gb.family("calpha:size=8"), [0.01, 0.1, 1.0]
    untuned = gb.denoiser("local:n=200", law, tune=False)
    table = tune(untuned, law, sigmas, images=8)
    batch = law.sample(range(8), split="val")
    for sigma, value in zip(sigmas, table.value, strict=True):
        y = gb.add_noise(batch, sigma)
        risks = {
            side: float((gb.denoiser(f"local:n=200,patch={side}", law)(y, sigma) - batch.images).square().mean())
            for side in (1, 3, 5, 7, 9)
        }
        assert value == min(risks, key=lambda side: risks[side])
        by_hand = gb.denoiser(f"local:n=200,patch={value:g}", law)(y, sigma)
        torch.testing.assert_close(untuned.with_table(table)(y, sigma), by_hand)
    assert table.value[0] < table.value[-1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("empirical:n=0", "n=0 is not allowed"),
        ("empirical:n=1000000000", "less than or equal to 10000000"),
        ("empirical:split=test", "'train', 'train-a' or 'train-b'"),
        ("local:patch=4", r"patch=4 is not allowed: a patch has a pixel at its centre, so its side is odd \(3 or 5\)"),
        ("local-equivariant:patch=-1", "patch=-1 is not allowed"),
        ("mixture-score:n=5", "5 training images make at most 5 components, not 10"),
        ("mixture-score:components=0", "components=0 is not allowed"),
        ("locality:threshold=0", "threshold=0 is not allowed"),
        ("locality:threshold=1.5", "threshold=1.5 is not allowed"),
        ("local-equivariant:patch=2.5", "patch=2.5 is not allowed"),
    ],
)
def test_wrong_parameters_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gb.denoiser(spec, "calpha:size=8", tune=False)


def test_what_memory_does_not_hold_is_refused_before_anything_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total", lambda device="cpu": 10**9)
    with pytest.raises(UsageError, match=r"covariances of 10 clusters of 100000 images of calpha would take .* fewer"):
        gb.denoiser("mixture-score:n=100000", "calpha:size=64")
    for spec, size in (("locality", 128), ("locality:n=10000000", 64)):
        with pytest.raises(
            UsageError,
            match=r"Wiener filters of all pixels of calpha.* would take .* choose smaller images, or stationary=true",
        ):
            gb.denoiser(spec, f"calpha:size={size}")
        gb.denoiser(f"{spec}{',' if ':' in spec else ':'}stationary=true", f"calpha:size={size}")


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_needed_and_its_shape(name: str) -> None:
    with pytest.raises(UsageError, match="name its family"):
        gb.denoiser(name)(torch.zeros(1, 1, 8, 8), 0.1)
    with pytest.raises(UsageError, match="shape"):
        gb.denoiser(name, "calpha:size=8", tune=False)(torch.zeros(1, 1, 8, 9), 0.1)


@pytest.mark.parametrize("spec", ["empirical", "local:patch=3", "local-equivariant:patch=3", "locality"])
def test_what_was_made_for_one_family_is_refused_for_another(spec: str) -> None:
    D = gb.denoiser(spec, "calpha:size=8")
    with pytest.raises(UsageError, match="was made for calpha:size=8, not for calpha:alpha=1,size=8"):
        gb.score("calpha:alpha=1,size=8", [D], [0.1], images=2)


def test_they_are_listed_and_not_in_a_default_run() -> None:
    listed = {entry.name: entry for entry in registry.entries("denoisers")}
    for name in NAMES:
        assert listed[name].knows == "training set"
        assert "n" in {parameter.name for parameter in listed[name].parameters}
    assert not set(NAMES) & {str(made).partition(":")[0] for made in defaults.scored(gb.family("calpha:size=8"))}
