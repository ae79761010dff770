"""One cell of a folder of samples: those of a denoiser by a sampler, drawn block by block, kept, and measured."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gahb_bench.core.errors import DenoiserError
from gahb_bench.core.files import content_digest
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Sampler
from gahb_bench.running.own_folder import put
from gahb_bench.running.plan import FamilyPlan, Method, Plan
from gahb_bench.sampling.samples import draw
from gahb_bench.scoring.sample_statistics import flagged, sample_statistics

RULE = 2  # raised when what is drawn or measured changes
BLOCK = 64  # samples that are drawn at once, and kept
SHOWN = 8  # samples, and estimates along a trajectory, that are kept for pictures
_FORGIVEN = 5.0  # least noise levels: what the last step, to the posterior mean, leaves out of the variance is not seen


@dataclass(frozen=True, eq=False)
class Cell:
    """A denoiser and a sampler on a family, from a start, within a budget of evaluations that is these levels."""

    plan: Plan
    law: FamilyPlan
    method: Method
    sampler: Sampler
    start: str
    evaluations: int
    levels: FloatArray

    @property
    def address(self) -> dict[str, Any]:
        """The columns by which it is known."""
        names = {"family": self.law.spec, "denoiser": self.method.spec, "sampler": self.sampler.spec}
        return {**names, "start": self.start, "evaluations": self.evaluations}

    @property
    def key(self) -> str:
        """Hash of all that its samples depend on, but their numbers."""
        scored = self.plan.cell(self.law, self.method, float(self.levels[0])).key
        content = [RULE, scored, self.sampler.spec, self.start, self.levels.tolist()]
        return content_digest(json.dumps(content).encode())

    @property
    def blocks(self) -> list[range]:
        """The numbers of its samples, by the blocks in which they are drawn."""
        count = self.plan.images
        return [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]

    def stored(self, parts: Path, block: range) -> dict[str, np.ndarray] | None:
        """A finished block, or None where there is none, or it is damaged."""
        try:
            with np.load(io.BytesIO(self._path(parts, block).read_bytes()), allow_pickle=False) as content:
                part = {name: content[name] for name in content.files}
            return part if str(part.pop("key")) == self.key and len(part["images"]) == len(block) else None
        except Exception:  # not there; or damaged, which can make its readers raise anything
            return None

    def drawn(self, parts: Path, block: range) -> dict[str, np.ndarray]:
        """Draw a block, and keep it.

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

        law, plan = self.law.family, self.plan
        found = draw(self.method.denoiser, law, self.sampler, self.levels, block, plan.seed, self.start, observe=watch)
        if not bool(found.images.isfinite().flatten(1).all(dim=1).any()):
            raise DenoiserError(f"no sample of {block.start} to {block.stop - 1} is finite.")
        places = np.unique(np.linspace(0, len(x_hats) - 1, SHOWN).round().astype(int)).tolist()
        part = {
            "images": found.images.float().numpy(),
            "used": found.evaluations.numpy(),
            "variance": found.trajectory_variance.numpy(),
            "x_hat": torch.stack([x_hats[place] for place in places]).numpy(),
            "sigma": np.array([sigmas[place] for place in places]),
        }
        content = io.BytesIO()
        arrays: dict[str, Any] = {**part, "key": np.array(self.key)}
        np.savez_compressed(content, **arrays)
        put(self._path(parts, block), content.getvalue())
        return part

    def measured(self, parts: Path, images: np.ndarray) -> pd.DataFrame:
        """The statistics of all its samples: those kept, or made now and kept."""
        path = parts / f"{self.key}-{len(images)}.csv"
        try:
            rows = pd.read_csv(path)
            if list(rows.columns) == ["statistic", "value", "floor", "p_value"] and len(rows):
                return rows
        except (OSError, ValueError):  # not there, or damaged
            pass
        rows = sample_statistics(
            self.law.family, torch.from_numpy(images), seed=self.plan.seed, tolerance=self._tolerance
        )
        put(path, rows.to_csv(index=False).encode())
        return pd.read_csv(path)

    def flagged(self, images: np.ndarray) -> FloatArray:
        """Which of its samples the law's own statistics flag, NaN where there is nothing to flag."""
        return flagged(self.law.family, torch.from_numpy(images), seed=self.plan.seed, tolerance=self._tolerance)

    @property
    def _tolerance(self) -> float:
        return _FORGIVEN * float(self.levels[self.levels > 0].min())

    def _path(self, parts: Path, block: range) -> Path:
        return parts / f"{self.key}-{block.start}-{block.stop}.npz"
