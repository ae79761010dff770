"""The geometry of denoisers: first of the oracles, where all is known, then of networks and of what users bring."""

import json
import math
import subprocess
import sys

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


def _map(spec):
    """A symmetric matrix (1024, 1024) and its eigenvalues, in falling order."""
    rest = torch.linspace(0, 0.97, 1024, dtype=torch.float64)
    values = {
        "rank 19": torch.cat([torch.ones(19), torch.zeros(1005)]),
        "rank 200": torch.cat([torch.ones(200), torch.zeros(824)]),
        "60 copies": torch.cat([torch.full((60,), 0.8), 0.9 * torch.exp(-torch.arange(964) / 4)]),
        "17 copies on a slope": torch.cat([torch.ones(17), rest[:1007]]),
        "two of 20": torch.cat([torch.full((20,), 0.9), torch.full((20,), 0.7), -0.5 * torch.rand(984)]),
        "zero": torch.zeros(1024),
    }[spec].double()
    turn = torch.linalg.qr(torch.from_numpy(rng.generator("test-copies").standard_normal((1024, 1024)))).Q
    return (turn * values) @ turn.T, values.sort(descending=True).values


@pytest.mark.parametrize("k", [5, 18, 40, 70])
@pytest.mark.parametrize("spec", ["rank 19", "rank 200", "60 copies", "17 copies on a slope", "two of 20", "zero"])
def test_leading_eigenpairs_hold_all_copies_of_equal_eigenvalues(spec, k):
    """More of them than a block has directions; the residual of those that are found does not tell."""
    matrix, values = _map(spec)
    linear = _wrapped(lambda noisy, sigma: (noisy.flatten(1) @ matrix.to(noisy)).reshape(noisy.shape))
    y = torch.rand(1, 1, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = geometry.spectrum(linear, y, 0.1, k, "autograd")
    torch.testing.assert_close(found.values[0], values[:k], rtol=0, atol=1e-5)
    vectors = found.vectors[0]
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-9)
    assert float((vectors @ matrix - found.values[0][:, None] * vectors).norm(dim=1).max()) < 2e-3


@pytest.mark.parametrize("k", [20, 100])
def test_leading_eigenpairs_of_a_threshold_are_those_of_its_jacobian(k):
    """An exact projection: it keeps 19 wavelet coefficients and no other; beyond them all eigenvalues are 0."""
    family, _, y = _noisy("calpha:size=32", 0.1)
    denoiser = gb.denoiser("wavelet", family=family)
    whole = geometry.eigenpairs(geometry.jacobian(denoiser, y, 0.1))
    found = geometry.spectrum(denoiser, y, 0.1, k)
    torch.testing.assert_close(found.values, whole.values[:, :k], rtol=0, atol=1e-9)
    assert int(geometry.dimension(found.values)[0]) == int(geometry.dimension(whole.values)[0]) == 19


def test_more_waves_of_whole_shells_than_a_block():
    family, _, y = _noisy("calpha:size=32", 0.3)
    oracle = gb.denoiser("mmse", family=family)
    gains = np.sort((family.spectrum / (family.spectrum + 0.3**2)).ravel())[::-1].copy()
    for k in (17, 40):
        found = geometry.spectrum(oracle, y, 0.3, k)
        torch.testing.assert_close(found.values[0], torch.from_numpy(gains[:k]), rtol=0, atol=1e-8)


def test_the_leading_eigenpairs_of_a_network_cost_few_products_more(monkeypatch):
    """A fresh block and two powers of it: at most a half more than without, for a spectrum that decays."""
    counted = []
    right = geometry.Linearised.right

    def counting(self, v):
        counted.append(v.shape[1])
        return right(self, v)

    monkeypatch.setattr(geometry.Linearised, "right", counting)
    family, _, y = _noisy("calpha:size=32", 0.1)
    geometry.spectrum(gb.denoiser("calpha-32", family=family), y.float(), 0.1, k=20)
    assert 48 < sum(counted) <= 208  # 144 until the pairs have converged


