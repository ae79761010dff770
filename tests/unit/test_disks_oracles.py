"""The oracles of ``disks``: exact, certified, and what they claim at every noise level."""

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

import gahb_bench as gb
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.errors import StoreWarning, UsageError
from gahb_bench.core.files import HOME
from gahb_bench.core.images import Batch, Images
from gahb_bench.core.posterior import inform
from gahb_bench.families.disks import optimum as oracles
from gahb_bench.families.disks import oracles as disks_oracles
from gahb_bench.families.disks import posterior as disks_posterior
from gahb_bench.families.disks import reference as disks_reference
from gahb_bench.families.disks.grid import finest, grid
from gahb_bench.families.disks.law import Disks, render
from gahb_bench.families.disks.manifold import manifold
from gahb_bench.families.disks.quadrature import Likelihood, Request, moments
from gahb_bench.tables.interpolate import between_levels, stored_curve

VARIATIONS = ("translate", "scale", "foreground", "background")
SUBSETS = [subset for k in range(1, 5) for subset in itertools.combinations(VARIATIONS, k)]


def disks(**parameters: object) -> Disks:
    """A family of disks."""
    return Disks.from_parameters(parameters)


def mmse(family: Disks) -> oracles.Mmse:
    """Its posterior mean."""
    return oracles.Mmse.from_parameters({}).bind(family)


def noisy(family: Disks, count: int, sigma: float, split: str = "test") -> tuple[Batch, Images]:
    """Images and noisy images, float64."""
    batch = family.sample(range(count), split=split)
    return batch, scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)


def summed(difference: Tensor) -> np.ndarray:
    """Squared norm of each image."""
    return difference.double().square().flatten(1).sum(1).numpy()


def z_score(values: np.ndarray) -> float:
    """Mean over its standard error."""
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME, str(tmp_path))


def test_agrees_with_importance_sampling_from_the_prior() -> None:
    """Identity 6: no statistic, transform or grid is shared by the two."""
    checks = disks().optimum.checks()
    assert len(checks) == 9
    for check in checks:
        assert check.passed, check
        if "mean" in check.identity:
            assert check.tolerance < 0.04, "the check would see an error of 4 % of the variance"
    assert all(check.tolerance < 0.03 for check in checks[3:]), "the checks would see an error of 3 %"


@pytest.mark.parametrize("vary", [("translate", "foreground"), ("scale", "background")])
def test_subsets_agree_with_importance_sampling(vary: tuple[str, ...]) -> None:
    for check in disks(vary=vary).optimum.checks():
        assert check.passed, check


@pytest.mark.parametrize("vary", SUBSETS, ids="+".join)
def test_small_noise_costs_d_sigma_squared_and_large_noise_the_prior(vary: tuple[str, ...]) -> None:
    """Identity 7, for every subset: the median image is within 1 % of d sigma^2, the mean of the prior variance."""
    family = disks(size=24, vary=vary)
    oracle = mmse(family)
    for sigma in (1e-3, 0.01):
        _, y = noisy(family, 24, sigma)
        found = oracle.certified(y, sigma)
        assert not bool(found.failed.any())
        ratio = found.variance.median() * 24**2 / (family.dimension * sigma**2)
        assert float(ratio) == pytest.approx(1, abs=0.01)
    _, y = noisy(family, 24, 300.0)
    assert float(oracle.certified(y, 300.0).variance.mean()) == pytest.approx(oracles.prior(family), rel=0.01)


@pytest.mark.parametrize("vary", [VARIATIONS, ("translate",), ("scale", "foreground")])
def test_prior_variance_is_that_of_the_images(vary: tuple[str, ...]) -> None:
    family = disks(size=20, vary=vary)
    images = family.sample(range(3000)).images.double().flatten(1)
    off = (images - images.mean(0)).square().sum(1) / 399.9 / (1 - 1 / 3000)
    assert abs(float(off.mean()) - oracles.prior(family) * 400 / 399.9) < 4 * float(off.std()) / np.sqrt(3000)


