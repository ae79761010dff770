"""Posterior moments of disk images from weighted geometries, with their error. Part of the oracle of ``disks``."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gahb_bench.families.disks import intensities
from gahb_bench.families.disks.intensities import Statistics
from gahb_bench.families.disks.manifold import Manifold

_NEGLIGIBLE = 1e-6  # share of the mass, judged by its bounds, in the unlikely nodes that are left out


@runtime_checkable
class Rule(Protocol):
    """Weighted geometries, the same for all images (leading axis 1) or each image's own (n), of two lattices."""

    nodes: Tensor  # (1 or n, K, 3)
    log_weight: Tensor  # (1 or n, K): log of the node's share of the prior
    A: Tensor
    B: Tensor
    C: Tensor  # (1 or n, K)

    @property
    def second(self) -> Tensor: ...  # (K,): whether the node is of the second lattice

    def statistics(self, y: Tensor, sigma: Tensor) -> Statistics: ...  # (n, K) each, of what was seen of images

    def scan(self, images: Tensor) -> Tensor: ...  # <image, m>: (n, N^2) -> (n, K)

    def gather(self, weights: Tensor) -> Tensor: ...  # sum w m of each lattice: (n, K) -> (2, n, N^2)

    def gather_squares(self, weights: Tensor) -> Tensor: ...  # sum w m^2: (n, K) -> (n, N^2)


@dataclass(frozen=True)
class Request:
    """What is asked of the posterior beyond its mean and variance."""

    along: Tensor | None = None  # (n, k, N^2): directions v, for the posterior covariance times v
    variance_map: bool = False
    uniforms: Tensor | None = None  # (n, k, 2): uniform numbers, for k nodes drawn by their weights

    def at(self, index: Tensor | slice) -> "Request":
        """The request for some of the images."""
        along, uniforms = (None if value is None else value[index] for value in (self.along, self.uniforms))
        return Request(along, self.variance_map, uniforms)