def test_random_denoisers_have_no_derivative():
    y, own = torch.rand(1, 1, 6, 6), torch.Generator()  # the global one is put back after each call

    def noisy_answer(noisy, sigma):
        return noisy + 0.05 * torch.randn(noisy.shape, generator=own)

    def dropout(noisy, sigma):
        return noisy * (torch.rand(noisy.shape, generator=own) > 0.5)

    def one_pixel(noisy, sigma):
        return noisy + 0.01 * torch.rand((), generator=own) * (torch.arange(6) == 0)

    for call in (noisy_answer, dropout, one_pixel):
        for derivative in (None, "autograd", "difference"):
            with pytest.raises(DenoiserError, match="differently at each call"):
                geometry.jacobian(_wrapped(call), y, 0.1, derivative)
        with pytest.raises(DenoiserError, match="differently at each call"):
            geometry.spectrum(_wrapped(call), y, 0.1, 3)


def test_the_images_of_the_caller_stay_as_they_are():
    family, _, y = _noisy("besov:size=8", 0.2)
    for name in ("mmse", "wavelet:rule=soft", "gaussian-blur"):
        given = y.clone().requires_grad_()
        denoiser = gb.denoiser(name, family=family)
        J = geometry.jacobian(denoiser, given, 0.2)
        geometry.affinity(denoiser, given, 0.2, J)
        geometry.spectrum(denoiser, given, 0.2, 3)
        geometry.derivative_error(denoiser, given, 0.2)
        assert torch.equal(given.detach(), y)
        assert given.grad is None
        assert not J.requires_grad


def test_what_does_not_depend_on_the_basis_of_equal_eigenvalues():
    """Rotations within spaces of equal eigenvalues change neither energy captured nor ideal risk."""
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    values = torch.tensor([1.0, 0.7, 0.7, 0.7] + [0.0] * 12, dtype=torch.float64)
    assert geometry.eigenspaces(values) == [1, 3, 12]
    axes = torch.eye(16, dtype=torch.float64)
    turn = torch.block_diag(*(torch.linalg.qr(torch.rand(n, n, dtype=torch.float64)).Q for n in (1, 3, 12)))
    made = []
    for vectors in (axes, turn @ axes):
        own = geometry.coefficients(vectors[None], x)
        spread = geometry.over_eigenspaces(own, values[None])
        made.append((geometry.adaptivity(spread, x), geometry.basis_risk(spread, 0.3)))
        ends = [0, 3, 15]
        torch.testing.assert_close(made[-1][0][0, ends], geometry.adaptivity(own, x)[0, ends])
    torch.testing.assert_close(made[0], made[1])
    assert geometry.eigenspaces(torch.zeros(7)) == [7]
    assert geometry.eigenspaces(torch.tensor([0.5, 0.4, 0.3])) == [1, 1, 1]


def test_a_gap_after_the_last_known_eigenvalue_is_not_known():
    values = torch.tensor([0.99, 0.98, 0.97, 0.9, 0.9, 0.9, 0.9], dtype=torch.float64)
    assert geometry.eigenspace_dimension(values) == 7
    assert geometry.eigenspace_dimension(values, whole=False) == 3
    assert geometry.eigenspace_dimension(torch.full((9,), 0.8), whole=False) == 0
    assert geometry.eigenspace_dimension(torch.tensor([0.9, 0.8, 0.1]), whole=False) == 2


