"""A folder of geometry: its files, written and read here.

    run.json          plan, environment, failures; written first, so that the folder is known for what it is
    geometry.csv      a row a family, denoiser, noise level and image; `COLUMNS`, blank where a number is not known
    spectra.parquet   family, denoiser, sigma, image, index (from 0, in falling order), eigenvalue of S: all
                      of them, or the leading ones of images of more than 4,096 values
    bases.parquet     family, denoiser (empty for fixed bases), sigma, image, basis, vectors (how many), captured (share
                      of the energy of x - 1/2 inside so many), risk (ideal risk, per pixel)
    pictures.npz      of image 0, by ``family/denoiser/sigma/what``: clean, noisy, estimate (c, h, w), vectors (leading
                      eigenvectors, (k, c, h, w)), fields (rows of J at three pixels, (3, c, h, w)), values (k,)
    report.html, *.png; parts/ (finished cells)

What is made of them needs no law, no method and no Jacobian.
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

# The columns of geometry.csv. S = (J + J')/2, d = c h w; errors are squared, per pixel, and not divided by anything.
COLUMNS = {
    "family": "its spec",
    "denoiser": "its spec",
    "knows": "what it knows beside y",
    "sigma": "noise level, image units",
    "image": "number of the image",
    "trace": "tr J",
    "sum_squares": "sum of squared eigenvalues of S",
    "asymmetry": "|J - J'| / |J|",
    "negative": "sum of squared negative eigenvalues of S",
    "affinity": "|D(y) - J y| / |D(y)|",
    "overlap": "share of the `compared` leading eigenvectors of the truth inside as many of its own; blank where its "
    "own eigenvalues are equal there, so that these are not defined",
    "adaptivity_10": "share of the energy of x - 1/2 INSIDE its first 10 eigenvectors (figures: the share outside); of "
    "equal eigenvalues, each vector counts as the mean over their space",
    "adaptivity_50": "the same of 50",
    "basis_risk": "ideal risk of its eigenbasis, equal eigenvalues kept alike",
    "sure": "Stein's unbiased estimate of mse",
    "mse": "squared error",
    "dimension": "eigenvalues of S above 1/2; blank where there may be more than were found",
    "true_dimension": "those of the truth, moved to a gap; blank where there may be more than were found",
    "captured": "share of the true leading eigenspace inside its own eigenvectors above 1/2",
    "wasted": "its own eigenvectors above 1/2, less what of them lies in the true leading eigenspace",
    "error_symmetric": "sigma^2 |S - S*|^2 / d, with S* that of the truth",
    "error_antisymmetric": "the same of (J - J')/2",
    "excess": "squared distance to the posterior mean",
    "harmonic": "share of the energy of its leading eigenvectors in their 10 largest Fourier coefficients",
    "straightened_harmonic": "the same where columns are shifted so that the true contour lies flat",
    "derivative": "how it is differentiated: exact, autograd, or difference",
    "compared": "dimension of the spaces whose overlap is given: true_dimension, or, where that is blank, as many as "
    "were found, up to a gap",
}
_TABLES = ("geometry.csv", "spectra.parquet", "bases.parquet", "pictures.npz", "run.json")


FOLDER = OwnFolder(
    "geometry",
    frozenset({"rule", "plan"}),
    (*_TABLES, "report.html"),
    "Give --out a folder of its own; in a run's folder RUN, that is RUN/geometry.",
)


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
    unfinished: int = 0  # cells, where it was stopped

    def failed(self) -> dict[tuple[str, str, str], str]:
        """By denoiser, family and reason: where it failed, in words."""
        found: dict[tuple[str, str, str], list[Failure]] = {}
        for failure in self.failures:
            found.setdefault((failure.denoiser, failure.family, failure.reason), []).append(failure)
        return {
            key: f"sigma={cells[0].sigma:.4g}, image {cells[0].image}" + (f" and {more} more" if more else "")
            for key, cells in found.items()
            for more in (len(cells) - 1,)
        }


def read_part(path: Path, key: str) -> dict[str, Any] | None:
    """A finished cell, or None where there is none, or it is damaged."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            part: dict[str, Any] = {name: content[name] for name in content.files}
        if str(part.pop("key")) != key:
            return None
        return {**part, "row": json.loads(str(part["row"])), "bases": json.loads(str(part["bases"]))}
    except Exception:  # not there; or damaged, which can make its readers raise anything
        return None


def write_part(path: Path, key: str, part: dict[str, Any]) -> None:
    """Keep a finished cell."""
    content = io.BytesIO()
    texts = {name: np.array(json.dumps(part[name])) for name in ("row", "bases")}
    arrays: dict[str, Any] = {**part, **texts, "key": np.array(key)}
    np.savez_compressed(content, **arrays)
    put(path, content.getvalue())


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
        put(folder / name, content)
