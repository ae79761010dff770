"""Images written by a tree: each symbol becomes four, level after level, and the last symbols are the pixels."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray

_LEAST = 1e-4  # share of a uniform law mixed into each row of transitions, so that none vanishes


class Hierarchy(Family):
    """Images written by a tree of 2 x 2 branching: symbols at every level, of which the pixels are the last.

        level 0: one symbol, uniform on 0 .. q-1;   level l: 2^l x 2^l symbols;   pixel = symbol / (q - 1) at level L
        rules=independent   child at position p of a parent a:  b ~ T_{l,p}[a, .],  children independent given a
        rules=grammar       the four children of a together:  one of the m tuples of a, all q m tuples distinct

    The rows of ``T_{l,p}`` are drawn once from a symmetric Dirichlet law (mixed with 1e-4 of the uniform one), the
    tuples once without replacement; both depend on ``key`` and on the shape of the tree, not on the images. The rules
    differ from level to level and are the same everywhere in a level.

    This law tests compositional hierarchy: its optimum is belief propagation up and down the tree, which U-Nets are
    said to implement, and the noise at which each level of the tree is lost is known.

    Latents: ``level0`` .. ``levelL``, int64 ``(n, 2^l, 2^l)``: the symbols of each level (``level0`` is the class).

    References
    ----------
    S. Mei, "U-Nets as belief propagation: efficient classification, denoising, and diffusion in generative
    hierarchical models", 2024, arXiv:2404.18444, section 2; F. Cagnetta, L. Petrini, U. M. Tomasini, A. Favero,
    M. Wyart, "How deep neural networks learn compositional data: the random hierarchy model", Phys. Rev. X 2024,
    doi:10.1103/PhysRevX.14.031001, section II (grammar).

    Examples
    --------
    >>> batch = Hierarchy(depth=3).sample(range(2))
    >>> batch.images.shape, batch.latents["level1"].shape
    (torch.Size([2, 1, 8, 8]), torch.Size([2, 2, 2]))
    """

    name: ClassVar = "hierarchy"
    best: ClassVar = ".optimum:HierarchyOptimum"
    statistics: ClassVar = ".statistics:HierarchyStatistics"
    conditional: ClassVar = ".conditional:HierarchyConditional"
    source: ClassVar = "Mei 2024, arXiv:2404.18444; Cagnetta et al. 2024, doi:10.1103/PhysRevX.14.031001"
    variants: ClassVar = ("hierarchy:depth=5", "hierarchy:rules=grammar", "hierarchy:depth=5,rules=grammar")

    rules: Literal["independent", "grammar"] = Field("independent", description="how a symbol becomes four")
    depth: int = Field(6, ge=1, le=7, description="levels L below the root; the image side is 2^L")
    symbols: int = Field(16, ge=2, le=64, description="number q of symbols at each level")
    concentration: float = Field(0.1, gt=0, description="rules=independent: of the Dirichlet law; small = predictable")
    productions: int = Field(16, ge=1, description="rules=grammar: tuples m of a symbol, at most q^3")
    key: int = Field(0, ge=0, description="which draw of the rules")

    @model_validator(mode="after")
    def _enough_tuples(self) -> "Hierarchy":
        if self.rules == "grammar" and self.productions > self.symbols**3:
            raise ValueError(
                f"productions={self.productions} is not allowed: {self.symbols} symbols have {self.symbols}^4 tuples, "
                f"so each can have at most {self.symbols}^3 = {self.symbols**3} of its own"
            )
        return self

    @property
    def size(self) -> int:
        """The image side."""
        return 2**self.depth

    @property
    def shape(self) -> tuple[int, int, int]:
        return (1, self.size, self.size)

    @cached_property
    def intensities(self) -> NDArray[np.float64]:
        """Intensity of each symbol, ``(q,)``: equally spaced in [0, 1], rounded to single precision as images are."""
        return np.linspace(0, 1, self.symbols, dtype=np.float32).astype(np.float64)

    @cached_property
    def transitions(self) -> FloatArray:
        """rules=independent: ``T[l, p, a, b]``, ``(L, 4, q, q)``, the law of the child at p = 2 row + column."""
        shape = (self.depth, 4, self.symbols)
        stream = rng.generator("hierarchy", "independent", self.depth, self.symbols, str(self.concentration), self.key)
        rows = stream.dirichlet(np.full(self.symbols, self.concentration), size=shape)
        return (1 - _LEAST) * rows + _LEAST / self.symbols

    @cached_property
    def tuples(self) -> NDArray[np.int64]:
        """rules=grammar: the tuples of each symbol, ``(L, q, m, 4)``."""
        q, m = self.symbols, self.productions
        stream = rng.generator("hierarchy", "grammar", self.depth, q, m, self.key)
        codes = np.stack([stream.choice(q**4, size=(q, m), replace=False) for _ in range(self.depth)])
        return np.stack([codes // q**power % q for power in (3, 2, 1, 0)], axis=-1)

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        levels = [np.empty((count, 2**level, 2**level), dtype=np.int64) for level in range(self.depth + 1)]
        for index, stream in zip(range(count), streams, strict=True):
            levels[0][index] = stream.integers(self.symbols)
            for level in range(self.depth):
                levels[level + 1][index] = self._children(stream, level, levels[level][index])
        images = self.intensities.astype(np.float32)[levels[-1]][:, None]
        return images, {f"level{level}": symbols for level, symbols in enumerate(levels)}

    def validity(self, images: NDArray[np.floating]) -> FloatArray:
        """Share of the 2 x 2 patches at each level that the grammar can write, ``(n, L)``, the pixels' level last.

        Each pixel is read as its nearest symbol, each patch as the symbol it comes from; a patch with a symbol that
        could not be read cannot be written. An image is grammatical if all its shares are 1.

        Raises
        ------
        UsageError
            For ``rules=independent``, which can write every image.
        """
        return np.stack([(rules >= 0).mean(axis=(1, 2)) for rules in self.parse(images)], axis=1)

    def parse(self, images: NDArray[np.floating]) -> list[NDArray[np.int64]]:
        """Which tuple wrote each patch, root first, ``(n, 2^l, 2^l)`` each: its number, m a + place; -1 where none can.

        Each pixel is read as its nearest symbol.

        Raises
        ------
        UsageError
            For ``rules=independent``, which can write every image in many ways.
        """
        if self.rules != "grammar":
            raise UsageError(f"{self.spec} can write every image: only rules=grammar has images that are not valid.")
        q, symbols, parsed = self.symbols, self.read(images), []
        for level in reversed(range(self.depth)):
            patches = symbols.reshape(len(images), 2**level, 2, 2**level, 2).swapaxes(2, 3)
            patches = patches.reshape(len(images), 2**level, 2**level, 4)
            codes = np.where((patches >= 0).all(axis=-1), patches @ q ** np.arange(3, -1, -1), -1)
            parsed.insert(0, self._rule(level, codes))
            symbols = parsed[0] // self.productions  # -1 stays -1
        return parsed

    def read(self, images: NDArray[np.floating]) -> NDArray[np.int64]:
        """The symbol nearest to each pixel, ``(n, h, w)``."""
        return np.rint(np.clip(images[:, 0], 0, 1) * (self.symbols - 1)).astype(np.int64)

    def _children(self, stream: np.random.Generator, level: int, parents: NDArray[np.int64]) -> NDArray[np.int64]:
        """The symbols of the next level, ``(2h, 2w)``."""
        h, w = parents.shape
        if self.rules == "grammar":
            chosen = stream.integers(self.productions, size=(h, w))
            made = self.tuples[level][parents, chosen]
        else:
            keep, alias = self._alias
            column = self.symbols * stream.random((h, w, 4))
            own = column.astype(np.int64)
            place = own + self.symbols * (self.symbols * np.arange(4) + parents[..., None])
            made = np.where(column - own < keep[level].take(place), own, alias[level].take(place))
        return made.reshape(h, w, 2, 2).swapaxes(1, 2).reshape(2 * h, 2 * w)

    @cached_property
    def _alias(self) -> tuple[FloatArray, NDArray[np.int64]]:
        return alias_tables(self.transitions)

    def _rule(self, level: int, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The number of each tuple, -1 where there is none; -1 stands for a tuple that cannot be read."""
        known = (self.tuples[level] @ self.symbols ** np.arange(3, -1, -1)).ravel()
        order = known.argsort()
        place = np.searchsorted(known[order], codes).clip(max=known.size - 1)
        return np.where(known[order][place] == codes, order[place], -1)


