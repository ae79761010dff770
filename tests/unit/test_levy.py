"""The law of ``levy`` and its exact posterior, whole and in parts."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

import gahb_bench as gb
from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.families.levy import messages
from gahb_bench.families.levy.check import dense, quadrature, quadrature_checks, walk_checks
from gahb_bench.families.levy.gaussian import gaussian_posterior, gaussian_samples
from gahb_bench.families.levy.jumps import JumpLaw
from gahb_bench.families.levy.lattice import lattices
from gahb_bench.families.levy.law import Levy
from gahb_bench.families.levy.messages import walk_posterior, walk_samples
from gahb_bench.families.levy.oracles import Mmse
from gahb_bench.verification import identities
from gahb_bench.verification.verify import verify

SPARSE = ("levy", "levy:jumps=student", "levy:df=3,jumps=student", "levy:jumps=bernoulli-laplace")
# MMSE / sigma^2 at sigma = .1, .3, 1, 3, by another program: 60 signals, NumPy's convolutions, cells of sigma/16
KNOWN = dict(
    zip(
        SPARSE,
        [
            (0.982, 0.891, 0.556, 0.230),
            (0.990, 0.933, 0.709, 0.438),
            (0.987, 0.905, 0.572, 0.250),
            (0.153, 0.190, 0.145, 0.064),
        ],
        strict=True,
    )
)


def made(spec: str) -> Levy:
    family = gb.family(spec)
    assert isinstance(family, Levy)
    return family


def best(family: Levy) -> Mmse:
    oracle = gb.denoiser("mmse", family)
    assert isinstance(oracle, Mmse)
    return oracle


def levels(y: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.full((len(y),), sigma, dtype=torch.float64)


def noisy(family: Levy, sigma: float, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Signals ``(n, N)``, with noise, and the noise levels."""
    batch = family.sample(range(count), split="val")
    x, y = batch.images[:, 0, 0].double(), gb.add_noise(batch, sigma)[:, 0, 0].double()
    return x, y, levels(y, sigma)


@pytest.mark.parametrize("spec", SPARSE)
def test_the_mmse_is_that_of_another_program_whatever_the_lattice(spec):
    family = made(spec)
    for sigma, known in zip((0.1, 0.3, 1.0, 3.0), KNOWN[spec], strict=True):
        x, y, sigmas = noisy(family, sigma, 48)
        found = walk_posterior(family.law, y, sigmas)
        each = found.variance.mean(dim=1).numpy() / sigma**2
        spread = each.std(ddof=1)
        assert abs(each.mean() - known) < 3 * spread * math.hypot(48**-0.5, 60**-0.5) + 5e-4  # of its three digits
        squared = (found.mean - x).square().mean(dim=1).numpy() / sigma**2 - each
        assert abs(squared.mean()) < 4.5 * squared.std(ddof=1) / 48**0.5
        finer = walk_posterior(family.law, y[:8], sigmas[:8], fineness=2.0)
        assert float((finer.mean - found.mean[:8]).abs().max()) < 1e-4 * sigma
        assert float(finer.variance.mean() / found.variance[:8].mean() - 1) == pytest.approx(0, abs=2e-5)
        assert float((finer.log_evidence - found.log_evidence[:8]).abs().max()) < 1e-3


