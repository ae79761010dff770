"""Spaces of eigenvectors: their dimensions, and how one lies to another.

Eigenvalues are in falling order, vectors are orthonormal rows ``(k, d)``, d = c h w. Where shapes do not fit together,
or rows are not orthonormal, each raises UsageError.
"""

import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError

_LEAST_GAP = 1e-6  # relative: eigenvalues that differ by less are one
_TIE = 1e-5  # relative to the largest: measured eigenvalues that differ by less are one
_ORTHONORMAL = 1e-3  # relative error allowed
_NEAR = 0.1  # how far, relative, the dimension of an eigenspace is moved to a gap


def dimension(values: Tensor) -> Tensor:
    """Number of eigenvalues above 1/2: directions along which more is kept than removed.

    Examples
    --------
    >>> dimension(torch.tensor([[0.9, 0.6, 0.4]])).tolist()
    [2]
    """
    return (values > 0.5).sum(dim=-1)


def eigenspace_dimension(values: Tensor, whole: bool = True) -> int:
    """The k of the leading eigenspace of one spectrum ``(d,)``: the number above 1/2, moved to a gap.

    Eigenvalues that are equal (Fourier shells of a stationary law) cannot be told apart, so k is the place of the
    largest relative gap within a tenth of that number, or two; where none of them is a gap, that of the nearest one.
    0 where no eigenvalue is above 1/2. Where these are the leading eigenvalues only, not the ``whole`` spectrum, it is
    not known whether a gap follows the last; 0 where no other gap is known.

    >>> eigenspace_dimension(torch.tensor([0.9, 0.9, 0.6, 0.6, 0.6, 0.2]))
    5
    >>> eigenspace_dimension(torch.tensor([0.9, 0.9, 0.8, 0.8]), whole=False)
    2
    """
    if values.ndim != 1:
        raise UsageError(f"eigenvalues have shape {tuple(values.shape)}: give those of one image, (d,).")
    count = int((values > 0.5).sum())
    if count == 0 or (whole and count == len(values)):
        return count
    size = values[:-1].abs() + values[1:].abs()
    gaps = (values[:-1] - values[1:]) / size.clamp(min=torch.finfo(values.dtype).tiny)  # gap i follows eigenvalue i
    places = torch.arange(1, len(values))
    near = (places - count).abs() <= max(2, int(_NEAR * count))
    gaps = torch.where(values[:-1] > 0, gaps, torch.zeros_like(gaps))
    if bool((gaps[near] > _LEAST_GAP).any()):
        return int(places[near][gaps[near].argmax()])
    open_at = places[gaps > _LEAST_GAP]
    if len(open_at):
        return int(open_at[(open_at - count).abs().argmin()])
    return count if whole else 0


def eigenspaces(values: Tensor) -> list[int]:
    """Dimensions of the spaces of equal eigenvalues of one spectrum ``(k,)``, equal to 1e-5 of the largest.

    >>> eigenspaces(torch.tensor([1.0, 1.0, 0.6, 0.6, 0.6, 0.2]))
    [2, 3, 1]
    """
    if not len(values):
        return []
    gaps = (values[:-1] - values[1:]).abs() > _TIE * values.abs().max()
    ends = [*(torch.nonzero(gaps).flatten() + 1).tolist(), len(values)]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def over_eigenspaces(coefficients: Tensor, values: Tensor) -> Tensor:
    """Coefficients ``(n, k)`` in eigenvectors of ``values`` ``(n, k)``, spread evenly over equal eigenvalues.

    Vectors of equal eigenvalues are defined up to a rotation, and so is what one of them captures. Here each has the
    root of the mean square over its space: what is made of that depends on the space alone.

    >>> over_eigenspaces(torch.tensor([[3.0, 4.0, 1.0]]), torch.tensor([[0.5, 0.5, 0.1]])).square()
    tensor([[12.5000, 12.5000,  1.0000]])
    """
    rows = []
    for own, spectrum in zip(coefficients, values, strict=True):
        parts = own.split(eigenspaces(spectrum))
        rows.append(torch.cat([part.square().mean().sqrt().expand(len(part)) for part in parts]))
    return torch.stack(rows) if rows else coefficients


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """``|U'V|_F^2 / k`` between the spaces of orthonormal rows ``(..., k, d)`` and ``(..., m, d)``: 1 if U is in V.

    Examples
    --------
    >>> overlap(torch.eye(3)[:2], torch.eye(3)[1:]).item()  # planes that share a line
    0.5
    """
    _check_orthonormal(first, second)
    return (first @ second.mT).square().sum(dim=(-2, -1)) / first.shape[-2]


def principal_angles(first: Tensor, second: Tensor) -> Tensor:
    """Principal angles between two spaces of orthonormal rows, radians, in rising order, ``(..., min(k, m))``.

    References
    ----------
    A. Bjorck, G. H. Golub, "Numerical methods for computing angles between linear subspaces", Math. Comp. 1973.

    Examples
    --------
    >>> [round(angle, 4) for angle in principal_angles(torch.eye(3)[:2], torch.eye(3)[1:]).tolist()]
    [0.0, 1.5708]
    """
    _check_orthonormal(first, second)
    return torch.linalg.svdvals(first @ second.mT).clamp(max=1).acos()


def wasted(kept: Tensor, true: Tensor) -> float:
    """Dimensions that are kept outside the true space: the rows ``(m, d)`` less what of them lies in ``(k, d)``.

    Examples
    --------
    >>> wasted(torch.eye(3)[:2], torch.eye(3)[1:])
    1.0
    """
    if kept.ndim != 2 or true.ndim != 2:
        raise UsageError(f"spaces have shapes {tuple(kept.shape)} and {tuple(true.shape)}: give those of one image.")
    _check_orthonormal(kept, true)
    return max(0.0, len(kept) - float((kept @ true.mT).square().sum()))


def _check_orthonormal(*spaces: Tensor) -> None:
    """Refuse what are not orthonormal rows in one space: ``U (U' w) = w`` for a random w tells."""
    if any(space.ndim < 2 for space in spaces) or len({space.shape[-1] for space in spaces}) > 1:
        given = " and ".join(str(tuple(space.shape)) for space in spaces)
        raise UsageError(f"spaces have shapes {given}: give orthonormal rows of one length, (k, d).")
    for space in spaces:
        w = torch.from_numpy(rng.generator("rows").standard_normal((space.shape[-2], 1))).to(space)
        if bool(((space @ (space.mT @ w) - w).norm(dim=-2) > _ORTHONORMAL * w.norm()).any()):
            raise UsageError(f"rows {tuple(space.shape)} are not orthonormal: give an orthonormal basis of each space.")
