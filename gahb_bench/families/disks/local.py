"""Geometries around one fitted disk, in coordinates where the posterior is nearly white. Part of ``disks``'s oracle."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gahb_bench.families.disks.intensities import Statistics
from gahb_bench.families.disks.manifold import Manifold, smoothstep

RADIUS = 5.0  # of the ball of nodes before it is stretched
STRETCH = 0.04  # z -> z (1 + 0.04 |z|^2): the ball reaches 10 standard deviations, since tails are not Gaussian


class EdgeRule:
    """Each image's own geometries; masks are evaluated on the pixels that some of its edges can touch."""

    def __init__(self, model: Manifold, center: Tensor, nodes: Tensor, log_weight: Tensor, split: int) -> None:
        """Nodes ``(n, K, 3)``, the first ``split`` of them of the first lattice, around the geometry ``center``."""
        self.model, self.nodes, self.log_weight, self.split = model, nodes, log_weight, split
        distance = torch.sqrt((model.rows - center[:, 0:1]) ** 2 + (model.columns - center[:, 1:2]) ** 2)
        count = int((self._gap(distance, center) < reach(model, center, nodes)[:, None]).sum(1).max())
        gap = self._gap(distance, center)
        self._pixels = torch.topk(gap, min(max(count, 4), model.pixels), dim=1, largest=False, sorted=False).indices
        self._inside = (distance < center[:, 2:3]).to(nodes.dtype).scatter_(1, self._pixels, 0.0)
        self._m = self._masks()
        inside = self._inside.sum(1, keepdim=True)
        total, square = inside + self._m.sum(2), inside + torch.linalg.vector_norm(self._m, dim=2) ** 2
        self.A, self.B, self.C = square, total - square, model.pixels - 2 * total + square

    @property
    def second(self) -> Tensor:
        """Whether each node is of the second lattice, ``(K,)``."""
        return torch.arange(self.nodes.shape[1], device=self.nodes.device) >= self.split

    def statistics(self, y: Tensor, sigma: Tensor) -> Statistics:
        """What the likelihood of each node depends on, for images seen as they are: ``(n, K)`` each."""
        del sigma
        return Statistics.direct(self.scan(y), y.sum(1), self.A, self.B, self.C)

    def scan(self, images: Tensor) -> Tensor:
        """``<image, m>`` at every node: ``(n, N^2) -> (n, K)``."""
        near = images.gather(1, self._pixels)
        return (images * self._inside).sum(1, keepdim=True) + (self._m @ near[:, :, None])[:, :, 0]

    def gather(self, weights: Tensor) -> Tensor:
        """``sum w m`` over the nodes of each lattice: ``(n, K) -> (2, n, N^2)``."""
        parts = (slice(0, self.split), slice(self.split, None))
        return torch.stack([self._image(weights[:, part], self._m[:, part]) for part in parts])

    def gather_squares(self, weights: Tensor) -> Tensor:
        """``sum w m^2`` over all nodes: ``(n, K) -> (n, N^2)``."""
        return self._image(weights, self._m**2)

    def _image(self, weights: Tensor, masks: Tensor) -> Tensor:
        near = (weights[:, None, :] @ masks)[:, 0]
        return (self._inside * weights.sum(1, keepdim=True)).scatter_(1, self._pixels, near)

    @staticmethod
    def _gap(distance: Tensor, center: Tensor) -> Tensor:
        return (distance - center[:, 2:3]).abs()

    def _masks(self) -> Tensor:
        """Masks of the nodes on the pixels near the edges, ``(n, K, P)``."""
        down = self.model.rows[self._pixels][:, None, :] - self.nodes[:, :, 0:1]
        right = self.model.columns[self._pixels][:, None, :] - self.nodes[:, :, 1:2]
        distance = down.mul_(down).addcmul_(right, right).sqrt_()
        return smoothstep(distance.neg_().add_(self.nodes[:, :, 2:3]).mul_(1 / self.model.ramp))


def reach(model: Manifold, center: Tensor, nodes: Tensor) -> Tensor:
    """How far from the fitted edge the edge of any node can reach, pixels ``(n,)``."""
    moved = torch.sqrt(((nodes[:, :, :2] - center[:, None, :2]) ** 2).sum(2))
    return model.ramp / 2 + (moved + (nodes[:, :, 2] - center[:, None, 2]).abs()).amax(1)


