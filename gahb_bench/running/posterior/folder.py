"""A folder of posteriors: its files, written and read here.

    run.json         plan, environment, failures, how much is unfinished; written first: so the folder is known
    posterior.csv    a row a cell (denoiser, method) and statistic; `COLUMNS`
    images.parquet   a row a cell and image, see `gahb_bench.scoring.posterior_scores.score_images`
    pictures.npz     of the first images: truth, measurement, mean and samples of the exact posterior (``exact/...``),
                     and by ``denoiser/method/what``: mean, samples
    report.html, *.png; parts/ (finished work)

What is made of them needs no law, no method and no denoiser.
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

EXACT = "exact"  # the method of the reference row: the exact sampler, without a denoiser

# The columns of posterior.csv.
COLUMNS = {
    "family": "its spec",
    "problem": "spec of the operator",
    "sigma": "standard deviation of the measurement's noise",
    "denoiser": "its spec; empty for the exact sampler",
    "method": "its spec; exact for the exact sampler",
    "samples": "of each image",
    "images": "whose exact posterior is known",
    "evaluations": "of the denoiser, for each image with all its samples",
    "seconds": "an image",
    "statistic": "see gahb_bench.scoring.posterior_scores",
    "value": "of the method",
    "standard_error": "over images",
    "due": "of independent exact samples, in the mean",
    "exact": "of the exact sampler, with as many samples, on the same images",
}
_TABLES = ("posterior.csv", "images.parquet", "pictures.npz", "run.json")
FOLDER = OwnFolder("posteriors", frozenset({"posterior"}), (*_TABLES, "report.html"), "Give --out a folder of its own.")


@dataclass(frozen=True)
class Failure:
    """A cell that failed, and why."""

    denoiser: str
    method: str
    reason: str


@dataclass
class Posteriors:
    """What a folder of posteriors holds.

    resumed : images, summed over cells, that were found finished
    unfinished : those that were not drawn, as it was stopped before
    """

    rows: pd.DataFrame
    images: pd.DataFrame
    pictures: dict[str, np.ndarray]
    manifest: dict[str, Any]
    failures: list[Failure] = field(default_factory=list)
    resumed: int = 0
    unfinished: int = 0


def read(folder: Path) -> Posteriors:
    """What a folder holds.

    Raises
    ------
    StoreError
        If it holds no posteriors, or a file of it cannot be read.
    """
    try:
        manifest = json.loads((folder / "run.json").read_text())
        rows = pd.read_csv(folder / "posterior.csv", keep_default_na=False, na_values=["nan", "NaN"])
        for name in ("value", "standard_error", "due", "exact"):
            rows[name] = pd.to_numeric(rows[name], errors="coerce")
        images = pd.read_parquet(folder / "images.parquet")
        with np.load(folder / "pictures.npz", allow_pickle=False) as content:
            pictures = {name: content[name] for name in content.files}
        failures = [Failure(**each) for each in manifest["failures"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{folder} holds no posteriors that can be read ({reason_of(error)}): make them again."
        ) from None
    return Posteriors(rows, images, pictures, manifest, failures, unfinished=int(manifest.get("unfinished", 0)))


def write(made: Posteriors, folder: Path) -> None:
    """Write all files, each whole or not at all."""
    pictures, arrays = io.BytesIO(), dict[str, Any](made.pictures)
    np.savez_compressed(pictures, **arrays)
    manifest = {**made.manifest, "failures": [vars(each) for each in made.failures], "unfinished": made.unfinished}
    files: dict[str, bytes] = {
        "run.json": json.dumps(manifest, indent=2).encode(),
        "posterior.csv": made.rows.to_csv(index=False).encode(),
        "images.parquet": made.images.to_parquet(index=False),
        "pictures.npz": pictures.getvalue(),
    }
    for name, content in files.items():
        put(folder / name, content)