@pytest.mark.parametrize("sigma", [0.05, 0.5, 5.0])
def test_gaussian_jumps_are_linear_algebra(sigma):
    """Messages and the oracle's algebra against the dense covariance, all samples observed, and half of them."""
    family = made("levy:jumps=gauss,scale=0.5")
    _, y, sigmas = noisy(family, sigma, 4)
    mean, variance, log = dense(family.law, y.numpy(), sigma)
    for found in (walk_posterior(family.law, y, sigmas), gaussian_posterior(0.25, y, sigmas)):
        assert np.abs(found.mean.numpy() - mean).max() < 1e-8 * sigma
        np.testing.assert_allclose(found.variance.numpy(), variance, rtol=1e-7)
        np.testing.assert_allclose(found.log_evidence.numpy(), log, rtol=1e-8, atol=1e-8)
    seen = torch.from_numpy(np.random.default_rng(0).random((4, 64)) < 0.5)
    part, other = walk_posterior(family.law, y, sigmas, seen), gaussian_posterior(0.25, y, sigmas, seen)
    time = np.arange(1.0, 65)
    covariance = 0.25 * np.minimum(time[:, None], time)
    for i in range(4):
        kept = seen[i].numpy()
        inner = covariance[np.ix_(kept, kept)] + sigma**2 * np.eye(kept.sum())
        gain = np.linalg.solve(inner, covariance[kept]).T
        expected = stats.multivariate_normal(cov=inner).logpdf(y[i].numpy()[kept])
        for found in (part, other):
            assert np.abs(found.mean[i].numpy() - gain @ y[i].numpy()[kept]).max() < 1e-6 * sigma
            left = np.diag(covariance - gain @ covariance[kept])
            np.testing.assert_allclose(found.variance[i].numpy(), left, rtol=1e-6)
            assert float(found.log_evidence[i]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spec", [*SPARSE, "levy:jumps=gauss"])
def test_checks(spec):
    law = made(spec).law
    for check in walk_checks(law) if law.kind == "gauss" else quadrature_checks(law):
        assert check.passed, check


@pytest.mark.parametrize("spec", ["levy:size=3", "levy:jumps=bernoulli-laplace,rate=0.3,size=3"])
def test_the_covariance_is_that_of_quadrature(spec):
    family = made(spec)
    y = gb.add_noise(family.sample([1]), 0.7).double()
    expected = quadrature(family.law, y[0, 0, 0].numpy(), 0.7).covariance
    oracle = best(family)
    units = torch.eye(3, dtype=torch.float64)
    found = torch.cat([oracle.covariance(y, 0.7, unit.reshape(1, 1, 1, 3)) for unit in units])[:, 0, 0]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-4 * expected.max())


@pytest.mark.parametrize("kind", ["laplace", "bernoulli-laplace", "student"])
def test_parts_of_a_signal_by_importance_sampling(kind):
    """Mean, variance and evidence where samples 1 and 2 of 4 were not observed, by 200,000 draws of the law."""
    law, sigma = JumpLaw(kind, 1.0, 5.0, 0.4), 1.0
    stream = rng.generator("test levy parts")
    x = law.draw(stream, 800_000).reshape(-1, 4).cumsum(axis=1)
    y = torch.tensor([[0.8, 1e3, -1e3, 1.9]], dtype=torch.float64)  # what stands where nothing was seen does not count
    seen = torch.tensor([[True, False, False, True]])
    found = walk_posterior(law, y, levels(y, sigma), seen)
    log = -((x[:, [0, 3]] - y[0, [0, 3]].numpy()) ** 2).sum(axis=1) / (2 * sigma**2)
    w = np.exp(log) / np.exp(log).sum()
    mean = w @ x
    error = np.sqrt((w**2) @ (x - mean) ** 2)
    assert np.abs((found.mean[0].numpy() - mean) / error).max() < 4.5
    square = w @ (x - mean) ** 2
    error = np.sqrt((w**2) @ ((x - mean) ** 2 - square) ** 2)
    assert np.abs((found.variance[0].numpy() - square) / error).max() < 4.5
    density = np.exp(log) / (2 * np.pi * sigma**2)
    z = (math.exp(float(found.log_evidence)) - density.mean()) / (density.std() / len(x) ** 0.5)
    assert abs(z) < 4.5
    alone = walk_posterior(law, y, levels(y, sigma), seen.expand(1, 4))
    beside = walk_posterior(law, torch.cat([y, 3 * y]), levels(y, sigma).repeat(2), seen)
    torch.testing.assert_close(alone.mean[0], beside.mean[0], rtol=1e-9, atol=1e-9)


def test_a_signal_of_which_nothing_is_seen_has_its_prior():
    law, y = JumpLaw("laplace", 1.5, 1.0, 0.1), torch.zeros(1, 16, dtype=torch.float64)
    found = walk_posterior(law, y, levels(y, 1.0), torch.zeros(1, 16, dtype=torch.bool))
    assert float(found.log_evidence) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(found.variance[0].numpy(), 4.5 * np.arange(1, 17), rtol=1e-4)
    assert float(found.mean.abs().max()) < 1e-9


