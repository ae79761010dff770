"""Eigenvalues and eigenvectors of the symmetric part of a denoiser's Jacobian."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser, Differentiation
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images
from gahb_bench.geometry.derivative import Linearised
from gahb_bench.geometry.quantities import symmetric


class Spectrum(NamedTuple):
    """Eigenvalues ``(n, k)`` in falling order, and eigenvectors ``(n, k, d)`` of length 1, a row each.

    The sign of an eigenvector is such that its entry of largest modulus is positive.
    """

    values: Tensor
    vectors: Tensor


def eigenpairs(jacobian: Tensor) -> Spectrum:
    """All eigenpairs of ``S = (J + J') / 2`` for Jacobians ``(n, d, d)``, in float64.

    Examples
    --------
    >>> eigenpairs(torch.tensor([[[0.5, 1.0], [0.0, 0.5]]])).values.tolist()
    [[1.0, 0.0]]
    """
    values, columns = torch.linalg.eigh(symmetric(jacobian.double()))
    return Spectrum(values.flip(-1), _signed(columns.flip(-1).mT))


def spectrum(
    denoiser: Denoiser, y: Images, sigma: float | Tensor, k: int, derivative: Differentiation | None = None
) -> Spectrum:
    """The k leading eigenpairs of ``S = (J + J') / 2`` at each image, without forming J: Lanczos on products with S.

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
    R. B. Lehoucq, D. C. Sorensen, C. Yang, "ARPACK Users' Guide", SIAM 1998 (the implicitly restarted Lanczos method).

    Examples
    --------
    >>> import gahb_bench as gb
    >>> family = gb.family("calpha:size=8")
    >>> y = gb.add_noise(family.sample([0]), 0.1).double()
    >>> found = spectrum(gb.denoiser("mmse", family=family), y, 0.1, k=3)
    >>> [round(value, 4) for value in found.values[0].tolist()]
    [0.9953, 0.9953, 0.9953]
    """
    d = y[0].numel() if len(y) else 0
    if len(y) and not 1 <= k < d:
        raise UsageError(f"k={k} is not allowed: of an image of {d} values, 1 to {d - 1} eigenpairs.")
    at = Linearised(denoiser, y, sigma, derivative)
    values, vectors = [], []
    for i in range(len(y)):
        one = at.image(i)

        def product(v: np.ndarray, one: Linearised = one) -> np.ndarray:
            direction = torch.from_numpy(v.astype(np.float64)).to(one.y).reshape(1, 1, *one.y.shape[1:])
            if one.how == "exact":
                return one.right(direction).flatten().double().cpu().numpy()
            return ((one.right(direction) + one.left(direction)) / 2).flatten().double().cpu().numpy()

        operator = LinearOperator((d, d), matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        start = rng.generator("lanczos").standard_normal(d)
        found, columns = eigsh(operator, k=k, which="LA", v0=start, ncv=min(d, max(2 * k + 1, 20)), tol=1e-7)
        order = np.argsort(-found, kind="stable")
        values.append(torch.from_numpy(found[order]))
        vectors.append(torch.from_numpy(np.ascontiguousarray(columns[:, order].T)))
    if not values:
        return Spectrum(torch.zeros(0, k, dtype=torch.float64), torch.zeros(0, k, 0, dtype=torch.float64))
    return Spectrum(torch.stack(values), _signed(torch.stack(vectors)))


def _signed(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, their entry of largest modulus positive."""
    largest = vectors.gather(-1, vectors.abs().argmax(dim=-1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0)
