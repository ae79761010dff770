"""Measures the geometry of denoisers beside that of the optimum, image by image, and joins what is finished.

A cell is measured, and kept in the folder's ``parts``, by `gahb_bench.running.geometry_cell`; what is read from the
folder is `gahb_bench.running.geometry_folder`.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.environment import environment
from gahb_bench.core.errors import StoreError, UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.files import explain_errors, lock
from gahb_bench.running.geometry_cell import FULL, RULE, Task, counts
from gahb_bench.running.geometry_folder import COLUMNS, FOLDER, Failure, Geometry, write
from gahb_bench.running.plan import Plan

TOP = 16  # eigenvectors that are shown
_LARGEST_IMAGE = 2**16  # values


def measure_all(
    plan: Plan,
    folder: Path,
    *,
    top: int = TOP,
    command: str = "",
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Geometry:
    """Measure a plan, keeping every finished cell in ``folder/parts``; what is there already is used again.

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
        found, failures, resumed, done = [], [], 0, 0
        total = plan.images * len(plan.sigmas) * sum(len(law.methods) for law in plan.families)
        for law in plan.families:
            for image in range(plan.images):
                batch = law.family.sample([image], seed=plan.seed, split=plan.split)
                for sigma in plan.sigmas:
                    task = Task(plan, law, batch, sigma, top, folder / "parts")
                    for method in law.methods:
                        part = task.stored(method)
                        resumed += part is not None
                        try:
                            found.append(task.measure(method) if part is None else part)
                        except StoreError:
                            raise
                        except (
                            Exception,
                            SystemExit,
                        ) as error:  # a denoiser is foreign code: one that fails fails alone
                            failures.append(Failure(law.spec, method.spec, sigma, image, reason_of(error)))
                        done += 1
                        progress(done, total)
        made = _joined(manifest, found, failures)
        made.resumed = resumed
        write(made, folder)
    return made


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
