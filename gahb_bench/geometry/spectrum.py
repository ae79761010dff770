"""Eigenvalues and eigenvectors of the symmetric part of a denoiser's Jacobian."""

from typing import NamedTuple

import numpy as np
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
_FEW = 3  # blocks in which a fresh one has to show what the others cannot see
_LARGEST = 40  # products, over the number of directions asked for and one block
_WHOLE = 4096  # values of an image up to which the whole matrix is formed where a third of it would be needed
_VANISHED = 1e-10  # relative length of a direction of which nothing but rounding is left


class Spectrum(NamedTuple):
    """Eigenvalues ``(n, k)`` in falling order, and eigenvectors ``(n, k, d)`` of length 1, a row each.

    The sign of an eigenvector is such that its entry of largest modulus is positive.
    """

    values: Tensor
    vectors: Tensor


def eigenpairs(matrices: Tensor) -> Spectrum:
    """All eigenpairs of ``S = (J + J') / 2`` for Jacobians ``(n, d, d)``, in float64; UsageError if not finite.

    Examples
    --------
    >>> eigenpairs(torch.tensor([[[0.5, 1.0], [0.0, 0.5]]])).values.tolist()
    [[1.0, 0.0]]
    """
    if matrices.ndim != 3 or not bool(torch.isfinite(matrices).all()):
        raise UsageError(f"Jacobians {tuple(matrices.shape)}: give finite square matrices, (n, d, d).")
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
        If k is out of range, or products from the left are not to be had; and as `Linearised`.
    DenoiserError
        If they are not found within a bounded number of products, of images too large for the whole matrix.

    References
    ----------
    G. H. Golub and R. Underwood, "The block Lanczos method for computing eigenvalues", Mathematical Software III, 1977
    (equal eigenvalues need a block); here with full orthogonalisation, and fresh blocks until all copies are found.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> family = gb.family("calpha:size=8")
    >>> y = gb.add_noise(family.sample([0]), 0.1).double()
    >>> found = spectrum(gb.denoiser("mmse", family=family), y, 0.1, k=3)
    >>> [round(value, 4) for value in found.values[0].tolist()]
    [0.9885, 0.9885, 0.9885]
    """
    at = Linearised(denoiser, y, sigma, derivative)
    n, d = len(y), int(y.shape[1:].numel())
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < d:
        raise UsageError(f"k={k} is not allowed: of an image of {d} values, 1 to {d - 1} eigenpairs.")
    if at.how == "difference":
        raise UsageError(f"{denoiser.spec} is differentiated by differences: ask for the whole Jacobian.")
    if n == 0:
        return Spectrum(torch.zeros(0, k, dtype=torch.float64), torch.zeros(0, k, d, dtype=torch.float64))
    values, vectors = zip(*(_leading(at.image(i), d, k) for i in range(n)), strict=True)
    return Spectrum(torch.stack(values), _signed(torch.stack(vectors)))


def _leading(at: Linearised, d: int, k: int) -> tuple[Tensor, Tensor]:
    """The leading eigenpairs at one image, in the Krylov spaces of blocks of random directions.

    The powers of S on b random directions span, of an eigenspace of m dimensions, min(m, b) and no more: of equal
    eigenvalues others may stay unseen, and the residual of those found is 0 all the same. But an eigenvector that is
    orthogonal to the space is not orthogonal to a further random direction. So, once the k leading pairs have
    converged, a fresh block of random directions orthogonal to all others is taken through some powers of S. If the k
    values rise, there were more, and all begins again; if they do not, they are the leading ones.

    Where an eigenvalue above the k-th has as many copies as there were random directions, and so may have more, the
    fresh block goes through as many powers as it took to find them. Elsewhere it is to catch a pair that was late.
    """

    def product(columns: Tensor) -> Tensor:
        v = columns.mT.to(at.y).reshape(1, -1, *at.y.shape[1:])
        found = at.right(v) if at.how == "exact" else (at.right(v) + at.left(v)) / 2
        return found.reshape(-1, d).double().mT

    tolerance = _EXACT if at.how == "exact" else _SINGLE
    most = d // 3 if d <= _WHOLE else min(d, _LARGEST * (k + _BLOCK))
    generator = rng.generator("eigenvectors")
    basis = images = torch.zeros(d, 0, dtype=torch.float64, device=at.y.device)
    new, settled, fresh, blocks, due = basis, None, 0, 0, 0
    while basis.shape[1] + _BLOCK <= most and 5 * (k + _BLOCK) <= d:  # beyond, the whole matrix is as cheap
        new = _extension(basis, new, generator)
        basis, images = torch.cat([basis, new], dim=1), torch.cat([images, product(new)], dim=1)
        blocks += 1
        small = basis.mT @ images
        values, columns = torch.linalg.eigh((small + small.mT) / 2)
        values, columns = values.flip(0)[:k], columns.flip(1)[:, :k]
        residual = float((images @ columns - basis @ columns * values).norm(dim=0).max())
        new = images[:, -_BLOCK:]
        if len(values) < k or residual > tolerance or blocks < due:
            continue
        if settled is not None and float((values - settled).max()) <= tolerance:
            return values.cpu(), (basis @ columns).mT.cpu()
        fresh += _BLOCK
        due = blocks if _repeated(values, fresh, tolerance) else max(_FEW, blocks // 4)
        new, settled, blocks = basis[:, :0], values, 0
    if d <= _WHOLE:
        whole = eigenpairs(jacobian(at.denoiser, at.y, at.sigma, at.how))
        return whole.values[0, :k].cpu(), whole.vectors[0, :k].cpu()
    raise DenoiserError(
        f"{at.denoiser.spec}: the {k} leading eigenpairs are not found within {basis.shape[1]} products: ask for "
        "fewer, or for the whole Jacobian."
    )


def _extension(basis: Tensor, directions: Tensor, generator: np.random.Generator) -> Tensor:
    """An orthonormal block orthogonal to the basis: what is new in the directions, and random ones for the rest."""
    scale = float(directions.norm(dim=0).max()) if directions.shape[1] else 0.0
    for _ in range(2):  # once leaves rounding of the size of what is taken away
        directions = directions - basis @ (basis.mT @ directions)
    left, sizes, _ = torch.linalg.svd(directions, full_matrices=False)
    kept = left[:, sizes > _VANISHED * scale]
    random = torch.from_numpy(generator.standard_normal((basis.shape[0], _BLOCK - kept.shape[1]))).to(basis)
    new = torch.cat([kept, random], dim=1)
    for _ in range(2):
        new = torch.linalg.qr(new - basis @ (basis.mT @ new)).Q
    return new


def _repeated(values: Tensor, times: int, tolerance: float) -> bool:
    """Whether an eigenvalue above the last is there so many times, in falling order ``(k,)``."""
    above = values[values > values[-1] + tolerance]
    return len(above) >= times and bool((above[: len(above) - times + 1] - above[times - 1 :] <= tolerance).any())


def _signed(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, their entry of largest modulus positive."""
    largest = vectors.gather(-1, vectors.abs().argmax(dim=-1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
