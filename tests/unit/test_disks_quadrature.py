"""The parts of the oracle of ``disks``, each against mathematics done another way."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gahb_bench.families.disks import intensities, local
from gahb_bench.families.disks.grid import Grid, grid
from gahb_bench.families.disks.law import Disks, render
from gahb_bench.families.disks.manifold import manifold
from gahb_bench.families.disks.projection import refine

CPU = torch.device("cpu")


def disks(**parameters: object) -> Disks:
    """A family of disks."""
    return Disks.from_parameters(parameters)


def statistics(size: int, sigma: float, f: float, b: float, seed: int) -> tuple[float, float, float, float, float]:
    """Sums that a noisy disk of radius 3N/16 could have."""
    r = 3 * size / 16
    A, B = math.pi * r**2, 0.6 * math.pi * r
    C = size**2 - A - 2 * B
    z = np.random.default_rng(seed).standard_normal(2)
    return A * f + B * b + sigma * math.sqrt(A) * z[0], B * f + C * b + sigma * math.sqrt(C) * z[1], A, B, C


def square_by_panels(u: float, v: float, A: float, B: float, C: float, s: float) -> list[float]:
    """Log Z and moments by 30 panels of 20 Gauss-Legendre nodes an axis, around the constrained maximum."""
    x, w = np.polynomial.legendre.leggauss(20)

    def panels(middle: float, sd: float) -> tuple[np.ndarray, np.ndarray]:
        low, high = max(0.0, min(1.0, middle) - 12 * sd), min(1.0, max(0.0, middle) + 12 * sd)
        ends = np.linspace(low, high, 31)
        half, mid = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
        return (mid[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()

    det = A * C - B * B
    f, wf = panels((u * C - v * B) / det, s / math.sqrt(A))
    b, wb = panels((v * A - u * B) / det, s / math.sqrt(C))
    f, b = f[:, None], b[None, :]
    exponent = (2 * u * f + 2 * v * b - A * f**2 - 2 * B * f * b - C * b**2) / (2 * s**2)
    p = np.exp(exponent - exponent.max()) * wf[:, None] * wb
    total = p.sum()
    moments = [float((p * value).sum() / total) for value in (f, b, f * f, b * b, f * b)]
    return [float(exponent.max() + np.log(total)), *moments]


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("sigma", [0.003, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(("f", "b"), [(0.5, 0.4), (0.0, 1.0), (0.01, 0.5), (0.5, 0.99), (0.02, 0.01)])
def test_intensities_are_integrated_to_1e_6(size: int, sigma: float, f: float, b: float) -> None:
    values = statistics(size, sigma, f, b, seed=1)
    stats_ = intensities.Statistics(*(torch.tensor([value], dtype=torch.float64) for value in values))
    level = torch.tensor([sigma], dtype=torch.float64)
    law = intensities.integrate(stats_, level, True, True)
    truth = square_by_panels(*values, sigma)
    sd = math.sqrt(truth[3] - truth[1] ** 2)
    assert float(law.log_mass) == pytest.approx(truth[0], abs=1e-6, rel=1e-13)
    for found, true in zip((law.f, law.b, law.ff, law.bb, law.fb), truth[1:], strict=True):
        assert abs(float(found) - true) < 1e-5 * sd
    bound, *_ = intensities.upper_bound(stats_, level, True, True)
    assert float(bound) >= float(law.log_mass) - 1e-6
    assert float(bound) < float(law.log_mass) + 20


def test_one_intensity_alone() -> None:
    u, v, A, B, C = (torch.tensor([value], dtype=torch.float64) for value in statistics(16, 0.5, 0.9, 0.3, seed=2))
    s = torch.tensor([0.5], dtype=torch.float64)
    t = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    only_f = intensities.integrate(intensities.Statistics(u, v, A, B, C), s, True, False)
    density = torch.exp((2 * u * t - A * t * t) / (2 * s * s))
    assert float(only_f.log_mass.exp()) == pytest.approx(float(torch.trapezoid(density, t)), rel=1e-8)
    assert float(only_f.ff) == pytest.approx(float(torch.trapezoid(density * t * t, t) / torch.trapezoid(density, t)))
    only_b = intensities.integrate(intensities.Statistics(u, v, A, B, C), s, False, True)
    density = torch.exp((2 * u + 2 * v * t - A - 2 * B * t - C * t * t) / (2 * s * s))
    assert float(only_b.log_mass.exp()) == pytest.approx(float(torch.trapezoid(density, t)), rel=1e-8)
    assert float(only_b.fb) == float(only_b.b)
    assert float(only_b.b) == pytest.approx(float(torch.trapezoid(density * t, t) / torch.trapezoid(density, t)))


@pytest.mark.parametrize("mean", [-300.0, -8.0, -0.5, 0.3, 0.7, 1.2, 40.0])
@pytest.mark.parametrize("sd", [0.01, 0.3, 5.0, 1000.0])
def test_truncated_normal_in_the_tails(mean: float, sd: float) -> None:
    found = intensities.truncated_normal(*(torch.tensor([value], dtype=torch.float64) for value in (mean, sd)))
    near = min(max(mean, 0.0), 1.0)  # the mass is within 50 decay lengths of here
    reach = min(12 * sd, 50 * sd**2 / abs(mean - near)) if mean != near else 12 * sd
    x, w = np.polynomial.legendre.leggauss(20)
    ends = np.linspace(max(0.0, near - reach), min(1.0, near + reach), 201)
    half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
    t, w = (middle[:, None] + half[:, None] * x).ravel(), (half[:, None] * w).ravel()
    log_density = stats.norm.logpdf(t, mean, sd)
    p = np.exp(log_density - log_density.max()) * w
    assert float(found[0]) == pytest.approx(log_density.max() + np.log(p.sum()), rel=1e-12, abs=1e-10)
    rounding = 1e-13 * (1 + mean**2 + sd**2)
    assert float(found[1]) == pytest.approx((p * t).sum() / p.sum(), rel=1e-10, abs=rounding)
    assert float(found[2]) == pytest.approx((p * t * t).sum() / p.sum(), rel=1e-10, abs=rounding)


def masks_of(rule: Grid, index: Tensor, edge: float) -> Tensor:
    """Masks of some nodes of a grid, rendered by the family's own code."""
    nodes = rule.nodes[0, index].numpy()
    theta = np.concatenate([nodes, np.ones((len(nodes), 1)), np.zeros((len(nodes), 1))], axis=1)
    return torch.from_numpy(render(theta, rule.model.size, edge).reshape(len(nodes), -1))


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize(
    "spec",
    [
        disks(size=17, edge=1.0),
        disks(size=24, edge=3.0),
        disks(size=16, edge=1.0, vary=("translate",)),
        disks(size=16, edge=1.0, vary=("scale", "foreground")),
        disks(size=16, edge=1.0, vary=("foreground",)),
    ],
    ids=str,
)
def test_grid_correlates_with_the_masks_of_its_nodes(spec: Disks, level: int) -> None:
    rule = grid(spec, CPU, level)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2, spec.size**2, dtype=torch.float64, generator=generator)
    count = rule.nodes.shape[1]
    index = torch.randint(count, (40,), generator=generator)
    m = masks_of(rule, index, spec.edge)
    torch.testing.assert_close(rule.scan(y)[:, index], y @ m.T, atol=1e-10, rtol=1e-10)
    for name, values in (("A", m**2), ("B", m * (1 - m)), ("C", (1 - m) ** 2)):
        torch.testing.assert_close(getattr(rule, name)[0, index], values.sum(1), atol=1e-9, rtol=1e-9)
    weights = torch.zeros(2, count, dtype=torch.float64)
    weights[0, index[0]], weights[1, index[1]] = 2.0, -1.0
    expected = torch.stack([2 * m[0], -m[1]])
    squares = torch.stack([2 * m[0] ** 2, -(m[1] ** 2)])
    first, second = rule.gather(weights)
    torch.testing.assert_close(first + second, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(rule.gather_squares(weights), squares, atol=1e-10, rtol=0)
    held = rule.second[index[:2], None]
    torch.testing.assert_close(second, torch.where(held, expected, 0.0), atol=1e-10, rtol=0)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_grid_tiles_the_prior_and_each_of_its_lattices_does(level: int) -> None:
    family = disks(size=32)
    rule = grid(family, CPU, level)
    low, high = (torch.from_numpy(end)[:3] for end in family.bounds.T.copy())
    uniform = (rule.nodes[0] - low) / (high - low)
    assert float(rule.log_weight.exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(uniform.min()) > 0
    assert float(uniform.max()) < 1
    torch.testing.assert_close(uniform.mean(0), torch.full((3,), 0.5, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(uniform.var(0), torch.full((3,), 1 / 12, dtype=torch.float64), atol=0, rtol=0.02)
    assert int(rule.second.sum()) * 2 == len(uniform)
    part = rule.between(5.0, 6.0)
    kept = (rule.nodes[0, :, 2] >= 5) & (rule.nodes[0, :, 2] <= 6)
    assert torch.equal(part.nodes[0], rule.nodes[0, kept])
    y = torch.randn(1, 32**2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(part.scan(y), rule.scan(y)[:, kept])


@pytest.mark.parametrize("shift", [(8.0, 8.0, 3.0), (5.02, 8.0, 3.9), (4.9, 10.05, 2.03)])
def test_lattice_integrates_a_normal_law_cut_to_the_prior(shift: tuple[float, float, float]) -> None:
    """The weights times the normal density sum to its mass in the box, and to its moments there."""
    model = manifold(disks(size=16), CPU)
    root = torch.tensor([[0.2, 0, 0], [0.05, 0.15, 0], [0.04, -0.06, 0.1]], dtype=torch.float64)
    center = torch.tensor([shift], dtype=torch.float64)
    ball = local.ball(3, 1.0, CPU)
    nodes, log_weight = local.lattice_nodes(model, center, (root @ root.T)[None], ball)
    law = stats.multivariate_normal(mean=np.array(shift), cov=(root @ root.T).numpy())  # pyright: ignore[reportArgumentType]
    weight = log_weight[0].exp().numpy() * model.volume * law.pdf(nodes[0].numpy())
    draws = law.rvs(400_000, random_state=0)
    inside = ((draws >= model.low[:3].numpy()) & (draws <= model.high[:3].numpy())).all(1)
    mass = inside.mean()
    assert weight.sum() == pytest.approx(mass, abs=5 * math.sqrt(mass * (1 - mass) / len(draws)) + 1e-4)
    mean = (weight[:, None] * nodes[0].numpy()).sum(0) / weight.sum()
    error = draws[inside].std(0) / math.sqrt(inside.sum())
    np.testing.assert_array_less(np.abs(mean - draws[inside].mean(0)), 5 * error + 1e-4)
    halves = [float(part.sum()) for part in np.split(weight, [ball.split])]
    assert halves[0] == pytest.approx(halves[1], rel=0.05)


def test_local_rule_correlates_with_the_masks_of_its_nodes() -> None:
    family = disks(size=20, edge=1.5)
    model = manifold(family, CPU)
    generator = torch.Generator().manual_seed(0)
    center = torch.tensor([[8.0, 9.5, 3.0], [11.0, 10.0, 4.5]], dtype=torch.float64)
    nodes = center[:, None] + 0.4 * torch.randn(2, 7, 3, dtype=torch.float64, generator=generator)
    rule = local.EdgeRule(model, center, nodes, torch.zeros(2, 7, dtype=torch.float64), split=3)
    y = torch.randn(2, 400, dtype=torch.float64, generator=generator)
    for image in range(2):
        theta = np.concatenate([nodes[image].numpy(), np.tile([1.0, 0.0], (7, 1))], axis=1)
        m = torch.from_numpy(render(theta, 20, 1.5).reshape(7, -1))
        torch.testing.assert_close(rule.scan(y)[image], m @ y[image])
        torch.testing.assert_close(rule.A[image], (m**2).sum(1))
        torch.testing.assert_close(rule.C[image], ((1 - m) ** 2).sum(1))
        weights = torch.rand(2, 7, dtype=torch.float64, generator=generator)
        torch.testing.assert_close(rule.gather(weights)[0, image], weights[image, :3] @ m[:3])
        torch.testing.assert_close(rule.gather(weights)[1, image], weights[image, 3:] @ m[3:])
        torch.testing.assert_close(rule.gather_squares(weights)[image], weights[image] @ m**2)


def test_tangent_vectors_are_the_derivatives_of_the_image() -> None:
    model = manifold(disks(size=16), CPU)
    theta = torch.tensor([[7.3, 8.1, 2.9, 0.8, 0.3]], dtype=torch.float64)
    x, J = model.tangent(theta)
    torch.testing.assert_close(x, model.render(theta))
    h = 1e-6
    for axis in range(5):
        step = torch.zeros_like(theta)
        step[0, axis] = h
        difference = (model.render(theta + step) - model.render(theta - step)) / (2 * h)
        torch.testing.assert_close(J[:, axis], difference, atol=1e-7, rtol=1e-6)


def test_fitting_never_leaves_the_box_and_never_goes_uphill() -> None:
    model = manifold(disks(size=16), CPU)
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(20, 256, dtype=torch.float64, generator=generator)
    start = model.low + torch.rand(20, 5, dtype=torch.float64, generator=generator) * (model.high - model.low)
    fit = refine(model, y, start, torch.zeros(20, dtype=torch.float64))
    assert bool(((fit.theta >= model.low) & (fit.theta <= model.high)).all())
    assert bool((fit.rss <= ((y - model.render(start)) ** 2).sum(1)).all())
    torch.testing.assert_close(fit.rss, ((y - model.render(fit.theta)) ** 2).sum(1))