BAD = """
import json, sys
import numpy as np
import torch
import gahb_bench as gb

g = gb.geometry
family = gb.family("calpha:size=8")
y = gb.add_noise(family.sample(range(2)), 0.1).double()
M = gb.denoiser("mmse", family=family)
J = g.jacobian(M, y, 0.1)
U = g.eigenpairs(J).vectors[0, :3]
B = g.bases((1, 8, 8))
images = torch.rand(1, 3, 8, 8).double()
calls = {
    "gb.denoiser(f)": [lambda: g.jacobian(lambda y, s: y, y, 0.1), lambda: g.spectrum(torch.nn.ReLU(), y, 0.1, 3),
                       lambda: g.derivative_error("mmse", y, 0.1)],
    "floating-point tensor": [lambda: g.jacobian(M, (y * 255).long(), 0.1), lambda: g.jacobian(M, y.numpy(), 0.1),
                              lambda: g.spectrum(M, y[0], 0.1, 3)],
    "not finite": [lambda: g.jacobian(M, y * float("nan"), 0.1), lambda: g.spectrum(M, y / 0, 0.1, 3)],
    "derivative='bogus'": [lambda: g.jacobian(M, y, 0.1, "bogus")],
    "sigma=": [lambda: g.jacobian(M, y, "x"), lambda: g.jacobian(M, y, None),
                          lambda: g.jacobian(M, y, [[1], 2])],
    "sigma": [lambda: g.jacobian(M, y, -1.0), lambda: g.sure(y, y, -1, g.trace(J)),
              lambda: g.basis_risk(y.flatten(1), 0)],
    "1 to 63 eigenpairs": [lambda k=k: g.spectrum(M, y, 0.1, k) for k in (1.5, "3", True, 0, 64)],
    "basis of": [lambda: B["dct"].coefficients(torch.ones(1, 1, 9, 9)), lambda: B["fourier"].coefficients(images),
                 lambda: B["wavelet"].coefficients(images[0])],
    "shape=": [lambda: g.bases((1, 0, 0)), lambda: g.bases((8, 8)), lambda: g.bases((1, 8.0, 8))],
    "contour": [lambda: g.bases((1, 8, 8), torch.zeros(5))],
    "not orthonormal": [lambda: g.overlap(2 * U, U), lambda: g.overlap(U.mT, U.mT), lambda: g.wasted(U, U + 0.1),
                        lambda: g.principal_angles(U, 0 * U)],
    "of one length": [lambda: g.overlap(U, U[:, :30])],
    "of one image": [lambda: g.wasted(U[None], U[None])],
    "square": [lambda: g.trace(J[:, :3]), lambda: g.asymmetry(torch.rand(2, 64, 3)), lambda: g.eigenpairs(J[0]),
               lambda: g.symmetric(torch.eye(3).long()), lambda: g.eigenpairs(J * float("nan"))],
    "not one at images": [lambda: g.affinity(M, y, 0.1, J[:, :9, :9])],
    "shapes": [lambda: g.sure(y, y[:1], 0.1, g.trace(J)), lambda: g.jacobian_error(J, J[:, :9, :9], 0.1)],
    "directions have shape": [lambda: g.Linearised(M, y, 0.1).right(y), lambda: g.Linearised(M, y, 0.1).left(y[None])],
    "vectors have shape": [lambda: g.coefficients(U, y), lambda: g.coefficients(U[None, :, :9], y)],
    "of one image, (d,)": [lambda: g.eigenspace_dimension(torch.rand(2, 9))],
}
said = []
for expected, each in calls.items():
    for i, call in enumerate(each):
        try:
            said.append([expected, i, "nothing", repr(call())[:80]])
        except Exception as error:
            said.append([expected, i, type(error).__name__, str(error)])
json.dump(said, sys.stdout)
"""


def test_wrong_input_is_one_clear_sentence():
    """In a process of its own, where annotations are not checked, as users have it."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", BAD], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wrong = [said for said in json.loads(done.stdout) if said[2] != "UsageError" or said[0] not in said[3]]
    assert not wrong


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
        geometry.jacobian(_wrapped(numpy_only), y, 0.1, "autograd")
    for call in (numpy_only, half_seen):  # by default the derivative is that of the whole map
        assert geometry.Linearised(_wrapped(call), y, 0.1).how == "difference"
        assert float(geometry.trace(geometry.jacobian(_wrapped(call), y, 0.1))) == pytest.approx(18, 1e-3)
    assert geometry.Linearised(_wrapped(lambda noisy, sigma: 0.5 * noisy), y, 0.1).how == "autograd"
    assert geometry.derivative_error(_wrapped(half_seen), y, 0.1) > 0.9
    with pytest.raises(UsageError, match="no exact posterior mean"):
        geometry.jacobian(_wrapped(half_seen), y, 0.1, "exact")
    with pytest.raises(UsageError, match="whole Jacobian"):
        geometry.spectrum(_wrapped(half_seen), y, 0.1, 3, "difference")
    with pytest.raises(UsageError, match="1 to 35"):
        geometry.spectrum(_wrapped(half_seen), y, 0.1, 36, "autograd")
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
