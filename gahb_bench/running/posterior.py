"""Posteriors of an inverse problem by methods and denoisers: planned, drawn and scored beside the exact posterior.

A cell is drawn and kept by `gahb_bench.running.posterior_cell`; what is read from the folder is
`gahb_bench.running.posterior_folder`.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench import make
from gahb_bench.channels.problem import Problem
from gahb_bench.core import memory
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import StoreError, UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.files import explain_errors, lock
from gahb_bench.core.inverse import WeightedMethod
from gahb_bench.core.operator import Operator
from gahb_bench.running.plan import Plan, make_plan
from gahb_bench.running.posterior_cell import RULE, Cell, Truth, table
from gahb_bench.running.posterior_folder import COLUMNS, EXACT, FOLDER, Failure, Posteriors, write
from gahb_bench.sampling import weights
from gahb_bench.sampling.samples import refuse_informed
from gahb_bench.sampling.tuning import tune
from gahb_bench.scoring.posterior_scores import summarise
from gahb_bench.scoring.score import refuse_duplicates

BLOCK = 16  # images that are drawn at once, and kept
_HELD = 100  # bytes of memory a pixel of a sample, about
FEWEST = 8  # images of which anything can be said


@dataclass(frozen=True, eq=False)
class PosteriorPlan:
    """What is drawn: the exact sampler first, then each method with each denoiser."""

    plan: Plan
    problem: Problem
    samples: int
    cells: tuple[Cell, ...]
    record: dict[str, Any]

    @property
    def key(self) -> str:
        """Hash of the plan: two with the same key have the same numbers."""
        content = [self.plan.images, [cell.key for cell in self.cells]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]

    @property
    def blocks(self) -> list[range]:
        """The numbers of the images, by the blocks in which they are drawn."""
        count = self.plan.images
        return [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]


def plan_posterior(
    family: str | Family,
    problem: str | Operator,
    methods: Sequence[str],
    denoisers: Sequence[str | Denoiser | Callable[..., Any]] | None = None,
    sigma: float = 0.1,
    samples: int = 19,
    images: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda *_: None,
    tune_weights: bool = False,
) -> PosteriorPlan:
    """Resolve and check what is to be drawn. With ``tune_weights`` weights that no table holds are tuned, and kept.

    Raises
    ------
    UsageError
        For anything that is unknown, not allowed, or given twice; a denoiser that knows the image; a law whose exact
        posterior is not known for that operator.
    """
    if images < FEWEST:
        raise UsageError(f"images={images} is not allowed: nothing can be said of fewer than {FEWEST}.")
    if samples < 2:
        raise UsageError(f"samples={samples} is not allowed: one sample has no variance, give at least 2.")
    if not methods:
        raise UsageError("no method given: name at least one, for example --methods pigdm.")
    law = make.family(family)
    posed = make.problem(problem, law)
    _ = posed.conditional  # refused, with a message, where the exact posterior is not known
    ways = [make.posterior_method(spec) for spec in methods]
    refuse_duplicates(way.spec for way in ways)
    plan = make_plan([law], denoisers, (sigma,), images, seed, progress=progress, defaults=make.sampled_defaults)
    block = min(images, BLOCK)
    needed = memory.PROCESS + _HELD * samples * block * math.prod(law.shape)
    memory.check_fits(needed, f"{samples} samples of {block} images of {law.spec}", "choose fewer or smaller ones")
    (planned,) = plan.families
    if not planned.methods:
        raise UsageError(f"no exact denoiser of {law.spec} is known, and no network ships: name denoisers.")
    for method in planned.methods:
        refuse_informed(method.denoiser)
    if tune_weights:
        for way in ways:
            if isinstance(way, WeightedMethod) and not weights.is_tuned(way, posed, plan.sigmas[0]):
                weights.keep(tune(way, posed, plan.sigmas[0], progress=progress))
    chosen = [weights.settled(way, posed, plan.sigmas[0]) for way in ways]
    ways = [way for way, _ in chosen]
    refuse_duplicates(way.spec for way in ways)
    cells = [Cell(plan, posed, samples)]
    cells += [Cell(plan, posed, samples, method, way) for method in planned.methods for way in ways]
    record = {
        **plan.record.model_dump(mode="json"),
        "problem": posed.spec,
        "methods": [way.spec for way in ways],
        "weights": {way.spec: words for way, words in chosen},
        "samples": samples,
        "truth": None if planned.optimum is None else planned.optimum.spec,
    }
    return PosteriorPlan(plan, posed, samples, tuple(cells), record)


def posterior_all(
    planned: PosteriorPlan,
    folder: Path,
    *,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Posteriors:
    """Draw and score, keeping every finished block in ``folder/parts``; what is there is used again.

    ``progress`` is told (done, total) of images and cells.

    Raises
    ------
    StoreError
        If the folder cannot be written, or holds something else.
    """
    with lock(folder):
        manifest = {"posterior": RULE, "plan": planned.record, "command": command}
        FOLDER.begin(folder, {**manifest, "failures": []})
        parts = folder / "parts"
        with explain_errors(parts):
            parts.mkdir(exist_ok=True)
        made = Posteriors(pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(), {}, manifest)
        made.manifest["environment"] = environment("cpu")
        found = _blocks(planned, parts, made, progress)
        images, rows = [], []
        for cell, blocks in found:
            scores = table(blocks)
            if len(scores) < 2:
                made.failures.append(Failure(**cell.address, reason="the exact posterior of these images is not known"))
                continue
            images.append(scores.assign(**cell.address))
            rows.append(_summary(planned, cell, blocks, scores))
            made.pictures |= _pictures(cell, blocks[0])
        if rows:
            made.images, made.rows = pd.concat(images, ignore_index=True), _beside_exact(pd.concat(rows))
        write(made, folder)
    return made


def estimate(planned: PosteriorPlan) -> Iterator[tuple[Cell, float, str]]:
    """Each cell, the seconds that it will take, measured on two images, and the reason if it fails."""
    truth = Truth(planned.problem, planned.plan, planned.samples, range(2))
    for cell in planned.cells:
        try:
            yield cell, float(cell.made(truth)["seconds"]) * planned.plan.images, ""
        except (Exception, SystemExit) as error:  # a denoiser is foreign code
            yield cell, 0.0, reason_of(error)


def _blocks(
    planned: PosteriorPlan, parts: Path, made: Posteriors, progress: Callable[[int, int], object]
) -> list[tuple[Cell, list[dict[str, np.ndarray]]]]:
    """The finished blocks of all cells that did not fail; images outside, as all cells share their exact posterior."""
    found: dict[int, list[dict[str, np.ndarray]]] = {number: [] for number in range(len(planned.cells))}
    done, total = 0, planned.plan.images * len(planned.cells)
    for numbers in planned.blocks:
        truth = Truth(planned.problem, planned.plan, planned.samples, numbers)
        for number, cell in enumerate(planned.cells):
            done += len(numbers)
            if number not in found:
                continue
            try:
                part = cell.stored(parts, numbers)
                made.resumed += 0 if part is None else len(numbers)
                found[number].append(cell.scored(parts, truth) if part is None else part)
            except StoreError:
                raise
            except (Exception, SystemExit) as error:  # a denoiser is foreign code: one that fails fails alone
                if cell.method is None:
                    raise
                made.failures.append(Failure(**cell.address, reason=reason_of(error)))
                del found[number]
            progress(done, total)
    return [(planned.cells[number], blocks) for number, blocks in found.items()]


def _summary(
    planned: PosteriorPlan, cell: Cell, blocks: list[dict[str, np.ndarray]], scores: pd.DataFrame
) -> pd.DataFrame:
    counts = np.array([int(part["count"]) for part in blocks])
    seconds = float((np.array([float(part["seconds"]) for part in blocks]) * counts).sum() / counts.sum())
    return summarise(scores, planned.samples).assign(
        family=planned.plan.families[0].spec,
        problem=planned.problem.spec,
        sigma=planned.plan.sigmas[0],
        samples=planned.samples,
        images=len(scores),
        evaluations=int(blocks[0]["evaluations"]),
        seconds=seconds,
        **cell.address,
    )


def _beside_exact(rows: pd.DataFrame) -> pd.DataFrame:
    """The table, with the exact sampler's value of each statistic."""
    exact = rows[rows["method"] == EXACT].set_index("statistic")["value"]
    return rows.assign(exact=rows["statistic"].map(exact))[list(COLUMNS)].reset_index(drop=True)


def _pictures(cell: Cell, first: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    place = EXACT if cell.denoiser is None else "/".join(cell.address.values())
    return {f"{place}/{name}": first[name] for name in ("truth", "measured", "mean", "samples") if name in first}
