"""Integrals over the two intensities of a disk image, its geometry given. Part of the oracle of ``disks``.

With A = sum m^2, B = sum m (1 - m), C = sum (1 - m)^2, u = <y, m>, v = <y, 1 - m>, for f and b uniform on [0, 1]

    Z = int int exp( (2 u f + 2 v b - A f^2 - 2 B f b - C b^2) / (2 s^2) ) df db,

the likelihood exp(-|y - x|^2 / 2 s^2) up to exp(-|y|^2 / 2 s^2). All arguments are float64 tensors of one shape.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_CLEAR = 6.0  # this many standard deviations inside [0, 1] an intensity is taken as unbounded (1e-9 of its mass)
_NODES = (
    (2.5, 6),
    (4.5, 8),
    (7.0, 10),
    (9.5, 12),
    (13.0, 20),
    (26.0, 40),
    (math.inf, 80),
)  # widest window in sd, nodes
WINDOW = 40.0  # the nodes cover the f whose log density is within half of this of its maximum
_CHUNK = 1 << 14


class Statistics(NamedTuple):
    """What the likelihood of a geometry depends on."""

    u: Tensor
    v: Tensor
    A: Tensor
    B: Tensor
    C: Tensor

    @classmethod
    def direct(cls, u: Tensor, total: Tensor, A: Tensor, B: Tensor, C: Tensor) -> "Statistics":
        """Of images that are seen as they are: from ``<y, m>``, ``(n, K)``, the sum of y, ``(n,)``, and those of m."""
        return cls(u, total[:, None] - u, A.expand_as(u), B.expand_as(u), C.expand_as(u))

    def at(self, keep: Tensor) -> "Statistics":
        """The entries a mask or an index selects."""
        return Statistics(*(value[keep] for value in self))


@dataclass
class Intensities:
    """log Z and the posterior moments of f and b, given the geometry."""

    log_mass: Tensor
    f: Tensor
    b: Tensor
    ff: Tensor
    bb: Tensor
    fb: Tensor

    def put(self, where: Tensor, other: "Intensities") -> None:
        """Replace some entries."""
        for name in ("log_mass", "f", "b", "ff", "bb", "fb"):
            getattr(self, name)[where] = getattr(other, name)


def integrate(stats: Statistics, sigma: Tensor, vary_f: bool, vary_b: bool) -> Intensities:
    """Return log Z and moments; f = 1 and b = 0 where they do not vary.

    b is integrated exactly (a truncated normal) and so is f where the bounds of b do not matter, or the converse;
    where both bounds matter f takes Gauss-Legendre nodes on the window that holds its mass.
    """
    u, v, A, B, C = stats
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    if not vary_f and not vary_b:
        return Intensities((2 * u - A) / (2 * sigma**2), one, zero, one, zero, zero)
    if not vary_b:
        log_mass, f, ff = line(u, A, sigma)
        return Intensities(log_mass, f, zero, ff, zero, zero)
    if not vary_f:
        log_mass, b, bb = line(v - B, C, sigma)
        return Intensities(log_mass + (2 * u - A) / (2 * sigma**2), one, b, one, bb, b)
    b_clear = _clear(stats, sigma)
    f_clear = _clear(Statistics(v, u, C, B, A), sigma) & ~b_clear
    out = Intensities(*(torch.empty_like(u) for _ in range(6)))
    for where, rule in ((b_clear, _free_b), (f_clear, _free_f), (~(b_clear | f_clear), _both)):
        index = where.nonzero()[:, 0]
        for part in index.split(_CHUNK if rule is not _both else _CHUNK // 8):
            if len(part):
                out.put(part, rule(stats.at(part), sigma[part]))
    return out


def upper_bound(stats: Statistics, sigma: Tensor, vary_f: bool, vary_b: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """An upper bound on log Z, and the best intensities in the box: (bound, gain, f, b).

    The lesser of the integral over the whole plane and of the maximum over the box, whose area is 1.
    """
    gain, f, b = best_intensities(stats, vary_f, vary_b)
    bound = gain / (2 * sigma**2)
    if vary_f and vary_b:
        u, v, A, B, C = stats
        schur = A - B * B / C
        top = (v * v / C + (u - v * B / C) ** 2 / schur) / (2 * sigma**2)
        bound = torch.minimum(bound, top + torch.log(2 * math.pi * sigma**2 / torch.sqrt(schur * C)))
    return bound, gain, f, b


def best_intensities(stats: Statistics, vary_f: bool, vary_b: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Least squares in the box: max of ``2 u f + 2 v b - A f^2 - 2 B f b - C b^2`` and where it is reached."""
    u, v, A, B, C = stats
    zero, one = torch.zeros_like(u), torch.ones_like(u)
    if not vary_f:
        b = ((v - B) / C).clamp(0, 1) if vary_b else zero
        return _gain(stats, one, b), one, b
    if not vary_b:
        f = (u / A).clamp(0, 1)
        return _gain(stats, f, zero), f, zero
    f = (u * C - v * B) / (A * C - B * B)
    b = (v - B * f) / C
    gain = _gain(stats, f, b)
    out = (f < 0) | (f > 1) | (b < 0) | (b > 1)
    if bool(out.any()):
        edge = stats.at(out)
        best = torch.full_like(edge.u, -math.inf)
        best_f, best_b = torch.zeros_like(best), torch.zeros_like(best)
        for end in (0.0, 1.0):
            fixed = torch.full_like(best, end)
            for trial_f, trial_b in (
                (fixed, ((edge.v - edge.B * end) / edge.C).clamp(0, 1)),
                (((edge.u - edge.B * end) / edge.A).clamp(0, 1), fixed),
            ):
                value = _gain(edge, trial_f, trial_b)
                better = value > best
                best = torch.where(better, value, best)
                best_f, best_b = torch.where(better, trial_f, best_f), torch.where(better, trial_b, best_b)
        gain[out], f[out], b[out] = best, best_f, best_b
    return gain, f, b


