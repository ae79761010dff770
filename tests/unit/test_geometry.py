"""The geometry of denoisers: first of the oracles, where all is known, then of networks and of what users bring."""

import math

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench import geometry
from gahb_bench.core import rng
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.families.disks.manifold import manifold


def _noisy(spec, sigma, images=1, **sample):
    family = gb.family(spec)
    batch = family.sample(range(images), **sample)
    return family, batch, gb.add_noise(batch, sigma).double()


def test_calpha_has_fourier_shells_and_wiener_gains():
    family, _, y = _noisy("calpha:size=16", 0.2)
    oracle = gb.denoiser("mmse", family=family)
    found = geometry.eigenpairs(geometry.jacobian(oracle, y, 0.2))
    gains = np.sort((family.spectrum / (family.spectrum + 0.2**2)).ravel())[::-1].copy()
    torch.testing.assert_close(found.values[0], torch.from_numpy(gains), rtol=0, atol=1e-8)
    fourier = geometry.bases(family.shape)["fourier"]
    units = torch.eye(256, dtype=torch.float64).reshape(-1, 1, 16, 16)
    waves = fourier.coefficients(units).T  # a row a vector, in order of frequency
    k = geometry.eigenspace_dimension(found.values[0])
    assert k in (1, 5, 9, 13, 21, 25, 29, 37)  # whole shells |k|^2 = const
    assert float(geometry.overlap(waves[:k], found.vectors[0, :k])) == pytest.approx(1, abs=1e-6)
    assert float(geometry.principal_angles(waves[:k], found.vectors[0, :k]).max()) < 1e-5
    leading = geometry.spectrum(oracle, y, 0.2, k=21)
    torch.testing.assert_close(leading.values, found.values[:, :21], rtol=0, atol=1e-8)
    assert float(geometry.overlap(leading.vectors[0, :k], found.vectors[0, :k])) == pytest.approx(1, abs=1e-6)


VARY = ("foreground", "foreground+background", "translate", "translate+scale", "translate+scale+foreground+background")


@pytest.mark.parametrize("vary", VARY)
def test_disks_have_as_many_dimensions_as_vary(vary):
    sigma = 0.002
    family, batch, y = _noisy(f"disks:size=24,vary={vary}", sigma, images=3, split="val")
    d = family.dimension
    oracle = gb.denoiser("mmse", family=family)
    found = geometry.eigenpairs(geometry.jacobian(oracle, y, sigma))
    latents = batch.latents
    columns = [latents["center"], *(latents[name][:, None] for name in ("radius", "foreground", "background"))]
    _, tangent = manifold(family, y.device).tangent(torch.cat(columns, dim=1).double())
    for i in range(3):
        assert ((found.values[i, :d] - 1).abs() < 0.25).all()
        assert float(found.values[i, d]) < 0.05
        assert int(geometry.dimension(found.values[i])) == d
        basis = torch.linalg.svd(tangent[i][tangent[i].norm(dim=1) > 0], full_matrices=False).Vh
        assert len(basis) == d
        assert float(geometry.overlap(basis, found.vectors[i, :d])) > 1 - 1e-3
    assert float(geometry.trace(geometry.jacobian(oracle, y, sigma)).mean()) == pytest.approx(d, rel=0.1)


