"""Eigenvalues and eigenvectors of the symmetric part of a denoiser's Jacobian."""

from typing import NamedTuple

import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser, Differentiation
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.images import Images
from gahb_bench.geometry.derivative import Linearised, jacobian
from gahb_bench.geometry.quantities import symmetric

_BLOCK = 16  # directions at once
_EXACT, _SINGLE = 1e-6, 1e-3  # residuals |S v - lambda v| allowed: in float64, and where a network computes in float32
_LARGEST = 40  # products, over the number of directions asked for and one block


class Spectrum(NamedTuple):
    """Eigenvalues ``(n, k)`` in falling order, and eigenvectors ``(n, k, d)`` of length 1, a row each.

    The sign of an eigenvector is such that its entry of largest modulus is positive.
    """

    values: Tensor
    vectors: Tensor


def eigenpairs(matrices: Tensor) -> Spectrum:
    """All eigenpairs of ``S = (J + J') / 2`` for Jacobians ``(n, d, d)``, in float64.

    Examples
    --------
    >>> eigenpairs(torch.tensor([[[0.5, 1.0], [0.0, 0.5]]])).values.tolist()
    [[1.0, 0.0]]
    """
    values, columns = torch.linalg.eigh(symmetric(matrices.double()))
    return Spectrum(values.flip(-1), _signed(columns.flip(-1).mT))


def spectrum(
    denoiser: Denoiser, y: Images, sigma: float | Tensor, k: int, derivative: Differentiation | None = None
) -> Spectrum:
    """The k leading eigenpairs of ``S = (J + J') / 2`` at each image, without forming J, by products with S.

    Parameters
    ----------
    denoiser, y, sigma, derivative : as for `gahb_bench.geometry.jacobian`; not by differences
    k : number of eigenpairs, less than d = c h w

    Returns
    -------
    Spectrum
        Values ``(n, k)``, vectors ``(n, k, d)``, float64.

    Raises
    ------
    UsageError
        If k is out of range, or products from the left are not to be had.

    References
    ----------
    G. H. Golub and R. Underwood, "The block Lanczos method for computing eigenvalues", Mathematical Software III, 1977
    (a block, so that equal eigenvalues are all found); here with full orthogonalisation.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> family = gb.family("calpha:size=8")
    >>> y = gb.add_noise(family.sample([0]), 0.1).double()
    >>> found = spectrum(gb.denoiser("mmse", family=family), y, 0.1, k=3)
    >>> [round(value, 4) for value in found.values[0].tolist()]
    [0.9885, 0.9885, 0.9885]
    """
    d = y[0].numel() if len(y) else 0
    if len(y) and not 1 <= k < d:
        raise UsageError(f"k={k} is not allowed: of an image of {d} values, 1 to {d - 1} eigenpairs.")
    n, d = len(y), int(y.shape[1:].numel())
    if not 1 <= k < d:
        raise UsageError(f"k={k} is not allowed: of an image of {d} values, 1 to {d - 1} eigenpairs.")
    at = Linearised(denoiser, y, sigma, derivative)
    if n == 0:
        return Spectrum(torch.zeros(0, k, dtype=torch.float64), torch.zeros(0, k, d, dtype=torch.float64))
    if at.how == "difference":
        raise UsageError(f"{denoiser.spec} is differentiated by differences: ask for the whole Jacobian.")
    if 5 * (k + _BLOCK) > d:  # so many of so few that the whole matrix is as cheap
        whole = eigenpairs(jacobian(denoiser, y, sigma, derivative))
        return Spectrum(whole.values[:, :k], whole.vectors[:, :k])
    values, vectors = zip(*(_leading(at.image(i), d, k) for i in range(n)), strict=True)
    return Spectrum(torch.stack(values), _signed(torch.stack(vectors)))


def _leading(at: Linearised, d: int, k: int) -> tuple[Tensor, Tensor]:
    """The leading eigenpairs at one image, in the Krylov space of a block of random directions.

    A block of `_BLOCK` directions finds all copies of an eigenvalue that has no more copies than that.
    """

    def product(columns: Tensor) -> Tensor:
        v = columns.mT.to(at.y).reshape(1, -1, *at.y.shape[1:])
        found = at.right(v) if at.how == "exact" else (at.right(v) + at.left(v)) / 2
        return found.reshape(-1, d).double().mT

    tolerance = _EXACT if at.how == "exact" else _SINGLE
    new = torch.from_numpy(rng.generator("eigenvectors").standard_normal((d, _BLOCK))).to(at.y.device)
    basis = torch.linalg.qr(new).Q
    images = product(basis)
    while True:
        small = basis.mT @ images
        values, columns = torch.linalg.eigh((small + small.mT) / 2)
        values, columns = values.flip(0)[:k], columns.flip(1)[:, :k]
        residual = float((images @ columns - basis @ columns * values).norm(dim=0).max())
        if len(values) == k and residual <= tolerance:
            return values.cpu(), (basis @ columns).mT.cpu()
        if basis.shape[1] + _BLOCK > min(d, _LARGEST * (k + _BLOCK)):
            break
        new = images[:, -_BLOCK:]
        for _ in range(2):  # once leaves rounding of the size of what is taken away
            new = new - basis @ (basis.mT @ new)
            new = torch.linalg.qr(new).Q
        basis, images = torch.cat([basis, new], dim=1), torch.cat([images, product(new)], dim=1)
    raise DenoiserError(
        f"{at.denoiser.spec}: the {k} leading eigenpairs are not found within {basis.shape[1]} products (residual "
        f"{residual:.1g}): ask for fewer, or for the whole Jacobian."
    )


def _signed(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, their entry of largest modulus positive."""
    largest = vectors.gather(-1, vectors.abs().argmax(dim=-1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