def truncated_normal(mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """N(mean, sd^2) cut to [0, 1]: log of its mass, E, E of the square; stable however far the mean is outside.

        mass = Phi(beta) - Phi(alpha),  E t = (phi(alpha) - phi(beta)) / mass,
        E t^2 = 1 + (alpha phi(alpha) - beta phi(beta)) / mass,  t = (value - mean) / sd

    >>> mass, first, second = truncated_normal(torch.tensor([-50.0]).double(), torch.tensor([1e3]).double())
    >>> round(first.item(), 4), round(second.item(), 4)  # nearly uniform
    (0.5, 0.3333)
    """
    alpha, beta = -mean / sd, (1 - mean) / sd
    flip = alpha + beta < 0
    near, far = torch.where(flip, -beta, alpha), torch.where(flip, -alpha, beta)  # near + far >= 0
    root = math.sqrt(0.5)
    mass = 0.5 * (torch.erfc(near * root) - torch.erfc(far * root))
    log_mass = torch.log(mass)
    at_near = torch.exp(-0.5 * near * near) / (math.sqrt(2 * math.pi) * mass)
    at_far = torch.exp(-0.5 * far * far) / (math.sqrt(2 * math.pi) * mass)
    tail = near > 5
    if bool(tail.any()):
        n, f = near[tail], far[tail]
        drop = torch.exp(0.5 * (n - f) * (n + f))
        scaled = torch.special.erfcx(n * root) - drop * torch.special.erfcx(f * root)
        log_mass[tail] = torch.log(0.5 * scaled) - 0.5 * n * n
        at_near[tail] = math.sqrt(2 / math.pi) / scaled
        at_far[tail] = at_near[tail] * drop
    first = torch.where(flip, at_far - at_near, at_near - at_far)
    second = 1 + near * at_near - far * at_far
    return log_mass, mean + sd * first, mean * mean + 2 * mean * sd * first + sd * sd * second


def _gain(stats: Statistics, f: Tensor, b: Tensor) -> Tensor:
    u, v, A, B, C = stats
    return f * (2 * u - A * f - 2 * B * b) + b * (2 * v - C * b)


def line(w: Tensor, Q: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log of int_0^1 exp((2 w t - Q t^2) / 2 s^2) dt and the moments of t."""
    sd = sigma / torch.sqrt(Q)
    log_mass, first, second = truncated_normal(w / Q, sd)
    return w * w / (2 * Q * sigma**2) + torch.log(math.sqrt(2 * math.pi) * sd) + log_mass, first, second


def _clear(stats: Statistics, sigma: Tensor) -> Tensor:
    """Whether b given f, N((v - B f) / C, s^2 / C), is far inside [0, 1] for every f that matters."""
    u, v, A, B, C = stats
    schur = A - B * B / C
    f = (u - v * B / C) / schur
    reach = _CLEAR * sigma / torch.sqrt(schur)
    margin = _CLEAR * sigma / torch.sqrt(C)
    least, most = (v - B * (f + reach).clamp(0, 1)) / C, (v - B * (f - reach).clamp(0, 1)) / C
    return (least > margin) & (most < 1 - margin)


def _free_b(stats: Statistics, sigma: Tensor) -> Intensities:
    """With b unbounded: f is a truncated normal, and b given f is normal with mean (v - B f) / C."""
    u, v, A, B, C = stats
    log_mass, f, ff = line(u - v * B / C, A - B * B / C, sigma)
    log_mass = log_mass + v * v / (2 * C * sigma**2) + torch.log(math.sqrt(2 * math.pi) * sigma / torch.sqrt(C))
    b = (v - B * f) / C
    bb = sigma**2 / C + (v * v - 2 * v * B * f + B * B * ff) / C**2
    return Intensities(log_mass, f, b, ff, bb, (v * f - B * ff) / C)


def _free_f(stats: Statistics, sigma: Tensor) -> Intensities:
    """With f unbounded: the same with the two intensities exchanged."""
    u, v, A, B, C = stats
    other = _free_b(Statistics(v, u, C, B, A), sigma)
    return Intensities(other.log_mass, other.b, other.f, other.bb, other.ff, other.fb)


def _both(stats: Statistics, sigma: Tensor) -> Intensities:
    """Gauss-Legendre in f on the window that holds its mass, b exact at each node.

    Its density changes over sf, or, where the bounds of b cut it, over the step of f that moves b by a deviation.
    """
    u, v, A, B, C = (value[:, None] for value in stats)
    s = sigma[:, None]
    schur = A - B * B / C
    f_hat, sf = (u - v * B / C) / schur, s / torch.sqrt(schur)
    nearest = f_hat.clamp(0, 1)
    off = (f_hat - nearest).abs() / sf
    reach = WINDOW / (off + torch.sqrt(off * off + WINDOW)) * sf
    left, right = (nearest - reach).clamp(min=0), (nearest + reach).clamp(max=1)
    half = 0.5 * (right - left)
    width = float((2 * half * torch.maximum(1 / sf, B / (s * torch.sqrt(C)))).max())
    x, w = legendre(next(count for limit, count in _NODES if width <= limit), u.device)
    f = 0.5 * (right + left) + half * x
    mass, b, bb = line((v - B * f).expand_as(f), C.expand_as(f), s.expand_as(f))
    log_density = mass + (2 * u * f - A * f * f) / (2 * s * s) + torch.log(w * half)
    top = log_density.amax(1, keepdim=True)
    p = torch.exp(log_density - top)
    total = p.sum(1, keepdim=True)
    p = p / total
    moments = ((p * value).sum(1) for value in (f, b, f * f, bb, f * b))
    return Intensities((top + torch.log(total))[:, 0], *moments)


@lru_cache(maxsize=16)
def legendre(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on [-1, 1], float64."""
    x, w = np.polynomial.legendre.leggauss(count)
    return torch.from_numpy(x).to(device), torch.from_numpy(w).to(device)
