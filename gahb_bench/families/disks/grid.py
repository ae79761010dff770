"""A lattice of geometries over the whole prior of ``disks``. Part of its oracle.

The nodes are two interpenetrating cubic lattices, together a body-centred one: layers of constant radius, the rows
and columns of every other layer shifted by half a step. Each of the two tiles the prior alone, so their disagreement
measures the error of either; the error of both together is about its square, because for a smooth integrand the
leading aliasing terms of the two have opposite signs (the dual of a body-centred lattice is face-centred, its
shortest vectors sqrt(2) longer than the cubic's: J. Conway, N. Sloane, "Sphere Packings, Lattices and Groups", ch. 4).
"""

import copy
import math
from abc import ABC, abstractmethod
from functools import cached_property

import scipy.fft
import torch
from torch import Tensor

from gahb_bench.core.memory import cached
from gahb_bench.families.disks.intensities import Statistics
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.manifold import Manifold, manifold, smoothstep

_LAYER = 0.354  # radial step over the step of the centre, at N = 64: the radius is known better than the centre
_LINE = 8  # where the centre is fixed, the radius is sampled this many times more finely


class Grid(ABC):
    """Nodes (template, place): a template is a radius and a sub-pixel shift, a place a shift by whole pixels.

    radii, shifts (T, 2), odd (T,): the templates, and to which of the two lattices each belongs.
    Nodes are numbered template by template, K = T P in all. nodes (1, K, 3): row, column, radius. A, B, C (1, K): sums
    of m^2, m (1 - m), (1 - m)^2. log_weight (1, K): log of a node's share of the prior.
    """

    def __init__(self, model: Manifold, radii: Tensor, shifts: Tensor, odd: Tensor, places: Tensor) -> None:
        self.model, self.radii, self.shifts, self.odd = model, radii, shifts, odd
        centers = shifts[:, None, :] + places
        nodes = torch.cat([centers, radii[:, None, None].expand(-1, len(places), 1)], dim=2)
        self.nodes = nodes.reshape(1, -1, 3)
        self.places = len(places)
        self.log_weight = nodes.new_full(nodes.shape[:2], -math.log(nodes.shape[0] * nodes.shape[1])).reshape(1, -1)

    def _sum_up(self) -> None:
        ones = torch.ones(1, self.model.pixels, dtype=torch.float64, device=self.model.device)
        total, square = self.scan(ones), self.scan_squares(ones)
        self.A, self.B, self.C = square, total - square, self.model.pixels - 2 * total + square

    def statistics(self, y: Tensor, sigma: Tensor) -> Statistics:
        """What the likelihood of each node depends on, for images seen as they are: ``(n, K)`` each."""
        del sigma
        return Statistics.direct(self.scan(y), y.sum(1), self.A, self.B, self.C)

    def scan_squares(self, images: Tensor) -> Tensor:
        """``<image, m^2>`` at every node: ``(n, N^2) -> (n, K)``."""
        return self._correlate(images, self._squares)

    @abstractmethod
    def scan(self, images: Tensor) -> Tensor:
        """``<image, m>`` at every node: ``(n, N^2) -> (n, K)``."""

    @abstractmethod
    def gather(self, weights: Tensor) -> Tensor:
        """``sum w m`` over the nodes of each lattice: ``(n, K) -> (2, n, N^2)``."""

    @abstractmethod
    def gather_squares(self, weights: Tensor) -> Tensor:
        """``sum w m^2`` over all nodes: ``(n, K) -> (n, N^2)``."""

    def whole_templates(self) -> Tensor | None:
        """The templates as images around the origin, ``(T, N^2)``, if they wrap around as images do; else None."""
        return None

    @abstractmethod
    def _correlate(self, images: Tensor, templates: Tensor) -> Tensor: ...

    @cached_property
    def _squares(self) -> Tensor:
        """The templates' squares, in the form ``_correlate`` takes."""
        return self._square()

    @abstractmethod
    def _square(self) -> Tensor: ...

    def between(self, low: float, high: float) -> "Grid":
        """The same nodes with radii in [low, high] only (at least one layer of each lattice)."""
        keep = (self.radii >= low) & (self.radii <= high)
        part = copy.copy(self)
        vars(part).pop("_squares", None)
        for name in ("radii", "shifts", "odd", "_templates"):
            setattr(part, name, getattr(self, name)[keep])
        nodes = keep.repeat_interleave(self.places)
        for name in ("A", "B", "C", "nodes", "log_weight"):
            setattr(part, name, getattr(self, name)[:, nodes])
        return part

    @property
    def second(self) -> Tensor:
        """Whether each node is of the second lattice, ``(K,)``."""
        return self.odd.repeat_interleave(self.places)