def test_linear_denoisers_are_told_by_their_matrices():
    y = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.from_numpy(rng.generator("test-geometry").standard_normal((16, 16))) / 8

    def linear(noisy, sigma):
        return 0.1 + (noisy.flatten(1) @ matrix.T).reshape(noisy.shape)

    linear = _wrapped(linear)
    J = geometry.jacobian(linear, y, 0.1)
    torch.testing.assert_close(J, matrix.expand(2, -1, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(geometry.jacobian(linear, y, 0.1, "difference"), J, rtol=0, atol=1e-9)
    torch.testing.assert_close(geometry.trace(J), matrix.trace().expand(2))
    expected = (matrix - matrix.T).norm() / matrix.norm()
    torch.testing.assert_close(geometry.asymmetry(J), expected.expand(2))
    eigenvalues = torch.linalg.eigvalsh((matrix + matrix.T) / 2)
    found = geometry.eigenpairs(J)
    torch.testing.assert_close(found.values[0], eigenvalues.flip(0))
    assert (found.vectors.gather(-1, found.vectors.abs().argmax(-1, keepdim=True)) > 0).all()
    assert float(geometry.sum_squares(found.values)[0]) == pytest.approx(float(eigenvalues.square().sum()))
    assert float(geometry.negative(found.values)[0]) == pytest.approx(float(eigenvalues.clamp(max=0).square().sum()))
    offset = geometry.affinity(linear, y, 0.1, J)
    torch.testing.assert_close(offset, 0.4 / linear(y, 0.1).flatten(1).norm(dim=1))
    leading = geometry.spectrum(linear, y, 0.1, k=4)
    torch.testing.assert_close(leading.values, found.values[:, :4], rtol=0, atol=1e-8)
    parts = geometry.jacobian_error(J, torch.zeros_like(J), 0.5)
    assert float(sum(parts)[0]) == pytest.approx(0.25 * float(matrix.square().sum()) / 16)
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64)
    own = geometry.coefficients(found.vectors, x)
    assert geometry.adaptivity(own, x)[:, -1].tolist() == pytest.approx([1, 1])
    squares = own.square()
    risk = (squares * 0.25 / (squares + 0.25)).mean(dim=1)
    torch.testing.assert_close(geometry.basis_risk(own, 0.5), risk)


def test_sure_is_unbiased():
    """Over draws of the noise, with the exact trace; it has no other test than the definition."""
    family, batch, y = _noisy("besov:size=16", 0.2, images=400, split="val")
    denoiser = gb.denoiser("wavelet:rule=soft", family=family)
    J = geometry.jacobian(denoiser, y[:100], 0.2)
    sure = geometry.sure(denoiser(y[:100], 0.2), y[:100], 0.2, geometry.trace(J))
    mse = (denoiser(y[:100], 0.2) - batch.images[:100].double()).square().flatten(1).mean(dim=1)
    difference = sure - mse
    assert abs(float(difference.mean() / (difference.std() / 10))) < 3.5
    assert float(mse.mean()) > 0.1 * 0.2**2


@pytest.mark.parametrize(
    ("values", "k"),
    [
        ([0.9, 0.8, 0.3, 0.2, 0.1], 2),
        ([0.9, 0.9, 0.9, 0.6, 0.6, 0.45, 0.1, 0.05], 6),  # the gap after .45 is the largest near 5
        ([0.6] * 7 + [0.1], 7),
        ([0.4, 0.2, 0.1], 0),
        ([0.9, 0.8, 0.7], 3),
        ([0.7, 0.6, 0.0, -0.2, -0.9], 2),
    ],
)
def test_eigenspace_dimension(values, k):
    assert geometry.eigenspace_dimension(torch.tensor(values, dtype=torch.float64)) == k


def test_a_degenerate_shell_is_never_cut():
    values = torch.cat([torch.full((12,), 0.501), torch.full((30,), 0.4999), torch.full((8,), 0.01)]).double()
    values = torch.cat([torch.full((100,), 0.9).double(), values])
    k = geometry.eigenspace_dimension(values)
    assert k in (100, 112, 142)


def test_overlap_wasted_and_angles():
    axes = torch.eye(5, dtype=torch.float64)
    assert float(geometry.overlap(axes[:2], axes[:4])) == 1
    assert float(geometry.overlap(axes[:2], axes[1:3])) == 0.5
    assert geometry.wasted(axes[:4], axes[:2]) == 2
    assert geometry.wasted(axes[:0], axes[:2]) == 0
    turned = torch.stack([axes[0], math.cos(0.3) * axes[1] + math.sin(0.3) * axes[2]])
    assert geometry.principal_angles(axes[:2], turned).tolist() == pytest.approx([0, 0.3], abs=1e-7)


def test_bases_are_orthonormal_and_straightening_follows_the_contour():
    family, batch, _ = _noisy("calpha-contours:size=16,background=constant", 0.1)
    contour = batch.latents["contour"][0]
    units = torch.eye(256, dtype=torch.float64).reshape(-1, 1, 16, 16)
    found = geometry.bases(family.shape, contour)
    assert list(found) == ["fourier", "dct", "wavelet", "straightened fourier", "straightened wavelet"]
    for basis in found.values():
        matrix = basis.coefficients(units)
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(256, dtype=torch.float64), rtol=0, atol=1e-11)
    x = batch.images.double() - 0.5
    share = {name: float(geometry.harmonic_share(basis.coefficients(x), 4)) for name, basis in found.items()}
    assert share["straightened fourier"] > 0.9 > share["fourier"]
    colour = geometry.bases((3, 8, 8))
    every = torch.eye(192, dtype=torch.float64).reshape(-1, 3, 8, 8)
    for basis in colour.values():
        matrix = basis.coefficients(every)
        torch.testing.assert_close(matrix @ matrix.T, torch.eye(192, dtype=torch.float64), rtol=0, atol=1e-11)


