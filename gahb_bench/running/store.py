"""A run's folder: parts that survive a kill, and the tables made from them.

    parts/KEY.npz       one finished cell: its rows and the estimates of its first images
    run.json            plan, environment, status          (written first as partial, last as complete)
    scores.parquet      one row an image
    curves.csv          one row per family, denoiser and noise level

Every file is written under a temporary name, flushed to disk and renamed, so that a file that exists is whole.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from gahb_bench.core.errors import StoreError
from gahb_bench.core.files import explained, locked, write_atomically
from gahb_bench.core.images import Knows
from gahb_bench.running.plan import Cell, Plan
from gahb_bench.scoring.score import SHOWN, Evaluation

SCHEMA = 1
_ROW_COLUMNS = ("image", "mse", "seconds")


class RunFolder:
    """The folder of one run, opened for one plan and held by one process.

    Raises
    ------
    StoreError
        If the folder cannot be made or written, holds another plan's run, or another process is writing it.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self.damaged: list[Path] = []
        self._parts = path / "parts"

    @contextmanager
    def held(self) -> Iterator["RunFolder"]:
        """The folder, made if need be and locked against other processes."""
        with locked(self.path):
            self._refuse_another_plan()
            with explained(self.path):
                self._parts.mkdir(exist_ok=True)
            yield self

    def save_part(self, cell: Cell, evaluation: Evaluation) -> bool:
        """Keep a finished cell; tells whether it was. A cell with a failure is not kept: it will be tried again."""
        if (evaluation.rows["status"] != "ok").any():
            return False
        columns = {name: evaluation.rows[name].to_numpy() for name in _ROW_COLUMNS}
        knows = str(evaluation.rows["knows"].iloc[0])
        content = io.BytesIO()
        np.savez_compressed(content, shown=evaluation.shown, knows=np.array(knows), **columns)
        self._write(self._part(cell), content.getvalue())
        return True

    def rows(self, cell: Cell) -> pd.DataFrame:
        """The rows of a cell that was kept.

        Raises
        ------
        StoreError
            If its part has gone or was damaged since.
        """
        part = self.load_part(cell)
        if part is None:
            raise StoreError(
                f"{self._part(cell)} disappeared or was damaged during the run: run the same command again, it goes "
                "on from the finished cells."
            )
        return part.rows

    def load_part(self, cell: Cell) -> Evaluation | None:
        """A finished cell, or None if there is none; a damaged part counts as none: it is noted and removed."""
        path = self._part(cell)
        part = _read_part(path, cell.images)
        if part is None:
            return None
        if not part:
            self.damaged.append(path)
            with explained(self.path):
                path.unlink()
            return None
        columns = {name: part[name] for name in _ROW_COLUMNS}
        addresses = {"family": cell.family, "denoiser": cell.denoiser, "knows": str(part["knows"]), "sigma": cell.sigma}
        rows = pd.DataFrame({**addresses, **columns})
        rows.insert(6, "status", "ok")
        rows.insert(7, "reason", "")
        return Evaluation(rows, part["shown"])

    def forget(self) -> None:
        """Remove this plan's finished parts (``--no-resume``)."""
        with explained(self.path):
            for cell in self.plan.cells():
                self._part(cell).unlink(missing_ok=True)

    def is_complete(self) -> bool:
        """Whether run.json says that this plan was once done to its end."""
        path = self.path / "run.json"
        return path.exists() and json.loads(path.read_text(encoding="utf-8")).get("status") == "complete"

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write run.json."""
        content = {"schema": SCHEMA, "plan_key": self.plan.key, **manifest, "plan": self.plan.as_dict()}
        self._write(self.path / "run.json", (json.dumps(content, indent=2) + "\n").encode())

    def write_tables(self, scores: pd.DataFrame, curves: pd.DataFrame) -> None:
        """Write scores.parquet and curves.csv, unless they are there already with just this content."""
        content = io.BytesIO()
        scores.to_parquet(content, index=False)
        tables = {"scores.parquet": content.getvalue(), "curves.csv": curves.to_csv(index=False).encode()}
        for name, table in tables.items():
            path = self.path / name
            with explained(self.path):
                same = path.is_file() and path.read_bytes() == table
            if not same:
                self._write(path, table)

    def _part(self, cell: Cell) -> Path:
        return self._parts / f"{cell.key}.npz"

    def _write(self, path: Path, content: bytes) -> None:
        with explained(self.path):
            write_atomically(path, lambda file: file.write(content))

    def _refuse_another_plan(self) -> None:
        path = self.path / "run.json"
        if (self.path / "training.json").exists():
            raise StoreError(f"{self.path} holds a training: nothing was changed. Give --out another folder.")
        if not path.exists():
            return
        try:
            key = json.loads(path.read_text(encoding="utf-8"))["plan_key"]
        except Exception:  # a folder, unreadable, not JSON, not a manifest: whatever it is, it is not ours
            raise StoreError(
                f"{path} cannot be read: it is not a run's manifest. Give --out another folder, or remove it."
            ) from None
        if key != self.plan.key:
            raise StoreError(
                f"{self.path} holds the run of another plan (key {key}, not {self.plan.key}): nothing was changed. "
                "Give --out another folder, or remove that one."
            )


def estimates(folder: Path) -> dict[tuple[str, str, float], np.ndarray]:
    """The estimates of the first few images, float32 ``(k, c, h, w)``, by (family, denoiser, sigma).

    Cells without a part, or with a damaged one, are missing.
    """
    plan = json.loads((folder / "run.json").read_text(encoding="utf-8"))["plan"]
    found = {}
    for family in plan["families"]:
        for denoiser in family["denoisers"]:
            names = family["spec"], denoiser["spec"]
            for sigma in plan["sigmas"]:
                cell = Cell(*names, denoiser["digest"], sigma, plan["images"], plan["seed"], plan["split"])
                part = _read_part(folder / "parts" / f"{cell.key}.npz", cell.images)
                if part:
                    found[*names, sigma] = part["shown"]
    return found


def _read_part(path: Path, images: int) -> dict[str, np.ndarray] | None:
    """The arrays of a part; empty if it is damaged in any way, None if it is not there."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
            part = {name: content[name] for name in content.files}
        return part if _is_whole(part, images) else {}
    except FileNotFoundError:
        return None
    except Exception:  # a damaged file can make its readers raise anything
        return {}


def _is_whole(part: dict[str, np.ndarray], images: int) -> bool:
    """Whether a part holds what `RunFolder.save_part` writes: each image's finite error, and first estimates."""
    shown = part["shown"]
    return bool(
        str(part["knows"]) in get_args(Knows)
        and all(part[name].shape == (images,) for name in _ROW_COLUMNS)
        and np.array_equal(part["image"], np.arange(images))
        and all(part[name].dtype == np.float64 and np.isfinite(part[name]).all() for name in ("mse", "seconds"))
        and (part["mse"] >= 0).all()
        and shown.ndim == 4
        and shown.dtype == np.float32
        and len(shown) == min(SHOWN, images)
    )
