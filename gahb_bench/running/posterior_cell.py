"""One cell of a folder of posteriors: a method with a denoiser, or the exact sampler, drawn and scored by blocks."""

import io
import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from gahb_bench.channels.problem import Problem
from gahb_bench.core.conditional import ExactPosterior
from gahb_bench.core.files import content_digest
from gahb_bench.core.images import Images
from gahb_bench.core.inverse import PosteriorMethod
from gahb_bench.core.operator import Measurement
from gahb_bench.running.own_folder import put
from gahb_bench.running.plan import Method, Plan
from gahb_bench.running.posterior_folder import EXACT
from gahb_bench.sampling.posterior import sample_posterior
from gahb_bench.scoring.posterior_scores import score_images

RULE = 2  # raised when what is drawn or scored changes
SHOWN, SHOWN_SAMPLES = 4, 3  # images, and samples of each, that are kept for pictures


@dataclass(frozen=True)
class Truth:
    """A block of images, what was measured of them, and their exact posterior, computed when first asked for."""

    problem: Problem
    plan: Plan
    samples: int
    numbers: range

    @cached_property
    def images(self) -> Images:
        """The clean images."""
        return self._batch.images

    @cached_property
    def measured(self) -> Measurement:
        """What was measured of them."""
        return self.problem.measure(self._batch, self.plan.sigmas[0])

    @cached_property
    def exact(self) -> ExactPosterior:
        """Their exact posterior."""
        return self.problem.exact(self.measured)

    @cached_property
    def reference(self) -> Tensor:
        """Exact samples that all methods are compared with."""
        return self.exact.sample(self.samples, 2 * self.plan.seed)

    @cached_property
    def drawn(self) -> Tensor:
        """Exact samples that stand for the exact sampler: others than the reference."""
        return self.exact.sample(self.samples, 2 * self.plan.seed + 1)

    @cached_property
    def _batch(self) -> Any:
        return self.problem.family.sample(self.numbers, self.plan.seed, self.plan.split)


@dataclass(frozen=True, eq=False)
class Cell:
    """A method and a denoiser on a problem; the exact sampler where both are None."""

    plan: Plan
    problem: Problem
    samples: int
    denoiser: Method | None = None
    method: PosteriorMethod | None = None

    @property
    def address(self) -> dict[str, str]:
        """The columns by which it is known."""
        if self.denoiser is None or self.method is None:
            return {"denoiser": "", "method": EXACT}
        return {"denoiser": self.denoiser.spec, "method": self.method.spec}

    @cached_property
    def key(self) -> str:
        """Hash of all that its scores depend on, but the numbers of the images."""
        law, operator = self.plan.families[0], self.problem.operator
        level, digest = self.plan.sigmas[0], [operator.spec, operator.code_digest()]
        content: list[Any] = [RULE, digest, self.samples, law.spec, law.digest, level, self.plan.seed, self.plan.split]
        if self.denoiser is not None and self.method is not None:
            scored = self.plan.cell(law, self.denoiser, level).key
            content += [scored, self.method.spec, self.method.code_digest()]
        return content_digest(json.dumps(content).encode())

    def stored(self, parts: Path, numbers: range) -> dict[str, np.ndarray] | None:
        """A finished block, or None where there is none, or it is damaged."""
        try:
            with np.load(io.BytesIO(self._path(parts, numbers).read_bytes()), allow_pickle=False) as content:
                part = {name: content[name] for name in content.files}
            return part if str(part.pop("key")) == self.key and int(part["count"]) == len(numbers) else None
        except Exception:  # not there; or damaged, which can make its readers raise anything
            return None

    def scored(self, parts: Path, truth: Truth) -> dict[str, np.ndarray]:
        """Draw and score a block, and keep it."""
        part = self.made(truth)
        content = io.BytesIO()
        arrays: dict[str, Any] = {**part, "key": np.array(self.key)}
        np.savez_compressed(content, **arrays)
        put(self._path(parts, truth.numbers), content.getvalue())
        return part

    def made(self, truth: Truth) -> dict[str, np.ndarray]:
        """Scores of a block, columns ``score/...``; pictures of its first images; evaluations; seconds an image."""
        exact, reference, measured = truth.exact, truth.reference, truth.measured  # not part of the time
        began = time.perf_counter()
        if self.denoiser is None or self.method is None:
            samples, evaluations = truth.drawn, 0
            mean = samples.mean(dim=0)
        else:
            made = (self.method, self.denoiser.denoiser, self.problem, measured, self.samples, self.plan.seed)
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
            back = self.problem.operator.pseudoinverse(measured.y)
            part |= {"truth": truth.images[:SHOWN].float().numpy(), "measured": back[:SHOWN].float().numpy()}
            part["mean"] = exact.mean[:SHOWN].float().numpy()
        return part

    def _path(self, parts: Path, numbers: range) -> Path:
        return parts / f"{self.key}-{numbers.start}-{numbers.stop}.npz"


def table(parts: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    """The scores of blocks as one table."""
    names = [name for name in parts[0] if name.startswith("score/")]
    made = {name.removeprefix("score/"): np.concatenate([part[name] for part in parts]) for name in names}
    return pd.DataFrame(made).astype({"image": int})
