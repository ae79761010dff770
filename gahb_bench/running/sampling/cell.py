"""One cell of a folder of samples: those of a denoiser by a sampler, drawn block by block, kept, and measured."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gahb_bench.core.errors import DenoiserError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Sampler
from gahb_bench.running.own_folder import put
from gahb_bench.running.plan import Method
from gahb_bench.sampling.samples import draw
from gahb_bench.scoring.sample_statistics import COLUMNS, flagged, sample_statistics

RULE = 2  # raised when what is drawn or measured changes
BLOCK = 64  # samples that are drawn at once, and kept
SHOWN = 8  # samples, and estimates along a trajectory, that are kept for pictures
_FORGIVEN = 5.0  # least noise levels: what the last step, to the posterior mean, leaves out of the variance is not seen


@dataclass(frozen=True, eq=False)
class Cell:
    """Samples of a family by a denoiser and a sampler, from a start, within a budget of evaluations: these levels.

    key : hash of all that its samples depend on, but their numbers
    """

    key: str
    family: Family
    method: Method
    sampler: Sampler
    start: str
    evaluations: int
    levels: FloatArray
    samples: int
    seed: int

    @property
    def address(self) -> dict[str, Any]:
        """The columns by which it is known."""
        names = {"family": self.family.spec, "denoiser": self.method.spec, "sampler": self.sampler.spec}
        return {**names, "start": self.start, "evaluations": self.evaluations}

    @property
    def blocks(self) -> list[range]:
        """The numbers of its samples, by the blocks in which they are drawn."""
        return [range(first, min(first + BLOCK, self.samples)) for first in range(0, self.samples, BLOCK)]

    def stored(self, parts: Path, block: range) -> dict[str, np.ndarray] | None:
        """A finished block, or None where there is none, or it is damaged."""
        try:
            with np.load(io.BytesIO(self._path(parts, block).read_bytes()), allow_pickle=False) as content:
                part = {name: content[name] for name in content.files}
            return part if str(part.pop("key")) == self.key and len(part["images"]) == len(block) else None
        except Exception:  # not there; or damaged, which can make its readers raise anything
            return None

    def drawn(self, block: range) -> dict[str, np.ndarray]:
        """Draw a block.

        Raises
        ------
        DenoiserError
            If nothing of it is finite.
        """
        x_hats: list[Tensor] = []
        sigmas: list[float] = []

        def watch(which: Tensor | None, sigma: Tensor, x_hat: Images) -> None:
            if which is None or (len(which) and int(which[0]) == 0):
                x_hats.append(x_hat[0].float())
                sigmas.append(float(sigma[0]))

        how = (self.method.denoiser, self.family, self.sampler, self.levels, block, self.seed, self.start)
        found = draw(*how, observe=watch)
        if not bool(found.images.isfinite().flatten(1).all(dim=1).any()):
            raise DenoiserError(f"no sample of {block.start} to {block.stop - 1} is finite.")
        places = np.unique(np.linspace(0, len(x_hats) - 1, SHOWN).round().astype(int)).tolist()
        return {
            "images": found.images.float().numpy(),
            "used": found.evaluations.numpy(),
            "variance": found.trajectory_variance.numpy(),
            "x_hat": torch.stack([x_hats[place] for place in places]).numpy(),
            "sigma": np.array([sigmas[place] for place in places]),
        }

    def keep(self, parts: Path, block: range, part: dict[str, np.ndarray]) -> None:
        """Keep a finished block."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {**part, "key": np.array(self.key)}
        np.savez_compressed(content, **arrays)
        put(self._path(parts, block), content.getvalue())

    def measured(self, images: np.ndarray) -> pd.DataFrame:
        """The statistics of all its samples."""
        samples = torch.from_numpy(images)
        return sample_statistics(self.family, samples, seed=self.seed, tolerance=self._tolerance)

    def stored_statistics(self, parts: Path) -> pd.DataFrame | None:
        """Those that were kept, or None where there are none, or they are damaged."""
        try:
            rows = pd.read_csv(self._table(parts))
        except (OSError, ValueError):
            return None
        return rows if tuple(rows.columns) == COLUMNS and len(rows) else None

    def keep_statistics(self, parts: Path, rows: pd.DataFrame) -> None:
        """Keep the statistics of all its samples."""
        put(self._table(parts), rows.to_csv(index=False).encode())

    def flagged(self, images: np.ndarray) -> FloatArray:
        """Which of its samples the law's own statistics flag, NaN where there is nothing to flag."""
        return flagged(self.family, torch.from_numpy(images), seed=self.seed, tolerance=self._tolerance)

    @property
    def _tolerance(self) -> float:
        return _FORGIVEN * float(self.levels[self.levels > 0].min())

    def _path(self, parts: Path, block: range) -> Path:
        return parts / f"{self.key}-{block.start}-{block.stop}.npz"

    def _table(self, parts: Path) -> Path:
        return parts / f"{self.key}-{self.samples}.csv"


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be done for a cell: a block of its samples to draw, or its samples, all of them, to measure."""

    cell: Cell
    block: range
    images: np.ndarray | None = None


def perform(task: Task) -> Iterator[dict[str, np.ndarray] | pd.DataFrame | str]:
    """The block that was drawn, or the statistics; or why there are none: a denoiser that fails fails alone."""
    try:
        yield task.cell.drawn(task.block) if task.images is None else task.cell.measured(task.images)
    except (Exception, SystemExit) as error:  # a denoiser is foreign code
        yield reason_of(error)