class Ball:
    """Two interpenetrating cubic lattices in a ball, stretched radially: points and log volumes."""

    def __init__(self, dimension: int, step: float, device: torch.device) -> None:
        count = math.ceil(RADIUS / step) + 1
        cube = np.stack(np.meshgrid(*[np.arange(-count, count + 1)] * dimension, indexing="ij"), -1)
        first = cube.reshape(-1, dimension) * step
        lattices = [points[(points**2).sum(1) < RADIUS**2] for points in (first, first + step / 2)]
        points = np.concatenate(lattices)
        q = (points**2).sum(1)
        jacobian = (dimension - 1) * np.log1p(STRETCH * q) + np.log1p(3 * STRETCH * q)
        self.split = len(lattices[0])
        self.points = torch.from_numpy(points * (1 + STRETCH * q)[:, None]).to(device)
        self.log_volume = torch.from_numpy(jacobian + math.log(step**dimension / 2)).to(device)


@lru_cache(maxsize=16)
def ball(dimension: int, step: float, device: torch.device) -> Ball:
    """The ball of nodes in a dimension, made once."""
    return Ball(dimension, step, device)


def lattice_nodes(model: Manifold, center: Tensor, covariance: Tensor, points: Ball) -> tuple[Tensor, Tensor]:
    """Nodes for a posterior near N(center, covariance) cut to the prior's box: geometries and log weights.

        z = Phi^-1( Phi(a) Phi(-t) + Phi(b) Phi(t) ),   dz = phi(t) (Phi(b) - Phi(a)) / phi(z) dt

    The axes are whitened one after the other (the radius first), each conditioned on those before it; [a, b] is what
    the prior leaves of an axis. A normal law cut to the box becomes exactly normal in t, where the nodes are the ball.

    Parameters
    ----------
    center : (n, 3), may be outside the box
    covariance : of what varies, (n, D, D)
    points : the nodes, whitened

    Returns
    -------
    nodes (n, K, 3) inside the prior, log_weight (n, K)
    """
    order = sorted(model.axes, reverse=True)
    position = [model.axes.index(axis) for axis in order]
    root = torch.linalg.cholesky(covariance[:, position][:, :, position])
    white = center.new_zeros(len(center), len(points.points), 0)
    log_weight = (points.log_volume - math.log(model.volume)).expand(len(center), -1)
    for depth, axis in enumerate(order):
        middle = center[:, axis, None] + (white @ root[:, depth, :depth, None])[:, :, 0]
        scale = root[:, depth, depth, None]
        t = points.points[:, depth].expand_as(middle)
        z, slope = cut_normal(t, (model.low[axis] - middle) / scale, (model.high[axis] - middle) / scale)
        log_weight = log_weight + slope + torch.log(scale)
        white = torch.cat([white, z[:, :, None]], dim=2)
    moved = center[:, order][:, None, :] + white @ root.mT
    moved = torch.minimum(torch.maximum(moved, model.low[order]), model.high[order])
    nodes = center[:, None, :].expand(-1, moved.shape[1], -1).clone()
    nodes[:, :, order] = moved
    return nodes, log_weight


def tiles(model: Manifold, center: Tensor, nodes: Tensor, budget: int, *, whole: bool = False) -> list[Tensor]:
    """Indices of images cut into tiles of similar reach, so that each tile holds at most ``budget`` mask values.

    ``whole`` : whether a mask has values at all pixels, not at those near edges alone
    """
    if whole:
        return list(
            torch.arange(len(center), device=center.device).split(max(budget // (nodes.shape[1] * model.pixels), 1))
        )
    width = 4 * math.pi * center[:, 2] * reach(model, center, nodes).clamp(max=model.size)
    width = (width.clamp(max=model.pixels) * nodes.shape[1]).tolist()
    order = sorted(range(len(width)), key=width.__getitem__)
    cuts = [0]
    for position, image in enumerate(order):
        if (position + 1 - cuts[-1]) * width[image] > budget and position > cuts[-1]:
            cuts.append(position)
    index = torch.tensor(order, device=center.device)
    return [index[start:stop] for start, stop in zip(cuts, [*cuts[1:], len(order)], strict=True)]


def _below(z: Tensor) -> Tensor:
    """Phi(z), to full relative precision far below zero too (``torch.special.ndtr`` returns 0 there)."""
    return 0.5 * torch.erfc(z * -math.sqrt(0.5))


def cut_normal(t: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The z in [a, b] at the quantile of t, and log dz/dt; z = t where the ends are far."""
    a, b = a.clamp(-36, 35), b.clamp(-35, 36)
    below = _below(a) * _below(-t) + _below(b) * _below(t)
    above = _below(-a) * _below(-t) + _below(-b) * _below(t)
    left = below < above
    z = torch.special.ndtri(torch.where(left, below, above).clamp(min=1e-300))
    z = torch.where((a < -12) & (b > 12), t, torch.where(left, z, -z))
    mass = torch.where(a > 0, _below(-a) - _below(-b), _below(b) - _below(a)).clamp(min=1e-300)
    return z, 0.5 * (z * z - t * t) + torch.log(mass)
