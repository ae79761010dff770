"""What every operator in the catalogue promises: its adjoint, its pseudoinverse and its solution, on any tensor."""

import pytest
import torch

from gahb_bench import make
from gahb_bench.core import registry

SHAPE = (2, 12, 8)
SPECS = [
    *(entry.name for entry in registry.entries("operators")),
    "mask:pattern=block,keep=0.7",
    "mask:pattern=columns,keep=0.3",
    "mask:keep=1",
    "blur:width=0",
    "blur:width=4",
    "fourier:pattern=lowest,keep=0.1",
    "fourier:keep=1",
    "downsample:factor=4",
]


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=SPECS)
def operator(request):
    return make.operator(request.param)


def matrix(operator):
    """A of one channel as a dense matrix, from its images of the unit vectors."""
    _, h, w = SHAPE
    units = torch.eye(h * w, dtype=torch.float64).reshape(-1, 1, h, w)
    return torch.cat([operator.apply(unit[None]).reshape(1, -1) for unit in units]).T


def test_the_adjoint_is_the_adjoint(operator):
    x, r = normal(3, *SHAPE), normal(3, *operator.measured_shape(SHAPE), seed=1)
    torch.testing.assert_close((operator.apply(x) * r).sum(), (x * operator.adjoint(r)).sum())


def test_the_pseudoinverse_is_that_of_the_matrix(operator):
    A = matrix(operator)
    r = normal(3, *operator.measured_shape(SHAPE), seed=1)
    expected = torch.einsum("ij,ncj->nci", torch.linalg.pinv(A, rtol=1e-6), r.flatten(2))
    off = operator.pseudoinverse(r).flatten(2) - expected
    assert off.norm() < 1e-7 * expected.norm()


def test_solve_solves_on_what_is_measured(operator):
    noise, prior = torch.tensor([0.1, 0.2, 3.0]).double(), torch.tensor([2.0, 0.5, 1.0]).double()
    r = normal(3, *operator.measured_shape(SHAPE), seed=1)
    found = operator.solve(r, noise, prior)
    back = prior[:, None, None, None] * operator.apply(operator.adjoint(found)) + noise[:, None, None, None] * found
    torch.testing.assert_close(back, operator.restrict(r))
    torch.testing.assert_close(operator.restrict(found), found)
    torch.testing.assert_close(operator.solve(r, 0.2, 0.5)[1], found[1])


def test_it_measures_as_many_numbers_as_it_says(operator):
    projection = torch.cat([operator.restrict(unit[None]).reshape(1, -1) for unit in _measured_units(operator)])
    assert SHAPE[0] * torch.linalg.matrix_rank(projection) == operator.count(SHAPE)[0]
    torch.testing.assert_close(projection @ projection, projection)
    torch.testing.assert_close(projection.T @ matrix(operator), matrix(operator))


def _measured_units(operator):
    _, h, w = operator.measured_shape(SHAPE)
    return torch.eye(h * w, dtype=torch.float64).reshape(-1, 1, h, w)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_are_kept_and_gradients_flow(operator, dtype):
    x = normal(2, *SHAPE).to(dtype).requires_grad_()
    measured = operator.apply(x)
    r = normal(*measured.shape, seed=2).to(dtype)
    assert measured.dtype == dtype
    (gradient,) = torch.autograd.grad((measured * r).sum(), x)
    torch.testing.assert_close(gradient, operator.adjoint(r))
    for result in (operator.pseudoinverse(r), operator.solve(r, 0.1, 1.0), operator.restrict(r)):
        assert result.dtype == dtype
    v = normal(2, *SHAPE, seed=3).to(dtype)
    _, slope = torch.func.jvp(operator.apply, (x.detach(),), (v,))
    torch.testing.assert_close(slope, operator.apply(v))


DIAGONAL = [spec for spec in SPECS if make.operator(spec).transfer(torch.zeros(1, *SHAPE)) is not None]
MASKS = [spec for spec in SPECS if make.operator(spec).mask(torch.zeros(1, *SHAPE)) is not None]


@pytest.mark.parametrize("spec", DIAGONAL)
def test_its_transfer_function_is_its_eigenvalues(spec):
    x, operator = normal(1, *SHAPE), make.operator(spec)
    torch.testing.assert_close(torch.fft.fft2(operator.apply(x)), operator.transfer(x) * torch.fft.fft2(x))


@pytest.mark.parametrize("spec", MASKS)
def test_its_mask_is_all_that_it_does(spec):
    x, operator = normal(2, *SHAPE), make.operator(spec)
    mask = operator.mask(x)
    assert mask.shape == (1, *SHAPE)
    assert ((mask == 0) | (mask == 1)).all()
    torch.testing.assert_close(operator.apply(x), mask * x)
