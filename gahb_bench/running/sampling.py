"""Samples of denoisers by samplers, measured beside exact images: planned, drawn, and joined to tables.

A cell is drawn and kept by `gahb_bench.running.sampling_cell`; what is read from the folder is
`gahb_bench.running.sampling_folder`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench import make
from gahb_bench.core import memory
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import StoreError, UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.files import explain_errors, lock
from gahb_bench.core.images import FloatArray
from gahb_bench.running.plan import FamilyPlan, Plan, make_plan
from gahb_bench.running.sampling_cell import BLOCK, RULE, SHOWN, Cell
from gahb_bench.running.sampling_folder import CELL, COLUMNS, EXACT, FOLDER, TRAJECTORIES, Failure, Sampling, write
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
    refuse_duplicates(make.sampler(spec).spec for spec in samplers)
    plan = make_plan(families, denoisers, (LOW, HIGH), samples, seed, progress=progress, defaults=make.sampled_defaults)
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
                Cell(plan, law, method, way, start, budget, found)
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


def sample_all(
    planned: SamplingPlan,
    folder: Path,
    *,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Sampling:
    """Draw and measure, keeping every finished block of samples in ``folder/parts``; what is there is used again.

    ``progress`` is told (done, total) of samples and of cells that are measured, one of which counts as a block.

    Raises
    ------
    StoreError
        If the folder cannot be written, or holds something else.
    """
    with lock(folder):
        manifest = {"sampling": RULE, "plan": planned.record, "command": command}
        FOLDER.begin(folder, {**manifest, "failures": [], "skipped": []})
        parts = folder / "parts"
        with explain_errors(parts):
            parts.mkdir(exist_ok=True)
        made = Sampling(*_nothing(), {}, {**manifest, "environment": environment("cpu")})
        made.skipped = list(planned.skipped)
        done, total = 0, sum(planned.plan.images + BLOCK for _ in planned.cells)
        rows, trajectories = [], []
        for cell in planned.cells:
            began = done
            try:
                blocks = []
                for block in cell.blocks:
                    part = cell.stored(parts, block)
                    made.resumed += 0 if part is None else len(block)
                    blocks.append(cell.drawn(parts, block) if part is None else part)
                    done += len(block)
                    progress(done, total)
                images = np.concatenate([part["images"] for part in blocks])
                rows.append(cell.measured(parts, images).assign(**cell.address))
                trajectories.append(_trajectories(cell, blocks, cell.flagged(images)))
                made.pictures |= _pictures(cell, blocks[0])
            except StoreError:
                raise
            except (Exception, SystemExit) as error:  # a denoiser is foreign code: one that fails fails alone
                made.failures.append(Failure(**cell.address, reason=reason_of(error)))
            done = began + planned.plan.images + BLOCK
            progress(done, total)
        if rows:
            made.rows = pd.concat(rows, ignore_index=True)[list(COLUMNS)]
            made.trajectories = pd.concat(trajectories, ignore_index=True)
        made.exact = _exact(planned)
        for law in planned.plan.families:
            made.pictures[f"{law.spec}/exact"] = _exact_images(law, planned.plan.seed)
        write(made, folder)
    return made


def _nothing() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rows, trajectories, exact = (pd.DataFrame(columns=names) for names in (list(COLUMNS), TRAJECTORIES, EXACT))
    return rows, trajectories, exact


def _trajectories(cell: Cell, blocks: list[dict[str, np.ndarray]], flags: FloatArray) -> pd.DataFrame:
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
    for cell in planned.cells:
        address = (cell.law.spec, cell.sampler.spec, cell.start, cell.evaluations)
        gaussian = cell.law.family.optimum.gaussian()
        if address in rows or gaussian is None or not gaussian.exact or not cell.sampler.linear:
            continue
        found = exact_error(cell.law.family, cell.sampler, levels=cell.levels, start=cell.start)
        rows[address] = [*address, found.evaluations, found.w2, found.start, found.discretisation]
    return pd.DataFrame(list(rows.values()), columns=EXACT)
