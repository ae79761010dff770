"""Disk images: a low-dimensional manifold of images, curved, with smooth edges."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from gahb_bench.core.family import Family

Variation = Literal["translate", "scale", "foreground", "background"]
RAMP = 1.875  # the smoothstep's slope at its middle: a ramp of width 1.875 w has slope 1/w at the edge

_TILE = 1 << 16  # pixels rendered at once: small enough to stay in cache


class Disks(Family):
    """Disks of varying place, radius and intensities: a manifold of dimension up to 5.

        x_p = b + (f - b) m_p(c, r),   m_p = S((r - |p - c|) / W),   W = 1.875 w
        S(t) = u^3 (10 - 15 u + 6 u^2),   u = min(max(t + 1/2, 0), 1)       (C^2; the slope at the edge is 1/w)
        c_row, c_col ~ U[ceil(N/4) + 1, N - 2 - ceil(N/4)],   r ~ U[N/8, N/4],   f, b ~ U[0, 1],   independent

    What does not `vary` is fixed at its mean (the centre and the radius) or at f = 1, b = 0. The intrinsic dimension
    d counts 2 for ``translate`` and 1 for each of the others; for small noise the least summed squared error is
    d sigma^2, which no fixed basis reaches.

    Latents: ``center`` (n, 2), row and column in pixels; ``radius``, ``foreground``, ``background`` (n,).

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, "Generalization in diffusion models arises from
    geometry-adaptive harmonic representations", ICLR 2024, arXiv:2310.02557, section 3.3 (low-dimensional manifolds).

    Examples
    --------
    >>> batch = Disks(size=16, vary=("scale", "foreground")).sample(range(3))
    >>> batch.images.shape, batch.latents["center"][0].tolist()
    (torch.Size([3, 1, 16, 16]), [7.5, 7.5])
    """

    name: ClassVar = "disks"
    best: ClassVar = ".optimum:DisksOptimum"
    statistics: ClassVar = ".statistics:DisksStatistics"
    conditional: ClassVar = ".conditional:DisksConditional"
    source: ClassVar = "Kadkhodaie et al. 2024, arXiv:2310.02557"
    variants: ClassVar = ("disks:size=16", "disks:size=32")

    size: int = Field(64, ge=16, description="image side N, pixels")
    edge: float = Field(1.0, ge=0.5, description="edge width w, pixels: the slope at the edge is 1/w; at most N/8")
    vary: tuple[Variation, ...] = Field(
        ("translate", "scale", "foreground", "background"), min_length=1, description="what varies, joined by '+'"
    )

    @field_validator("vary")
    @classmethod
    def _sort(cls, vary: tuple[Variation, ...]) -> tuple[Variation, ...]:
        order: tuple[Variation, ...] = ("translate", "scale", "foreground", "background")
        if len(set(vary)) < len(vary):
            raise ValueError("it should name each variation once")
        return tuple(name for name in order if name in vary)

    @model_validator(mode="after")
    def _edge_fits(self) -> "Disks":
        if self.edge > self.size / 8:
            raise ValueError(
                f"edge={self.edge:g} is not allowed with size={self.size}: the smallest disk has radius N/8, "
                f"so the edge width should be at most {self.size / 8:g} pixels"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, self.size, self.size)

    @property
    def dimension(self) -> int:
        """Intrinsic dimension d of the manifold of images."""
        return len(self.vary) + ("translate" in self.vary)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Ends of the uniform laws of (row, column, r, f, b), ``(5, 2)``; both ends equal where nothing varies."""
        n = self.size
        first = -(-n // 4) + 1
        low, high, middle = float(first), float(n - 1 - first), (n - 1) / 2
        fixed = (3 * n / 16, 3 * n / 16)
        rows = [(low, high) if "translate" in self.vary else (middle, middle)] * 2
        rows.append((n / 8, n / 4) if "scale" in self.vary else fixed)
        rows.append((0.0, 1.0) if "foreground" in self.vary else (1.0, 1.0))
        rows.append((0.0, 1.0) if "background" in self.vary else (0.0, 0.0))
        return np.array(rows)

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        uniform = np.empty((count, 5))
        for row, stream in zip(uniform, streams, strict=True):
            stream.random(out=row)
        low, high = self.bounds.T
        theta = low + uniform * (high - low)
        images = np.empty((count, *self.shape), dtype=np.float32)
        step = max(1, _TILE // self.size**2)
        for start in range(0, count, step):
            tile = slice(start, start + step)
            images[tile, 0] = render(theta[tile], self.size, self.edge)
        latents = {
            "center": theta[:, :2].copy(),
            "radius": theta[:, 2].copy(),
            "foreground": theta[:, 3].copy(),
            "background": theta[:, 4].copy(),
        }
        return images, latents


def render(theta: NDArray[np.float64], size: int, edge: float) -> NDArray[np.float64]:
    """Images ``(n, N, N)`` of disks with parameters ``theta`` = (row, column, r, f, b), ``(n, 5)``.

        x_p = b + (f - b) S((r - |p - c|) / W),   W = 1.875 w

    >>> float(render(np.array([[8.0, 8.0, 4.0, 1.0, 0.25]]), 16, 1.0)[0, 8, 8])
    1.0
    """
    row, column, radius, foreground, background = theta.T[:, :, None, None]
    pixels = np.arange(size, dtype=np.float64)
    u = (pixels[:, None] - row) ** 2 + (pixels - column) ** 2
    np.sqrt(u, out=u)
    np.subtract(radius, u, out=u)
    u *= 1 / (RAMP * edge)
    u += 0.5
    np.clip(u, 0.0, 1.0, out=u)
    mask = 6 * u
    mask -= 15
    mask *= u
    mask += 10
    for _ in range(3):
        mask *= u
    mask *= foreground - background
    mask += background
    return mask
