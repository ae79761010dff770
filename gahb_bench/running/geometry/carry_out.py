"""Measures the geometry of denoisers beside that of the optimum, image by image, and joins what is finished.

A cell is measured by `gahb_bench.running.geometry.cell`; it is kept in the folder's ``parts``, and what is read from
the folder is read, by `gahb_bench.running.geometry.folder`.
"""

import json
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.files import content_digest, explain_errors, lock
from gahb_bench.running.geometry.cell import FULL, RULE, Address, Work, counts, perform
from gahb_bench.running.geometry.folder import COLUMNS, FOLDER, Failure, Geometry, read_part, write, write_part
from gahb_bench.running.plan import Method, Plan

TOP = 16  # eigenvectors that are shown
_LARGEST_IMAGE = 2**16  # values


def measure_all(
    plan: Plan,
    folder: Path,
    *,
    top: int = TOP,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> Geometry:
    """Measure a plan, keeping every finished cell in ``folder/parts``; what is there already is used again.

    ``crew`` is who measures; without one, this process. Where it is stopped, tables hold what is finished.

    Raises
    ------
    UsageError
        For images that are too large, or more eigenvectors to show than they have.
    StoreError
        If the folder cannot be written, or holds something else.
    """
    check_possible([law.family for law in plan.families], top)
    with lock(folder):
        manifest = {"rule": RULE, "plan": plan.record.model_dump(mode="json"), "command": command}
        FOLDER.begin(folder, {**manifest, "failures": []})
        with explain_errors(folder / "parts"):
            (folder / "parts").mkdir(exist_ok=True)
        works = _works(plan, top)
        parts = {work.address(each.spec): _part(folder, plan, work, each) for work in works for each in work.methods}
        found: dict[Address, dict[str, Any] | str] = {}
        for address, part in parts.items():
            if (there := read_part(*part)) is not None:
                found[address] = there
        resumed = len(found)
        progress(resumed, len(parts))
        for work, result in (crew or Crew()).each(perform, _unfinished(works, found), Work.apart):
            for spec, part in work.failed(result.reason) if isinstance(result, Lost) else [result]:
                address = work.address(spec)
                found[address] = part
                if not isinstance(part, str):
                    write_part(*parts[address], part)
                progress(len(found), len(parts))
        in_order = {address: found[address] for address in parts if address in found}
        failures = [Failure(*address, reason) for address, reason in in_order.items() if isinstance(reason, str)]
        made = _joined(manifest, [part for part in in_order.values() if not isinstance(part, str)], failures)
        made.resumed, made.unfinished = resumed, len(parts) - len(found)
        write(made, folder)
    return made


def _works(plan: Plan, top: int) -> list[Work]:
    """All that there is to measure, in the order of the tables."""
    return [
        Work(law, image, plan.seed, plan.split, sigma, top, law.methods)
        for law in plan.families
        for image in range(plan.images)
        for sigma in plan.sigmas
    ]


def _unfinished(works: Iterable[Work], found: Container[Address]) -> list[Work]:
    """What of it is not finished."""
    left = [
        replace(work, methods=tuple(each for each in work.methods if work.address(each.spec) not in found))
        for work in works
    ]
    return [work for work in left if work.methods]


def _part(folder: Path, plan: Plan, work: Work, method: Method) -> tuple[Path, str]:
    """Where a cell is kept, and the hash of all that it depends on."""
    content = [RULE, plan.cell(work.law, method, work.sigma).key, work.image, work.top]
    key = content_digest(json.dumps(content).encode())
    return folder / "parts" / f"{key}.npz", key


def check_possible(families: Iterable[Family], top: int) -> None:
    """Refuse images that are too large, or more eigenvectors to show than they have.

    Raises
    ------
    UsageError
    """
    if top < 1:
        raise UsageError(f"top={top} is not allowed: show at least 1 eigenvector.")
    for law in families:
        values = int(np.prod(law.shape))
        if values > _LARGEST_IMAGE:
            raise UsageError(f"{law.spec} has images of {values:,} values: at most {_LARGEST_IMAGE:,} are measured.")
        most = values if values <= FULL else values - 2  # of larger images the leading ones, and one beyond
        if top > most:
            raise UsageError(
                f"top={top} is not allowed: of {law.spec}, images of {values:,} values, show at most {most:,}."
            )


def _joined(manifest: dict[str, Any], parts: list[dict[str, Any]], failures: list[Failure]) -> Geometry:
    """The tables, from all cells."""
    rows = pd.DataFrame([part["row"] for part in parts], columns=list(COLUMNS))
    spectra, bases, pictures = [], [], {}
    for part in parts:
        row = part["row"]
        address = {name: row[name] for name in ("family", "denoiser", "sigma", "image")}
        spectra.append(pd.DataFrame({**address, "index": range(len(part["values"])), "eigenvalue": part["values"]}))
        places = counts(len(part["values"]))
        bases.append(_basis_rows({**address, "basis": row["denoiser"]}, places, part["captured"], row["basis_risk"]))
        for name, fixed in part["bases"].items():
            where, places = {**address, "denoiser": "", "basis": name}, counts(part["clean"].size)
            bases.append(_basis_rows(where, places, np.array(fixed["captured"]), fixed["risk"]))
        if row["image"] == 0:
            place = f"{row['family']}/{row['denoiser']}/{row['sigma']!r}"
            for name in ("clean", "noisy", "estimate", "vectors", "fields", "values"):
                pictures[f"{place}/{name}"] = part[name]
    empty = pd.DataFrame()
    record = {**manifest, "environment": environment("cpu"), "failures": [vars(failure) for failure in failures]}
    joined = pd.concat(bases, ignore_index=True).drop_duplicates(ignore_index=True) if bases else empty
    return Geometry(
        rows, pd.concat(spectra, ignore_index=True) if spectra else empty, joined, pictures, record, failures
    )


def _basis_rows(address: dict[str, Any], places: np.ndarray, captured: np.ndarray, risk: float) -> pd.DataFrame:
    return pd.DataFrame({**address, "vectors": places, "captured": captured, "risk": risk})
