"""One cell of a folder of posteriors: a method with a denoiser, or the exact sampler, drawn and scored by blocks."""

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from gahb_bench.channels.problem import Problem
from gahb_bench.core.conditional import ExactPosterior
from gahb_bench.core.errors import reason_of
from gahb_bench.core.images import Images
from gahb_bench.core.inverse import PosteriorMethod
from gahb_bench.core.operator import Measurement
from gahb_bench.running.own_folder import put
from gahb_bench.running.plan import Method
from gahb_bench.running.posterior.folder import EXACT
from gahb_bench.sampling.posterior import sample_posterior
from gahb_bench.scoring.posterior_scores import score_images

RULE = 2  # raised when what is drawn or scored changes
SHOWN, SHOWN_SAMPLES = 4, 3  # images, and samples of each, that are kept for pictures


@dataclass(frozen=True)
class Truth:
    """A block of images, what was measured of them, and their exact posterior, computed when first asked for."""

    problem: Problem
    sigma: float
    samples: int
    seed: int
    split: str
    numbers: range

    @cached_property
    def images(self) -> Images:
        """The clean images."""
        return self._batch.images

    @cached_property
    def measured(self) -> Measurement:
        """What was measured of them."""
        return self.problem.measure(self._batch, self.sigma)

    @cached_property
    def exact(self) -> ExactPosterior:
        """Their exact posterior."""
        return self.problem.exact(self.measured)

    @cached_property
    def reference(self) -> Tensor:
        """Exact samples that all methods are compared with."""
        return self.exact.sample(self.samples, 2 * self.seed)

    @cached_property
    def drawn(self) -> Tensor:
        """Exact samples that stand for the exact sampler: others than the reference."""
        return self.exact.sample(self.samples, 2 * self.seed + 1)

    @cached_property
    def _batch(self) -> Any:
        return self.problem.family.sample(self.numbers, self.seed, self.split)


@dataclass(frozen=True, eq=False)
class Cell:
    """A method and a denoiser; the exact sampler where both are None.

    key : hash of all that its scores depend on, but the numbers of the images
    """

    key: str
    denoiser: Method | None = None
    method: PosteriorMethod | None = None

    @property
    def address(self) -> dict[str, str]:
        """The columns by which it is known."""
        if self.denoiser is None or self.method is None:
            return {"denoiser": "", "method": EXACT}
        return {"denoiser": self.denoiser.spec, "method": self.method.spec}

    def stored(self, parts: Path, numbers: range) -> dict[str, np.ndarray] | None:
        """A finished block, or None where there is none, or it is damaged."""
        try:
            with np.load(io.BytesIO(self._path(parts, numbers).read_bytes()), allow_pickle=False) as content:
                part = {name: content[name] for name in content.files}
            return part if str(part.pop("key")) == self.key and int(part["count"]) == len(numbers) else None
        except Exception:  # not there; or damaged, which can make its readers raise anything
            return None

    def keep(self, parts: Path, numbers: range, part: dict[str, np.ndarray]) -> None:
        """Keep a finished block."""
        content = io.BytesIO()
        arrays: dict[str, Any] = {**part, "key": np.array(self.key)}
        np.savez_compressed(content, **arrays)
        put(self._path(parts, numbers), content.getvalue())

    def made(self, truth: Truth) -> dict[str, np.ndarray]:
        """Scores of a block, columns ``score/...``; pictures of its first images; evaluations; seconds an image."""
        exact, reference, measured = truth.exact, truth.reference, truth.measured  # not part of the time
        began = time.perf_counter()
        if self.denoiser is None or self.method is None:
            samples, evaluations = truth.drawn, 0
            mean = samples.mean(dim=0)
        else:
            made = (self.method, self.denoiser.denoiser, truth.problem, measured, truth.samples, truth.seed)
            found = sample_posterior(*made)
            samples, mean, evaluations = found.samples, found.mean, found.evaluations
        seconds = (time.perf_counter() - began) / len(truth.numbers)
        rows = score_images(truth.images, exact, reference, mean, samples, truth.numbers.start)
        part = {f"score/{name}": rows[name].to_numpy(dtype=float) for name in rows.columns}
        part |= {"count": np.array(len(truth.numbers)), "evaluations": np.array(evaluations)}
        part |= {"seconds": np.array(seconds), "mean": mean[:SHOWN].float().numpy()}
        if samples is not None:
            part["samples"] = samples[:SHOWN_SAMPLES, :SHOWN].float().numpy()
        if self.denoiser is None:
            back = truth.problem.operator.pseudoinverse(measured.y)
            part |= {"truth": truth.images[:SHOWN].float().numpy(), "measured": back[:SHOWN].float().numpy()}
            part["mean"] = exact.mean[:SHOWN].float().numpy()
        return part

    def _path(self, parts: Path, numbers: range) -> Path:
        return parts / f"{self.key}-{numbers.start}-{numbers.stop}.npz"


@dataclass(frozen=True, eq=False)
class Work:
    """A block of images, and the cells to draw and score on it."""

    truth: Truth
    cells: tuple[Cell, ...]

    def apart(self) -> list["Work"]:
        """Each cell alone."""
        return [replace(self, cells=(cell,)) for cell in self.cells]

    def failed(self, reason: str) -> list[tuple[str, str]]:
        """Why none of its cells was scored."""
        return [(cell.key, reason) for cell in self.cells]


def perform(work: Work) -> Iterator[tuple[str, dict[str, np.ndarray] | str]]:
    """By the key of a cell, its block, or why there is none: a denoiser that fails fails alone."""
    for cell in work.cells:
        try:
            yield cell.key, cell.made(work.truth)
        except (Exception, SystemExit) as error:  # a denoiser is foreign code
            if cell.method is None:
                raise
            yield cell.key, reason_of(error)


def table(parts: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    """The scores of blocks as one table."""
    names = [name for name in parts[0] if name.startswith("score/")]
    made = {name.removeprefix("score/"): np.concatenate([part[name] for part in parts]) for name in names}
    return pd.DataFrame(made).astype({"image": int})
