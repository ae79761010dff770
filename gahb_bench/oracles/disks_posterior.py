"""The certified posterior of disk images: which rule suits which image. Part of the oracle of ``disks``.

Each image is tried with the cheapest rule that can be right, and goes on to dearer ones until its error is small:
the grid over the whole prior where the posterior spreads over many of its nodes; otherwise a lattice around the
nearest disk, in whitened coordinates, or a Gauss-Legendre tensor where the prior ends there; then finer grids.
"""

import torch
from torch import Tensor

from gahb_bench.families.disks import Disks
from gahb_bench.oracles import disks_local as local
from gahb_bench.oracles.disks_grid import FINEST, Grid, grid
from gahb_bench.oracles.disks_manifold import Manifold, manifold
from gahb_bench.oracles.disks_projection import Fit, project
from gahb_bench.oracles.disks_quadrature import Likelihood, Moments, Request, moments

TOLERANCE = 2e-3  # largest accepted relative error of an image's posterior variance

_SPREAD = {0: 0.0, 1: 3.6, 2: 6.5, 3: 12.0}  # nodes a grid's posterior must occupy to be tried first, by dimension
_LARGEST_SD = 0.9  # of the centre or radius, pixels at N = 64, for a local rule
_CANDIDATES, _SLACK = 3, 8.0  # disks fitted an image, and how much less likely the others may be
_RIM = 7.2  # standard deviations beyond which there must be little mass
_ORDERS = (10, 8)  # Gauss-Legendre nodes an axis: of the rule, and of the rule that checks it
_MASKS = 1 << 20  # mask values held at once
_TILE = 1 << 22  # grid values held at once


