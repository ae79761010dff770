"""A folder of `generalization`: its files, written and read here.

    run.json             the study, the environment, the command; written first
    generalization.csv   one row a measurement; `COLUMNS`, `MEASURES`
    pictures.npz         of the first samples, by ``n=N/what``: sample, nearest, moved, each -a and -b (k, c, h, w), and
                         the distances of the samples to these, nearest-distance, moved-distance (k,): root mean
                         squares a pixel; moved is the nearest training image at any periodic shift
    trainings/n=N-SPLIT/ the trainings (see `gahb_bench.training.folder`); their last weights are measured
    parts/               finished measurements, found again by content
    report.html, *.png

What is made of them needs no law and no network.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gahb_bench.core.errors import StoreError, reason_of
from gahb_bench.core.files import explain_errors, refuse_overwriting, write_atomically

TRUTH = "truth"  # among the theories: the posterior mean under the law
COLUMNS = {
    "family": "its spec",
    "network": "its spec",
    "n": "images in each training set",
    "split": "the training set of the network that is measured; blank for what is of both",
    "sigma": "noise level, image units; blank for what is of all of them",
    "measure": "one of `MEASURES`",
    "theory": "of a distance: from which theory, or from the `truth`",
    "denoiser": "the spec of that theory, or of the truth",
    "value": "",
    "low": "95 % interval over images, or over samples; blank with fewer than three",
    "high": "",
    "images": "how many, of each of which there is one draw of noise; or samples",
}
MEASURES = {
    "test_regret_db": "10 log10(1 + E|D - x*|^2 / mmse) on noisy test images",
    "train_regret_db": "10 log10(mse / mmse) on noisy training images",
    "test_bits": "excess on test images over the noise levels, bits a pixel",
    "train_bits": "mse less that of the truth on training images, in the same way: below 0 where it memorises",
    "t_train": "place between memoriser (0) and truth (1) on noisy training images; blank where these are near",
    "r_train": "squared distance from that axis, of its squared length",
    "t_test": "the same on noisy test images",
    "r_test": "",
    "model_variance": "E|D_A - D_B|^2 / (2 E excess) on noisy test images",
    "sample_correlation": "of the images that both generate from the same seeds",
    "nearest_ratio": "E|sample - nearest training image|^2 over that of the nearest in the other training set",
    "nearest_share": "share of the samples that are nearer to their training set than to the other",
    "shifted_ratio": "nearest_ratio where training images may be moved, periodically",
    "shifted_share": "nearest_share in the same way",
    "distance_test_db": "10 log10(E|D - T|^2 / mmse) on noisy test images, T a theory or the truth; at least -100",
    "distance_train_db": "the same on noisy training images",
}
_FILES = ("generalization.csv", "pictures.npz", "trainings", "parts", "scores.parquet", "training.json", "report.html")
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Generalization:
    """What such a folder holds: ``study`` as `gahb_bench.generalization.study.Study` has it."""

    rows: pd.DataFrame
    pictures: dict[str, np.ndarray]
    study: dict[str, Any]
    command: str


def begin(folder: Path, study: dict[str, Any], environment: dict[str, Any], command: str) -> None:
    """Mark a folder as that of a study before anything else is written.

    Raises
    ------
    StoreError
        If it holds anything else: nothing was changed.
    """
    path = folder / "run.json"
    try:
        ours = "generalization" in json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        refuse_overwriting(folder, _FILES)
        ours = True
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise StoreError(f"{folder} holds something else than such a study: nothing was changed. Give --out another.")
    content = {"generalization": study, "command": command, "environment": environment}
    with explain_errors(folder):
        (folder / "parts").mkdir(exist_ok=True)
    _put(path, (json.dumps(content, indent=2) + "\n").encode())


def read(folder: Path) -> Generalization:
    """What a folder holds so far.

    Raises
    ------
    StoreError
        If it holds no such study, or nothing of it is finished, or a file cannot be read.
    """
    try:
        manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        rows = read_rows(folder / "generalization.csv")
        pictures = read_pictures(folder / "pictures.npz")
        return Generalization(rows, pictures, dict(manifest["generalization"]), str(manifest["command"]))
    except _UNREADABLE as error:
        raise StoreError(
            f"{folder} holds no study of generalization that can be read ({reason_of(error)}): make it again."
        ) from None


def read_rows(path: Path) -> pd.DataFrame:
    """A table of measurements."""
    return pd.read_csv(path, dtype={"n": "int64", "split": "object", "theory": "object", "denoiser": "object"})[
        list(COLUMNS)
    ]


def write_rows(path: Path, rows: pd.DataFrame) -> None:
    """Write a table, whole or not at all."""
    _put(path, rows.to_csv(index=False).encode())


def read_part(path: Path) -> tuple[pd.DataFrame, dict[str, np.ndarray]] | None:
    """A finished measurement, given without its endings: its rows and pictures; None if it is not there, or damaged."""
    try:
        return read_rows(path.with_suffix(".csv")), read_pictures(path.with_suffix(".npz"))
    except _UNREADABLE:
        return None


def write_part(path: Path, rows: pd.DataFrame, pictures: dict[str, np.ndarray]) -> None:
    """Keep a finished measurement; the rows are written last."""
    write_pictures(path.with_suffix(".npz"), pictures)
    write_rows(path.with_suffix(".csv"), rows)


def read_pictures(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name."""
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def write_pictures(path: Path, pictures: dict[str, np.ndarray]) -> None:
    """Write arrays by name, whole or not at all."""
    file = io.BytesIO()
    drawn: dict[str, Any] = pictures
    np.savez_compressed(file, **drawn)
    _put(path, file.getvalue())


def _put(path: Path, content: bytes) -> None:
    with explain_errors(path):
        write_atomically(path, lambda file: file.write(content))