def test_prior_variance_has_a_closed_form_when_both_intensities_vary() -> None:
    """Var = 1/12 - E[sum m (1 - m)] / 6 N^2, by Monte Carlo over the geometry with the family's renderer."""
    family = disks(size=16)
    low, high = family.bounds.T
    theta = low + np.random.default_rng(0).random((4000, 5)) * (high - low)
    theta[:, 3:] = 1.0, 0.0
    m = render(theta, 16, 1.0)
    closed = 1 / 12 - (m * (1 - m)).sum((1, 2)) / 6 / 256
    assert oracles.prior(family) == pytest.approx(closed.mean(), abs=4 * closed.std() / np.sqrt(4000))


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_risk_is_the_posterior_variance_and_errors_are_orthogonal_to_estimates(sigma: float) -> None:
    """Identities 1 and 4 at N = 16."""
    batch, y = noisy(disks(size=16), 200, sigma)
    posterior = mmse(disks(size=16)).posterior(y, sigma)
    x = batch.images.double()
    assert abs(z_score(summed(posterior.mean - x) / 256 - posterior.variance.numpy())) < 3.5
    inner = ((x - posterior.mean) * (posterior.mean - 0.5)).flatten(1).sum(1).numpy()
    assert abs(z_score(inner)) < 3.5


@pytest.mark.parametrize("sigma", [0.03, 0.3, 1.0, 5.0])
def test_second_order_tweedie(sigma: float) -> None:
    """Identity 2: sigma^2 v'Jv = Var(<v, x> | y), the derivative by central differences; no statistics involved."""
    family = disks(size=16)
    oracle = mmse(family)
    _, y = noisy(family, 24, sigma)
    v = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    v = v / v.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
    h = 0.1 * sigma
    slope = (oracle(y + h * v, sigma) - oracle(y - h * v, sigma)) / (2 * h)
    left = sigma**2 * (v * slope).sum((1, 2, 3))
    right = (v * oracle.covariance(y, sigma, v)).sum(dim=(1, 2, 3))
    ratio = ((left - right) / right).abs()
    assert float(ratio.median()) < 5e-3
    # where a step crosses from one rule to another, a jump of the certified size is divided by the step
    assert int((ratio < oracle.accuracy).sum()) >= 20


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_variance_map_adds_up(sigma: float) -> None:
    family = disks(size=24)
    _, y = noisy(family, 12, sigma)
    oracle = mmse(family)
    each = oracle.variance_map(y, sigma)
    assert each.shape == y.shape
    assert float(each.min()) > -1e-9
    torch.testing.assert_close(each.mean((1, 2, 3)), oracle.posterior(y, sigma).variance, rtol=1e-6, atol=0)
    pixel = torch.zeros_like(y)
    pixel[:, 0, 12, 12] = 1
    along = (pixel * oracle.covariance(y, sigma, pixel)).sum(dim=(1, 2, 3))
    torch.testing.assert_close(each[:, 0, 12, 12], along, rtol=1e-6, atol=1e-12)


def test_outline_is_the_disk_where_it_can_be_seen() -> None:
    family = disks(size=32)
    batch, y = noisy(family, 20, 0.01)
    points = mmse(family).outline(y, 0.01)
    center = points[:, :-1].mean(1)
    outline = torch.cat([center, (points - center[:, None]).norm(dim=2).mean(1, keepdim=True)], dim=1)
    truth = torch.cat([batch.latents["center"], batch.latents["radius"][:, None]], dim=1)
    contrast = (batch.latents["foreground"] - batch.latents["background"]).abs()
    assert float(((outline - truth).abs().amax(1) * contrast).max()) < 5 * 0.3 * 0.01 * np.sqrt(64 / 32)


def finer_rule(family: Disks, y: Images, sigma: float) -> disks_posterior.Moments:
    """The finest grid over the whole prior, a rule that treats no image differently."""
    flat, level = y.flatten(1), torch.full((len(y),), sigma, dtype=torch.float64)
    rule = grid(family, y.device, finest(family))
    parts = []
    for i in range(len(flat)):
        likelihood = Likelihood.of(manifold(family, y.device), rule, flat[i : i + 1], level[i : i + 1])
        parts.append(moments(manifold(family, y.device), rule, likelihood, Request()))
    return disks_posterior.Moments.join(parts)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_excess_over_a_much_finer_rule(sigma: float) -> None:
    """At most 5e-4 of the MMSE over 40 images, and within each image's own bound; variances within 0.2 % on average."""
    family = disks(size=16)
    _, y = noisy(family, 40, sigma)
    found, fine = mmse(family).certified(y, sigma), finer_rule(family, y, sigma)
    sharp = fine.error < 1e-3  # where the finest grid itself is fine enough
    assert int(sharp.sum()) >= 36
    excess = torch.from_numpy(summed(found.mean.flatten(1) - fine.mean))
    assert float(excess[sharp].sum() / fine.variance[sharp].sum()) < 5e-4
    assert bool((excess <= (found.error + fine.error) * fine.variance)[sharp].all())
    ratio = float(found.variance[sharp].sum() * 256 / fine.variance[sharp].sum())
    assert ratio == pytest.approx(1, abs=2e-3)


