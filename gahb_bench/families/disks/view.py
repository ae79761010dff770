"""Disks seen through a linear operator: the same rules, with A m and A 1 in place of m and 1. Part of their posterior.

    A x = b A1 + (f - b) A m,   so that with M = A m and O = A1 - A m
    |y - A x|^2 = |y|^2 - 2 u f - 2 v b + A f^2 + 2 B f b + C b^2
    A = |M|^2,   B = <M, O>,   C = |O|^2,   u = <y, M>,   v = <y, O>

The intensities are then integrated as they are for an image that is seen as it is. Means and variances are those of the
image itself, so a rule keeps the sums of m too.
"""

import copy

import torch
from torch import Tensor

from gahb_bench.core.memory import cached
from gahb_bench.core.operator import Operator
from gahb_bench.families.disks.grid import Grid, grid
from gahb_bench.families.disks.intensities import Statistics
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.manifold import Manifold

_FLAT = 1e-5  # the least sum of squares, in sigma^2, that an intensity is seen by: it moves a log-likelihood by 5e-6
_ROUNDED = 1e-12  # the same in parts of |A1|^2, below which sums of squares have no digits
_NODES = 1 << 22  # mask values of nodes held at once

Sums = tuple[Tensor, Tensor, Tensor]  # A, B, C


class View:
    """What one operator, the same for all images, shows of flat images ``(..., N^2)``: ``(..., M)``."""

    def __init__(self, operator: Operator, family: Disks, device: torch.device) -> None:
        self.operator, self.shape = operator, family.shape
        self._grids: dict[int, Grid] = {}
        one = torch.ones(1, *family.shape, dtype=torch.float64, device=device)
        self.one = operator.apply(one).flatten()
        self.mask = None if operator.mask(one) is None else self.one
        self.invariant = operator.transfer(one) is not None  # whether it commutes with shifts of the image

    def see(self, images: Tensor) -> Tensor:
        """``A x``."""
        if self.mask is not None:
            return images * self.mask
        return self.operator.apply(images.reshape(-1, *self.shape)).reshape(*images.shape[:-1], -1)

    def back(self, y: Tensor) -> Tensor:
        """``A' y``."""
        measured = self.operator.measured_shape(self.shape)
        return self.operator.adjoint(y.reshape(-1, *measured)).flatten(1)

    def sums(self, seen: Tensor) -> Sums:
        """A, B and C of masks that were seen, ``(..., M)``: ``(...)`` each."""
        rest = self.one - seen
        return seen.square().sum(-1), (seen * rest).sum(-1), rest.square().sum(-1)

    def grid(self, family: Disks, device: torch.device, level: int) -> Grid:
        """The grid of a level, seen: made once for an operator, a mask's once for the view, which is cheap."""
        if self.mask is None:
            return _seen_grid(self.operator, family, device, level)
        if level not in self._grids:
            self._grids[level] = self.of(grid(family, device, level))
        return self._grids[level]

    def of(self, plain: Grid) -> Grid:
        """A grid, seen."""
        return SeenGrid(plain, self)

    def rule(self, model: Manifold, nodes: Tensor, log_weight: Tensor, split: int) -> "SeenRule":
        """Each image's own nodes, seen: see `SeenRule`."""
        return SeenRule(self, model, nodes, log_weight, split)


