"""The law of ``calpha-contours`` as its oracles need it: masks, priors, information, the Gaussian part given a mask.

Images here are ``(n, N, N)`` float64 with the mean intensity 1/2 taken away; contours are ``(n, N)``, pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.errors import GahbError
from gahb_bench.core.images import FloatArray
from gahb_bench.families.calpha_contours.law import CalphaContours

_LOOK = 4  # iterations between looks at the residual
EDGES = 2  # the stripe has two, and both follow the contour


class NotConvergedError(GahbError, ArithmeticError):
    """Conjugate gradients stopped before the residual was small enough: the numbers would not be a bound."""


@dataclass(frozen=True)
class ContourModel:
    """The law on one device.

    basis : orthonormal real Fourier basis of contours, ``(N, N)``, one function a column, the constant first
    precision : inverse eigenvalues of the contour's prior covariance, ``(N,)``; 0 for the flat mean
    spectrum : eigenvalues of a background's covariance on the half spectrum ``(N, N/2 + 1)``; None where constant
    """

    size: int
    edge: float
    contrast: float
    basis: Tensor
    precision: Tensor
    spectrum: Tensor | None
    white_gain: Tensor | None

    def mask(self, contour: Tensor) -> tuple[Tensor, Tensor]:
        """The stripe m and its derivative with respect to the contour of its column, ``(n, N, N)`` each.

        d = ((row - c + N/4) mod N) - N/4,   m = Phi(d/w) - Phi((d - N/2)/w)
        """
        if self.size % 2:
            return _two_edges(contour, self.size, self.edge)
        return _one_edge(contour, self.size, self.edge)

    def covariance(self, u: Tensor) -> Tensor:
        """Covariance of a background applied to images."""
        assert self.spectrum is not None
        return torch.fft.irfft2(torch.fft.rfft2(u) * self.spectrum, s=(self.size, self.size))

    def image(self, mask: Tensor, f0: Tensor | float, f1: Tensor | float) -> Tensor:
        """The image less 1/2: (1-m)(-contrast/2 + f0) + m(contrast/2 + f1)."""
        return (f1 - f0 + self.contrast) * mask + (f0 - self.contrast / 2)

    def step_energy(self) -> float:
        """Mean squared step of intensity across an edge: contrast^2, plus the variances of both backgrounds."""
        return self.contrast**2 * (1 + (2 / 16 if self.spectrum is not None else 0))


def contour_model(family: CalphaContours, device: torch.device) -> ContourModel:
    """The model of a family on a device."""
    size = family.size
    basis, frequency = _fourier_basis(size)
    precision = np.zeros(size)
    precision[1:] = 1 / family.contour_spectrum[frequency[1:]]
    gaussian = family.background == "gaussian"
    spectrum = torch.from_numpy(family.background_spectrum).to(device)
    return ContourModel(
        size=size,
        edge=family.edge,
        contrast=family.contrast,
        basis=torch.from_numpy(basis).to(device),
        precision=torch.from_numpy(precision).to(device),
        spectrum=spectrum[:, : size // 2 + 1].contiguous() if gaussian else None,
        white_gain=size * spectrum.sqrt() if gaussian else None,
    )


def information(model: ContourModel, sigma: Tensor, error: Tensor | float = 0.0) -> Tensor:
    """Information on the contour of one column, pixels^-2, seen through an edge blurred by an error of its place.

    I = n_e D^2 / (2 sqrt(pi) sqrt(w^2 + error^2) sigma^2),   D^2 the mean squared step across an edge
    """
    width = torch.sqrt(model.edge**2 + torch.as_tensor(error, dtype=sigma.dtype, device=sigma.device) ** 2)
    return EDGES * model.step_energy() / (2 * math.sqrt(math.pi) * width * sigma**2)


def contour_error(model: ContourModel, sigma: Tensor) -> Tensor:
    """Error e of the contour, pixels, in the self-consistent Gaussian approximation.

    e^2 = N^-1 sum_k 1 / (1/lambda_k + I(e)), at most that of a contour known up to a period: N / sqrt(12)
    """
    error = torch.zeros_like(sigma)
    for _ in range(200):
        known = information(model, sigma, error)
        error = (1 / (model.precision + known[:, None])).mean(1).sqrt().clamp(max=model.size / math.sqrt(12))
    return error


def contour_law(family: CalphaContours, sigmas: FloatArray) -> FloatArray:
    """Risk due to the contour alone in the self-consistent Gaussian approximation: small-noise theory, not a bound.

        n_e D^2 ( sqrt(w^2 + e^2) - w ) / (N sqrt(pi)),   e = contour_error

    It follows from int Phi(r/w)(1 - Phi(r/w)) dr = w / sqrt(pi): an edge whose place has the variance e^2 is seen
    with width sqrt(w^2 + e^2), and the posterior variance of a column is the difference of the two integrals.
    """
    model = contour_model(family, torch.device("cpu"))
    error = contour_error(model, torch.from_numpy(np.array(sigmas, dtype=np.float64)))
    excess = torch.sqrt(model.edge**2 + error**2) - model.edge
    return (EDGES * model.step_energy() * excess / (model.size * math.sqrt(math.pi))).numpy()


def solve_mixture(
    model: ContourModel, mask: Tensor, b: Tensor, sigma: Tensor, tolerance: float = 1e-6, iterations: int = 2000
) -> tuple[Tensor, int]:
    """``u = ((1-m) C (1-m) + m C m + sigma^2)^-1 b`` by preconditioned conjugate gradients, and the iterations used.

    Preconditioned by ``(C + sigma^2)^-1``, so that ``C z = r - sigma^2 z`` needs no transform of its own. Each image
    stops by itself when its residual is below ``tolerance |b|``; the residual is then computed afresh.

    Raises
    ------
    NotConvergedError
        If an image does not reach the tolerance within the iterations.
    """
    assert model.spectrum is not None
    variance = sigma[:, None, None] ** 2
    solution = torch.zeros_like(b)
    goal = tolerance * _norm(b)
    active = torch.arange(len(b), device=b.device)
    open_ = torch.ones_like(active, dtype=torch.bool)
    m, s2, bound, u, r = mask, variance, goal, torch.zeros_like(b), b.clone()
    inverse = 1 / (model.spectrum + s2)
    z = _filter(r, inverse)
    p, cp, rz = z.clone(), torch.addcmul(r, s2, z, value=-1), _dot(r, z)
    used = 0
    while used < iterations:
        used += 1
        inner = model.covariance(torch.addcmul(p, m, p, value=-1))
        ap = torch.addcmul(inner, m, torch.sub(cp, inner, alpha=2)).addcmul_(s2, p)
        step = rz / _dot(p, ap)
        u.addcmul_(step, p)
        r.addcmul_(step, ap, value=-1)
        if used % _LOOK == 0 or used == iterations:
            todo = (_norm(r) > bound).flatten() & open_
            solved = (open_ & ~todo).nonzero().flatten() if used < iterations else open_.nonzero().flatten()
            solution[active[solved]] = u[solved]
            open_ = todo
            keep = todo.nonzero().flatten()
            if not len(keep):
                break
            if len(keep) <= 0.75 * len(active):
                active, m, s2, bound, inverse = active[keep], m[keep], s2[keep], bound[keep], inverse[keep]
                u, r, p, cp, rz, open_ = u[keep], r[keep], p[keep], cp[keep], rz[keep], open_[keep]
        z = _filter(r, inverse)
        fresh = _dot(r, z)
        ratio, rz = fresh / rz, fresh
        p.mul_(ratio).add_(z)
        cp.mul_(ratio).add_(r).addcmul_(s2, z, value=-1)
    inner = model.covariance(solution - mask * solution)
    outer = model.covariance(mask * solution)
    left = _norm(b - inner + mask * (inner - outer) - variance * solution)
    if bool((left > 2 * goal).any()):
        worst = float((left / _norm(b)).max())
        raise NotConvergedError(
            f"conjugate gradients left a relative residual of {worst:.1e} after {used} iterations, "
            f"above {tolerance:g}: the result would not be a bound. Allow more iterations or a larger sigma."
        )
    return solution, used


def given_contour(model: ContourModel, mask: Tensor, y: Tensor, sigma: Tensor, iterations: int = 2000) -> Tensor:
    """E[x | y, mask], less 1/2: the image is Gaussian once its contour is known."""
    base = model.image(mask, 0.0, 0.0)
    if model.spectrum is None:
        return base
    u, _ = solve_mixture(model, mask, y - base, sigma, iterations=iterations)
    inner, outer = model.covariance(u - mask * u), model.covariance(mask * u)
    return base + inner + mask * (outer - inner)


def _two_edges(contour: Tensor, size: int, w: float) -> tuple[Tensor, Tensor]:
    """The mask and its derivative, each edge from its own error function."""
    d = torch.arange(size, dtype=contour.dtype, device=contour.device)[:, None] - contour[:, None, :]
    d.sub_(((d + size / 4) * (1 / size)).floor_().mul_(size))
    upper = d.mul_(math.sqrt(0.5) / w)
    lower = upper - (size / 2) * math.sqrt(0.5) / w
    m = torch.erf(upper).sub_(torch.erf(lower)).mul_(0.5)
    slope = _bell(lower.square_()).sub_(_bell(upper.square_()))
    return m, slope.mul_(1 / (w * math.sqrt(2 * math.pi)))


def _one_edge(contour: Tensor, size: int, w: float) -> tuple[Tensor, Tensor]:
    """The same for an even side: N/2 rows further on a row sees the other edge at the same distance, so m is 1 - m.

    Each row sees the nearer edge only; the other is N/4 or more away, which is less than 2e-8 (edge <= N/22).
    """
    half = size // 2
    turns = torch.arange(half, dtype=contour.dtype, device=contour.device)[:, None] - contour[:, None, :]
    turns.add_(size / 4).mul_(1 / half)
    whole = turns.floor()
    distance = turns.sub_(whole).sub_(0.5).mul_(half * math.sqrt(0.5) / w)
    sign = whole.mul_(0.5).sub_(whole.floor()).mul_(-4).add_(1)
    rise = torch.erf(distance).mul_(sign).mul_(0.5)
    slope = _bell(distance.square_()).mul_(sign).mul_(1 / (w * math.sqrt(2 * math.pi)))
    return torch.cat([0.5 + rise, 0.5 - rise], dim=1), torch.cat([-slope, slope], dim=1)


def _bell(square: Tensor) -> Tensor:
    """exp(-square), in place; cut far out, because exp is slow where it underflows."""
    return square.neg_().clamp_(min=-100).exp_()


def _fourier_basis(size: int) -> tuple[FloatArray, np.ndarray]:
    """Orthonormal cosines and sines, one a column, and their frequencies."""
    j = np.arange(size)
    columns, frequencies = [np.full(size, 1 / math.sqrt(size))], [0]
    for k in range(1, (size + 1) // 2):
        angle = 2 * np.pi * k * j / size
        columns += [np.cos(angle) * math.sqrt(2 / size), np.sin(angle) * math.sqrt(2 / size)]
        frequencies += [k, k]
    if size % 2 == 0:
        columns.append(np.cos(np.pi * j) / math.sqrt(size))
        frequencies.append(size // 2)
    return np.stack(columns, axis=1), np.array(frequencies)


def _filter(u: Tensor, gain: Tensor) -> Tensor:
    return torch.fft.irfft2(torch.fft.rfft2(u) * gain, s=tuple(u.shape[1:]))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return torch.linalg.vecdot(u.flatten(1), v.flatten(1))[:, None, None]


def _norm(u: Tensor) -> Tensor:
    return _dot(u, u).sqrt()
