"""Does a plan: evaluates what is not yet finished, task by task, keeps what comes, and makes the tables."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.channels.gaussian import unit_noise
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


# What a task gives: each cell with its scores.
Results = Iterator[tuple[Cell, Evaluation]]


def run(
    plan: Plan,
    folder: Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    reuse: Sequence[Path] = (),
    command: str = "",
    executor: Executor | None = None,
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
    reuse : sequence of Path
        Folders of other runs whose finished work is used too.
    command : str
        The command line, for the record.
    executor : concurrent.futures.Executor, optional
        Where tasks are done; without one, here, one after the other, and each result is kept as soon as it is there.
    progress : callable (done, total)
        Told after every cell of a task.

    Raises
    ------
    StoreError
        If the folder cannot be used; what is finished is kept.
    UsageError
        If the device does not exist, or a folder to reuse holds no run.
    """
    check_device(device)
    started, clock = datetime.now(UTC), time.perf_counter()
    cells = plan.cells()
    with open_run(folder) as store:
        before = store.manifest()
        store.refuse_unrelated([family.spec for family in plan.families], plan.seed, plan.split)
        parts = Parts(folder, reuse)
        if not resume:
            parts.forget(cells)
        tasks = _tasks(plan, parts)
        unfinished = {cell.key for task in tasks for _, cell in task.work}
        resumed = sum(cell.key not in unfinished for cell in cells)
        manifest = Manifest(
            plan_key=plan.key,
            results_version=RESULTS_VERSION,
            status="partial",
            started=started.isoformat(timespec="seconds"),
            command=command,
            environment=environment(device),
            plan=plan.record,
        )
        # Where nothing is left to compute, the record of when and where it was computed stays as it is.
        same_plan = before is not None and before.plan_key == plan.key and before.status == "complete"
        finished_before = same_plan and not tasks
        if not store.has_tables():  # of an earlier run of the folder, record and tables stay together until the end
            store.write_manifest(manifest)
        pictures = Pictures(plan, device)
        failed = _do(tasks, parts, pictures, device, executor, progress, len(cells))
        parts.adopt(cells)
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
        if not finished_before:
            store.write_manifest(manifest)
        store.write_tables(scores, table, summed, references, made)
        if not finished_before:
            manifest = manifest.model_copy(
                update={
                    "status": "partial" if failures or problems else "complete",
                    "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                    "seconds": round(time.perf_counter() - clock, 3),
                    "failures": failures,
                    "warnings": warnings,
                }
            )
            store.write_manifest(manifest)
    damaged = tuple(dict.fromkeys(parts.damaged))
    return Outcome(folder, scores, table, summed, references, resumed, damaged, failures, warnings)


def perform(task: Task, device: str = "cpu", pictures: Pictures | None = None) -> Results:
    """Do one task: a result for each of its cells, in turn."""
    try:
        batch = task.family.family.sample(range(task.start, task.stop), task.seed, task.split, device)
        z = unit_noise(batch)
    except KeyboardInterrupt:
        raise
    except Exception as problem:  # a law may be somebody else's: what it raises is a result to record
        for method, cell in task.work:
            yield cell, unmade(method.denoiser, cell.family, cell.sigma, range(task.start, task.stop), problem)
        return
    if pictures is not None:
        pictures.cache(batch, z)
    for sigma in dict.fromkeys(cell.sigma for _, cell in task.work):
        here = [(method, cell) for method, cell in task.work if cell.sigma == sigma]
        try:
            check_scored_sigmas([sigma], batch.images, task.family.spec)
        except UsageError as problem:
            for method, cell in here:
                yield cell, unmade(method.denoiser, cell.family, sigma, batch.indices, problem)
            continue
        denoisers = [method.denoiser for method, _ in here]
        for position, evaluation in evaluate_all(denoisers, task.family.optimum, batch, z, sigma):
            yield here[position][1], evaluation


def _perform_all(task: Task, device: str) -> list[tuple[Cell, Evaluation]]:
    """One task, to its end: what another process is asked for."""
    return list(perform(task, device))


def _tasks(plan: Plan, parts: Parts) -> list[Task]:
    """What is not yet finished: the same images of one family together, whichever cells they are for."""
    tasks = []
    for family in plan.families:
        blocks: dict[tuple[int, int], list[tuple[Method, Cell]]] = {}
        for method in family.methods:
            for sigma in plan.sigmas:
                cell = plan.cell(family, method, sigma)
                for gap in parts.missing(cell, plan.images):
                    for start in range(gap.start, gap.stop, BLOCK):
                        block = (start, min(start + BLOCK, gap.stop))
                        blocks.setdefault(block, []).append((method, cell))
        for (start, stop), work in sorted(blocks.items()):
            tasks.append(Task(family, start, stop, plan.seed, plan.split, tuple(work)))
    return tasks


def _do(
    tasks: list[Task],
    parts: Parts,
    pictures: Pictures,
    device: str,
    executor: Executor | None,
    progress: Callable[[int, int], object],
    cells: int,
) -> dict[str, list[pd.DataFrame]]:
    """Do the tasks and keep what comes; the rows of those in which an image failed are given back, by cell."""
    steps = sum(len(task.work) for task in tasks)
    whole = max(cells, steps)
    done = whole - steps
    progress(done, whole)
    failed: dict[str, list[pd.DataFrame]] = {}
    for task, cell, evaluation in _results(tasks, pictures, device, executor):
        # What is kept is read back at the end: small tables held between the large arrays of cell after cell would
        # keep the memory of those from being given back.
        if not parts.save(cell, task.start, evaluation):
            failed.setdefault(cell.key, []).append(evaluation.rows)
        done += 1
        progress(done, whole)
    return failed


def _results(
    tasks: list[Task], pictures: Pictures, device: str, executor: Executor | None
) -> Iterator[tuple[Task, Cell, Evaluation]]:
    if executor is None:
        for task in tasks:
            for cell, evaluation in perform(task, device, pictures):
                yield task, cell, evaluation
        return
    futures: dict[Future[list[tuple[Cell, Evaluation]]], Task] = {
        executor.submit(_perform_all, task, device): task for task in tasks
    }
    for future in as_completed(futures):
        for cell, evaluation in future.result():
            yield futures[future], cell, evaluation


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
    """One entry for each cell in which an image failed."""
    failed = scores[scores["status"] != "ok"]
    groups: Iterable[tuple[Any, pd.DataFrame]] = failed.groupby(["family", "denoiser", "sigma"], sort=False)
    return [
        Failure(family=family, denoiser=denoiser, sigma=sigma, images=len(rows), reason=rows["reason"].iloc[0])
        for (family, denoiser, sigma), rows in groups
    ]