def solve(family: Disks, y: Tensor, sigma: Tensor, request: Request | None = None) -> Moments:
    """Posterior moments of flat float64 images ``(n, N^2)`` at noise levels ``(n,)``, each with its error.

    An image whose ``error`` exceeds `TOLERANCE` is not certified: its moments are the best that were found.
    """
    request = request or Request()
    coarse = grid(family, y.device, 0)
    step = max(1, min(32, _TILE // (coarse.radii.numel() * family.size**2)))
    tiles = torch.arange(len(y), device=y.device).split(step)
    parts = [_Tile(family, y[i], sigma[i], request.at(i)).solve() for i in tiles]
    return Moments.join(parts) if parts else Moments.nothing(y, request)


class _Tile:
    """A few images on their way through the rules."""

    def __init__(self, family: Disks, y: Tensor, sigma: Tensor, request: Request) -> None:
        self.family, self.y, self.sigma, self.request = family, y, sigma, request
        self.model: Manifold = manifold(family, y.device)
        self.coarse: Grid = grid(family, y.device, 0)
        self.likelihood = Likelihood.of(self.model, self.coarse, y, sigma)
        self.found = Moments.nothing(y, request)

    def solve(self) -> Moments:
        spread = _occupied(self.likelihood.bound)
        wide = spread >= _SPREAD[len(self.model.axes)]
        self.on_coarse_grid(wide.nonzero()[:, 0])
        if self.model.axes:
            self.around_one_disk(self.open())
            self.on_coarse_grid(self.open()[~wide[self.open()]])
            for level in range(1, FINEST + 1):
                for image in self.open():
                    self.on_finer_grid(image[None], level)
        return self.found

    def open(self) -> Tensor:
        """Images not yet certified."""
        return (~(self.found.error <= TOLERANCE)).nonzero()[:, 0]

    def on_coarse_grid(self, images: Tensor) -> None:
        if len(images):
            here = self.likelihood.at(images)
            self.found.improve(images, moments(self.model, self.coarse, here, self.request.at(images)))

    def on_finer_grid(self, image: Tensor, level: int) -> None:
        """One image on the layers of a finer grid that can hold its mass."""
        bound = self.likelihood.bound[image[0]].reshape(len(self.coarse.radii), -1).amax(1)
        held = self.coarse.radii[bound > bound.max() - 25]
        margin = 2 * float(self.model.high[2] - self.model.low[2]) / len(self.coarse.radii.unique())
        fine = grid(self.family, self.y.device, level).between(float(held.min()) - margin, float(held.max()) + margin)
        here = Likelihood.of(self.model, fine, self.y[image], self.sigma[image])
        self.found.improve(image, moments(self.model, fine, here, self.request.at(image)))

    def around_one_disk(self, images: Tensor) -> None:
        """Lattice around the nearest disk; the tensor where the prior cuts it."""
        if not len(images):
            return
        here = self.likelihood.at(images)
        fit = project(self.coarse, self.y[images], self.sigma[images], here.gain, here.f, here.b, _CANDIDATES, _SLACK)
        covariance = laplace(self.model, fit, self.sigma[images])
        sd = torch.sqrt(torch.diagonal(covariance, dim1=1, dim2=2).amax(1))
        sharp = sd < _LARGEST_SD * self.model.size / 64
        for nested in (False, True):
            i = (sharp & ~(self.found.error[images] <= TOLERANCE)).nonzero()[:, 0]
            if len(i):
                near = _Around(self.model, fit.theta[i], covariance[i])
                result = self._near(images[i], near, nested)
                result.error += near.mass_elsewhere(self.coarse, here.bound[i], result)
                self.found.improve(images[i], result)

    def _near(self, images: Tensor, near: "_Around", nested: bool) -> Moments:
        """Moments by the lattice or, ``nested``, by the tensor; the error counts the mass that is cut or at the rim."""
        nodes, log_weight, split = near.tensor() if nested else near.lattice()
        result = Moments.nothing(self.y[images], self.request)
        for i in local.tiles(self.model, near.center, nodes, _MASKS):
            rule = local.EdgeRule(self.model, near.center[i], nodes[i], log_weight[i], split)
            here = Likelihood.of(self.model, rule, self.y[images[i]], self.sigma[images[i]])
            outside = near.outside(nodes[i])
            whole, here.bound = here.bound, torch.where(outside, -torch.inf, here.bound)
            part = moments(self.model, rule, here, self.request.at(images[i]), nested=nested)
            rim = near.distance2(nodes[i], i) > _RIM**2
            part.error += 3 * _mass(whole, outside, part) + _mass(whole, rim & ~outside, part)
            result.improve(i, part)
        return result


class _Around:
    """The neighbourhood of one fitted disk an image: its geometry, and the Laplace covariance of what varies."""

    def __init__(self, model: Manifold, theta: Tensor, covariance: Tensor) -> None:
        self.model, self.theta, self.center, self.covariance = model, theta, theta[:, :3], covariance
        self.precision = torch.linalg.inv(covariance)

    def lattice(self) -> tuple[Tensor, Tensor, int]:
        nodes, log_weight = local.lattice_nodes(self.model, self.center, self.covariance)
        return nodes, log_weight, local.ball(len(self.model.axes), nodes.device).split

    def tensor(self) -> tuple[Tensor, Tensor, int]:
        """The rule, and after it the one that checks it."""
        both = [local.tensor_nodes(self.model, self.center, self.covariance, count) for count in _ORDERS]
        nodes, log_weight = (torch.cat(parts, dim=1) for parts in zip(*both, strict=True))
        return nodes, log_weight, both[0][0].shape[1]

    def outside(self, nodes: Tensor) -> Tensor:
        """Whether nodes ``(n, K, 3)`` are outside the prior."""
        axes = self.model.axes
        return ((nodes[..., axes] < self.model.low[axes]) | (nodes[..., axes] > self.model.high[axes])).any(2)

    def distance2(self, nodes: Tensor, image: Tensor) -> Tensor:
        """Squared Mahalanobis distance of nodes ``(n, K, 3)`` of the images ``(n,)``."""
        off = (nodes - self.center[image][:, None, :])[..., self.model.axes]
        return ((off @ self.precision[image]) * off).sum(2)

    def mass_elsewhere(self, coarse: Grid, bound: Tensor, result: Moments) -> Tensor:
        """Bound on the relative error from the mass more than 10 standard deviations away, by the coarse grid.

        A disk of contrast f - b elsewhere is at most 2 (f - b)^2 sum m^2 away from this one in squared distance.
        """
        image, node = (bound > result.log_evidence[:, None] - 25).nonzero(as_tuple=True)
        off = self.distance2(coarse.nodes[0, node][:, None, :], image)[:, 0]
        far = torch.where(off > 100.0, torch.exp(bound[image, node] - result.log_evidence[image]), 0.0)
        mass = bound.new_zeros(len(bound)).index_add_(0, image, far)
        contrast = (self.theta[:, 3] - self.theta[:, 4]) ** 2
        size = 2 * contrast * torch.pi * (self.theta[:, 2] + self.model.ramp / 2) ** 2
        return mass * (1 + size / result.variance)


def laplace(model: Manifold, fit: Fit, sigma: Tensor) -> Tensor:
    """Laplace covariance of the geometry that varies, ``(n, D, D)``: of ``(J'J / s^2)^-1``, slightly regularised."""
    H = fit.tangent @ fit.tangent.mT / sigma[:, None, None] ** 2
    diagonal = torch.diagonal(H, dim1=1, dim2=2)
    H = H + torch.diag_embed(1e-9 * diagonal + 1e-6 + (~model.varies).to(H.dtype))
    return torch.linalg.inv(H)[:, model.axes][:, :, model.axes]


def _occupied(bound: Tensor) -> Tensor:
    """Effective number of nodes of the posterior, judged by the bounds on their weights."""
    return 1 / (torch.softmax(bound, dim=1) ** 2).sum(1)


def _mass(bound: Tensor, where: Tensor, result: Moments) -> Tensor:
    """Bound on the posterior mass of some of the nodes."""
    held = torch.where(where, bound, -torch.inf)
    return torch.exp(torch.logsumexp(held, dim=1) - result.log_evidence)