def corners(family: Disks) -> Batch:
    """Disks at every corner of the prior of the geometry, and disks of no contrast."""
    low, high = family.bounds.T
    ends = np.array(list(itertools.product(*zip(low[:3], high[:3], strict=True))))
    theta = np.concatenate([np.c_[ends, np.full(8, f), np.full(8, b)] for f, b in ((1.0, 0.0), (0.5, 0.5), (0.0, 0.2))])
    images = torch.from_numpy(render(theta, family.size, family.edge))[:, None]
    latents = torch.from_numpy(theta)
    return Batch(
        images=images,
        latents={
            "center": latents[:, :2],
            "radius": latents[:, 2],
            "foreground": latents[:, 3],
            "background": latents[:, 4],
        },
        family=family.spec,
        seed=0,
        split="test",
        indices=tuple(range(len(images))),
    )


@pytest.mark.parametrize("sigma", [1e-5, 1e-3, 0.02, 0.3, 3.0, 100.0, 1e4])
def test_corners_of_the_prior_and_no_contrast_at_any_noise(sigma: float) -> None:
    """No overflow, NaN or warning (warnings are errors here), at every corner of the prior and with f = b."""
    family = disks(size=16)
    batch = corners(family)
    y = scale_noise(batch.images, unit_noise(batch).double(), sigma)
    found = mmse(family).certified(y, sigma)
    assert not bool(found.failed.any())
    assert bool(torch.isfinite(found.mean).all())
    assert float(found.variance.min()) > 0
    assert float(found.variance.max()) < oracles.prior(family) * 1.5
    for name in ("projection", "tangent"):
        x_hat = inform(gb.denoiser(name, family), batch)(y, sigma)
        assert bool(torch.isfinite(x_hat).all())
        assert float(x_hat.abs().max()) < 2 + 40 * sigma


def test_images_that_are_no_disks_still_get_an_answer_or_a_refusal() -> None:
    family = disks(size=16)
    y = torch.stack([torch.full((1, 16, 16), value, dtype=torch.float64) for value in (-50.0, 0.0, 0.5, 1.0, 50.0)])
    for sigma in (0.01, 1.0):
        found = mmse(family).certified(y, sigma)
        good = ~found.failed
        assert bool(torch.isfinite(found.mean[good]).all())
        assert bool(good[1:4].all())
        torch.testing.assert_close(found.mean[2], y[2], atol=0.5 * min(sigma, 0.2), rtol=0)


def test_each_image_has_its_own_noise_level_and_none_depends_on_its_neighbours() -> None:
    family = disks(size=16)
    levels = torch.tensor([0.01, 0.1, 0.3, 0.7, 1.0, 4.0, 0.3, 100.0], dtype=torch.float64)
    batch = family.sample(range(8))
    y = scale_noise(batch.images, unit_noise(batch), levels).double()
    for name in ("mmse", "projection"):
        oracle = gb.denoiser(name, family)
        together = oracle(y, levels)
        alone = torch.cat([oracle(y[i : i + 1], float(levels[i])) for i in range(8)])
        torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


def test_an_uncertified_image_is_reported_and_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    family = disks(size=16)
    oracle = mmse(family)
    _, y = noisy(family, 6, 0.5)
    monkeypatch.setattr(disks_posterior._Tile, "on_finer_grid", lambda *_: None)
    monkeypatch.setattr(disks_posterior, "_LATTICES", ())
    limit = float(oracle.certified(y, 0.5).error.sort().values[2])
    for module in (disks_oracles, disks_posterior):
        monkeypatch.setattr(module, "TOLERANCE", limit)
    found = oracle.certified(y, 0.5)
    assert int(found.failed.sum()) == 3
    assert bool((found.error[found.failed] > limit).all())
    assert torch.equal(torch.isnan(oracle(y, 0.5)).all(dim=(1, 2, 3)), found.failed)
    assert torch.equal(torch.isnan(oracle.posterior(y, 0.5).variance), found.failed)
    assert "certificate" in oracle.facts.nan_reason


@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_projection_finds_the_nearest_disk(sigma: float) -> None:
    """Nearer than the true disk, always; and nearer than a brute-force search over 20,000 disks."""
    family = disks(size=16)
    batch, y = noisy(family, 60, sigma)
    x_hat = gb.denoiser("projection", family)(y, sigma)
    distance = summed(y - x_hat)
    assert bool((distance <= summed(y - batch.images) + 1e-9).all())
    low, high = family.bounds.T
    drawn = render(low + np.random.default_rng(0).random((20_000, 5)) * (high - low), 16, 1.0).reshape(20_000, -1)
    flat = y.flatten(1).numpy()
    nearest = ((drawn**2).sum(1) - 2 * flat @ drawn.T).min(1) + (flat**2).sum(1)
    assert (distance <= nearest + 1e-9).mean() > 0.98


