"""Does a plan: evaluates what is not yet finished, task by task, keeps what comes, and makes the tables."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.environment import check_device, environment
from gahb_bench.core.errors import UsageError, reason_of
from gahb_bench.core.images import check_scored_sigmas
from gahb_bench.core.optimum import Reference
from gahb_bench.running.folder import Failure, Manifest, open_run
from gahb_bench.running.parts import Parts
from gahb_bench.running.pictures import Pictures, thumbnails
from gahb_bench.running.plan import BLOCK, RESULTS_VERSION, Cell, FamilyPlan, Method, Plan
from gahb_bench.scoring.curve import curves
from gahb_bench.scoring.plausible import find_implausible, in_255ths
from gahb_bench.scoring.reference import run_reference
from gahb_bench.scoring.score import COLUMNS, Evaluation, evaluate_all, unmade
from gahb_bench.scoring.summary import summary


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    scores: pd.DataFrame
    curves: pd.DataFrame
    summary: pd.DataFrame
    references: dict[str, Reference]
    resumed: int
    damaged: tuple[Path, ...]
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unfinished: int = 0  # cells, of a run that was stopped


@dataclass(frozen=True, eq=False)
class Task:
    """The unit of work: a range of images of one family, and the denoisers and noise levels to score on them.

    The images and their noise are made once, and shared.
    """

    family: FamilyPlan
    start: int
    stop: int
    seed: int
    split: str
    work: tuple[tuple[Method, Cell], ...]

    def apart(self) -> list["Task"]:
        """Each of its cells as a task of its own."""
        return [replace(self, work=(each,)) for each in self.work]

    def failed(self, reason: str) -> list[tuple[Cell, Evaluation]]:
        """All its cells without a number, and why."""
        images = range(self.start, self.stop)
        return [(cell, unmade(method.denoiser, cell.family, cell.sigma, images, reason)) for method, cell in self.work]


_STOPPED = "not scored: the run was stopped before; the same command goes on"

# What a task gives: each cell with its scores.
Results = Iterator[tuple[Cell, Evaluation]]


def run(
    plan: Plan,
    folder: Path,
    *,
    device: str = "cpu",
    batch: int | None = None,
    resume: bool = True,
    reuse: Sequence[Path] = (),
    command: str = "",
    crew: Crew | None = None,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Outcome:
    """Do a plan and keep it in a folder.

    Parameters
    ----------
    plan : Plan
    folder : Path
        Finished work found there is not done again, unless ``resume`` is false; the folder of a run is extended by
        another plan that shares a family with it.
    device : str
        Where denoisers compute.
    batch : int, optional
        Most images that are made, and given to a denoiser, at once; 128 unless told.
    reuse : sequence of Path
        Folders of other runs whose finished work is used too.
    command : str
        The command line, for the record.
    crew : Crew, optional
        Who does the tasks; without one, this process. If it is stopped meanwhile, what is finished is kept, and tables
        say of the rest that it was not scored; those of a run that was once complete stay as they are.
    progress : callable (done, total)
        Told after every cell of a task.

    Raises
    ------
    StoreError
        If the folder cannot be used; what is finished is kept.
    UsageError
        If the device does not exist, the batch is not allowed, or a folder to reuse holds no run.
    KeyboardInterrupt
        If it is stopped, and there is nothing to make tables of, or tables of a complete run are there.
    """
    crew = crew or Crew()
    check_device(device)
    batch = BLOCK if batch is None else batch
    if not 1 <= batch <= BLOCK:
        raise UsageError(f"batch={batch} is not allowed: at most {BLOCK} images are denoised at once, at least 1.")
    started, clock = datetime.now(UTC), time.perf_counter()
    cells = plan.cells()
    with open_run(folder) as store:
        before = store.manifest()
        store.refuse_unrelated([family.spec for family in plan.families], plan.seed, plan.split)
        parts = Parts(folder, reuse)
        if not resume:
            parts.forget(cells)
        tasks = _tasks(plan, parts, batch, apart=not crew.alone)
        unfinished = {cell.key for task in tasks for _, cell in task.work}
        resumed = sum(cell.key not in unfinished for cell in cells)
        manifest = Manifest(
            plan_key=plan.key,
            results_version=RESULTS_VERSION,
            status="partial",
            started=started.isoformat(timespec="seconds"),
            command=command,
            environment=environment(device) | crew.record,
            plan=plan.record,
        )
        # Where nothing is left to compute, the record of when and where it was computed stays as it is.
        same_plan = before is not None and before.plan_key == plan.key and before.status == "complete"
        finished_before = same_plan and not tasks
        if not store.has_tables():  # of an earlier run of the folder, record and tables stay together until the end
            store.write_manifest(manifest)
        pictures = Pictures(plan, device)
        failed = _do(tasks, parts, pictures, device, crew, progress, len(cells))
        parts.adopt(cells)
        unfinished = 0
        if crew.stopped:
            unfinished = _mark_unfinished(plan, parts, failed)
            if unfinished and (unfinished == len(cells) or (before is not None and before.status == "complete")):
                raise KeyboardInterrupt
        scores = _scores(plan, parts, failed)
        references, problems = _references(plan)
        table = curves(scores, references)
        fitted = {(family.spec, m.spec): m.facts.fitted for family in plan.families for m in family.methods}
        summed = summary(scores, table, references, fitted)
        made = None
        if not (finished_before and store.has_thumbnails()):
            made = thumbnails(plan, parts, pictures, scores, table, references)
        failures = _failures(scores)
        if before is not None and finished_before:
            warnings = list(before.warnings)
        else:
            warnings = [*problems, *_warnings(plan, scores, device)]
            if unfinished:
                warnings.insert(0, f"the run was stopped: {unfinished} of {len(cells)} cells are not finished")
        if not finished_before:
            store.write_manifest(manifest)
        store.write_tables(scores, table, summed, references, made)
        if not finished_before:
            manifest = manifest.model_copy(
                update={
                    "status": "partial" if failures or problems or unfinished else "complete",
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                    "seconds": round(time.perf_counter() - clock, 3),
                    "failures": failures,
                    "warnings": warnings,
                }
            )
            store.write_manifest(manifest)
    damaged = tuple(dict.fromkeys(parts.damaged))
    return Outcome(folder, scores, table, summed, references, resumed, damaged, failures, warnings, unfinished)


def perform(task: Task, device: str = "cpu", pictures: Pictures | None = None) -> Results:
    """Do one task: a result for each of its cells, in turn."""
    try:
        batch = task.family.family.sample(range(task.start, task.stop), task.seed, task.split, device)
        z = unit_noise(batch)
    except KeyboardInterrupt:
        raise
    except Exception as problem:  # a law may be somebody else's: what it raises is a result to record
        yield from task.failed(f"the images of {task.family.spec} could not be made: {reason_of(problem)}")
        return
    if pictures is not None:
        pictures.cache(batch, z)
    for sigma in dict.fromkeys(cell.sigma for _, cell in task.work):
        here = [(method, cell) for method, cell in task.work if cell.sigma == sigma]
        try:
            check_scored_sigmas([sigma], batch.images, task.family.spec)
        except UsageError as problem:
            reason = f"the images of {task.family.spec} could not be made: {reason_of(problem)}"
            yield from replace(task, work=tuple(here)).failed(reason)
            continue
        denoisers = [method.denoiser for method, _ in here]
        for position, evaluation in evaluate_all(denoisers, task.family.optimum, batch, z, sigma):
            yield here[position][1], evaluation


def perform_elsewhere(task: Task, device: str = "cpu") -> Results:
    """Do one task on a worker, but for what its code or its files there make another denoiser, or another law."""
    if task.family.family.digest != task.family.digest:
        yield from task.failed(f"a worker has other code of {task.family.spec}: bring it to the same state")
        return
    changed = {method.spec for method, _ in task.work if _is_other(method)}
    for method, cell in task.work:
        if method.spec in changed:
            reason = f"a worker has other code or files of {method.spec}: bring them to the same state"
            yield from replace(task, work=((method, cell),)).failed(reason)
    yield from perform(replace(task, work=tuple(each for each in task.work if each[0].spec not in changed)), device)


def _is_other(method: Method) -> bool:
    """Whether the denoiser that came here is not the one that was planned."""
    return not method.facts.unfollowed and method.denoiser.facts.digest != method.facts.digest


def _tasks(plan: Plan, parts: Parts, batch: int, apart: bool) -> list[Task]:
    """What is not yet finished: the same images of one family together, whichever cells they are for.

    For several workers, each noise level apart. Images are cut into the same blocks: so the numbers are the same.
    """
    tasks = []
    for family in plan.families:
        blocks: dict[tuple[int, int, float], list[tuple[Method, Cell]]] = {}
        for method in family.methods:
            for sigma in plan.sigmas:
                cell = plan.cell(family, method, sigma)
                for gap in parts.missing(cell, plan.images):
                    for start in range(gap.start, gap.stop, batch):
                        block = (start, min(start + batch, gap.stop), sigma if apart else 0.0)
                        blocks.setdefault(block, []).append((method, cell))
        for (start, stop, _), work in sorted(blocks.items(), key=lambda item: item[0]):
            tasks.append(Task(family, start, stop, plan.seed, plan.split, tuple(work)))
    return tasks


def _do(
    tasks: list[Task],
    parts: Parts,
    pictures: Pictures,
    device: str,
    crew: Crew,
    progress: Callable[[int, int], object],
    cells: int,
) -> dict[str, list[pd.DataFrame]]:
    """Do the tasks and keep what comes; the rows of those in which an image failed are given back, by cell."""
    steps = sum(len(task.work) for task in tasks)
    whole = max(cells, steps)
    done = whole - steps
    progress(done, whole)
    failed: dict[str, list[pd.DataFrame]] = {}
    how = (
        partial(perform, device=device, pictures=pictures) if crew.alone else partial(perform_elsewhere, device=device)
    )
    for task, result in crew.each(how, tasks, Task.apart):
        for cell, evaluation in task.failed(result.reason) if isinstance(result, Lost) else [result]:
            # What is kept is read back at the end: small tables held between the large arrays of cell after cell would
            # keep the memory of those from being given back.
            if not parts.save(cell, task.start, evaluation):
                failed.setdefault(cell.key, []).append(evaluation.rows)
            done += 1
            progress(done, whole)
    return failed


def _mark_unfinished(plan: Plan, parts: Parts, failed: dict[str, list[pd.DataFrame]]) -> int:
    """Add rows without a number for images that were not scored before the run was stopped; in how many cells."""
    count = 0
    for family in plan.families:
        for method in family.methods:
            for sigma in plan.sigmas:
                cell = plan.cell(family, method, sigma)
                there = {image for rows in failed.get(cell.key, []) for image in rows["image"]}
                lacking = [i for gap in parts.missing(cell, plan.images) for i in gap if i not in there]
                if lacking:
                    rows = unmade(method.denoiser, family.spec, sigma, lacking, _STOPPED).rows
                    failed.setdefault(cell.key, []).append(rows)
                    count += 1
    return count


def _scores(plan: Plan, parts: Parts, failed: dict[str, list[pd.DataFrame]]) -> pd.DataFrame:
    """The score table; where some images of a cell failed, those that worked stand beside them."""
    tables: list[pd.DataFrame] = []
    for cell in plan.cells():
        if cell.key not in failed:
            tables.append(parts.load(cell, plan.images))
            continue
        finished = [rows for rows in (parts.present(cell, plan.images),) if len(rows)]
        rows = pd.concat([*failed[cell.key], *finished], ignore_index=True)
        tables.append(rows.sort_values("image"))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def _references(plan: Plan) -> tuple[dict[str, Reference], list[str]]:
    """What is known of each family's optimum; a law that fails to say so has none, and costs itself alone."""
    found, problems = {}, []
    for family in plan.families:
        try:
            found[family.spec] = run_reference(family.family, plan.sigmas)
        except Exception as problem:  # a law may be somebody else's
            found[family.spec] = Reference.none(np.array(plan.sigmas), f"The reference failed: {reason_of(problem)}.")
            problems.append(f"the reference of {family.spec} failed: {reason_of(problem)}")
    return found, problems


def _warnings(plan: Plan, scores: pd.DataFrame, device: str) -> list[str]:
    """What seems to be meant otherwise, and what is never used again."""
    found = in_255ths(plan.sigmas, [family.family for family in plan.families])
    for family in plan.families:
        brought = [method.denoiser for method in family.methods if method.facts.brought]
        found += find_implausible(scores, family.family, brought, plan.seed, device)
    unfollowed = {m.spec: m.facts.unfollowed for family in plan.families for m in family.methods if m.facts.unfollowed}
    return found + [
        f"{spec}: {why}, so its results are computed anew in every run." for spec, why in unfollowed.items()
    ]


def _failures(scores: pd.DataFrame) -> list[Failure]:
    """One entry for each cell in which an image failed; those of a run that was stopped did not."""
    failed = scores[(scores["status"] != "ok") & (scores["reason"] != _STOPPED)]
    groups: Iterable[tuple[Any, pd.DataFrame]] = failed.groupby(["family", "denoiser", "sigma"], sort=False)
    return [
        Failure(family=family, denoiser=denoiser, sigma=sigma, images=len(rows), reason=rows["reason"].iloc[0])
        for (family, denoiser, sigma), rows in groups
    ]
