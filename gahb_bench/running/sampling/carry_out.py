"""Samples of denoisers by samplers, measured beside exact images: planned, drawn, and joined to tables.

A cell is drawn and kept by `gahb_bench.running.sampling.cell`; what is read from the folder is
`gahb_bench.running.sampling.folder`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench import defaults, make
from gahb_bench.core import memory
from gahb_bench.core.crew import Crew, Lost, Queue
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.files import content_digest, explain_errors, lock
from gahb_bench.core.images import FloatArray
from gahb_bench.core.sampler import Sampler
from gahb_bench.running.plan import FamilyPlan, Method, Plan, make_plan
from gahb_bench.running.sampling.cell import BLOCK, RULE, SHOWN, Cell, Task, perform
from gahb_bench.running.sampling.folder import CELL, COLUMNS, EXACT, FOLDER, TRAJECTORIES, Failure, Sampling, write
from gahb_bench.sampling import exact_error
from gahb_bench.sampling.samples import HIGH, LOW, SPLIT, check_request, levels_within, refuse_informed
from gahb_bench.scoring.score import refuse_duplicates

FEWEST = 8  # samples of which anything can be said


@dataclass(frozen=True, eq=False)
class SamplingPlan:
    """What is sampled: all cells, and those that a budget does not suffice for."""

    plan: Plan
    cells: tuple[Cell, ...]
    skipped: tuple[Failure, ...]
    record: dict[str, Any]

    @property
    def key(self) -> str:
        """Hash of the plan: two with the same key have the same numbers."""
        content = [self.plan.images, [[cell.key, cell.evaluations] for cell in self.cells]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]


def plan_samples(
    families: Sequence[str | Family],
    denoisers: Sequence[str | Denoiser | Callable[..., Any]] | None,
    samplers: Sequence[str],
    evaluations: Sequence[int],
    samples: int = 256,
    seed: int = 0,
    starts: Sequence[str] = ("gaussian",),
    schedule: str = "karras",
    progress: Callable[[int, int], object] = lambda *_: None,
) -> SamplingPlan:
    """Resolve and check what is to be sampled.

    Raises
    ------
    UsageError
        For anything that is unknown, not allowed, or given twice, a sampler for which no budget suffices, or a denoiser
        that knows the image.
    """
    if samples < FEWEST:
        raise UsageError(f"samples={samples} is not allowed: nothing can be said of fewer than {FEWEST}.")
    budgets = sorted(set(evaluations))
    if not (samplers and budgets and starts):
        raise UsageError("nothing is to be sampled: give at least one sampler, budget of evaluations and start.")
    for budget, start in product(budgets, starts):
        check_request(budget, samples, seed, start)
    refuse_duplicates((make.sampler(spec).spec for spec in samplers), "sampler")
    plan = make_plan(families, denoisers, (LOW, HIGH), samples, seed, progress=progress, defaults=defaults.sampled)
    for law in plan.families:
        needed = memory.PROCESS + memory.of_comparing(samples, law.family.shape)
        memory.check_fits(
            needed, f"comparing {samples} samples of {law.spec}", "choose fewer samples or smaller images"
        )
    cells, skipped = [], []
    for law in plan.families:
        if not law.methods:
            raise UsageError(f"no exact denoiser of {law.spec} is known, and no network ships: name denoisers.")
        for method in law.methods:
            refuse_informed(method.denoiser)
        ways = [make.sampler(spec, law.family) for spec in samplers]
        for way in ways:
            levels, refused = {}, ""
            for budget in budgets:
                try:
                    levels[budget] = levels_within(way, budget, schedule)
                except UsageError as error:
                    refused = str(error)
                    skipped += [
                        Failure(law.spec, method.spec, way.spec, start, budget, refused)
                        for method in law.methods
                        for start in dict.fromkeys(starts)
                    ]
            if not levels:
                raise UsageError(refused)
            cells += [
                _cell(plan, law, method, way, start, budget, found)
                for method in law.methods
                for start in dict.fromkeys(starts)
                for budget, found in levels.items()
            ]
    record = {
        **plan.record.model_dump(mode="json"),
        "samplers": [make.sampler(spec).spec for spec in samplers],
        "evaluations": budgets,
        "starts": list(dict.fromkeys(starts)),
        "schedule": schedule,
        "truth": {law.spec: law.optimum.spec for law in plan.families if law.optimum is not None},
    }
    return SamplingPlan(plan, tuple(cells), tuple(skipped), record)


def _cell(
    plan: Plan, law: FamilyPlan, method: Method, way: Sampler, start: str, evaluations: int, levels: FloatArray
) -> Cell:
    content = [RULE, plan.cell(law, method, float(levels[0])).key, way.spec, start, levels.tolist()]
    key = content_digest(json.dumps(content).encode())
    return Cell(key, law.family, method, way, start, evaluations, levels, plan.images, plan.seed)


def sample_all(
    planned: SamplingPlan,
    folder: Path,
    *,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> Sampling:
    """Draw and measure, keeping every finished block of samples in ``folder/parts``; what is there is used again.

    ``progress`` is told (done, total) of samples and of cells that are measured, one of which counts as a block.
    ``crew`` is who draws and measures; without one, this process. Where it is stopped, tables are of finished cells.

    Raises
    ------
    StoreError
        If the folder cannot be written, or holds something else.
    KeyboardInterrupt
        If the crew is stopped before any cell is finished.
    """
    with lock(folder):
        manifest = {"sampling": RULE, "plan": planned.record, "command": command}
        FOLDER.begin(folder, {**manifest, "failures": [], "skipped": []})
        parts = folder / "parts"
        with explain_errors(parts):
            parts.mkdir(exist_ok=True)
        made = Sampling(*_nothing(), {}, {**manifest, "environment": environment("cpu")})
        made.skipped = list(planned.skipped)
        failed = _complete(planned.cells, parts, crew or Crew(), made, progress)
        rows, trajectories = [], []
        for cell in planned.cells:
            if cell.key in failed:
                made.failures.append(Failure(**cell.address, reason=failed[cell.key]))
            elif (table := cell.stored_statistics(parts)) is None:
                made.unfinished += 1
            else:
                blocks = _drawn(cell, parts)
                rows.append(table.assign(**cell.address))
                trajectories.append(_trajectories(cell, blocks))
                made.pictures |= _pictures(cell, blocks[0])
        if made.unfinished and not rows:
            raise KeyboardInterrupt
        if rows:
            made.rows = pd.concat(rows, ignore_index=True)[list(COLUMNS)]
            made.trajectories = pd.concat(trajectories, ignore_index=True)
        made.exact = _exact(planned)
        for law in planned.plan.families:
            made.pictures[f"{law.spec}/exact"] = _exact_images(law, planned.plan.seed)
        write(made, folder)
    return made


def _complete(
    cells: Sequence[Cell], parts: Path, crew: Crew, made: Sampling, progress: Callable[[int, int], object]
) -> dict[str, str]:
    """Draw and measure what is not there; why cells failed, by their keys: the first block that did says it."""
    queue, failed = Queue[tuple[Cell, range | None]](), dict[str, tuple[int, str]]()
    left, done = dict[str, int](), dict[str, int]()  # blocks to draw; steps of progress
    for cell in cells:
        lacking = [block for block in cell.blocks if cell.stored(parts, block) is None]
        measured = cell.stored_statistics(parts) is not None
        left[cell.key], there = len(lacking), cell.samples - sum(map(len, lacking))
        made.resumed += there
        done[cell.key] = there + measured * BLOCK
        queue.extend((cell, block) for block in lacking)
        if not (lacking or measured):
            queue.append((cell, None))

    def task_of(cell: Cell, block: range | None) -> Task:
        """Samples to measure are read when it is their turn."""
        return Task(cell, block) if block else Task(cell, range(cell.samples), _images(_drawn(cell, parts)))

    def wanted(each: tuple[Cell, range | None]) -> bool:
        return each[0].key not in failed

    total = sum(cell.samples + BLOCK for cell in cells)
    progress(sum(done.values()), total)
    for task, result in crew.each(perform, starmap(task_of, filter(wanted, queue))):
        cell, key = task.cell, task.cell.key
        found = result.reason if isinstance(result, Lost) else result
        if isinstance(found, str):
            reason = (task.block.start if task.images is None else cell.samples, found)
            failed[key], done[key] = min(reason, failed.get(key, reason)), cell.samples + BLOCK
        elif isinstance(found, pd.DataFrame):
            cell.keep_statistics(parts, found)
            done[key] += BLOCK
        else:
            cell.keep(parts, task.block, found)
            left[key] -= 1
            if key not in failed:
                done[key] += len(task.block)
                if not left[key] and cell.stored_statistics(parts) is None:
                    queue.appendleft((cell, None))
        progress(sum(done.values()), total)
    return {key: reason for key, (_, reason) in failed.items()}


def _drawn(cell: Cell, parts: Path) -> list[dict[str, np.ndarray]]:
    """The blocks of a cell, which are all finished."""
    found = [cell.stored(parts, block) for block in cell.blocks]
    blocks = [block for block in found if block is not None]
    if len(blocks) < len(found):
        raise StoreError(f"a part of {parts} was damaged while it was in use: the same command makes it again.")
    return blocks


def _images(blocks: list[dict[str, np.ndarray]]) -> np.ndarray:
    return np.concatenate([part["images"] for part in blocks])


def _nothing() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rows, trajectories, exact = (pd.DataFrame(columns=names) for names in (list(COLUMNS), TRAJECTORIES, EXACT))
    return rows, trajectories, exact


def _trajectories(cell: Cell, blocks: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    flags = cell.flagged(_images(blocks))
    used, variance = (np.concatenate([part[name] for part in blocks]) for name in ("used", "variance"))
    measured = {"sample": range(len(used)), "used": used, "variance": variance, "flagged": flags}
    return pd.DataFrame({**cell.address, **measured})


def _pictures(cell: Cell, first: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    place = "/".join(str(cell.address[name]) for name in CELL)
    shown = {"samples": first["images"][:SHOWN], "x_hat": first["x_hat"], "sigma": first["sigma"]}
    return {f"{place}/{name}": values for name, values in shown.items()}


def _exact_images(law: FamilyPlan, seed: int) -> np.ndarray:
    return law.family.sample(range(SHOWN), seed, SPLIT).images.numpy()


def _exact(planned: SamplingPlan) -> pd.DataFrame:
    """The exact errors, once for all denoisers, where they are known in closed form."""
    rows: dict[tuple[Any, ...], list[Any]] = {}
    laws = {cell.family.spec: cell.family for cell in planned.cells}
    known = {spec: law.optimum.gaussian() for spec, law in laws.items()}
    for cell in planned.cells:
        address = (cell.family.spec, cell.sampler.spec, cell.start, cell.evaluations)
        gaussian = known[cell.family.spec]
        if address in rows or gaussian is None or not gaussian.exact or not cell.sampler.linear:
            continue
        found = exact_error(cell.family, cell.sampler, levels=cell.levels, start=cell.start)
        rows[address] = [*address, found.evaluations, found.w2, found.start, found.discretisation]
    return pd.DataFrame(list(rows.values()), columns=EXACT)