def test_tangent_is_the_projection_on_the_tangent_plane() -> None:
    family = disks(size=20)
    batch, y = noisy(family, 300, 0.2)
    x_hat = gb.denoiser("tangent", family).given(batch)(y, 0.2)
    x = batch.images.double()
    assert z_score(summed(x_hat - x) / 0.04 - 5) == pytest.approx(0, abs=3.5)
    again = gb.denoiser("tangent", family).given(batch)(x_hat, 0.2)
    torch.testing.assert_close(again, x_hat, atol=1e-6, rtol=0)
    outside = ((y - x_hat) * (x_hat - x)).flatten(1).sum(1)
    assert float(outside.abs().max()) < 1e-5


def table(size: int) -> pd.DataFrame:
    """The stored curve of one size."""
    found = stored_curve(disks(size=size).spec, rule=disks_reference.RULE)
    assert found is not None
    return found


SIZES = (32, 64, 80)  # that are stored


@pytest.mark.parametrize("size", SIZES)
def test_reference_is_read_from_the_table(size: int) -> None:
    sigmas = np.array([10**-2.5, 0.01, 0.1, 1.0])
    reference = disks(size=size).reference(sigmas)
    assert reference.kind == "exact"
    assert reference.mse[1] == pytest.approx(table(size).loc[0.01, "mse"], rel=1e-12)
    assert np.all(reference.standard_error > 0)
    assert np.all(reference.standard_error < 0.02 * reference.mse)
    small = oracles.small_noise_mse(disks(size=size), sigmas)
    np.testing.assert_allclose(reference.mse[:2], small[:2], rtol=0.01)
    assert reference.exponent[0] == pytest.approx(2, abs=0.02)
    assert reference.asymptotic_exponent == 2
    assert "over 2048 images" in reference.note
    for sigma, exponent in zip(sigmas, reference.exponent, strict=True):  # of the curve, not of the levels asked for
        assert disks(size=size).reference([sigma]).exponent[0] == exponent


@pytest.mark.parametrize("size", SIZES)
def test_every_level_of_the_table_is_certified_on_enough_images(size: int) -> None:
    levels = table(size)
    assert np.isclose(np.log10(levels.index.to_numpy())[:, None] * 4, np.arange(-10, 5)).any(axis=0).all()
    assert (levels["images"] >= 2000).all()
    assert (levels["excess_mean"] < 1e-3).all()
    assert levels["uncertified"].sum() <= 1e-3 * levels["images"].sum()
    assert (np.diff(levels["mse"]) > 0).all(), "the MMSE grows with the noise"


@pytest.mark.parametrize("size", SIZES)
def test_levels_between_those_of_the_table_are_within_their_error(size: int) -> None:
    """A level left out is found again from its neighbours, and a curve rises from level to level."""
    levels = table(size)
    sigma, mse, error = levels.index.to_numpy(), levels["mse"].to_numpy(), levels["mse_se"].to_numpy()
    for i in range(3, len(levels) - 3):
        rest = np.arange(len(levels)) != i
        found, found_error, _ = between_levels(sigma[rest], mse[rest], error[rest], sigma[[i]])
        assert found[0] == pytest.approx(mse[i], rel=0.015)
        assert abs(found[0] - mse[i]) < 3 * np.hypot(found_error[0], error[i])
        near, near_error, _ = between_levels(sigma, mse, error, np.sqrt(sigma[[i]] * sigma[[i + 1]]))
        assert near_error[0] < 0.012 * near[0]
        assert mse[i] < near[0] < mse[i + 1]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("size", "images"), [(32, 256), (64, 128)])
def test_the_interpolation_adds_little_to_the_stated_error(size: int, images: int) -> None:
    """Where the curve bends, at five levels halfway between nodes: the same images everywhere, so nothing else is seen.

    Both the miss and the standard error of the nodes shrink with the root of the number of images: their ratio stays.
    """
    family, nodes = disks(size=size), table(size).index.to_numpy()
    nodes = nodes[nodes > 0.4]
    between = np.sqrt(nodes[1:] * nodes[:-1])[-6:-1]
    batch = family.sample(range(images), seed=disks_reference.SEED, split="val")

    def variances(sigma: float) -> np.ndarray:
        y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
        return mmse(family).certified(y, sigma).variance.numpy()

    values = np.array([variances(float(sigma)) for sigma in nodes])
    mean, error = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(images)
    found, stated, _ = between_levels(nodes, mean, error, between)
    off = np.abs(found - np.array([variances(float(sigma)).mean() for sigma in between]))
    assert (off < 0.5 * stated).all(), off / stated
    assert (stated < 1.2 * np.interp(np.log(between), np.log(nodes), error)).all(), "the nodes lie close enough"


