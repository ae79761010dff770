"""A folder of samples: its files, written and read here.

    run.json              plan, environment, failures, how much is unfinished; written first: so the folder is known
    samples.csv           a row a cell (family, denoiser, sampler, start, evaluations) and statistic; `COLUMNS`
    trajectories.parquet  a row a sample: family, denoiser, sampler, start, evaluations, sample, used (how often the
                          denoiser was evaluated), variance (of its estimates along the trajectory, see
                          `gahb_bench.sampling.trajectory`), flagged (1 where the law's own statistics say that it is
                          of no use, like those of gmm between modes; NaN where there is nothing to flag)
    exact.csv             of Gaussian laws and linear samplers, the exact error with the exact denoiser: family,
                          sampler, start, evaluations, used, w2, start_error, discretisation
    pictures.npz          ``family/exact`` (exact images), and by ``family/denoiser/sampler/start/evaluations/what``:
                          samples (the first few), x_hat and sigma (estimates along the trajectory of the first)
    report.html, *.png; parts/ (finished work: samples, and statistics of cells)

What is made of them needs no law, no method and no sampler.
"""

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.errors import StoreError, reason_of
from gahb_bench.running.own_folder import OwnFolder, put

# The columns of samples.csv.
COLUMNS = {
    "family": "its spec",
    "denoiser": "its spec",
    "sampler": "its spec",
    "start": "gaussian, or exact: noisy images of the law",
    "evaluations": "budget of evaluations of the denoiser for each sample",
    "statistic": "what is measured of the samples, see gahb_bench.scoring.sample_statistics",
    "value": "of the samples",
    "floor": "of as many exact images",
    "p_value": "probability of a value at least as far off under the law",
}
CELL = ["family", "denoiser", "sampler", "start", "evaluations"]
TRAJECTORIES = [*CELL, "sample", "used", "variance", "flagged"]
EXACT = ["family", "sampler", "start", "evaluations", "used", "w2", "start_error", "discretisation"]
_TABLES = ("samples.csv", "trajectories.parquet", "exact.csv", "pictures.npz", "run.json")
FOLDER = OwnFolder("samples", frozenset({"sampling"}), (*_TABLES, "report.html"), "Give --out a folder of its own.")


@dataclass(frozen=True)
class Failure:
    """A cell that was left out, and why."""

    family: str
    denoiser: str
    sampler: str
    start: str
    evaluations: int
    reason: str


@dataclass
class Sampling:
    """What a folder of samples holds.

    failures : cells that failed
    skipped : cells that were never tried: their budget is too small
    resumed : samples that were found finished
    unfinished : cells that were not measured, as it was stopped before
    """

    rows: pd.DataFrame
    trajectories: pd.DataFrame
    exact: pd.DataFrame
    pictures: dict[str, np.ndarray]
    manifest: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)
    resumed: int = 0
    unfinished: int = 0


def read(folder: Path) -> Sampling:
    """What a folder holds.

    Raises
    ------
    StoreError
        If it holds no samples, or a file of it cannot be read.
    """
    try:
        manifest = json.loads((folder / "run.json").read_text())
        rows, exact = (pd.read_csv(folder / name) for name in ("samples.csv", "exact.csv"))
        trajectories = pd.read_parquet(folder / "trajectories.parquet")
        with np.load(folder / "pictures.npz", allow_pickle=False) as content:
            pictures = {name: content[name] for name in content.files}
        failures, skipped = ([Failure(**each) for each in manifest[name]] for name in ("failures", "skipped"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder} holds no samples that can be read ({reason_of(error)}): make them again.") from None
    unfinished = int(manifest.get("unfinished", 0))
    return Sampling(rows, trajectories, exact, pictures, manifest, failures, skipped, unfinished=unfinished)


def write(made: Sampling, folder: Path) -> None:
    """Write all files, each whole or not at all."""
    pictures, arrays = io.BytesIO(), dict[str, Any](made.pictures)
    np.savez_compressed(pictures, **arrays)
    manifest = {
        **made.manifest,
        "failures": [vars(each) for each in made.failures],
        "skipped": [vars(each) for each in made.skipped],
        "unfinished": made.unfinished,
    }
    files: dict[str, bytes] = {
        "run.json": json.dumps(manifest, indent=2).encode(),
        "samples.csv": made.rows.to_csv(index=False).encode(),
        "trajectories.parquet": made.trajectories.to_parquet(index=False),
        "exact.csv": made.exact.to_csv(index=False).encode(),
        "pictures.npz": pictures.getvalue(),
    }
    for name, content in files.items():
        put(folder / name, content)
