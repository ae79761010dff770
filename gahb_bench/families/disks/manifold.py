"""The manifold of disk images in torch, float64: masks, images, tangent vectors. Shared by the oracles of ``disks``.

Images are flat here, ``(n, N^2)``; parameters are ``theta = (row, column, r, f, b)``, the first three the *geometry*.
"""

import torch
from torch import Tensor

from gahb_bench.core.memory import cached
from gahb_bench.families.disks.law import RAMP, Disks

SMALLEST_SIGMA = 1e-5  # exponents |y|^2 / 2 sigma^2 beyond 1e13 leave no digits in float64


class Manifold:
    """Geometry of one family on one device."""

    def __init__(self, family: Disks, device: torch.device) -> None:
        self.size, self.pixels = family.size, family.size**2
        self.ramp = RAMP * family.edge
        self.device = device
        self.dimension = family.dimension
        self.low, self.high = torch.tensor(family.bounds.T.copy(), dtype=torch.float64, device=device)
        self.varies = self.high > self.low
        flags = self.varies.tolist()
        self.axes = [axis for axis in range(3) if flags[axis]]
        self.vary_foreground, self.vary_background = flags[3], flags[4]
        self.volume = float((self.high - self.low)[self.axes].prod()) if self.axes else 1.0
        side = torch.arange(self.size, dtype=torch.float64, device=device)
        self.rows = side.repeat_interleave(self.size)
        self.columns = side.repeat(self.size)

    def mask(self, geometry: Tensor) -> Tensor:
        """``m_p(c, r)`` for geometries ``(..., 3)``: ``(..., N^2)``."""
        down, right = self.rows - geometry[..., 0:1], self.columns - geometry[..., 1:2]
        distance = torch.sqrt(down * down + right * right)
        return smoothstep((geometry[..., 2:3] - distance) / self.ramp)

    def render(self, theta: Tensor) -> Tensor:
        """``x = b + (f - b) m(c, r)`` for parameters ``(n, 5)``: ``(n, N^2)``."""
        return theta[:, 4:5] + (theta[:, 3:4] - theta[:, 4:5]) * self.mask(theta[:, :3])

    def tangent(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """The image ``(n, N^2)`` and its derivatives in theta ``(n, 5, N^2)``, zero for what does not vary.

        dx/dc = (f - b) S'(t)/W (p - c)/|p - c|,  dx/dr = (f - b) S'(t)/W,  dx/df = m,  dx/db = 1 - m
        """
        down, right = self.rows - theta[:, 0:1], self.columns - theta[:, 1:2]
        distance = torch.sqrt(down * down + right * right).clamp_(min=1e-9)
        u = ((theta[:, 2:3] - distance) / self.ramp + 0.5).clamp_(0, 1)
        m = u * u * u * (10 - 15 * u + 6 * u * u)
        slope = (u * (1 - u)) ** 2 * (30 / self.ramp * (theta[:, 3:4] - theta[:, 4:5]))
        x = theta[:, 4:5] + (theta[:, 3:4] - theta[:, 4:5]) * m
        normal = slope / distance
        J = torch.stack([normal * down, normal * right, slope, m, 1 - m], dim=1)
        return x, J * self.varies[:, None]


def smoothstep(t: Tensor) -> Tensor:
    """``u^3 (10 - 15 u + 6 u^2)``, ``u = min(max(t + 1/2, 0), 1)``; overwrites ``t``."""
    u = t.add_(0.5).clamp_(0, 1)
    s = (u * 6).sub_(15).mul_(u).add_(10)
    return s.mul_(u).mul_(u).mul_(u)


@cached(16)
def manifold(family: Disks, device: torch.device) -> Manifold:
    """The manifold of a family on a device, made once."""
    return Manifold(family, device)