def alias_tables(laws: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Tables to draw from discrete laws in constant time: column b uniform, then b if u < keep[b], else alias[b].

    Each of the q columns holds mass 1/q: what its own symbol lacks is taken from the symbol that has most left.

    Parameters
    ----------
    laws : array (..., q)
        Probabilities, each row summing to 1.

    References
    ----------
    A. J. Walker, "An efficient method for generating discrete random variables with general distributions", ACM TOMS
    1977, doi:10.1145/355744.355749.

    Examples
    --------
    >>> keep, alias = alias_tables(np.array([0.25, 0.75]))
    >>> keep.tolist(), alias.tolist()
    ([0.5, 1.0], [1, 1])
    """
    q = laws.shape[-1]
    left = q * laws.reshape(-1, q).copy()
    keep, alias = np.ones_like(left), np.tile(np.arange(q), (len(left), 1))
    done = np.zeros(left.shape, dtype=bool)
    rows = np.arange(len(left))
    for _ in range(q - 1):
        poorest = np.where(done, np.inf, left).argmin(axis=1)
        richest = np.where(done, -np.inf, left).argmax(axis=1)
        lack = np.maximum(1 - left[rows, poorest], 0.0)
        keep[rows, poorest], alias[rows, poorest] = 1 - lack, richest
        left[rows, richest] -= lack
        done[rows, poorest] = True
    return keep.reshape(laws.shape), alias.reshape(laws.shape)
