"""A folder of geometry: its files, written and read here.

``geometry.csv`` (a row a family, denoiser, noise level and image), ``spectra.parquet`` (every eigenvalue),
``bases.parquet`` (energy captured, and ideal risk, by basis), ``pictures.npz`` (of the first image), ``run.json``. What
is made of them needs no law, no method and no Jacobian.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.errors import StoreError, reason_of
from gahb_bench.core.files import explain_errors, refuse_overwriting, write_atomically

COLUMNS = (
    "family",
    "denoiser",
    "knows",
    "sigma",
    "image",
    "trace",
    "sum_squares",
    "asymmetry",
    "negative",
    "affinity",
    "overlap",
    "adaptivity_10",
    "adaptivity_50",
    "basis_risk",
    "sure",
    "mse",
    "dimension",
    "true_dimension",
    "captured",
    "wasted",
    "error_symmetric",
    "error_antisymmetric",
    "excess",
    "harmonic",
    "straightened_harmonic",
    "derivative",
)


_FILES = ("geometry.csv", "spectra.parquet", "bases.parquet", "pictures.npz")
_REPORT = ("report.html", "spectra.png", "overlap.png", "adaptivity.png")


@dataclass
class Failure:
    """A cell that could not be measured, and why."""

    family: str
    denoiser: str
    sigma: float
    image: int
    reason: str


@dataclass
class Geometry:
    """What a folder of geometry holds. Pictures are arrays by ``family/denoiser/sigma/what``."""

    rows: pd.DataFrame
    spectra: pd.DataFrame
    bases: pd.DataFrame
    pictures: dict[str, np.ndarray]
    manifest: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)
    resumed: int = 0


def read(folder: Path) -> Geometry:
    """What a folder holds.

    Raises
    ------
    StoreError
        If it holds no geometry, or a file of it cannot be read.
    """
    try:
        manifest = json.loads((folder / "run.json").read_text())
        rows = pd.read_csv(folder / "geometry.csv")
        spectra, bases = (pd.read_parquet(folder / name) for name in ("spectra.parquet", "bases.parquet"))
        with np.load(folder / "pictures.npz", allow_pickle=False) as content:
            pictures = {name: content[name] for name in content.files}
        failures = [Failure(**failure) for failure in manifest["failures"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} holds no geometry that can be read ({reason_of(error)}): make it again.") from None
    return Geometry(rows, spectra, bases, pictures, manifest, failures)


def refuse_others(folder: Path) -> None:
    """Refuse a folder that holds a run or a training, or files of our names that are not ours.

    Raises
    ------
    StoreError
        Saying what it holds.
    """
    if (folder / "training.json").exists():
        raise StoreError(f"{folder} holds a training: nothing was changed. Give --out another folder.")
    path = folder / "run.json"
    if not path.exists():  # it is written first
        refuse_overwriting(folder, (*_FILES, *_REPORT))
        return
    try:
        known = "rule" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        known = False
    if not known:
        raise StoreError(
            f"{path} is not one of geometry: nothing was changed. Give --out another folder, for example the folder "
            "geometry inside that of a run."
        )


def write(made: Geometry, folder: Path) -> None:
    """Write all files, each whole or not at all."""
    pictures = io.BytesIO()
    drawn: dict[str, Any] = made.pictures
    np.savez_compressed(pictures, **drawn)
    files: dict[str, bytes] = {
        "run.json": json.dumps(made.manifest, indent=2).encode(),
        "geometry.csv": made.rows.to_csv(index=False).encode(),
        "spectra.parquet": made.spectra.to_parquet(index=False),
        "bases.parquet": made.bases.to_parquet(index=False),
        "pictures.npz": pictures.getvalue(),
    }
    for name, content in files.items():
        with explain_errors(folder):
            write_atomically(folder / name, lambda file, content=content: file.write(content))
