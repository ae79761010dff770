"""What every denoiser states of its derivative is measured."""

import foreign_files
import pytest
import torch
from jaxtyping import TypeCheckError

import gahb_bench as gb
from gahb_bench.core import registry, rng
from gahb_bench.core.errors import MissingPackageError, UsageError
from gahb_bench.core.posterior import inform, posterior_mean
from gahb_bench.geometry import Linearised, asymmetry, derivative_error, jacobian

LAWS = (
    "calpha:size=16",
    "besov:size=16",
    "gmm:size=16",
    "gmm:variant=points",
    "hierarchy:depth=4",
    "hierarchy:depth=4,rules=grammar",
    "markov-contours:size=16",
    "markov-contours:alpha=1.5,size=8",
    "levy:size=16",
    "levy:jumps=bernoulli-laplace,size=16",
    "levy:jumps=gauss,size=16",
    "disks:size=16",
    "calpha-contours:size=16",
    "shuffled:of=(gmm:size=16)",
    "coloured:of=(besov:size=16)",
)
EXACT = tuple(law for law in LAWS if posterior_mean(gb.family(law)) is not None)
# Relative error allowed beside a central difference: tables of exponentials, a search, float32.
ALLOWED = {"nlm": 0.5, "projection": 0.1}
NETWORKS = 0.02
SMOOTH = 1e-3


def _oracles():
    for law in LAWS:
        for oracle in gb.family(law).optimum.oracles:
            yield pytest.param(law, oracle.name, id=f"{law}-{oracle.name}")


def _direction(y):
    return torch.from_numpy(rng.generator("test-derivative").standard_normal(tuple(y.shape)))


def _measure(denoiser, batch, sigma):
    y = gb.add_noise(batch, sigma).double()
    if denoiser.derivative == "none":
        with pytest.raises(UsageError, match="no derivative"):
            Linearised(denoiser, y, sigma)
        return 0.0
    if denoiser.derivative == "difference":  # beside that of a step ten times and more smaller
        v = _direction(y)[:, None]
        whole = Linearised(denoiser, y, sigma, "difference").right(v)
        near = (denoiser(y + 1e-3 * sigma * v[:, 0], sigma) - denoiser(y - 1e-3 * sigma * v[:, 0], sigma)) / (
            2e-3 * sigma
        )
        return float((whole[:, 0] - near).norm() / near.norm())
    single = denoiser.knows == "training set" or denoiser.facts.brought  # float32; else between two thresholds
    return derivative_error(denoiser, y, sigma, step=1e-2 if single or not getattr(denoiser, "smooth", True) else 1e-6)


@pytest.mark.parametrize(("law", "name"), list(_oracles()))
def test_oracles(law, name):
    family = gb.family(law)
    batch = family.sample(range(2), split="val")
    try:
        denoiser = inform(gb.denoiser(name, family), batch)
    except UsageError:
        pytest.skip("not of this variant")
    smooth = getattr(denoiser, "smooth", True)
    assert _measure(denoiser, batch, 0.3) < (ALLOWED.get(name, SMOOTH) if smooth else 0.1)


@pytest.mark.parametrize("name", [entry.name for entry in registry.entries("denoisers")])
def test_denoisers(name, tmp_path):
    family = gb.family("calpha:size=32")
    batch = family.sample(range(2), split="val")
    try:
        denoiser = inform(gb.denoiser(foreign_files.spec(name, tmp_path), family, tune=False), batch)
    except MissingPackageError:
        pytest.skip("not installed")
    error = _measure(denoiser, batch, 0.3)
    trained = denoiser.knows == "training set"
    assert error < ALLOWED.get(name, NETWORKS if trained or denoiser.facts.brought else SMOOTH)


@pytest.mark.parametrize("name", [entry.name for entry in registry.entries("networks")])
def test_networks_under_torch_func(name):
    """Forward and backward mode are adjoint to each other, and agree with a difference, for every architecture."""
    torch.manual_seed(0)
    module = gb.network(name).build((1, 16, 16), 0.5, 0.25).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, dtype=torch.float64))
    y, sigma = torch.rand(2, 1, 16, 16, dtype=torch.float64), torch.tensor([0.1, 0.3], dtype=torch.float64)
    module.requires_grad_(False)
    u, v = _direction(y), _direction(y.flip(0)).flip(-1)
    found, forward = torch.func.jvp(lambda noisy: module(noisy, sigma), (y,), (v,))
    _, pull = torch.func.vjp(lambda noisy: module(noisy, sigma), y)
    assert float((u * forward).sum()) == pytest.approx(float((pull(u)[0] * v).sum()), rel=1e-9)
    near = (module(y + 1e-7 * v, sigma) - module(y - 1e-7 * v, sigma)) / 2e-7
    assert float((forward - near).norm() / near.norm()) < 1e-4
    assert found.shape == y.shape