@pytest.mark.parametrize("kind", ["gauss", "laplace", "student", "bernoulli-laplace"])
def test_samples_have_the_posteriors_moments(kind):
    law, sigma = JumpLaw(kind, 1.0, 3.0, 0.2), 0.8
    stream = rng.generator("test levy samples")
    y = torch.from_numpy(law.draw(stream, 24).reshape(2, 12).cumsum(axis=1) + sigma * stream.standard_normal((2, 12)))
    seen = torch.ones(1, 12, dtype=torch.bool)
    seen[0, 4:6] = False
    seen = seen if kind != "student" else torch.ones(1, 12, dtype=torch.bool)
    expected = walk_posterior(law, y, levels(y, sigma), seen)
    count = 4000
    draws = {"messages": walk_samples(law, y, levels(y, sigma), count, stream, seen)}
    if kind == "gauss":
        draws["algebra"] = gaussian_samples(1.0, y, levels(y, sigma), count, stream, seen)
    for x in draws.values():
        assert x.shape == (count, 2, 12)
        deviation = expected.variance.sqrt()
        assert float(((x.mean(dim=0) - expected.mean) / deviation).abs().max()) < 4.5 / count**0.5
        squared = (x - expected.mean).square()
        error = squared.std(dim=0) / count**0.5
        assert float(((squared.mean(dim=0) - expected.variance) / error).abs().max()) < 4.5
        middle = (expected.mean[:, 3:9].sum(dim=1) - x[..., 3:9].sum(dim=2)).square().mean(dim=0)
        apart = expected.variance[:, 3:9].sum(dim=1)
        assert bool((middle > 1.2 * apart).all()), "neighbours move together"
    still = (draws["messages"].diff(dim=2) == 0).double().mean()
    assert float(still) > 0.5 if kind == "bernoulli-laplace" else float(still) < 0.2


@pytest.mark.parametrize("spec", ["levy:size=16", "levy:jumps=student,size=16", "levy:jumps=bernoulli-laplace,size=16"])
def test_samples_are_calibrated(spec):
    """Ranks of a projection of the truth among 15 samples are uniform, 320 signals of the law."""
    family, sigma, count = made(spec), 0.7, 15
    x, y, _ = noisy(family, sigma, 320)
    stream = rng.generator("test levy calibration")
    drawn = best(family).samples(y[:, None, None], levels(y, sigma), count, stream)[:, :, 0, 0]
    for _ in range(3):
        v = torch.from_numpy(stream.standard_normal(16))
        ranks = ((drawn @ v) < (x @ v)).sum(dim=0).numpy()
        assert stats.chisquare(np.bincount(ranks, minlength=count + 1)).pvalue > 1e-3


def test_what_is_unlikely_under_the_law_is_summed_directly():
    """A spike far beyond what the law makes: Fourier transforms would lose it in rounding; sums of logs do not."""
    law, sigma = JumpLaw("laplace", 1.0, 1.0, 0.1), 8.0
    y = torch.tensor([[0.0, 120.0, 0.0], [1.0, -2.0, 3.0]], dtype=torch.float64)
    found = walk_posterior(law, y, levels(y, sigma))
    assert found.mean.isfinite().all()
    (_, lattice), *_ = list(lattices(law, y[:1], levels(y[:1], sigma), torch.ones(1, 3, dtype=torch.bool)))
    points = [(lattice.centre[0, k] + lattice.offsets) * lattice.h[0, 0] for k in range(3)]
    like = [-((p - y[0, k]) ** 2) / (2 * sigma**2) for k, p in enumerate(points)]
    state = law.log_weights(points[0] / lattice.h[0, 0], lattice.h[0, 0]) + like[0]
    step = [
        law.log_weights(((b[:, None] - a) / lattice.h[0, 0]).round(), lattice.h[0, 0])
        for a, b in itertools.pairwise(points)
    ]
    joint = state[:, None] + (step[0] + like[1][:, None]).mT
    last = torch.logsumexp(step[1].T + like[2], dim=1)
    middle = torch.softmax(torch.logsumexp(joint, dim=0) + last, dim=0)
    assert float(found.mean[0, 1]) == pytest.approx(float(middle @ points[1]), abs=1e-8)
    walk = messages._Walk(law, lattice, y[:1], levels(y[:1], sigma)[:, None], torch.ones(1, 3).bool(), direct=False)
    assert abs(float(walk.moments()[0][0, 1] - found.mean[0, 1])) > 1e-6, "the spike is too small to test anything"
    alone = walk_posterior(law, y[1:], levels(y[1:], sigma))
    torch.testing.assert_close(found.mean[1:], alone.mean, rtol=0, atol=1e-12)
    with pytest.raises(UsageError, match="impossible under the law"):
        walk_posterior(JumpLaw("gauss", 1.0, 1.0, 0.1), torch.tensor([[0.0, 1e4, 2e4]]).double(), levels(y[:1], 0.1))


