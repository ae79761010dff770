"""Posteriors of an inverse problem by methods and denoisers: planned, drawn and scored beside the exact posterior.

A cell is drawn and kept by `gahb_bench.running.posterior.cell`; what is read from the folder is
`gahb_bench.running.posterior.folder`.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench import defaults, make
from gahb_bench.channels.problem import Problem
from gahb_bench.core import memory
from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import DenoiserError, UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.files import content_digest, explain_errors, lock
from gahb_bench.core.inverse import PosteriorMethod, WeightedMethod
from gahb_bench.core.operator import Operator
from gahb_bench.running.plan import Method, Plan, make_plan
from gahb_bench.running.posterior.cell import RULE, Cell, Truth, Work, perform, table
from gahb_bench.running.posterior.folder import COLUMNS, EXACT, FOLDER, Failure, Posteriors, write
from gahb_bench.sampling import weights
from gahb_bench.sampling.samples import refuse_informed
from gahb_bench.sampling.tuning import tune
from gahb_bench.scoring.posterior_scores import summarise
from gahb_bench.scoring.score import refuse_duplicates

BLOCK = 16  # images that are drawn at once, and kept
_HELD = 100  # bytes of memory a pixel of a sample, about
_TIMED = 4  # images by which the time of more is foreseen, beside one
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

    def truth(self, numbers: range) -> Truth:
        """Some of the images, and what is known of them."""
        plan = self.plan
        return Truth(self.problem, plan.sigmas[0], self.samples, plan.seed, plan.split, numbers)


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
    plan = make_plan([law], denoisers, (sigma,), images, seed, progress=progress, defaults=defaults.sampled)
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
    refuse_duplicates((way.spec for way in ways), "method")
    cells = [_cell(plan, posed, samples)]
    cells += [_cell(plan, posed, samples, method, way) for method in planned.methods for way in ways]
    record = {
        **plan.record.model_dump(mode="json"),
        "problem": posed.spec,
        "methods": [way.spec for way in ways],
        "weights": {way.spec: words for way, words in chosen},
        "samples": samples,
        "truth": None if planned.optimum is None else planned.optimum.spec,
    }
    return PosteriorPlan(plan, posed, samples, tuple(cells), record)


def _cell(
    plan: Plan, problem: Problem, samples: int, denoiser: Method | None = None, method: PosteriorMethod | None = None
) -> Cell:
    law, operator, level = plan.families[0], problem.operator, plan.sigmas[0]
    digest = [operator.spec, operator.code_digest()]
    content: list[Any] = [RULE, digest, samples, law.spec, law.digest, level, plan.seed, plan.split]
    if denoiser is not None and method is not None:
        content += [plan.cell(law, denoiser, level).key, method.spec, method.code_digest()]
    return Cell(content_digest(json.dumps(content).encode()), denoiser, method)


def posterior_all(
    planned: PosteriorPlan,
    folder: Path,
    *,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> Posteriors:
    """Draw and score, keeping every finished block in ``folder/parts``; what is there is used again.

    ``progress`` is told (done, total) of images and cells. ``crew`` is who draws; without one, this process. Where it
    is stopped, tables are of the images that all cells have.

    Raises
    ------
    StoreError
        If the folder cannot be written, or holds something else.
    DenoiserError
        If the exact posterior is lost with its workers.
    KeyboardInterrupt
        If the crew is stopped before anything can be said.
    """
    with lock(folder):
        manifest = {"posterior": RULE, "plan": planned.record, "command": command}
        FOLDER.begin(folder, {**manifest, "failures": []})
        parts = folder / "parts"
        with explain_errors(parts):
            parts.mkdir(exist_ok=True)
        made = Posteriors(pd.DataFrame(columns=list(COLUMNS)), pd.DataFrame(), {}, manifest)
        made.manifest["environment"] = environment("cpu")
        found = _Found(planned, parts, progress)
        made.resumed = found.count
        found.complete(crew or Crew())
        made.failures += [
            Failure(**cell.address, reason=found.failed[cell.key][1])
            for cell in planned.cells
            if cell.key in found.failed
        ]
        made.unfinished = found.lacking
        images, rows = [], []
        for cell, blocks in found.common():
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
    """Each cell, the seconds that it will take, and the reason if it fails.

    Measured on one image and on four others: what a block of images takes, and what each of its images adds. That of
    the exact sampler has the exact posterior with it, which all cells share.
    """
    before, *truths = (planned.truth(numbers) for numbers in (range(1), range(1), range(1, 1 + _TIMED)))
    for cell in planned.cells:  # the first, of the exact sampler, computes the exact posterior
        try:
            cell.made(before)  # what is made once is not part of the time
            one, more = (_seconds(cell, each) for each in truths)
        except (Exception, SystemExit) as error:  # a denoiser is foreign code
            yield cell, 0.0, reason_of(error)
            continue
        image = max((more - one) / (_TIMED - 1), 0)
        yield cell, len(planned.blocks) * max(one - image, 0) + planned.plan.images * image, ""


def _seconds(cell: Cell, truth: Truth) -> float:
    began = time.perf_counter()
    cell.made(truth)
    return time.perf_counter() - began


class _Found:
    """The finished blocks of all cells, by cell and first image; those of a cell that failed are no longer there.

    failed : by cell, the first block in which it failed, and why
    """

    def __init__(self, planned: PosteriorPlan, parts: Path, progress: Callable[[int, int], object]) -> None:
        self._planned, self._parts, self._progress = planned, parts, progress
        self._blocks: dict[str, dict[int, dict[str, np.ndarray]]] = {}
        self._counts = dict.fromkeys((cell.key for cell in planned.cells), 0)
        self.failed: dict[str, tuple[int, str]] = {}
        for cell in planned.cells:
            stored = {numbers.start: cell.stored(parts, numbers) for numbers in planned.blocks}
            self._blocks[cell.key] = {start: part for start, part in stored.items() if part is not None}
            self._counts[cell.key] = sum(int(part["count"]) for part in self._blocks[cell.key].values())

    @property
    def count(self) -> int:
        """Of images, summed over cells, that are done; those of a cell that failed are."""
        return sum(self._counts.values())

    @property
    def lacking(self) -> int:
        """Of images, summed over cells, that are not done."""
        return self._planned.plan.images * len(self._counts) - self.count

    def complete(self, crew: Crew) -> None:
        """Draw and score what is not there: by blocks, as all cells share their exact posterior."""
        self._tell()
        cells = {cell.key: cell for cell in self._planned.cells}
        for work, result in crew.each(perform, self._works(), Work.apart):
            numbers = work.truth.numbers
            for key, part in work.failed(result.reason) if isinstance(result, Lost) else [result]:
                if not isinstance(part, str):
                    self._keep(cells[key], numbers, part)
                elif cells[key].method is None:
                    raise DenoiserError(f"the exact posterior of images {numbers.start} to {numbers.stop - 1}: {part}")
                else:
                    self.failed[key] = min(self.failed.get(key, (numbers.start, part)), (numbers.start, part))
                    self._counts[key] = self._planned.plan.images
                self._tell()

    def common(self) -> list[tuple[Cell, list[dict[str, np.ndarray]]]]:
        """The cells that did not fail, with the blocks that all of them have.

        Raises
        ------
        KeyboardInterrupt
            If those are of fewer images than anything can be said of.
        """
        cells = [cell for cell in self._planned.cells if cell.key not in self.failed]
        starts = set.intersection(*(set(self._blocks[cell.key]) for cell in cells))
        blocks = [numbers for numbers in self._planned.blocks if numbers.start in starts]
        if sum(map(len, blocks)) < FEWEST:
            raise KeyboardInterrupt
        return [(cell, [self._blocks[cell.key][numbers.start] for numbers in blocks]) for cell in cells]

    def _works(self) -> Iterable[Work]:
        for numbers in self._planned.blocks:
            left = tuple(
                cell
                for cell in self._planned.cells
                if cell.key not in self.failed and numbers.start not in self._blocks[cell.key]
            )
            if left:
                yield Work(self._planned.truth(numbers), left)

    def _keep(self, cell: Cell, numbers: range, part: dict[str, np.ndarray]) -> None:
        cell.keep(self._parts, numbers, part)
        if cell.key not in self.failed:
            self._blocks[cell.key][numbers.start] = part
            self._counts[cell.key] += len(numbers)

    def _tell(self) -> None:
        self._progress(self.count, self.count + self.lacking)


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