def _wrapped(call):
    from gahb_bench import make

    return make.denoiser(call)


def test_an_estimate_without_a_gradient_is_refused_and_a_part_without_one_is_seen():
    y = torch.rand(1, 1, 6, 6)

    def numpy_only(noisy, sigma):
        return torch.from_numpy(0.5 * noisy.detach().numpy())

    def half_seen(noisy, sigma):
        return noisy - torch.from_numpy(0.5 * noisy.detach().numpy())

    with pytest.raises(DenoiserError, match="without a gradient"):
        geometry.jacobian(_wrapped(numpy_only), y, 0.1)
    assert float(geometry.trace(geometry.jacobian(_wrapped(numpy_only), y, 0.1, "difference"))) == pytest.approx(
        18, 1e-3
    )
    assert geometry.derivative_error(_wrapped(half_seen), y, 0.1) > 0.9
    with pytest.raises(UsageError, match="no exact posterior mean"):
        geometry.jacobian(_wrapped(half_seen), y, 0.1, "exact")
    with pytest.raises(UsageError, match="whole Jacobian"):
        geometry.spectrum(_wrapped(half_seen), y, 0.1, 3, "difference")
    with pytest.raises(UsageError, match="1 to 35"):
        geometry.spectrum(_wrapped(half_seen), y, 0.1, 36)
    assert geometry.jacobian(_wrapped(half_seen), y[:0], 0.1).shape == (0, 36, 36)


def test_informed_oracles_are_told_their_image_again():
    family, batch, y = _noisy("calpha-contours:size=16", 0.3, images=2)
    genie = gb.denoiser("genie", family=family).given(batch)
    J = geometry.jacobian(genie, y, 0.3)
    assert float(geometry.asymmetry(J).max()) < 1e-5  # the image is Gaussian given its contour
    one = geometry.jacobian(genie.given(batch.select([1])), y[1:], 0.3)
    torch.testing.assert_close(J[1:], one, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_networks_full_and_matrix_free():
    """The leading eigenvalues without J are those of J, and the measured numbers of the design come out."""
    family, _, y = _noisy("calpha:size=32", 0.1)
    network = gb.denoiser("calpha-32", family=family)
    J = geometry.jacobian(network, y.float(), 0.1)
    found, leading = geometry.eigenpairs(J), geometry.spectrum(network, y.float(), 0.1, k=20)
    torch.testing.assert_close(leading.values, found.values[:, :20], rtol=0, atol=1e-4)
    assert 36 < float(geometry.trace(J)) < 46
    assert 0.10 < float(geometry.asymmetry(J)) < 0.18
    oracle = geometry.eigenpairs(geometry.jacobian(gb.denoiser("mmse", family=family), y, 0.1))
    k = geometry.eigenspace_dimension(oracle.values[0])
    assert float(geometry.overlap(oracle.vectors[0, :k], found.vectors[0, :k])) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spec", "sigma"),
    [
        ("calpha-32", "calpha:size=32", 0.1),
        ("contours-32", "calpha-contours:size=32", 0.1),
        ("disks-32", "disks:size=32", 0.03),
        ("besov-32", "besov:size=32", 0.3),
        ("hierarchy-32", "hierarchy:depth=5", 0.3),
        ("shuffled-calpha-32", "shuffled:of=(calpha:size=32)", 0.1),
    ],
)
def test_sure_agrees_with_the_error_of_networks(name, spec, sigma):
    """64 images; the trace by 16 random signs an image, which is unbiased and adds its own spread."""
    family, batch, y = _noisy(spec, sigma, images=64)
    network = gb.denoiser(name, family=family)
    signs = np.sign(rng.generator("test-sure").standard_normal((64, 16, *family.shape)))
    v = torch.from_numpy(signs).float()
    products = geometry.Linearised(network, y.float(), sigma).right(v)
    trace = (products * v).sum(dim=(2, 3, 4)).mean(dim=1)
    estimate = network(y, sigma)
    sure = geometry.sure(estimate, y, sigma, trace)
    mse = (estimate - batch.images.double()).square().flatten(1).mean(dim=1)
    difference = sure - mse
    assert abs(float(difference.mean() / (difference.std() / 8))) < 3