def test_bregman_has_a_derivative_and_chambolle_has_none():
    family = gb.family("calpha:size=16")
    assert gb.denoiser("tv", family, tune=False).derivative == "none"
    denoiser = gb.denoiser("tv:solver=bregman", family, tune=False)
    assert denoiser.derivative == "difference"
    assert _measure(denoiser, family.sample(range(2)), 0.1) < 0.05


@pytest.mark.parametrize("law", EXACT)
@pytest.mark.parametrize("sigma", [0.1, 0.5])
def test_jacobians_of_exact_posterior_means_are_symmetric(law, sigma):
    family = gb.family(law)
    y = gb.add_noise(family.sample([0], split="val"), sigma).double()
    assert float(asymmetry(jacobian(posterior_mean(family), y, sigma))) < 1e-6


@pytest.mark.parametrize("law", [law for law in EXACT if posterior_mean(gb.family(law)).smooth])
def test_covariance_is_the_derivative(law):
    """Forward and backward differentiation, `torch.func` and Cov(x|y)/sigma^2: four routes to one thing."""
    family = gb.family(law)
    oracle = posterior_mean(family)
    sigma = 0.3
    y = gb.add_noise(family.sample([3], split="val"), sigma).double()
    v = _direction(y)
    exact = oracle.covariance(y, sigma, v) / sigma**2
    forward = torch.func.jvp(lambda noisy: oracle(noisy, sigma), (y,), (v,))[1]
    noisy = y.clone().requires_grad_()
    backward = torch.autograd.grad(oracle(noisy, sigma), noisy, v)[0]
    _, pull = torch.func.vjp(lambda noisy: oracle(noisy, sigma), y)
    whole = torch.func.vmap(lambda row: pull(row)[0])(torch.eye(y.numel()).double().reshape(-1, *y.shape))
    close = {"rtol": 1e-7, "atol": 1e-10}
    torch.testing.assert_close(forward, exact, **close)
    torch.testing.assert_close(backward, exact, **close)
    torch.testing.assert_close((whole.reshape(y.numel(), -1) @ v.flatten()).reshape(y.shape), exact, **close)


TINY = (
    ("calpha:size=8", 1.0),
    ("besov:size=8,wavelet=haar", 1.5),
    ("gmm:size=4", 0.3),
    ("gmm:variant=points", 0.3),
    ("gmm:variant=scales,between=0.3,components=3,size=4,within=0.1", 1.0),
    ("hierarchy:depth=2,symbols=3", 0.9),
    ("hierarchy:depth=2,rules=grammar,symbols=3,productions=2", 0.6),
    ("markov-contours:size=8", 1.5),
    ("markov-contours:alpha=1.5,size=8", 1.5),
    ("levy:jumps=bernoulli-laplace,size=4", 1.0),
    ("levy:df=3,jumps=student,size=2", 2.0),
    ("disks:size=16", 3.0),
    ("shuffled:of=(calpha:size=8)", 1.0),
    ("coloured:of=(hierarchy:depth=1)", 0.6),
)


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "sigma"), TINY)
def test_covariance_is_that_of_images_drawn_from_the_law_and_weighted(spec, sigma):
    """Brute force: u' Cov(x|y) v by 40,000 images of the law, each weighted by its likelihood; z-scores."""
    family = gb.family(spec)
    images = family.sample(range(40_000), seed=1, split="val").images.double().flatten(1)
    y = gb.add_noise(family.sample(range(4)), sigma).double()
    u, v = _direction(y), _direction(y.flip(0)).flip(-1)
    found = (u * posterior_mean(family).covariance(y, sigma, v)).sum(dim=(1, 2, 3))
    for i in range(4):
        weights = (-(images - y[i].flatten()).square().sum(dim=1) / (2 * sigma**2)).softmax(dim=0)
        assert float(1 / weights.square().sum()) > 300, "too few images carry the weight"
        a, b = (images @ direction[i].flatten() for direction in (u, v))
        product = (a - weights @ a) * (b - weights @ b)
        expected = weights @ product
        error = (weights.square() @ (product - expected).square()).sqrt()
        assert abs(float((found[i] - expected) / error)) < 4.5


def test_directions_of_the_wrong_shape_are_refused():
    family = gb.family("calpha:size=8")
    y = gb.add_noise(family.sample(range(2)), 0.1)
    oracle = gb.denoiser("mmse", family=family)
    with pytest.raises((UsageError, TypeCheckError)):  # whichever looks first: types are checked while tests run
        oracle.covariance(y, 0.1, y[..., :4])
    with pytest.raises(UsageError, match="sigma"):
        oracle.covariance(y, -1.0, y)
    assert oracle.covariance(y, torch.tensor([0.1, 0.2]), y).dtype == y.dtype
    assert oracle.covariance(y[:0], 0.1, y[:0]).shape == (0, 1, 8, 8)
