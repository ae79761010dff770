"""Disks given what an operator shows of them: sums by brute force, moments by importance sampling, samples."""

import functools
import math

import numpy as np
import pytest
import scipy.integrate
import torch
from calibration import p_values

import gahb_bench as gb
from gahb_bench.channels.mask import Mask
from gahb_bench.core import rng
from gahb_bench.families.disks.draws import draw_intensities
from gahb_bench.families.disks.grid import grid
from gahb_bench.families.disks.intensities import Statistics, integrate
from gahb_bench.families.disks.law import render
from gahb_bench.families.disks.manifold import manifold
from gahb_bench.families.disks.view import SeenGrid, View, well_posed

SMALL = "disks:size=16"
CPU = torch.device("cpu")
OPERATORS = ["mask:keep=0.3", "mask:pattern=block,keep=0.5", "blur:width=2", "fourier:keep=0.1", "downsample:factor=4"]


@pytest.mark.parametrize("edge", [1.0, 1.5])  # wider edges leave the image: templates then do not wrap around
@pytest.mark.parametrize("spec", OPERATORS)
def test_sums_of_what_is_seen_of_every_node(spec, edge):
    family = gb.family(f"{SMALL},edge={edge}")
    operator = gb.problem(spec, family).operator
    plain, view = grid(family, CPU, 0), View(operator, family, CPU)
    y = torch.from_numpy(rng.generator("seen").standard_normal((2, *operator.measured_shape(family.shape))))
    y = operator.restrict(y)
    found = SeenGrid(plain, view).statistics(y.flatten(1), torch.tensor([1e-6, 1e-6], dtype=torch.float64))
    m = manifold(family, CPU).mask(plain.nodes[0, ::97]).reshape(-1, *family.shape)
    M, one = operator.apply(m).flatten(1), operator.apply(torch.ones_like(m)).flatten(1)
    rest = one - M
    flat = y.flatten(1)
    expected = (flat @ M.T, flat @ rest.T, (M * M).sum(1), (M * rest).sum(1), (rest * rest).sum(1))
    for value, brute in zip(found, expected, strict=True):
        torch.testing.assert_close(value[:, ::97], brute.expand(2, -1), atol=1e-9, rtol=1e-7)


@functools.cache
def draws_of_prior(family, count):
    """Images of the law, ``(count, N^2)``."""
    low, high = family.bounds.T
    theta = low + rng.generator("seen prior").random((count, 5)) * (high - low)
    parts = [render(part, family.size, family.edge) for part in np.array_split(theta, 20)]
    return torch.from_numpy(np.concatenate(parts)).reshape(count, -1)


def by_importance(problem, measured, x):
    """Mean, its expected squared error, summed variance, evidence: from images of the prior, image by image."""
    seen = torch.cat([problem.operator.apply(part.reshape(-1, *measured.shape)) for part in x.split(5000)]).flatten(1)
    for i in range(len(measured)):
        one = measured.select([i])
        sigma, count = float(one.sigma[0]), int(one.operator.count(one.shape)[0])
        log = -(seen - one.y.flatten()).square().sum(1) / (2 * sigma**2)
        weight = torch.softmax(log, 0)
        mean = weight @ x
        off = (x - mean).square().sum(1)
        evidence = torch.logsumexp(log, 0) - math.log(len(x)) - count / 2 * math.log(2 * math.pi * sigma**2)
        yield mean, weight.square() @ off, weight @ off, evidence, float(weight.square().sum())


@pytest.mark.parametrize("spec", OPERATORS)
def test_moments_by_importance_sampling(spec):
    family = gb.family(SMALL)
    problem = gb.problem(spec, family)
    measured = problem.measure(family.sample(range(2), split="val"), torch.tensor([0.7, 2.0])).to(torch.float64)
    found = problem.exact(measured)
    x = draws_of_prior(family, 15_000)
    samples = found.sample(20, seed=3)
    for i, (mean, error, variance, evidence, share) in enumerate(by_importance(problem, measured, x)):
        off = (found.mean[i].flatten() - mean).square().sum()
        assert off < 12 * error  # its expectation is one, of few degrees of freedom
        relative = 6 * share**0.5
        assert float(found.pixel_variance[i].sum()) == pytest.approx(float(variance), rel=relative)
        assert float(found.variance[i]) * 256 == pytest.approx(float(variance), rel=relative)
        assert float(found.log_evidence[i]) == pytest.approx(float(evidence), abs=relative)
        away = (samples[:, i].mean(0) - found.mean[i]).square().sum()
        assert away < 12 * found.pixel_variance[i].sum() / 20


