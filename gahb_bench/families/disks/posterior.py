"""The certified posterior of disk images: which rule suits which image. Part of the oracle of ``disks``.

Each image is tried with the cheapest rule that can be right, and goes on to dearer ones until its error is small:
the grid over the whole prior where the posterior spreads over many of its nodes; otherwise a lattice around the
nearest disk, in coordinates where the posterior is nearly white, with the grid for the rest; then finer grids. The
error of a rule is judged by its two lattices or, where the prior cuts the posterior and each lattice alone is off by
half a step, by the change from one grid to the next.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gahb_bench.families.disks import local
from gahb_bench.families.disks.grid import Grid, finest, grid
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.manifold import Manifold
from gahb_bench.families.disks.projection import Fit, project
from gahb_bench.families.disks.quadrature import Likelihood, Moments, Request, change, mixture, moments
from gahb_bench.families.disks.view import View

TOLERANCE = 2e-3  # largest accepted relative excess, by its bound, of an image's squared error

_SPREAD = {0: 0.0, 1: 3.6, 2: 6.5, 3: 12.0}  # nodes a grid's posterior must occupy to be tried first, by dimension
_LARGEST_SD = 0.9  # of the centre or radius, pixels at N = 64, for a local rule
_LARGEST_SEEN_SD = 4.0  # the same where an operator may leave one direction nearly unseen, and the others not
_CANDIDATES, _SLACK = 3, 8.0  # disks fitted an image, and how much less likely the others may be
_SETTLED = 1e-7  # change of the log-likelihood at which a fit need not go on: lattices then move smoothly with y
_LATTICES = ((1.4, 1.0), (1.0, 1.7))  # step of the lattice, and how much wider than the normal law it is spread
_SEEN_LATTICES = ((1.0, 1.7), (0.7, 1.4))  # the last resort, for the bent posteriors of disks that are seen in part
_BEYOND = 6.0  # standard deviations the normal law may be centred past the prior's end
_RIM = 7.2  # standard deviations beyond which there must be little mass
_MASKS = 1 << 20  # mask values held at once
_TILE = 1 << 22  # grid values held at once


def solve(family: Disks, y: Tensor, sigma: Tensor, request: Request | None = None, view: View | None = None) -> Moments:
    """Posterior moments of flat float64 images ``(n, N^2)`` at noise levels ``(n,)``, each with its error.

    With a ``view`` y is what was seen through it, ``(n, M)``.

    The error bounds the relative excess ``|mean - E[x|y]|^2 / variance``; the truth is mostly far below. An image whose
    ``error`` exceeds `TOLERANCE` is not certified: its moments are the best that were found.
    """
    request = request or Request()
    coarse = grid(family, y.device, 0)
    step = max(1, min(32, _TILE // (coarse.radii.numel() * family.size**2)))
    tiles = torch.arange(len(y), device=y.device).split(step)
    parts = [_Tile(family, y[i], sigma[i], request.at(i), view).solve() for i in tiles]
    return Moments.join(parts) if parts else Moments.nothing(y.new_zeros(0, family.size**2), request)


class _Tile:
    """A few images on their way through the rules."""

    def __init__(self, family: Disks, y: Tensor, sigma: Tensor, request: Request, view: View | None) -> None:
        self.family, self.y, self.sigma, self.request, self.view = family, y, sigma, request, view
        self.coarse: Grid = grid(family, y.device, 0) if view is None else view.grid(family, y.device, 0)
        self.model: Manifold = self.coarse.model
        self.likelihood = Likelihood.of(self.model, self.coarse, y, sigma)
        self.found = Moments.nothing(y.new_empty(len(y), self.model.pixels), request)
        self.on_grid = Moments.nothing(y.new_empty(len(y), self.model.pixels), request)

    def solve(self) -> Moments:
        spread = _occupied(self.likelihood.bound)
        wide = spread >= _SPREAD[len(self.model.axes)]
        self.on_coarse_grid(wide.nonzero()[:, 0])
        if self.model.axes:
            self.around_one_disk(self.open(), _LATTICES, _LARGEST_SD * math.sqrt(self.model.size / 64))
            self.on_coarse_grid(self.open()[~wide[self.open()]])
            for image in self.open():
                for level in range(self.useful_level(image), finest(self.family) + 1):
                    self.on_finer_grid(image[None], level)
                    if self.found.error[image] <= TOLERANCE:
                        break
            if self.view is not None:
                self.around_one_disk(self.open(), _SEEN_LATTICES, _LARGEST_SEEN_SD)
        return self.found

    def open(self) -> Tensor:
        """Images not yet certified."""
        return (~(self.found.error <= TOLERANCE)).nonzero()[:, 0]

    def useful_level(self, image: Tensor) -> int:
        """The coarsest level that may do: each squares the error of the coarse grid, roughly."""
        error = float(self.on_grid.error[image])
        last = finest(self.family) - 1
        return next((level for level in range(1, last) if (4 * error) ** (2**level) < TOLERANCE), last)

    def on_coarse_grid(self, images: Tensor) -> None:
        if len(images):
            here = self.likelihood.at(images)
            result = moments(self.model, self.coarse, here, self.request.at(images))
            self.on_grid.improve(images, result)
            self.found.improve(images, result)

    def on_finer_grid(self, image: Tensor, level: int) -> None:
        """One image on the layers of a finer grid that can hold its mass."""
        bound = self.likelihood.bound[image[0]].reshape(len(self.coarse.radii), -1).amax(1)
        held = self.coarse.radii[bound > bound.max() - 25]
        margin = 2 * float(self.model.high[2] - self.model.low[2]) / len(self.coarse.radii.unique())
        fine = grid(self.family, self.y.device, level).between(float(held.min()) - margin, float(held.max()) + margin)
        fine = fine if self.view is None else self.view.of(fine)
        here = Likelihood.of(self.model, fine, self.y[image], self.sigma[image])
        result = moments(self.model, fine, here, self.request.at(image))
        result.error = torch.minimum(result.error, change(self.on_grid.at(image), result))
        self.on_grid.improve(image, result)
        self.found.improve(image, result)

    def around_one_disk(self, images: Tensor, lattices: tuple[tuple[float, float], ...], largest: float) -> None:
        """Lattices around the nearest disk, where its deviation is not too large; the coarse grid elsewhere."""
        if not len(images):
            return
        here = self.likelihood.at(images)
        y, sigma = self.y[images], self.sigma[images]
        fit = project(self.coarse, y, sigma, here, _CANDIDATES, _SLACK, _SETTLED)
        near = Neighbourhood.of(self.model, fit, y, sigma)
        for step, inflation in lattices:
            todo = (near.sd < largest) & ~(self.found.error[images] <= TOLERANCE)
            i = todo.nonzero()[:, 0]
            if len(i):
                self._near_and_far(images[i], near.at(i, inflation), here.bound[i], step)

    def _near_and_far(self, images: Tensor, near: "Neighbourhood", bound: Tensor, step: float) -> None:
        """The lattice, and the coarse grid out of its reach."""
        result = self._near(images, near, step)
        far = near.far(self.coarse, bound, result.log_evidence)
        elsewhere = near.weight_of(far, bound, result)
        both = ((elsewhere > 0.1 * TOLERANCE) & (result.error < TOLERANCE)).nonzero()[:, 0]
        if len(both):
            rest = self.likelihood.at(images[both])
            rest.bound = torch.where(far[both], rest.bound, -torch.inf)
            request = self.request.at(images[both])
            second = moments(self.model, self.coarse, rest, request)
            self.found.improve(images[both], mixture(result.at(both), second, request))
        result.error = result.error + elsewhere
        self.found.improve(images, result)

    def _near(self, images: Tensor, near: "Neighbourhood", step: float) -> Moments:
        """Moments by the lattice of one step; the error counts the mass at its rim."""
        ball = local.ball(len(self.model.axes), step, self.y.device)
        nodes, log_weight = local.lattice_nodes(self.model, near.center, near.covariance, ball)
        result = Moments.nothing(self.y.new_empty(len(images), self.model.pixels), self.request)
        for i in local.tiles(self.model, near.center, nodes, _MASKS, whole=self.view is not None):
            rule = (
                local.EdgeRule(self.model, near.center[i], nodes[i], log_weight[i], ball.split)
                if self.view is None
                else self.view.rule(self.model, nodes[i], log_weight[i], ball.split)
            )
            here = Likelihood.of(self.model, rule, self.y[images[i]], self.sigma[images[i]])
            part = moments(self.model, rule, here, self.request.at(images[i]))
            rim = near.distance2(nodes[i], i) > _RIM**2
            part.error += _mass(here.bound, rim, part.log_evidence)
            result.improve(i, part)
        return result


@dataclass
class Neighbourhood:
    """A normal law near each image's posterior: N(center, covariance) of what varies of the geometry.

    covariance = (J'J / s^2)^-1,   center = the fitted disk and, past the prior's end, one Newton step more
    """

    model: Manifold
    center: Tensor  # (n, 3)
    covariance: Tensor  # (n, D, D)
    scale: Tensor  # (n,): squared distance to a disk of this contrast elsewhere, at most

    @classmethod
    def of(cls, model: Manifold, fit: Fit, y: Tensor, sigma: Tensor) -> "Neighbourhood":
        J, theta = fit.tangent, fit.theta
        H = J @ J.mT / sigma[:, None, None] ** 2
        diagonal = torch.diagonal(H, dim1=1, dim2=2)
        inverse = torch.linalg.inv(H + torch.diag_embed(1e-9 * diagonal + 1e-6 + (~model.varies).to(H.dtype)))
        slope = J @ (y - model.render(theta))[:, :, None] / sigma[:, None, None] ** 2
        step = (inverse @ slope)[:, :, 0] * model.varies
        sd = torch.sqrt(torch.diagonal(inverse, dim1=1, dim2=2))
        step = torch.minimum(torch.maximum(step, -_BEYOND * sd), _BEYOND * sd)
        ended = (theta <= model.low) | (theta >= model.high)
        center = theta + step * (ended & model.varies).any(1, keepdim=True)
        contrast = (theta[:, 3] - theta[:, 4]) ** 2
        scale = 2 * contrast * torch.pi * (theta[:, 2] + model.ramp / 2) ** 2
        return cls(model, center[:, :3], inverse[:, model.axes][:, :, model.axes], scale)

    def at(self, index: Tensor, inflation: float = 1.0) -> "Neighbourhood":
        """Of some of the images, standard deviations inflated."""
        return Neighbourhood(self.model, self.center[index], self.covariance[index] * inflation**2, self.scale[index])

    @property
    def sd(self) -> Tensor:
        """Largest standard deviation of the geometry, pixels."""
        return torch.sqrt(torch.diagonal(self.covariance, dim1=1, dim2=2).amax(1))

    def distance2(self, nodes: Tensor, image: Tensor) -> Tensor:
        """Squared Mahalanobis distance of nodes ``(n, K, 3)`` of the images ``(n,)``."""
        off = (nodes - self.center[image][:, None, :])[..., self.model.axes]
        precision = torch.linalg.inv(self.covariance)[image]
        return ((off @ precision) * off).sum(2)

    def far(self, coarse: Grid, bound: Tensor, log_evidence: Tensor) -> Tensor:
        """Nodes of the coarse grid that matter and are out of the lattice's reach, 10 standard deviations."""
        image, node = (bound > log_evidence[:, None] - 25).nonzero(as_tuple=True)
        off = self.distance2(coarse.nodes[0, node][:, None, :], image)[:, 0]
        far = torch.zeros_like(bound, dtype=torch.bool)
        far[image, node] = off > 100.0
        return far

    def weight_of(self, far: Tensor, bound: Tensor, result: Moments) -> Tensor:
        """Bound on the relative change of the variance by the mass of the far nodes."""
        return _mass(bound, far, result.log_evidence) * (1 + self.scale / result.variance)


def _occupied(bound: Tensor) -> Tensor:
    """Effective number of nodes of the posterior, judged by the bounds on their weights."""
    return 1 / (torch.softmax(bound, dim=1) ** 2).sum(1)


def _mass(bound: Tensor, where: Tensor, log_evidence: Tensor) -> Tensor:
    """Bound on the posterior mass of some of the nodes."""
    return torch.exp(torch.logsumexp(torch.where(where, bound, -torch.inf), dim=1) - log_evidence)