class SeenManifold(Manifold):
    """The manifold of what is seen of disks: images and tangent vectors are ``A x``; masks are the disks' own."""

    def __init__(self, plain: Manifold, view: View) -> None:
        vars(self).update(vars(plain))
        self._view = view

    def render(self, theta: Tensor) -> Tensor:
        return self._view.see(super().render(theta))

    def tangent(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        x, J = super().tangent(theta)
        return self._view.see(x), self._view.see(J)


class SeenGrid(Grid):
    """A grid whose nodes are weighted by what is seen; what is gathered is images."""

    def __init__(self, plain: Grid, view: View) -> None:
        vars(self).update(vars(copy.copy(plain)))
        self.model = SeenManifold(plain.model, view)
        self._plain, self._view = plain, view
        self._seen = self._sums()

    def statistics(self, y: Tensor, sigma: Tensor) -> Statistics:
        back = self._view.back(y)
        return well_posed(Statistics.direct(self.scan(back), back.sum(1), *self._seen), sigma)

    def scan(self, images: Tensor) -> Tensor:
        return self._plain.scan(images)

    def scan_squares(self, images: Tensor) -> Tensor:
        return self._plain.scan_squares(images)

    def gather(self, weights: Tensor) -> Tensor:
        return self._plain.gather(weights)

    def gather_squares(self, weights: Tensor) -> Tensor:
        return self._plain.gather_squares(weights)

    def _sums(self) -> Sums:
        """A, B, C of what is seen of every node, ``(1, K)`` each, by the quickest way there is."""
        view, plain = self._view, self._plain
        if view.mask is not None:
            total, square = plain.scan(view.mask[None]), plain.scan_squares(view.mask[None])
            return square, total - square, view.mask.sum() - 2 * total + square
        templates = plain.whole_templates() if view.invariant else None
        if templates is not None:  # all places of a template are the same to a convolution
            a, b, c = (v.repeat_interleave(plain.places)[None] for v in view.sums(view.see(templates)))
            return a, b, c
        parts = plain.nodes[0].split(max(_NODES // plain.model.pixels, 1))
        each = [view.sums(view.see(plain.model.mask(part))) for part in parts]
        a, b, c = (torch.cat(values)[None] for values in zip(*each, strict=True))
        return a, b, c

    def _correlate(self, images: Tensor, templates: Tensor) -> Tensor:
        return self._plain._correlate(images, templates)

    def _square(self) -> Tensor:
        return self._plain._square()


class SeenRule:
    """Each image's own nodes ``(n, K, 3)``, ``split`` of them of the first lattice; masks are whole images."""

    def __init__(self, view: View, model: Manifold, nodes: Tensor, log_weight: Tensor, split: int) -> None:
        self.nodes, self.log_weight, self._split, self._view = nodes, log_weight, split, view
        self.masks = model.mask(nodes)
        self._seen = view.see(self.masks)
        total, self.A = self.masks.sum(2), self.masks.square().sum(2)
        self.B, self.C = total - self.A, model.pixels - 2 * total + self.A

    @property
    def second(self) -> Tensor:
        """Whether each node is of the second lattice, ``(K,)``."""
        return torch.arange(self.nodes.shape[1], device=self.nodes.device) >= self._split

    def statistics(self, y: Tensor, sigma: Tensor) -> Statistics:
        """What the likelihood of each node depends on: ``(n, K)`` each."""
        u = (self._seen @ y[:, :, None])[:, :, 0]
        return well_posed(Statistics.direct(u, y @ self._view.one, *self._view.sums(self._seen)), sigma)

    def scan(self, images: Tensor) -> Tensor:
        """``<image, m>`` at every node: ``(n, N^2) -> (n, K)``."""
        return (self.masks @ images[:, :, None])[:, :, 0]

    def gather(self, weights: Tensor) -> Tensor:
        """``sum w m`` over the nodes of each lattice: ``(n, K) -> (2, n, N^2)``."""
        parts = (slice(0, self._split), slice(self._split, None))
        return torch.stack([(weights[:, None, part] @ self.masks[:, part])[:, 0] for part in parts])

    def gather_squares(self, weights: Tensor) -> Tensor:
        """``sum w m^2`` over all nodes: ``(n, K) -> (n, N^2)``."""
        return (weights[:, None, :] @ self.masks.square())[:, 0]


def well_posed(stats: Statistics, sigma: Tensor) -> Statistics:
    """Sums of squares large enough to divide by, where an intensity is hardly seen or not at all.

    C, and A given C, are at least `_FLAT` sigma^2, as by a prior of standard deviation 300 on intensities that are in
    [0, 1]. Where all of a disk is seen nothing is changed.
    """
    u, v, A, B, C = stats
    least = torch.maximum(_FLAT * sigma[:, None] ** 2, _ROUNDED * (A + 2 * B + C))
    C = torch.maximum(C, least)
    return Statistics(u, v, torch.maximum(A, B * B / C + least), B, C)


@cached(16)
def _seen_grid(operator: Operator, family: Disks, device: torch.device, level: int) -> Grid:
    return SeenGrid(grid(family, device, level), View(operator, family, device))
