"""`linear`: one factorisation a step, the same map and the same derivative as a factorisation for each noise level."""

import numpy as np
import pytest
import torch

import gahb_bench as gb
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import make_settings
from gahb_bench.training.trainer import Trainer

LEVELS = torch.tensor([10**-2.5, 0.1, 0.1, 10**0.5], dtype=torch.float64)
ROOTS = {
    "start": 0.25 * torch.eye(64, dtype=torch.float64),  # all singular values are equal
    "any": 0.1 * torch.randn(64, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64),
    "singular": torch.linspace(-1, 1, 64, dtype=torch.float64).relu().diag(),
}


def built(root):
    module = gb.network("linear").build((1, 8, 8), 0.5, 0.25).double()
    module.root.data = root.clone()
    return module


def root_of(law):
    """The symmetric root of a stationary law's covariance, float64."""
    fourier = np.kron(*[np.fft.fft(np.eye(law.size), norm="ortho")] * 2)
    return torch.from_numpy(((fourier.conj().T * np.sqrt(law.spectrum.ravel())) @ fourier).real.copy())


@pytest.mark.parametrize("root", ROOTS)
def test_map_and_derivatives_are_those_of_a_factorisation_for_each_noise_level(root):
    module = built(ROOTS[root])
    y = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    toward = torch.rand(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x_hat = module(y, LEVELS)
    plain = 0.5 + (module.matrix(LEVELS) @ (y - 0.5).flatten(1)[:, :, None]).view_as(y)
    torch.testing.assert_close(x_hat, plain, rtol=0, atol=1e-11)
    found, expected = (torch.autograd.grad((each * toward).sum(), (module.root, y)) for each in (x_hat, plain))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("root", ROOTS)
def test_derivative_by_the_noise_level(root):
    module = built(ROOTS[root]).requires_grad_(False)
    y = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    _, found = torch.func.jvp(lambda sigma: module(y, sigma), (LEVELS,), (LEVELS,))
    near = (module(y, LEVELS * (1 + 1e-6)) - module(y, LEVELS * (1 - 1e-6))) / 2e-6
    torch.testing.assert_close(found, near, rtol=1e-5, atol=1e-7)


def test_float32_is_enough_at_the_lowest_noise_level():
    """Eigenvalues of C formed in float32 are too coarse beside s^2 there."""
    law = gb.family("calpha:size=16")
    module = gb.network("linear").build(law.shape, law.mean, 0.25)
    module.root.data = root_of(law).float()
    y = gb.add_noise(law.sample(range(2)), 10**-2.5)
    with torch.no_grad():
        x_hat = module(y, torch.tensor([10**-2.5, 1.0]))[0]
        exact = module.double()(y.double(), torch.tensor([10**-2.5, 1.0], dtype=torch.float64))[0]
    assert float((x_hat - exact).norm() / (y[0] - exact).norm()) < 1e-4


def test_one_factorisation_a_step(tmp_path, monkeypatch):
    made = make_settings("calpha:size=8", "linear", {"steps": 3, "batch": 16, "validation_images": 2})
    count = []
    for name in ("svd", "cholesky", "cholesky_ex", "eigh", "qr", "inv", "solve"):
        plain = getattr(torch.linalg, name)
        monkeypatch.setattr(
            torch.linalg, name, lambda *given, plain=plain, name=name: [count.append(name), plain(*given)][1]
        )
    trainer = Trainer(made, TrainingFolder(tmp_path, made), "cpu", 0, 1)
    for _ in range(3):
        trainer.advance(trainer.network)
    assert count == ["svd"] * 3


@pytest.mark.parametrize("sigma", [(0.003, 0.003), (0.003, 1.0)], ids=["one", "two"])
@pytest.mark.parametrize("size", [8, 16])
def test_it_computes_in_float32_under_autocast(size, sigma):
    """The covariance rounded to bfloat16, plus s^2, is not positive: this raised an error in training."""
    law = gb.family(f"calpha:size={size}")
    module = gb.network("linear").build(law.shape, law.mean, 0.25).requires_grad_(False)
    module.root.data = root_of(law).float()
    y = gb.add_noise(law.sample(range(2)), 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(y, torch.tensor(sigma))
    assert torch.equal(found, module(y, torch.tensor(sigma)))


def test_precision_makes_no_difference(tmp_path):
    tables = []
    for precision in ("float32", "bf16"):
        values = {"steps": 30, "batch": 8, "validate_every": 30, "validation_images": 2, "precision": precision}
        path = fit(make_settings("calpha:size=8", "linear", values), tmp_path / precision)
        tables.append(gb.score("calpha:size=8", [str(path)], [0.1], images=2)["mse"].to_numpy())
    assert np.array_equal(*tables)
