"""Methods of inverse problems: against laws where they are exact, against the exact posterior, on any operator."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.core import registry
from gahb_bench.core.conditional import normal
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.inverse import ChainMethod, Denoise, Task, repeated
from gahb_bench.core.operator import Measurement
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.posteriors.ensemble import systematic
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.sampling.posterior import extent

NAMES = [entry.name for entry in registry.entries("posteriors")]
SHORT = {"ensemble": "ensemble:particles=6,steps=4", "pnp": "pnp:steps=3"}
POINTS = "gmm:components=4,variant=points"


def setting(operator="mask:keep=0.5", law="calpha:size=8", images=2, sigma=0.2):
    problem = gb.problem(operator, law)
    measured = problem.measure(problem.family.sample(range(images), split="val"), sigma)
    return problem, measured


def short(name):
    return SHORT.get(name, f"{name}:steps=4")


def white(y, sigma):
    """The posterior mean of white images N(1/2, 1/4)."""
    return 0.5 + (y - 0.5) / (1 + 4 * sigma[:, None, None, None] ** 2)


@pytest.mark.parametrize("operator", ["mask:keep=0.5", "blur", "fourier", "downsample"])
@pytest.mark.parametrize("name", NAMES)
def test_any_operator_and_what_comes_out(name, operator):
    problem, measured = setting(operator)
    way = make.posterior_method(name)
    found = gb.sample_posterior(short(name), "mmse", problem, measured, samples=3)
    assert found.mean.shape == (2, 1, 8, 8)
    assert found.mean.dtype == measured.y.dtype
    assert found.mean.isfinite().all()
    expected = {"dps": 24, "pigdm": 24, "ensemble": 24, "pnp": 3}.get(name, 12)
    assert found.evaluations == expected
    assert (found.samples is None) == way.point
    if found.samples is not None:
        assert found.samples.shape == (3, 2, 1, 8, 8)
        torch.testing.assert_close(found.samples.mean(0), found.mean)


@pytest.mark.parametrize("name", NAMES)
def test_samples_depend_on_their_address_alone(name):
    problem, measured = setting(images=3)
    way = short(name)
    whole = gb.sample_posterior(way, "mmse", problem, measured, samples=3)
    part = gb.sample_posterior(way, "mmse", problem, measured.select([2, 0]), samples=3)
    torch.testing.assert_close(part.mean, whole.mean[[2, 0]], atol=1e-4, rtol=0)
    if whole.samples is None:
        return
    other = gb.sample_posterior(way, "mmse", problem, measured, samples=3, seed=1)
    assert other.samples is not None
    assert not torch.allclose(other.samples, whole.samples)
    if make.posterior_method(way).independent:
        fewer = gb.sample_posterior(way, "mmse", problem, measured, samples=2)
        torch.testing.assert_close(fewer.samples, whole.samples[:2], atol=1e-4, rtol=0)
        assert not torch.allclose(whole.samples[0], whole.samples[1])


@pytest.mark.parametrize("way", ["pigdm:steps=120", "pigdm:churn=0,steps=120", "ensemble:particles=400,steps=60"])
@pytest.mark.parametrize("operator", ["mask:keep=0.5,key=1", "blur:width=0.7"])
def test_white_gaussian_laws_by_dense_algebra(way, operator):
    """Where the posterior of a clean image is white, guidance is exact, and so is the led path of the ensemble."""
    operator = make.operator(operator)
    shape, s, k = (1, 1, 4), 0.3, 400
    y = torch.tensor([0.2, 1.4, 0.9, -0.3], dtype=torch.float64).reshape(1, *shape)
    y = operator.restrict(y)
    eye = torch.eye(4, dtype=torch.float64)
    A = torch.cat([operator.apply(row.reshape(1, *shape)).reshape(1, -1) for row in eye]).T
    posterior = torch.linalg.inv(A.T @ A / s**2 + 4 * eye)
    mean = posterior @ (A.T @ y.flatten() / s**2 + 4 * 0.5)
    law = gb.family("calpha:size=8")
    measured = Measurement(y, torch.tensor([s], dtype=torch.float64), operator, shape, (0,))

    def task(steps):
        return falling_levels(10.0, 0.002, steps).tolist()

    denoise = Denoise(gb.denoiser(white, sigma_as="tensor"), 1)
    tasks = repeated(measured, task, 0.5, 0.5, 0, law.spec)
    with torch.no_grad():
        drawn = make.posterior_method(way).draw(denoise, tasks, k)[:, 0].flatten(1)
    scale = posterior.diagonal().sqrt()
    assert ((drawn.mean(0) - mean).abs() < 5 * scale / k**0.5).all()
    spread = torch.cov(drawn.T)
    assert (spread - posterior).abs().max() < 6 * scale.max() ** 2 * (2 / k) ** 0.5


def energy_distance(samples, exact):
    a, b = (each.flatten(2).transpose(0, 1).double() for each in (samples, exact))
    within = [torch.cdist(each, each).sum((1, 2)) / (each.shape[1] * (each.shape[1] - 1)) for each in (a, b)]
    return float((2 * torch.cdist(a, b).mean((1, 2)) - within[0] - within[1]).mean())


def test_a_growing_ensemble_comes_down_to_the_exact_posterior_and_dps_does_not():
    problem, measured = setting("mask:keep=0.5", POINTS, images=12)
    posterior = problem.exact(measured)
    exact = posterior.sample(200, 1)
    ways = ["ensemble:particles=8,steps=60", "ensemble:particles=40,steps=60", "ensemble:particles=200,steps=60"]
    found = [gb.sample_posterior(way, "mmse", problem, measured, samples=100) for way in [*ways, "dps:steps=60"]]
    few, more, many, dps = (energy_distance(each.samples, exact) for each in found)
    assert few > 2 * more > 2 * many
    assert many < 0.008
    assert dps > 10 * many
    excess = float((found[2].mean - posterior.mean).square().mean())
    assert excess < 0.03 * float(posterior.variance.mean())


@pytest.mark.parametrize("way", ["pnp:steps=3", "red-diff:steps=4"])
def test_estimates_begin_in_the_range_of_images_where_the_pseudoinverse_is_noise(way):
    problem, measured = setting("blur:width=1.5", "calpha:size=16")
    assert problem.operator.pseudoinverse(measured.y).abs().max() > 100
    met = []

    def watched(y, sigma):
        met.append(float((y - 0.5).abs().amax()) / (1 + sigma))
        return torch.full_like(y, 0.5)

    gb.sample_posterior(way, watched, problem, measured, samples=2)
    assert max(met) < 6


def test_what_the_exact_denoiser_vouches_not_for_is_named():
    law = gb.family("disks:size=16")
    far = law.sample(range(2), split="val").images
    far = far + 50 * normal(1, [np.random.default_rng(0)] * 2, law.shape, far)[0]
    with pytest.raises(DenoiserError, match=r"mmse gives no finite estimate of 2 of the 2 .* certificate"):
        Denoise(gb.denoiser("mmse", law), 2)(far, 0.05)


def test_steps_against_the_misfit_are_in_the_units_of_the_images():
    """The same problem in other units: dps with images times 3, centred elsewhere, is the same path times 3."""
    operator, shape = make.operator("mask:keep=0.5"), (1, 4, 4)
    x = torch.from_numpy(np.random.default_rng(0).random((2, *shape)))
    paths, dps = [], make.posterior_method("dps:steps=3")
    assert isinstance(dps, ChainMethod)
    for scale in (1.0, 3.0):
        y = operator.apply(scale * (x - 0.5))
        measured = Measurement(y, torch.full((2,), 0.1 * scale, dtype=torch.float64), operator, shape, (0, 1))
        task = repeated(measured, lambda _, s=scale: [5 * s, s, 0.2 * s, 0.0], 0.0, 0.5 * scale, 0, "x")(1)

        def shrunk(noisy, sigma, scale=scale):
            return noisy / (1 + (sigma / (0.5 * scale)) ** 2)

        denoise = Denoise(gb.denoiser(shrunk), 2)
        paths.append(dps.run(denoise, task) / scale)
    torch.testing.assert_close(paths[0], paths[1])


def test_given_everything_pnp_is_the_plain_denoiser():
    problem, measured = setting("mask:keep=1")
    found = gb.sample_posterior("pnp:steps=1,weight=1e-6", "mmse", problem, measured)
    plain = gb.denoiser("mmse", problem.family)(measured.y, 0.2)
    torch.testing.assert_close(found.mean, plain)


def test_given_everything_the_ensemble_is_the_plain_posterior():
    problem, measured = setting("mask:keep=1", POINTS, images=8)
    found = gb.sample_posterior("ensemble:particles=300,steps=60", "mmse", problem, measured, samples=300)
    oracle = posterior_mean(problem.family)
    assert oracle is not None
    assert found.samples is not None
    plain = oracle.posterior(measured.y, 0.2)
    assert float((found.mean - plain.mean).square().mean()) < 0.05 * float(plain.variance.mean())
    assert float(found.samples.var(0).mean()) == pytest.approx(float(plain.variance.mean()), rel=0.15)


def test_the_pull_is_the_derivative_from_the_left():
    law = gb.family("gmm:size=4,components=3")
    x = torch.from_numpy(np.random.default_rng(0).random((4, 1, 4, 4)))
    u = torch.from_numpy(np.random.default_rng(1).standard_normal(x.shape))
    oracle = gb.denoiser("mmse", law)

    def callable_(y, sigma):
        return oracle(y, sigma)

    exact, auto = Denoise(oracle, 2), Denoise(gb.denoiser(callable_), 2)
    expected, pulled = exact.pull(x, 0.3, lambda _: u)
    found, by_autograd = auto.pull(x, 0.3, lambda x_hat: u + 0 * x_hat)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(by_autograd, pulled)
    assert exact.evaluations == auto.evaluations == 4


def test_the_proximal_point_is_the_least():
    problem, measured = setting("blur:width=1", sigma=0.3)
    measured = measured.to(torch.float64)
    task = Task(measured, lambda _: [], 0.5, 0.5, [])
    x = torch.from_numpy(np.random.default_rng(0).random((2, 1, 8, 8)))
    z = task.proximal(x, 0.2).requires_grad_()
    cost = (measured.y - problem.operator.apply(z)).square().sum() / 0.3**2 + (z - x).square().sum() / 0.2
    assert torch.autograd.grad(cost, z)[0].abs().max() < 1e-5


def test_systematic_resampling_takes_each_as_often_as_it_weighs():
    stream = np.random.default_rng(0)
    weights = torch.from_numpy(stream.dirichlet(np.ones(7), 3).T)
    place = systematic(weights, 50, torch.tensor([0.0, 0.5, 0.999]).double())
    counts = torch.stack([(place == p).sum(0) for p in range(7)])
    assert ((counts - 50 * weights).abs() < 1).all()


def test_units_of_ones_own():
    assert extent(gb.family("calpha:size=8")) == (0.5, 0.5)
    law = gb.family("levy:jumps=gauss,size=16")
    centre, spread = extent(law)
    assert abs(centre) < 1
    assert 1.5 < spread < 4
    problem, measured = setting("mask:keep=0.7", law.spec, images=30, sigma=0.5)
    posterior = problem.exact(measured)
    found = gb.sample_posterior("diffpir:steps=40", "mmse", problem, measured, samples=8)
    assert float((found.mean - posterior.mean).square().mean()) < float(posterior.variance.mean())


def _detached(y, sigma):
    return torch.from_numpy(y.detach().numpy())


def _lost(y, sigma):
    return torch.full_like(y, torch.nan)


def test_bad_input_is_explained():
    problem, measured = setting()
    draw = gb.sample_posterior
    with pytest.raises(UsageError, match="unknown posterior 'dqs'; did you mean 'dps'"):
        draw("dqs", "mmse", problem, measured)
    with pytest.raises(UsageError, match="steps=1 is not allowed"):
        draw("dps:steps=1", "mmse", problem, measured)
    with pytest.raises(UsageError, match="samples=0"):
        draw("dps", "mmse", problem, measured, samples=0)
    with pytest.raises(UsageError, match="seed=-1"):
        draw("dps", "mmse", problem, measured, seed=-1)
    with pytest.raises(UsageError, match="knows the image"):
        draw("dps", "ideal", problem, measured)
    with pytest.raises(UsageError, match=r"nlm.* has no derivative J' u .*ensemble"):
        draw("dps:steps=2", gb.denoiser("nlm:h=0.8", problem.family, tune=False), problem, measured)
    with pytest.raises(DenoiserError, match="cannot be differentiated automatically"):
        draw("pigdm:steps=2", _detached, problem, measured)
    with pytest.raises(DenoiserError, match="finite"):
        draw("diffpir:steps=2", _lost, problem, measured)
    with pytest.raises(UsageError, match="measured by mask"):
        draw("dps", "mmse", gb.problem("blur", problem.family), measured)
    nothing = draw("diffpir:steps=2", "mmse", problem, measured.select([]), samples=2)
    assert nothing.samples is not None
    assert nothing.samples.shape == (2, 0, 1, 8, 8)


def test_noise_comes_from_the_streams():
    _, measured = setting()
    tasks = repeated(measured, lambda _: [1.0, 0.0], 0.5, 0.5, 0, "x")
    first, again = tasks(2).start(2.0), tasks(2).start(2.0)
    assert torch.equal(first, again)
    expected = normal(1, tasks(2).streams, measured.shape, measured.y)[0]
    torch.testing.assert_close(first, 0.5 + 2 * expected)