def test_memory_is_bounded_by_parts(monkeypatch):
    family = made("levy:size=8")
    _, y, sigmas = noisy(family, 0.5, 7)
    whole = walk_posterior(family.law, y, sigmas)
    monkeypatch.setattr(messages, "_MEMORY", 1)
    parts = walk_posterior(family.law, y, sigmas)
    torch.testing.assert_close(parts.mean, whole.mean, rtol=0, atol=1e-12)
    mixed = walk_posterior(family.law, y, torch.linspace(0.2, 3.0, 7).double())  # windows of several widths, in order
    alone = walk_posterior(family.law, y[5:6], torch.linspace(0.2, 3.0, 7).double()[5:6])
    torch.testing.assert_close(mixed.mean[5:6], alone.mean, rtol=0, atol=1e-12)


def test_limits():
    family = made("levy:size=16")
    _, y, _ = noisy(family, 1.0, 2)
    wide = walk_posterior(family.law, 1e5 * y, levels(y, 1e5))
    assert float(wide.mean.abs().max()) < 0.01
    np.testing.assert_allclose(wide.variance[0].numpy(), 2 * np.arange(1, 17), rtol=1e-4)
    near = walk_posterior(family.law, y, levels(y, 1e-4))
    assert float((near.variance / 1e-8 - 1).abs().max()) < 1e-3
    with pytest.raises(UsageError, match="too wide for jumps of scale 1"):
        gb.denoiser("mmse", "levy:jumps=student")(1e6 * torch.randn(1, 1, 1, 64), 1e6)


def test_the_reference_of_gaussian_jumps_is_a_closed_form():
    family = made("levy:jumps=gauss,scale=0.5")
    found = family.reference([0.1, 1.0])
    time = np.arange(1.0, 65)
    for sigma, mse in zip((0.1, 1.0), found.mse, strict=True):
        covariance = 0.25 * np.minimum(time[:, None], time)
        left = covariance - covariance @ np.linalg.solve(covariance + sigma**2 * np.eye(64), covariance)
        assert mse == pytest.approx(np.trace(left) / 64, rel=1e-9)
    assert (found.standard_error == 0).all()
    sampled = made("levy:size=16").reference([0.3])
    assert 0 < sampled.standard_error[0] < 0.02 * sampled.mse[0]


@pytest.mark.parametrize("spec", ["levy:jumps=gauss", "levy:df=5,jumps=student", "levy:jumps=bernoulli-laplace"])
def test_the_wiener_filter_has_the_risk_of_its_covariance(spec):
    """The same second moments, the same risk; the posterior mean is below it unless the jumps are Gaussian."""
    family = made(spec)
    batch = family.sample(range(256))
    y = gb.add_noise(batch, 1.0)
    squared = (gb.denoiser("wiener", family)(y, 1.0) - batch.images).square().mean(dim=(1, 2, 3)).double().numpy()
    gaussian = made(f"levy:jumps=gauss,scale={math.sqrt(family.law.variance)!r}").reference([1.0]).mse[0]
    assert abs(squared.mean() - gaussian) < 4.5 * squared.std() / 16
    least = best(family).posterior(y, 1.0).variance.double().numpy()
    if family.jumps == "gauss":
        assert least.mean() == pytest.approx(gaussian, rel=1e-6)
    else:
        assert least.mean() < gaussian