class MovingGrid(Grid):
    """The centre varies: templates are correlated with images by FFT, padded where ramps leave the image."""

    def __init__(self, model: Manifold, radii: Tensor, shifts: Tensor, odd: Tensor) -> None:
        self._first, self._width = int(model.low[0]), int(model.high[0] - model.low[0])
        place = torch.arange(self._width, dtype=torch.float64, device=model.device) + self._first
        super().__init__(model, radii, shifts, odd, torch.cartesian_prod(place, place))
        overhang = math.ceil(float(radii.max()) + model.ramp / 2 - float(model.low[0]))
        self._side = int(scipy.fft.next_fast_len(model.size + max(0, overhang), real=True) or 0)
        self._templates = torch.fft.rfft2(self._masks())
        self._sum_up()

    def scan(self, images: Tensor) -> Tensor:
        return self._correlate(images, self._templates)

    def _correlate(self, images: Tensor, templates: Tensor) -> Tensor:
        n, m = self.model.size, self._side
        window = slice(self._first, self._first + self._width)
        spectrum = torch.fft.rfft2(images.reshape(-1, 1, n, n), s=(m, m))
        maps = torch.fft.irfft2(spectrum * templates.conj(), s=(m, m))
        return maps[:, :, window, window].reshape(len(images), -1)

    def gather(self, weights: Tensor) -> Tensor:
        spread = self._spread(weights)
        return torch.stack([self._image(spread[:, part], self._templates[part]) for part in (~self.odd, self.odd)])

    def gather_squares(self, weights: Tensor) -> Tensor:
        return self._image(self._spread(weights), self._squares)

    def _spread(self, weights: Tensor) -> Tensor:
        """Spectra of the weights' maps."""
        m, window = self._side, slice(self._first, self._first + self._width)
        maps = weights.new_zeros(len(weights), len(self.radii), m, m)
        maps[:, :, window, window] = weights.reshape(len(weights), len(self.radii), self._width, self._width)
        return torch.fft.rfft2(maps)

    def _image(self, spectra: Tensor, templates: Tensor) -> Tensor:
        n, m = self.model.size, self._side
        total = torch.einsum("ntpq,tpq->npq", spectra, templates)
        return torch.fft.irfft2(total, s=(m, m))[:, :n, :n].reshape(-1, n * n)

    def whole_templates(self) -> Tensor | None:
        return self._masks().flatten(1) if self._side == self.model.size else None

    def _masks(self) -> Tensor:
        """The templates around the origin, wrapped: ``(T, M, M)``."""
        m = self._side
        axis = (torch.arange(m, dtype=torch.float64, device=self.model.device) + m // 2) % m - m // 2
        down, right = axis - self.shifts[:, 0:1], axis - self.shifts[:, 1:2]
        distance = torch.sqrt((down**2)[:, :, None] + (right**2)[:, None, :])
        return smoothstep((self.radii[:, None, None] - distance) / self.model.ramp)

    def _square(self) -> Tensor:
        return torch.fft.rfft2(self._masks() ** 2)


class StillGrid(Grid):
    """The centre is fixed: templates are images."""

    def __init__(self, model: Manifold, radii: Tensor, shifts: Tensor, odd: Tensor) -> None:
        super().__init__(model, radii, shifts, odd, shifts.new_zeros(1, 2))
        self._templates = model.mask(self.nodes[0])
        self._sum_up()

    def scan(self, images: Tensor) -> Tensor:
        return self._correlate(images, self._templates)

    def _correlate(self, images: Tensor, templates: Tensor) -> Tensor:
        return images @ templates.T

    def gather(self, weights: Tensor) -> Tensor:
        parts = (~self.odd, self.odd)
        return torch.stack([weights[:, part] @ self._templates[part] for part in parts])

    def gather_squares(self, weights: Tensor) -> Tensor:
        return weights @ self._squares

    def _square(self) -> Tensor:
        return self._templates**2


def finest(family: Disks) -> int:
    """The finest level; at level L the centre has a step of 2^(-L/2) pixels: 1, 0.71, 0.5, 0.35, 0.25, 0.18, 0.125.

    Larger disks are known less well when they are just detected, so that larger images need fewer levels; it also
    bounds the memory of a grid, about 300 MB at most up to N = 128.
    """
    return 6 if family.size <= 32 else 4 if family.size <= 96 else 3


@cached(8)
def grid(family: Disks, device: torch.device, level: int) -> Grid:
    """The grid of a family at one level, made once.

    At odd levels the centre's square lattice is turned by 45 degrees, so that its sub-pixel shifts stay few.
    """
    model = manifold(family, device)
    moves, scales = bool(model.varies[0]), bool(model.varies[2])
    layers = 2 if moves else 1
    if scales:
        spacing = _LAYER * math.sqrt(0.5**level * model.size / 64) / (1 if moves else _LINE)
        layers = 2 * math.ceil(float(model.high[2] - model.low[2]) / spacing / 2)
    part = (torch.arange(layers, dtype=torch.float64, device=device) + 0.5) / layers
    radii = model.low[2] + part * (model.high[2] - model.low[2])
    odd = torch.arange(layers, device=device) % 2 == 1
    if not moves:
        return StillGrid(model, radii, model.low[:2].expand(layers, 2), odd)
    first, second = _shifts(level if scales else level + 2, device)  # the centre alone is cheap: finer from the start
    shifts = torch.where(odd[:, None, None], second, first).reshape(-1, 2)
    return MovingGrid(model, radii.repeat_interleave(len(first)), shifts, odd.repeat_interleave(len(first)))


def _shifts(level: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sub-pixel shifts ``(S, 2)`` of two square lattices of step 2^(-level/2), each in the holes of the other."""
    step = 0.5 ** (level // 2)
    phase = torch.arange(round(1 / step), dtype=torch.float64, device=device) * step
    square = torch.cartesian_prod(phase, phase)
    low, high = 0.25 * step, 0.75 * step

    def lattice(*corners: tuple[float, float]) -> Tensor:
        return (square[:, None, :] + torch.tensor(corners, dtype=torch.float64, device=device)).reshape(-1, 2)

    if level % 2 == 0:
        return lattice((low, low)), lattice((high, high))
    return lattice((low, low), (high, high)), lattice((low, high), (high, low))