def test_reference_on_demand_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    family = disks(size=16, vary=("scale", "background"))
    first = family.reference([0.05, 0.5])
    assert first.mse[0] == pytest.approx(2 * 0.05**2 / 256, rel=0.05)
    assert "over 256 images" in first.note
    monkeypatch.setattr(disks_reference, "compute", None)
    second = family.reference([0.5, 0.05])
    np.testing.assert_array_equal(second.mse[::-1], first.mse)


def test_a_home_that_cannot_be_written_costs_the_keeping_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family = disks(size=16, vary=("scale", "background"))
    kept = family.reference([0.05])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(HOME, str(tmp_path / "file"))
    with pytest.warns(StoreWarning, match=HOME):
        unkept = family.reference([0.05])
    np.testing.assert_array_equal(unkept.mse, kept.mse)


def test_what_float64_cannot_weigh_is_refused() -> None:
    family = disks(size=16)
    y = torch.zeros(2, 1, 16, 16)
    for name in ("mmse", "projection"):
        oracle = gb.denoiser(name, family)
        with pytest.raises(UsageError, match="sigma >= 1e-05"):
            oracle(y, 1e-6)
        with pytest.raises(UsageError, match="finite"):
            oracle(y / 0, 0.1)
    with pytest.raises(UsageError, match="disks"):
        gb.denoiser(oracles.Mmse.from_parameters({}), gb.family("calpha:size=16"))(y, 0.1)


@pytest.mark.long
@pytest.mark.slow
def test_information_differences_obey_i_mmse() -> None:
    """Identity 5 at N = 32: I(low) - I(high) = 1/2 int summed MMSE d(1/sigma^2), information from the evidence alone.

    I = E[log p(y|x) - log p(y)]; both sides on the same images and noises, so that their difference is nearly free of
    sampling error.
    """
    family = disks(size=32)
    oracle = mmse(family)
    batch = family.sample(range(96), split="val")
    x, z = batch.images.double(), unit_noise(batch).double()
    low, high = 0.1, 1.0

    def information(sigma: float) -> np.ndarray:
        given = -(z.flatten(1) ** 2).sum(1) / 2 - 512 * np.log(2 * np.pi * sigma**2)
        return (given - oracle.log_density(x + sigma * z, sigma)).numpy()

    nodes, weights = np.polynomial.legendre.leggauss(7)
    half = np.log(high / low) / 2
    sigmas = np.exp(np.log(low) + half * (nodes + 1))
    rates = np.stack([1024 * oracle.posterior(x + s * z, s).variance.numpy() / s**2 for s in sigmas])
    difference, integral = information(low) - information(high), half * weights @ rates
    assert abs(z_score(difference - integral)) < 3.5
    assert difference.mean() == pytest.approx(integral.mean(), rel=0.06)


@pytest.mark.slow
def test_table_agrees_with_what_was_known() -> None:
    """Summed MMSE over sigma^2 at N = 64 against an independent implementation, within 3 combined standard errors.

    The second implementation (600 images, another quadrature: Gauss-Legendre at the prior's ends, cubic grids) gave
    the values and standard errors below, and the projection's values.
    """
    family = disks()
    known = {
        3.0: (3.722, 0.049),
        0.01: (5.014, 0.010),
        0.03: (5.042, 0.021),
        0.1: (5.110, 0.035),
        0.3: (5.217, 0.045),
        1.0: (5.231, 0.063),
    }
    for sigma, (value, error) in known.items():
        reference = family.reference([sigma])
        found, own = 64**2 / sigma**2 * reference.mse[0], 64**2 / sigma**2 * reference.standard_error[0]
        assert abs(found - value) < 3 * np.hypot(error, own)
    for sigma, (value, error) in {0.003: (5.020, 0.009), 10.0: (1.246, 0.009)}.items():
        _, y = noisy(family, 160, sigma, split="train")
        ratios = mmse(family).posterior(y, sigma).variance.numpy() * 64**2 / sigma**2
        assert abs(ratios.mean() - value) < 3 * np.hypot(error, ratios.std() / np.sqrt(160))
