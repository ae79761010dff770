"""Inverse problems: what is measured; exact posteriors against dense algebra, enumeration, the plain denoiser."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from calibration import p_values

import gahb_bench as gb
from gahb_bench.channels.blur import Blur
from gahb_bench.channels.mask import Mask
from gahb_bench.core.errors import UsageError
from gahb_bench.families.hierarchy.check import _patch_law
from gahb_bench.families.markov_contours.check import every_path, tiny_chain
from gahb_bench.families.stationary import DenseField, dense_covariance

SIGMAS = torch.tensor([0.05, 0.3, 0.05], dtype=torch.float64)
GAUSSIAN = ["calpha:size=8", "gmm:size=6,components=4,between=0.05,within=0.1", "gmm:variant=points,within=0.1"]
OPERATORS = ["mask:keep=0.4", "mask:pattern=block,keep=0.6", "blur:width=0.7", "blur:width=3", "fourier:keep=0.3"]
LAWS = ["calpha:size=16", "gmm:size=16", "hierarchy:depth=4", "markov-contours:size=16", "disks:size=16"]


def measure(problem, images=3, sigma=SIGMAS):
    return problem.measure(problem.family.sample(range(images), split="val"), sigma).to(torch.float64)


def compare(found, expected, tolerance):
    """Mean, variance of pixels and evidence with those of another route."""
    mean, variance, evidence = expected
    np.testing.assert_allclose(found.mean.flatten(1), mean, atol=tolerance)
    np.testing.assert_allclose(found.pixel_variance.flatten(1), variance, atol=tolerance)
    np.testing.assert_allclose(found.variance, variance.mean(1), atol=tolerance)
    np.testing.assert_allclose(found.log_evidence, evidence, atol=100 * tolerance, rtol=1e-9)


def dense_matrix(measured):
    """An orthonormal basis of what is measured, times A, and the numbers measured in it; of one image."""
    pixels, count = math.prod(measured.shape), int(measured.operator.count(measured.shape)[0])
    units = torch.eye(pixels, dtype=torch.float64).reshape(pixels, 1, *measured.shape)
    A = torch.cat([measured.operator.apply(unit).reshape(1, -1) for unit in units]).T.numpy()
    basis = np.linalg.svd(A)[0][:, :count].T
    return basis @ A, basis @ measured.y.flatten().numpy()


def by_dense_algebra(law, measured):
    """Mixture of Gaussian laws, image by image."""
    means, spectra, weights = (
        (np.full((1, *law.shape[1:]), law.mean), law.spectrum[None], np.ones(1))
        if law.name == "calpha"
        else (law.means, law.spectra, law.weights)
    )
    out = []
    for i in range(len(measured)):
        one = measured.select([i])
        B, z = dense_matrix(one)
        logs, each, own = [], [], []
        for mean, spectrum, weight in zip(means.reshape(len(means), -1), spectra, weights, strict=True):
            C = dense_covariance(torch.from_numpy(spectrum)).numpy()
            S = B @ C @ B.T + float(one.sigma[0]) ** 2 * np.eye(len(B))
            gain, off = C @ B.T @ np.linalg.inv(S), z - B @ mean
            each.append(mean + gain @ off)
            own.append(np.diag(C - gain @ B @ C))
            volume = np.linalg.slogdet(2 * np.pi * S)[1]
            logs.append(np.log(weight) - (off @ np.linalg.solve(S, off) + volume) / 2)
        evidence = np.logaddexp.reduce(logs)
        share = np.exp(np.array(logs) - evidence)
        mean = share @ np.array(each)
        out.append((mean, share @ (np.array(own) + (np.array(each) - mean) ** 2), evidence))
    return [np.array(part) for part in zip(*out, strict=True)]


def by_enumeration(images, prior, measured):
    """From all images ``(T, 1, h, w)`` of a law and their probabilities."""
    flat, out = images.flatten(1), []
    for i in range(len(measured)):
        one = measured.select([i])
        sigma, count = float(one.sigma[0]), int(one.operator.count(one.shape)[0])
        log = prior.log() - (one.operator.apply(images) - one.y).flatten(1).square().sum(1) / (2 * sigma**2)
        evidence = torch.logsumexp(log, 0)
        share = (log - evidence).exp()
        mean = share @ flat
        constant = count / 2 * math.log(2 * math.pi * sigma**2)
        out.append((mean.numpy(), (share @ (flat - mean) ** 2).numpy(), float(evidence) - constant))
    return [np.array(part) for part in zip(*out, strict=True)]


@pytest.mark.parametrize("law", GAUSSIAN)
@pytest.mark.parametrize("operator", [*OPERATORS, "downsample:factor=2"])
def test_gaussian_laws_by_dense_algebra(law, operator):
    if operator.startswith("downsample") and "points" in law:
        pytest.skip("a row of pixels has no blocks")
    problem = gb.problem(operator, law)
    measured = measure(problem)
    compare(problem.exact(measured), by_dense_algebra(problem.family, measured), 1e-10)


def test_masks_of_each_image():
    problem = gb.problem("mask:keep=0.5", "calpha:size=8")
    pixels = (
        torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        < torch.tensor([0.2, 0.5, 0.9])[:, None, None, None]
    )
    own = gb.problem(Mask().given(pixels), problem.family)
    measured = measure(own)
    assert torch.equal(measured.mask.bool(), pixels)
    compare(own.exact(measured), by_dense_algebra(own.family, measured), 1e-10)
    one = measured.select([1])
    torch.testing.assert_close(own.exact(measured).sample(2)[:, 1:2], own.exact(one).sample(2))


def test_the_dense_and_the_fourier_route_agree():
    problem = gb.problem("blur:width=1", "calpha:size=8")
    measured = measure(problem)
    law, found = problem.family, problem.exact(measured)
    mean = torch.full((8, 8), law.mean, dtype=torch.float64)
    dense = DenseField(mean, torch.from_numpy(law.spectrum), measured)
    torch.testing.assert_close(dense.mean, found.mean)
    torch.testing.assert_close(dense.pixel_variance, found.pixel_variance)
    torch.testing.assert_close(dense.log_evidence, found.log_evidence)


def tiny_contours(alpha):
    """Images of 8 x 8 whose contours can be listed: the family, its images and their probabilities."""
    law = gb.family(f"markov-contours:size=8,alpha={alpha}")
    chain = dataclasses.replace(tiny_chain(law), columns=8, first=2, positions=3, slopes=1 if alpha == 1.5 else 0)
    law.__dict__["chain"] = chain
    paths, prior = every_path(chain)
    profiles = torch.from_numpy(0.5 + law.contrast * (law.profiles - 0.5))
    return law, profiles[paths].mT[:, None], prior


def tiny_tree(rules):
    """Images of a tree of depth 2 with two symbols: the family, its images and their probabilities."""
    law = gb.family(f"hierarchy:depth=2,symbols=2,productions=3,rules={rules}")
    patches = np.stack(np.meshgrid(*[np.arange(2)] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    top, bottom = (np.stack([_patch_law(law, level, a, patches) for a in range(2)]) for level in (0, 1))
    law_of_parents = top.mean(0).reshape(2, 2, 2, 2)
    prior = np.einsum("abcd,ai,bj,ck,dl->ijkl", law_of_parents, bottom, bottom, bottom, bottom).ravel()
    possible = np.flatnonzero(prior)
    chosen = np.stack(np.unravel_index(possible, (16,) * 4), axis=-1)
    blocks = law.intensities[patches[chosen]].reshape(-1, 2, 2, 2, 2).swapaxes(2, 3)
    return law, torch.from_numpy(blocks.reshape(-1, 1, 4, 4)), torch.from_numpy(prior[possible])


TINY = [(tiny_contours, 0.5), (tiny_contours, 1.5), (tiny_tree, "independent"), (tiny_tree, "grammar")]


@pytest.mark.parametrize("operator", ["mask:keep=0.4", "mask:pattern=columns,keep=0.3", "mask:pattern=block,keep=0.5"])
@pytest.mark.parametrize(
    "tiny", [(tiny_contours, 0.5), (tiny_contours, 1.5), (tiny_tree, "independent"), (tiny_tree, "grammar")]
)
def test_discrete_laws_by_enumeration(operator, tiny):
    make, kind = tiny
    law, images, prior = make(kind)
    assert float(prior.sum()) == pytest.approx(1)
    problem = gb.problem(operator, law)
    measured = measure(problem, sigma=torch.tensor([0.1, 0.5, 2.0]).double())
    found = problem.exact(measured)
    compare(found, by_enumeration(images, prior, measured), 1e-9)
    own = gb.problem(Mask().given(measured.mask.repeat(3, 1, 1, 1)), law)
    torch.testing.assert_close(own.exact(dataclasses.replace(measured, operator=own.operator)).mean, found.mean)
    corners = found.sample(600, seed=2)[:, 1, 0]
    product = (corners[:, 0, 0] * corners[:, -1, -1]).numpy()
    mean, deviation = by_enumeration_of_corners(images, prior, measured.select([1]))
    assert abs(product.mean() - mean) < 4.5 * deviation / 600**0.5 + 1e-9  # what marginals do not tell


def by_enumeration_of_corners(images, prior, one):
    """Posterior mean and deviation of the product of two opposite corners."""
    log = prior.log() - (one.operator.apply(images) - one.y).flatten(1).square().sum(1) / (2 * float(one.sigma[0]) ** 2)
    share, product = torch.softmax(log, 0), images[:, 0, 0, 0] * images[:, 0, -1, -1]
    mean = share @ product
    return float(mean), float((share @ (product - mean).square()).sqrt())


@pytest.mark.parametrize("spec", LAWS)
@pytest.mark.parametrize("operator", ["mask:keep=1", "blur:width=0"])
def test_what_hides_nothing_gives_the_plain_denoiser(spec, operator):
    problem = gb.problem(operator, spec)
    if problem.operator.name not in problem.family.conditioning.operators:
        pytest.skip("that posterior is not known")
    oracle = gb.denoiser("mmse", problem.family)
    for sigma in (0.1, 1.0):
        measured = measure(problem, 2, sigma)
        plain, found = oracle.posterior(measured.y, sigma), problem.exact(measured)
        torch.testing.assert_close(found.mean, plain.mean, atol=1e-10, rtol=0)
        torch.testing.assert_close(found.variance, plain.variance, atol=1e-10, rtol=0)


@pytest.mark.parametrize("spec", ["mask:keep=0.3", "blur", "fourier", "downsample"])
def test_a_measurement_does_not_depend_on_how_the_batch_is_cut(spec):
    problem = gb.problem(spec, "calpha:size=16")
    whole = problem.measure(problem.family.sample(range(5)), 0.2)
    parts = [problem.measure(problem.family.sample(cut), 0.2) for cut in ([3, 1], [0], [4, 2])]
    torch.testing.assert_close(torch.cat([part.y for part in parts]), whole.y[[3, 1, 0, 4, 2]], atol=1e-6, rtol=0)
    assert whole.select([3, 1]).indices == (3, 1)
    posterior = problem.exact(whole)
    for part, places in zip(parts, ([3, 1], [0], [4, 2]), strict=True):
        torch.testing.assert_close(problem.exact(part).sample(3, 7), posterior.sample(3, 7)[:, places])
    assert not torch.equal(posterior.sample(1, 0), posterior.sample(1, 1))


def test_measurements_are_paired_with_noisy_images():
    family = gb.family("calpha:size=16")
    batch = family.sample(range(3))
    y = gb.add_noise(batch, 0.2)
    for keep in (0.2, 0.6):
        measured = gb.problem(f"mask:keep={keep}", family).measure(batch, 0.2)
        torch.testing.assert_close(measured.y, measured.mask * y)
        assert (measured.y[measured.mask.expand_as(y) == 0] == 0).all()


def test_results_have_the_type_of_the_measurement():
    problem = gb.problem("mask", "calpha:size=16")
    measured = problem.measure(problem.family.sample(range(2)), 0.1)
    single, double = problem.exact(measured), problem.exact(measured.to(torch.float64))
    assert (single.mean.dtype, double.mean.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.mean.double(), double.mean, atol=1e-6, rtol=0)
    assert single.sample(2).dtype == torch.float32
    nothing = measured.select([])
    assert problem.exact(nothing).sample(2).shape == (2, 0, 1, 16, 16)


SETTINGS = [
    ("calpha:size=16", "mask:keep=0.3", 0.1),
    ("calpha:size=16", "blur:width=2", 0.1),
    ("gmm:size=16,between=0.1", "fourier:keep=0.05", 0.3),
    ("gmm:size=16,between=0.1", "downsample:factor=4", 0.3),
    ("hierarchy:depth=4", "mask:keep=0.5", 0.3),
    ("hierarchy:depth=4,rules=grammar", "mask:pattern=columns,keep=0.5", 0.3),
    ("markov-contours:size=16", "mask:pattern=columns,keep=0.3", 0.3),
    ("markov-contours:size=8,alpha=1.5", "mask:keep=0.3", 0.3),
]


@pytest.mark.parametrize(("law", "operator", "sigma"), SETTINGS)
def test_samples_are_calibrated(law, operator, sigma):
    assert p_values(gb.problem(operator, law), 60, sigma, samples=5).min() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("law", "operator", "sigma"), SETTINGS)
def test_samples_are_calibrated_on_500_images(law, operator, sigma):
    assert p_values(gb.problem(operator, law), 500, sigma, samples=19).min() > 1e-3


def test_the_calibration_test_finds_samples_that_are_too_narrow():
    problem = gb.problem("mask:keep=0.3", "calpha:size=16")
    honest = problem.exact

    def narrow(measured):
        found = honest(measured)
        shrunk = lambda k, streams: found.mean + 0.7 * (found._draw(k, streams) - found.mean)  # noqa: E731
        return dataclasses.replace(found, _draw=shrunk)

    object.__setattr__(problem, "exact", narrow)
    assert p_values(problem, 200, 0.1, samples=9).min() < 1e-3


def test_pairs_that_are_not_known_are_named():
    family = gb.family("besov:size=16")
    problem = gb.problem("mask", family)
    measured = problem.measure(family.sample(range(1)), 0.1)
    with pytest.raises(UsageError, match=r"of besov:size=16 given mask is not known.*calpha \(mask, blur, fourier"):
        problem.exact(measured)
    tree = gb.problem("blur", "hierarchy:depth=3")
    with pytest.raises(UsageError, match=r"given blur is not known.*hierarchy \(mask\)"):
        tree.exact(tree.measure(tree.family.sample(range(1)), 0.1))
    uniform = gb.problem("blur", "calpha:size=16,law=uniform")
    with pytest.raises(UsageError, match="only that of law=gaussian"):
        uniform.exact(uniform.measure(uniform.family.sample(range(1)), 0.1))


def test_bad_input_is_explained():
    family = gb.family("calpha:size=16")
    batch = family.sample(range(2))
    problem = gb.problem("mask", family)
    measured = problem.measure(batch, 0.1)
    with pytest.raises(UsageError, match="unknown operator 'mosk'; did you mean 'mask'"):
        gb.problem("mosk", family)
    with pytest.raises(UsageError, match="keep=0 is not allowed"):
        gb.problem("mask:keep=0", family)
    with pytest.raises(UsageError, match=r"downsample:factor=3 cannot measure images of shape \(1, 16, 16\)"):
        gb.problem("downsample:factor=3", family)
    with pytest.raises(UsageError, match="sigma=0 is not allowed"):
        problem.measure(batch, 0.0)
    with pytest.raises(UsageError, match=r"shape \(n, c, h, w\)"):
        problem.measure(gb.family("calpha:size=8").sample(range(2)), 0.1)
    with pytest.raises(UsageError, match="measured by blur"):
        problem.exact(gb.problem(Blur(), family).measure(batch, 0.1))
    with pytest.raises(UsageError, match="of an image"):
        problem.exact(gb.problem("mask", "calpha:size=8").measure(gb.family("calpha:size=8").sample(range(1)), 0.1))
    with pytest.raises(UsageError, match="NaN or infinity"):
        problem.exact(dataclasses.replace(measured, y=measured.y * torch.nan))
    with pytest.raises(UsageError, match="k=0 samples"):
        problem.exact(measured).sample(0)
    with pytest.raises(UsageError, match="seed=-1"):
        problem.exact(measured).sample(1, -1)
    with pytest.raises(UsageError, match="ones and zeros"):
        Mask().given(torch.full((1, 1, 16, 16), 0.5))
    with pytest.raises(UsageError, match="one for all images or one for each"):
        gb.problem(Mask().given(torch.ones(3, 1, 16, 16)), family).measure(batch, 0.1)
    with pytest.raises(UsageError, match=r"give those of them"):
        gb.problem(Mask().given(torch.ones(1, 1, 8, 8)), family)


def test_draws_keep_more_of_the_same():
    x = torch.ones(1, 1, 16, 16)
    for pattern in ("random", "columns"):
        few, many = (Mask(keep=keep, pattern=pattern).apply(x) for keep in (0.25, 0.75))
        assert (many >= few).all()
        assert (int(few.sum()), int(many.sum())) == (64, 192)
    assert not torch.equal(Mask(key=1).apply(x), Mask().apply(x))
    few, many = (gb.problem(f"fourier:keep={keep}", "calpha:size=16").operator.transfer(x) for keep in (0.2, 0.4))
    assert (many >= few).all()
    assert few[0, 0] == 1
