"""What is measured of a Jacobian and its spectrum. J is ``(n, d, d)``, S its symmetric part, each number ``(n,)``.

Eigenvalues are ``(n, k)`` in falling order (``(k,)`` of one image) and vectors ``(n, k, d)``, a row each, as
`gahb_bench.geometry.eigenpairs` gives them; images are flattened, d = c h w. Clean images are taken about 1/2, the
mean intensity of every law. Where shapes do not fit together, each raises UsageError.
"""

import torch
from torch import Tensor

from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images, PerImage, check_sigmas

MEAN = 0.5


def symmetric(jacobian: Tensor) -> Tensor:
    """``S = (J + J') / 2``: the part of J that can be the derivative of a gradient.

    Examples
    --------
    >>> symmetric(torch.tensor([[1.0, 2.0], [0.0, 1.0]])).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    _check_square(jacobian)
    return (jacobian + jacobian.mT) / 2


def trace(jacobian: Tensor) -> PerImage:
    """``tr J``: how many dimensions are kept, in effect; that of a manifold as sigma -> 0.

    Examples
    --------
    >>> trace(torch.eye(3)[None]).tolist()
    [3.0]
    """
    _check_square(jacobian)
    return torch.diagonal(jacobian, dim1=-2, dim2=-1).sum(dim=-1)


def sum_squares(values: Tensor) -> Tensor:
    """Sum of the squared eigenvalues of S, from all of them.

    Examples
    --------
    >>> sum_squares(torch.tensor([[2.0, 1.0]])).tolist()
    [5.0]
    """
    return values.square().sum(dim=-1)


def negative(values: Tensor) -> Tensor:
    """Sum of the squared negative eigenvalues of S: 0 for every posterior mean, which never answers the wrong way.

    Examples
    --------
    >>> negative(torch.tensor([[1.0, -0.5]])).tolist()
    [0.25]
    """
    return values.clamp(max=0).square().sum(dim=-1)


def asymmetry(jacobian: Tensor) -> PerImage:
    """``|J - J'| / |J|`` in the Frobenius norm: 0 where D is the gradient of a function, as every posterior mean is.

    Examples
    --------
    >>> asymmetry(torch.tensor([[[0.0, 1.0], [-1.0, 0.0]], [[1.0, 0.5], [0.5, 1.0]]])).tolist()
    [2.0, 0.0]
    """
    _check_square(jacobian)
    return (jacobian - jacobian.mT).flatten(-2).norm(dim=-1) / jacobian.flatten(-2).norm(dim=-1)


def affinity(denoiser: Denoiser, y: Images, sigma: float | Tensor, jacobian: Tensor) -> PerImage:
    """``|D(y) - J y| / |D(y)|``: 0 where D is homogeneous of degree 1 in y, as bias-free networks are.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> y = torch.ones(1, 1, 2, 2)
    >>> affinity(gb.denoiser("identity"), y, 0.1, torch.eye(4)[None]).tolist()
    [0.0]
    """
    _check_square(jacobian)
    if jacobian.shape[-1] != y[0].numel():
        raise UsageError(f"a Jacobian {tuple(jacobian.shape)} is not one at images {tuple(y.shape)}.")
    estimate = denoiser(y, sigma).detach().flatten(1)
    offset = estimate - (jacobian @ y.flatten(1)[:, :, None])[:, :, 0].to(estimate.dtype)
    return offset.norm(dim=1) / estimate.norm(dim=1)


def coefficients(vectors: Tensor, x: Images) -> Tensor:
    """Those of ``x - 1/2`` in a basis ``(n or 1, k, d)``, a vector a row: ``(n, k)``.

    Examples
    --------
    >>> x = torch.tensor([0.5, 1.0, 0.0, 0.5]).reshape(1, 1, 2, 2)
    >>> coefficients(torch.eye(4)[None], x).tolist()
    [[0.0, 0.5, -0.5, 0.0]]
    """
    if vectors.ndim != 3 or vectors.shape[-1] != x[0].numel() or len(vectors) not in (1, len(x)):
        raise UsageError(f"vectors have shape {tuple(vectors.shape)}: give (n or 1, k, d) for images {tuple(x.shape)}.")
    return (vectors @ (x.flatten(1).to(vectors.dtype) - MEAN)[:, :, None])[..., 0]


def adaptivity(coefficients: Tensor, x: Images) -> Tensor:
    """Share of the energy of ``x - 1/2`` in the first j vectors of a basis, ``(n, k)``, j = 1 .. k.

    >>> x = torch.tensor([0.5, 1.5, 0.5, 0.5]).reshape(1, 1, 2, 2)
    >>> adaptivity(coefficients(torch.eye(4)[None], x), x).tolist()
    [[0.0, 1.0, 1.0, 1.0]]
    """
    energy = (x.flatten(1).to(coefficients.dtype) - MEAN).square().sum(dim=-1, keepdim=True)
    return coefficients.square().cumsum(dim=-1) / energy


def basis_risk(coefficients: Tensor, sigma: float) -> PerImage:
    """Ideal risk of a basis, per pixel: ``sum_k x_k^2 sigma^2 / (x_k^2 + sigma^2) / d`` with x_k that of ``x - 1/2``.

    The least risk of any linear denoiser that is diagonal in this basis and knows x (S. Mallat, "A Wavelet Tour of
    Signal Processing", 3rd ed. 2009, section 11.2.2). The basis must be whole: d coefficients.

    Examples
    --------
    >>> basis_risk(torch.tensor([[1.0, 0.0]]), 1.0).tolist()
    [0.25]
    """
    check_sigmas(sigma)
    squares = coefficients.square()
    return (squares * sigma**2 / (squares + sigma**2)).mean(dim=-1)


def sure(estimate: Images, y: Images, sigma: float, trace: Tensor) -> PerImage:
    """Stein's unbiased estimate of the MSE, per pixel: ``|D - y|^2/d + 2 sigma^2 tr J/d - sigma^2``.

    References
    ----------
    C. Stein, "Estimation of the mean of a multivariate normal distribution", Ann. Statist. 1981,
    doi:10.1214/aos/1176345632, theorem 1.

    Examples
    --------
    >>> y = torch.zeros(1, 1, 2, 2)
    >>> sure(y, y, 0.5, torch.tensor([4.0])).tolist()  # D(y) = y: its error is the noise
    [0.25]
    """
    check_sigmas(sigma)
    if estimate.shape != y.shape or trace.shape != (len(y),):
        given = f"{tuple(estimate.shape)}, {tuple(y.shape)} and {tuple(trace.shape)}"
        raise UsageError(f"estimate, y and trace have shapes {given}: give (n, c, h, w) twice, and (n,).")
    d = y[0].numel()
    return (estimate - y).double().square().flatten(1).mean(dim=1) + sigma**2 * (2 * trace.double() / d - 1)


def jacobian_error(jacobian: Tensor, exact: Tensor, sigma: float) -> tuple[PerImage, PerImage]:
    """``sigma^2 |J - J*|_F^2 / d`` in two parts: of the symmetric part, and of the antisymmetric one, in units of MSE.

    To first order it is what a denoiser loses to the optimum by answering wrongly to the noise: the mean of
    ``|(J - J*) sigma z|^2`` a pixel. The antisymmetric part is the part of the score's error that is no gradient.

    Examples
    --------
    >>> turn = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
    >>> [part.item() for part in jacobian_error(turn, torch.zeros(1, 2, 2), 0.5)]
    [0.0, 0.25]
    """
    check_sigmas(sigma)
    _check_square(jacobian)
    if jacobian.shape != exact.shape:
        raise UsageError(f"Jacobians have shapes {tuple(jacobian.shape)} and {tuple(exact.shape)}: give two of one.")
    off = (jacobian - exact).double()
    d = off.shape[-1]
    parts = (symmetric(off), (off - off.mT) / 2)
    first, second = (sigma**2 * part.square().sum(dim=(-2, -1)) / d for part in parts)
    return first, second


def _check_square(matrices: Tensor) -> None:
    if matrices.ndim < 2 or matrices.shape[-1] != matrices.shape[-2] or not matrices.is_floating_point():
        given = f"{matrices.dtype} {tuple(matrices.shape)}"
        raise UsageError(f"a Jacobian is {given}: give square matrices of floating point, (n, d, d).")