def test_without_a_variance_what_assumes_one_says_so(monkeypatch):
    family = made("levy:jumps=student")
    with pytest.raises(UsageError, match="no variance, so it has no Wiener filter"):
        gb.denoiser("wiener", family)
    with pytest.raises(UsageError, match="no variance, so there is no covariance"):
        gb.denoiser("wiener-data", family)
    assert family.optimum.defaults() == ["mmse"]
    assert made("levy:df=3,jumps=student").optimum.defaults() == ["mmse", "wiener"]
    for inner, law in (("shuffled", gb.family("shuffled:of=(levy:jumps=student)")), ("levy", family)):
        assert not law.finite_variance, inner
        assert law.own_units
    images = family.sample(range(64)).images
    middle, scale = family.pixel_moments(images)
    images[0] = 1e6
    assert family.pixel_moments(images)[1] == pytest.approx(scale, rel=0.1)
    assert abs(middle) < scale < 200
    monkeypatch.setattr(identities, "blind_rivals", lambda _: [])  # whose tuning takes its time
    inapplicable = [
        check for check in verify("levy:jumps=student,size=8", images=64, sigmas=[1.0]) if not check.applicable
    ]
    assert {check.identity[0] for check in inapplicable} == {"4", "7"}
    assert all("no" in check.detail and check.passed for check in inapplicable)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("levy:df=3", "df is a parameter of student jumps"),
        ("levy:jumps=gauss,rate=0.5", "rate is a parameter of bernoulli-laplace jumps"),
        ("levy:jumps=cauchy", "jumps=cauchy is not allowed"),
        ("levy:df=0.5,jumps=student", "df=0.5 is not allowed"),
        ("levy:scale=0", "scale=0 is not allowed"),
    ],
)
def test_parameters_that_are_not_allowed(spec, message):
    with pytest.raises(UsageError, match=message):
        made(spec)


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        ("levy:jumps=gauss,scale=0.5", stats.norm(scale=0.5)),
        ("levy:scale=2", stats.laplace(scale=2)),
        ("levy:df=1.5,jumps=student,scale=3", stats.t(1.5, scale=3)),
    ],
)
def test_signals_are_sums_of_jumps_of_their_law(spec, law):
    family = made(spec)
    batch = family.sample(range(64))
    jumps = batch.latents["jumps"]
    torch.testing.assert_close(batch.images[:, 0, 0], jumps.cumsum(dim=1).float())
    assert stats.kstest(jumps.flatten().numpy(), law.cdf).pvalue > 1e-3


def test_sparse_jumps_are_zero_as_often_as_stated():
    jumps = made("levy:jumps=bernoulli-laplace,rate=0.3").sample(range(64)).latents["jumps"].flatten().numpy()
    assert abs((jumps != 0).mean() - 0.3) < 4.5 * math.sqrt(0.21 / len(jumps))
    assert stats.kstest(jumps[jumps != 0], stats.laplace().cdf).pvalue > 1e-3
    images = made("levy:jumps=bernoulli-laplace").sample(range(8)).images
    assert float((images.diff(dim=-1) == 0).double().mean()) > 0.8, "constant pieces, exactly"


@pytest.mark.parametrize("kind", ["gauss", "laplace", "student", "bernoulli-laplace"])
def test_lattice_probabilities_sum_to_one_and_have_the_laws_moments(kind):
    law = JumpLaw(kind, 2.0, 9.0, 0.3)
    h = torch.tensor(0.25, dtype=torch.float64)
    m = torch.arange(-200_000, 200_001, dtype=torch.float64)
    p = law.log_weights(m, h).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    assert float(p @ (m * h).square()) == pytest.approx(law.variance, rel=1e-5)


def test_reach_bounds_the_sum_of_jumps():
    stream = np.random.default_rng(0)
    for kind in ("gauss", "laplace", "bernoulli-laplace"):
        law = JumpLaw(kind, 1.0, 1.0, 0.1)
        sums = np.abs(law.draw(stream, 400_000).reshape(-1, 16).sum(axis=1))
        assert sums.max() < law.reach(16) < 4 * sums.max()