def test_a_disk_that_is_hidden_altogether():
    """Where nothing of the disk is seen, its place and intensity are as the prior has them, and the background not."""
    family = gb.family(SMALL)
    pixels = torch.zeros(1, 1, 16, 16)
    pixels[..., 0] = 1  # no disk reaches this column
    problem = gb.problem(Mask().given(pixels), family)
    measured = problem.measure(family.sample(range(2)), 0.05).to(torch.float64)
    found = problem.exact(measured)
    b = measured.y[:, 0, :, 0].mean(1)
    m = draws_of_prior(gb.family(f"{SMALL},vary=translate+scale"), 20_000).mean(0)  # f = 1, b = 0: the mask
    expected = b[:, None] + (0.5 - b)[:, None] * m
    torch.testing.assert_close(found.mean.flatten(1), expected, atol=0.015, rtol=0)
    spread = found.sample(200)[:, :, 0, 8, 8].std(0)
    torch.testing.assert_close(spread, found.pixel_variance[:, 0, 8, 8].sqrt(), atol=0, rtol=0.2)
    assert (spread > 0.15).all()


def test_masks_of_each_image_are_conditioned_one_by_one():
    family = gb.family(SMALL)
    pixels = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)) < 0.5
    problem = gb.problem(Mask().given(pixels), family)
    measured = problem.measure(family.sample(range(2)), 1.0).to(torch.float64)
    found = problem.exact(measured)
    for i in range(2):
        alone = gb.problem(Mask().given(pixels[i : i + 1]), family)
        one = alone.measure(family.sample([i]), 1.0).to(torch.float64)
        torch.testing.assert_close(alone.exact(one).mean[0], found.mean[i], atol=1e-10, rtol=0)
        torch.testing.assert_close(alone.exact(one).sample(2)[:, 0], found.sample(2)[:, i], atol=1e-8, rtol=0)


CASES = [
    (30.0, 5.0, 60.0, 4.0, 200.0),
    (17.0, 13.5, 20.0, 15.0, 12.0),
    (0.2, 40.0, 1e-9, 0.0, 80.0),
    (0.0, 0.0, 0.0, 0.0, 0.0),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sigma", [0.3, 2.0])
def test_intensities_by_quadrature_also_where_they_are_hardly_seen(case, sigma):
    level = torch.tensor([sigma], dtype=torch.float64)
    stats = Statistics(*(torch.tensor([[value]], dtype=torch.float64) for value in case))
    stats = Statistics(*(value[0] for value in well_posed(stats, level)))
    found = integrate(stats, level, vary_f=True, vary_b=True)
    u, v, A, B, C = case
    f = np.linspace(0, 1, 1501)
    log = (2 * u * f[:, None] + 2 * v * f - A * f[:, None] ** 2 - 2 * B * f[:, None] * f - C * f**2) / (2 * sigma**2)
    top = log.max()
    density = np.exp(log - top)

    def total(values):
        return scipy.integrate.simpson(scipy.integrate.simpson(values, x=f), x=f)

    mass = total(density)
    assert float(found.log_mass) == pytest.approx(np.log(mass) + top, abs=2e-5)
    mean_f, mean_b = total(density * f[:, None]) / mass, total(density * f) / mass
    assert float(found.f) == pytest.approx(mean_f, abs=2e-5)
    assert float(found.b) == pytest.approx(mean_b, abs=2e-5)
    assert float(found.fb) == pytest.approx(total(density * f[:, None] * f) / mass, abs=2e-5)
    many = Statistics(*(value.expand(4000) for value in stats))
    drawn = draw_intensities(
        many, level.expand(4000), torch.from_numpy(rng.generator("u").random((4000, 2))), True, True
    )
    products = torch.stack([*drawn, drawn[0] * drawn[1]]).numpy()
    exact = [mean_f, mean_b, total(density * f[:, None] * f) / mass]
    assert (np.abs(products.mean(1) - exact) < 4.5 * products.std(1) / 4000**0.5 + 1e-5).all()


def test_samples_are_calibrated():
    assert p_values(gb.problem("mask:keep=0.5", f"{SMALL},vary=translate+foreground"), 40, 1.0, samples=3).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vary", "spec", "sigma", "images"),
    [
        ("scale+foreground+background", "mask:pattern=columns,keep=0.4", 0.3, 500),
        ("scale+foreground+background", "blur:width=2", 1.0, 500),
        ("translate+scale+foreground+background", "mask:keep=0.3", 2.0, 100),
    ],
)
def test_samples_are_calibrated_on_many_images(vary, spec, sigma, images):
    samples = 19 if images == 500 else 4
    assert p_values(gb.problem(spec, f"{SMALL},vary={vary}"), images, sigma, samples).min() > 1e-3
