"""Does a plan: evaluates the cells that are not yet finished, keeps each as it comes, and makes the tables."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from gahb_bench import make
from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Batch, Images
from gahb_bench.running.plan import RESULTS_VERSION, Cell, Plan
from gahb_bench.running.store import RunFolder
from gahb_bench.scoring.curve import curves
from gahb_bench.scoring.plausible import suspicions
from gahb_bench.scoring.score import Evaluation, evaluate

# An executor takes a function and cells, and yields each cell with its evaluation, in any order.
Executor = Callable[[Callable[[Cell], Evaluation], Sequence[Cell]], Iterable[tuple[Cell, Evaluation]]]


@dataclass(frozen=True)
class Outcome:
    """A finished run."""

    folder: Path
    scores: pd.DataFrame
    curves: pd.DataFrame
    resumed: int
    damaged: tuple[Path, ...]
    failures: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def serial(work: Callable[[Cell], Evaluation], cells: Sequence[Cell]) -> Iterator[tuple[Cell, Evaluation]]:
    """The executor of one process: one cell after the other."""
    for cell in cells:
        yield cell, work(cell)


def run(
    plan: Plan,
    folder: Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    command: str = "",
    executor: Executor = serial,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Outcome:
    """Do a plan and keep it in a folder.

    Parameters
    ----------
    plan : Plan
    folder : Path
        Finished cells found there are not computed again, unless ``resume`` is false.
    device : str
        Where denoisers compute.
    command : str
        The command line, for the record.
    executor : Executor
        How cells are computed; everything else is the same for every executor.
    progress : callable (done, total)
        Told after every cell.

    Raises
    ------
    StoreError
        If the folder cannot be used; finished cells are kept.
    UsageError
        If the device does not exist.
    """
    check_device(device)
    started, clock = datetime.now(UTC), time.perf_counter()
    cells = plan.cells()
    with RunFolder(folder, plan).held() as store:
        if not resume:
            store.forget()
        missing = [cell for cell in cells if store.load_part(cell) is None]
        manifest = {
            "results_version": RESULTS_VERSION,
            "command": command,
            "started": started.isoformat(timespec="seconds"),
            "environment": environment(device),
        }
        # Where nothing is left to compute, the record of when and where it was computed stays as it is.
        finished_before = not missing and store.is_complete()
        if not finished_before:
            nothing_yet = {"status": "partial", "finished": None, "seconds": None, "failures": [], "warnings": []}
            store.write_manifest({**manifest, **nothing_yet})
        resumed = done = len(cells) - len(missing)
        progress(done, len(cells))
        # What is kept is read back at the end: small tables held between the large arrays of cell after cell would
        # keep the memory of those from being given back.
        failed: dict[str, pd.DataFrame] = {}
        for cell, evaluation in executor(partial(evaluate_cell, device=device), missing):
            if not store.save_part(cell, evaluation):
                failed[cell.key] = evaluation.rows
            done += 1
            progress(done, len(cells))
        rows = [failed[cell.key] if cell.key in failed else store.rows(cell) for cell in cells]
        scores = pd.concat(rows, ignore_index=True)
        table = curves(scores)
        store.write_tables(scores, table)
        failures = _failures(scores)
        warnings = suspicions(scores, {d.spec for family in plan.families for d in family.denoisers if d.brought})
        seconds = round(time.perf_counter() - clock, 3)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        status = "partial" if failures else "complete"
        if not finished_before:
            result = {"status": status, "finished": finished, "seconds": seconds}
            store.write_manifest({**manifest, **result, "failures": failures, "warnings": warnings})
    return Outcome(folder, scores, table, resumed, tuple(store.damaged), failures, warnings)


def evaluate_cell(cell: Cell, device: str = "cpu") -> Evaluation:
    """Compute one cell from its text alone (so that it can be done in any process)."""
    batch, z = _images(cell.family, cell.images, cell.seed, cell.split, device)
    return evaluate(_denoiser(cell.denoiser, cell.family, cell.digest), batch, z, cell.sigma)


@lru_cache(maxsize=1)
def _images(family: str, images: int, seed: int, split: str, device: str) -> tuple[Batch, Images]:
    batch = make.family(family).sample(range(images), seed=seed, split=split, device=device)
    return batch, unit_noise(batch)


@lru_cache(maxsize=1)
def _denoiser(spec: str, family: str, digest: str) -> Denoiser:
    made = make.denoiser(spec, family)
    # A digest may differ each time it is made (code that cannot be found); a repeatable one that differs is a change.
    if made.facts.digest != digest and made.facts.digest == make.denoiser(spec, family).facts.digest:
        raise UsageError(
            f"the file, code or table of {spec} was changed while the run was going on: what is finished is kept, and "
            "the same command again makes a new plan."
        )
    return made


def check_device(device: str) -> None:
    """Refuse a device that does not exist here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"the device {device!r} cannot be used here ({reason.rstrip('.')}): give --device cpu, or cuda or cuda:0 "
            "where there is a GPU and a torch that knows it."
        ) from None


def _failures(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry for each cell in which an image failed."""
    failed = scores[scores["status"] != "ok"]
    groups = failed.groupby(["family", "denoiser", "sigma"], sort=False)
    return [
        {"family": family, "denoiser": denoiser, "sigma": sigma, "images": len(rows), "reason": rows["reason"].iloc[0]}
        for (family, denoiser, sigma), rows in groups
    ]