@dataclass
class Moments:
    """Posterior moments of ``n`` flat images, summed over pixels, and their estimated error."""

    mean: Tensor  # (n, N^2)
    variance: Tensor  # (n,): E|x - mean|^2
    error: Tensor  # (n,): estimated relative excess |mean - E[x|y]|^2 / variance
    log_evidence: Tensor  # (n,): log E_prior exp(-(|y - x|^2 - |y|^2) / 2 sigma^2)
    geometry: Tensor  # (n, 3): posterior mean of (row, column, r)
    along: Tensor  # (n, k or 0, N^2): covariance times v
    variance_map: Tensor  # (n, N^2 or 0): variance of each pixel
    drawn: Tensor  # (n, k or 0, 3): geometries drawn by their weights
    scatter: Tensor  # (n, 3, 3): posterior covariance of the geometry; NaN unless some are drawn

    @classmethod
    def nothing(cls, y: Tensor, request: Request) -> "Moments":
        """Not yet known: infinite error."""
        n, pixels = y.shape
        nan = y.new_full((n,), torch.nan)
        wide = pixels if request.variance_map else 0
        return cls(
            torch.full_like(y, torch.nan),
            nan.clone(),
            torch.full_like(nan, torch.inf),
            nan.clone(),
            y.new_full((n, 3), torch.nan),
            y.new_full((n, 0 if request.along is None else request.along.shape[1], pixels), torch.nan),
            y.new_full((n, wide), torch.nan),
            y.new_full((n, 0 if request.uniforms is None else request.uniforms.shape[1], 3), torch.nan),
            y.new_full((n, 3, 3), torch.nan),
        )

    def at(self, index: Tensor) -> "Moments":
        """Of some of the images."""
        return Moments(*(getattr(self, field.name)[index] for field in fields(self)))

    def improve(self, where: Tensor, other: "Moments") -> None:
        """Replace those of ``where`` (indices) that ``other`` knows better."""
        better = other.error < self.error[where]
        for field in fields(self):
            getattr(self, field.name)[where[better]] = getattr(other, field.name)[better]

    @classmethod
    def join(cls, parts: "list[Moments]") -> "Moments":
        """Images one after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass
class Likelihood:
    """Sufficient statistics of every node ``(n, K)``, and an upper bound on the log of its unnormalised weight."""

    stats: Statistics
    sigma: Tensor  # (n, K)
    bound: Tensor
    gain: Tensor
    f: Tensor
    b: Tensor

    @classmethod
    def of(cls, model: Manifold, rule: Rule, y: Tensor, sigma: Tensor) -> "Likelihood":
        """Of images, or what was seen of them, ``(n, N^2 or M)`` at noise levels ``(n,)``."""
        stats = rule.statistics(y, sigma)
        wide = sigma[:, None].expand_as(stats.u)
        bound, gain, f, b = intensities.upper_bound(stats, wide, model.vary_foreground, model.vary_background)
        return cls(stats, wide, bound + rule.log_weight, gain, f, b)

    def at(self, index: Tensor) -> "Likelihood":
        """Of some of the images."""
        rest = (self.sigma, self.bound, self.gain, self.f, self.b)
        return Likelihood(self.stats.at(index), *(value[index] for value in rest))


def moments(model: Manifold, rule: Rule, likelihood: Likelihood, request: Request) -> Moments:
    """Sum a rule: posterior mean, variance and the rest, with the error its two lattices show.

        mean = sum_k w_k (E[b|k] + E[f - b|k] m_k),   E|x|^2 = sum_k w_k E[A f^2 + 2 B f b + C b^2 | k]

    The two lattices disagree by delta: half the distance of their means over the posterior standard deviation, or half
    the relative difference of their variances, whichever is more. delta^2 is the relative excess of either lattice
    alone, and is taken as the error: for both together it is a bound, their leading errors being opposite.
    """
    keep = _worthwhile(likelihood.bound)
    image, node = keep.nonzero(as_tuple=True)
    stats, n = likelihood.stats.at(keep), len(keep)
    A, B, C = (value.expand_as(keep)[keep] for value in (rule.A, rule.B, rule.C))
    law = intensities.integrate(stats, likelihood.sigma[keep], model.vary_foreground, model.vary_background)
    weight, log_evidence = _normalise(law.log_mass + rule.log_weight.expand_as(keep)[keep], n, image)
    lattice = rule.second[node].to(torch.long) * n + image

    def total(value: Tensor) -> Tensor:
        """Sum over the nodes of each lattice: (2, n)."""
        return value.new_zeros(2 * n).index_add_(0, lattice, weight * value).reshape(2, n)

    def spread(value: Tensor) -> Tensor:
        return likelihood.bound.new_zeros(keep.shape).masked_scatter_(keep, weight * value)

    def covariance(v: Tensor) -> Tensor:
        """Cov(x|y) v, ``(n, N^2)``: g = <v, x> - <v, mean>, and E[x g] = E[b g] + E[(f - b) g m]."""
        inner = rule.scan(v)[keep]
        rest, middle = v.sum(1)[image] - inner, (v * mean).sum(1)[image]
        fg = law.ff * inner + law.fb * rest - law.f * middle
        bg = law.fb * inner + law.bb * rest - law.b * middle
        left = total(law.f * inner + law.b * rest - middle).sum(0)  # E[g], 0 but for rounding
        return total(bg).sum(0)[:, None] + rule.gather(spread(fg - bg)).sum(0) - left[:, None] * mean

    out = Moments.nothing(likelihood.bound.new_zeros(n, model.pixels), request)
    share = total(torch.ones_like(weight)).clamp(min=1e-30)
    means = total(law.b)[:, :, None] + rule.gather(spread(law.f - law.b))
    energy = total(A * law.ff + 2 * B * law.fb + C * law.bb)
    out.mean = mean = means.sum(0)
    out.variance = energy.sum(0) - (mean**2).sum(1)
    each = means / share[:, :, None]
    off = ((each[0] - each[1]) ** 2).sum(1) / out.variance
    off_variance = (energy / share - (each**2).sum(2)).diff(dim=0)[0] / out.variance
    out.error = torch.maximum(off, off_variance**2) / 4 if model.axes else torch.zeros_like(off)
    out.log_evidence = log_evidence
    points = rule.nodes.expand(n, -1, -1)[keep]
    out.geometry = torch.stack([total(points[:, axis]).sum(0) for axis in range(3)], dim=1)
    if request.along is not None:
        out.along = torch.stack([covariance(v) for v in request.along.unbind(1)], dim=1)
    if request.variance_map:
        cross = rule.gather(spread(2 * (law.fb - law.bb))).sum(0)
        square = rule.gather_squares(spread(law.ff - 2 * law.fb + law.bb))
        out.variance_map = total(law.bb).sum(0)[:, None] + cross + square - mean**2
    if request.uniforms is not None:
        ends = spread(torch.ones_like(weight)).cumsum(1)
        chosen = torch.searchsorted(ends, request.uniforms[..., 1] * ends[:, -1:], right=True)
        nodes = rule.nodes.expand(n, -1, -1)
        out.drawn = nodes.gather(1, chosen.clamp(max=nodes.shape[1] - 1)[..., None].expand(-1, -1, 3))
        off = points - out.geometry[image]
        products = (weight[:, None] * (off[:, :, None] * off[:, None, :]).flatten(1)).reshape(-1, 3, 3)
        out.scatter = products.new_zeros(n, 3, 3).index_add_(0, image, products)
    return out


def mixture(first: Moments, second: Moments, request: Request) -> Moments:
    """Moments over two disjoint parts of the prior, each weighted by its evidence.

        mean = sum_i p_i mean_i,   variance = sum_i p_i (variance_i + |mean_i - mean|^2)

    The errors add, each in proportion to what its part contributes to the variance.
    """
    parts = (first, second)
    log_evidence = torch.logaddexp(first.log_evidence, second.log_evidence)
    shares = [torch.exp(part.log_evidence - log_evidence) for part in parts]
    mean = sum_of(p[:, None] * part.mean for p, part in zip(shares, parts, strict=True))
    off = [part.mean - mean for part in parts]
    pieces = [p * (part.variance + (d**2).sum(1)) for p, part, d in zip(shares, parts, off, strict=True)]
    variance = pieces[0] + pieces[1]
    error = sum_of(piece * part.error for piece, part in zip(pieces, parts, strict=True)) / variance
    geometry = sum_of(p[:, None] * part.geometry for p, part in zip(shares, parts, strict=True))
    out = replace(first, mean=mean, variance=variance, error=error, log_evidence=log_evidence, geometry=geometry)
    if request.along is not None:
        v = request.along
        out.along = sum_of(
            p[:, None, None] * (part.along + (v @ d[:, :, None]) * d[:, None, :])
            for p, part, d in zip(shares, parts, off, strict=True)
        )
    if request.variance_map:
        out.variance_map = sum_of(
            p[:, None] * (part.variance_map + d**2) for p, part, d in zip(shares, parts, off, strict=True)
        )
    if request.uniforms is not None:
        out.drawn = torch.where(request.uniforms[..., :1] < shares[0][:, None, None], first.drawn, second.drawn)
        away = [part.geometry - geometry for part in parts]
        out.scatter = sum_of(
            p[:, None, None] * (part.scatter + d[:, :, None] * d[:, None, :])
            for p, part, d in zip(shares, parts, away, strict=True)
        )
    return out


def change(before: Moments, after: Moments) -> Tensor:
    """Squared relative change of the mean or of the variance, whichever is more; infinite where nothing was before."""
    off = ((after.mean - before.mean) ** 2).sum(1) / after.variance
    off_variance = ((after.variance - before.variance) / after.variance) ** 2
    return torch.maximum(off, off_variance).nan_to_num(nan=torch.inf)


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """Sum of at least one tensor."""
    return torch.stack(list(terms)).sum(0)


def _worthwhile(bound: Tensor) -> Tensor:
    """All nodes but the unlikeliest, which hold at most 1e-6 of the mass."""
    share = torch.softmax(bound, dim=1)
    limit = torch.zeros_like(bound[:, :1])
    for exponent in (-24, -20, -17, -14, -11, -8):
        trial = share.amax(1, keepdim=True) * math.exp(exponent)
        left_out = torch.where(share < trial, share, 0.0).sum(1, keepdim=True)
        limit = torch.where(left_out < _NEGLIGIBLE, trial, limit)
    return (share >= limit) & (share > 0)


def _normalise(log_weight: Tensor, n: int, image: Tensor) -> tuple[Tensor, Tensor]:
    """Weights that sum to 1 over each image's nodes, and the log of what they summed to."""
    top = log_weight.new_full((n,), -torch.inf).scatter_reduce_(0, image, log_weight, "amax")
    weight = torch.exp(log_weight - top[image])
    sums = weight.new_zeros(n).index_add_(0, image, weight)
    return weight / sums[image], top + torch.log(sums)
