"""Horizon images whose contour is a Markov chain on a fine grid: their MMSE is exact."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from scipy.special import ndtr

from gahb_bench.core.family import Family

_TAIL = 8.0  # increments are cut beyond this many standard deviations (a probability of 1e-15)


@dataclass(frozen=True)
class ContourChain:
    """A random walk on a grid of positions, or on positions and slopes, kept inside both by conditioning.

    The path has a probability proportional to its first state's times the product of its increments' weights, over
    all paths that stay on the grid. Positions and slopes are counted in grid steps of ``1 / per_pixel`` pixels.

    columns : number of columns N, the length of the path
    first : lowest position, steps
    positions : number of positions
    per_pixel : grid steps a pixel
    increment : standard deviation of the increments of the position (or of the slope), steps
    slopes : largest slope, steps a column; 0 for a walk of the position itself
    """

    columns: int
    first: int
    positions: int
    per_pixel: int
    increment: float
    slopes: int = 0

    @property
    def pixels(self) -> NDArray[np.float64]:
        """The positions in pixels, ``(positions,)``."""
        return (self.first + np.arange(self.positions)) / self.per_pixel

    @cached_property
    def increments(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The possible increments, steps, and their probabilities: a discretised normal law."""
        reach = max(1, int(np.ceil(_TAIL * self.increment)))
        steps = np.arange(-reach, reach + 1)
        weights = np.exp(-0.5 * (steps / self.increment) ** 2)
        return steps, weights / weights.sum()

    @cached_property
    def first_slopes(self) -> NDArray[np.float64]:
        """Probabilities of the first slope, ``(2 slopes + 1,)``: normal of standard deviation slopes/3, cut."""
        weights = np.exp(-0.5 * (3 * np.arange(-self.slopes, self.slopes + 1) / max(self.slopes, 1)) ** 2)
        return weights / weights.sum()

    def draw(self, stream: np.random.Generator) -> NDArray[np.int64]:
        """One path by rejection: indices of its positions, ``(columns,)``."""
        steps, weights = self.increments
        cumulative, cumulative_slopes = np.cumsum(weights), np.cumsum(self.first_slopes)
        while True:
            start = stream.integers(self.positions)
            moves = steps[np.searchsorted(cumulative[:-1], stream.random(self.columns - 1))]
            if self.slopes:
                slope = np.searchsorted(cumulative_slopes[:-1], stream.random()) - self.slopes
                moves = slope + np.cumsum(moves)
            path = start + np.concatenate([[0], np.cumsum(moves)])
            inside = path.min() >= 0 and path.max() < self.positions
            if inside and (not self.slopes or np.abs(moves).max() <= self.slopes):
                return path


class MarkovContours(Family):
    """Horizon images over constant, known backgrounds; the contour is a random walk, so the MMSE is exact.

        x = 1/2 - contrast/2 + contrast m,   m = Phi((row - c(col))/edge)
        alpha = 1/2:   c(j+1) = c(j) + e,                           e discretised N(0, 1 px), grid 1/16 px
        alpha = 3/2:   v(j+1) = v(j) + e,  c(j+1) = c(j) + v(j+1),  e discretised N(0, 0.05 px), grid 1/32 px

    c(0) is uniform on [N/8, 7N/8 - 1]; for alpha = 3/2, v(0) is a discretised N(0, 1/3 px) and |v| <= 1 pixel a
    column; the paths are conditioned to stay inside. The grid is part of the law.

    Latents: ``contour`` (n, N), pixels; ``mask`` (n, 1, N, N).

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77, 1989, doi:10.1109/5.18626.

    Examples
    --------
    >>> MarkovContours(size=16).sample(range(3)).images.shape
    torch.Size([3, 1, 16, 16])
    """

    name: ClassVar = "markov-contours"
    best: ClassVar = ".optimum:MarkovContoursOptimum"
    statistics: ClassVar = ".statistics:MarkovContoursStatistics"
    conditional: ClassVar = ".conditional:MarkovContoursConditional"
    source: ClassVar = "Rabiner 1989 (forward-backward); Korostelev & Tsybakov 1993 (horizons)"
    variants: ClassVar = ("markov-contours:size=32", "markov-contours:alpha=1.5,size=32")

    alpha: float = Field(0.5, description="regularity of the contour: 0.5, a random walk, or 1.5, an integrated one")
    size: int = Field(64, ge=8, description="image side N, pixels")
    contrast: float = Field(0.5, gt=0, le=1e3, description="difference of intensity between the two sides")
    edge: float = Field(0.5, ge=0.3, description="width of the antialiased edge, pixels")

    @field_validator("alpha")
    @classmethod
    def _half_integer(cls, alpha: float) -> float:
        if alpha not in (0.5, 1.5):
            raise ValueError("it should be 0.5 (a random walk) or 1.5 (an integrated random walk)")
        return alpha

    @model_validator(mode="after")
    def _edge_inside(self) -> "MarkovContours":
        if self.edge > self.size / 16:
            raise ValueError(f"edge={self.edge:g} is too wide for size={self.size}: edge <= size/16")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, self.size, self.size)

    @cached_property
    def chain(self) -> ContourChain:
        """The law of the contour."""
        per_pixel = 16 if self.alpha == 0.5 else 32
        first = int(self.size / 8 * per_pixel)
        last = int((self.size - 1 - self.size / 8) * per_pixel)
        walk = self.alpha == 0.5
        return ContourChain(
            columns=self.size,
            first=first,
            positions=last - first + 1,
            per_pixel=per_pixel,
            increment=per_pixel * (1.0 if walk else 0.05),
            slopes=0 if walk else per_pixel,
        )

    @cached_property
    def profiles(self) -> NDArray[np.float64]:
        """A column of m for each position of the contour, ``(positions, N)``."""
        return column_profiles(self.chain, self.size, self.edge)

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        paths = [self.chain.draw(stream) for _, stream in zip(range(count), streams, strict=True)]
        chosen = np.array(paths, dtype=np.int64).reshape(count, self.size)
        mask = self.profiles.astype(np.float32)[chosen].transpose(0, 2, 1)[:, None]
        images = np.float32(0.5 - self.contrast / 2) + np.float32(self.contrast) * mask
        return images, {"contour": self.chain.pixels[chosen], "mask": mask}


def column_profiles(chain: ContourChain, rows: int, edge: float) -> NDArray[np.float64]:
    """M = Phi((row - c)/edge) for each position c of the chain, ``(positions, rows)``."""
    return ndtr((np.arange(rows) - chain.pixels[:, None]) / edge)
