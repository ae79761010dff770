"""A run's folder: parts that survive a kill, and the tables made from them.

    parts/KEY.npz       one finished cell: its rows and the estimates of its first images
    run.json            plan, environment, status          (written first as partial, last as complete)
    scores.parquet      one row an image
    curves.csv          one row per family, denoiser and noise level

Every file is written under a temporary name, flushed to disk and renamed, so that a file that exists is whole.
"""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import filelock
import numpy as np
import pandas as pd

from gahb_bench.errors import StoreError
from gahb_bench.running.plan import Cell, Plan
from gahb_bench.scoring.score import Evaluation

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
        with _explained(self.path):
            self._parts.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                raise StoreError(
                    f"{self.path} is being written by another process: wait for it, or give --out another folder."
                ) from None
        try:
            self._refuse_another_plan()
            yield self
        finally:
            lock.release()
            (self.path / ".lock").unlink(missing_ok=True)

    def save_part(self, cell: Cell, evaluation: Evaluation) -> None:
        """Keep a finished cell. A cell with a failure is not kept: it will be tried again."""
        if (evaluation.rows["status"] != "ok").any():
            return
        columns = {name: evaluation.rows[name].to_numpy() for name in _ROW_COLUMNS}
        knows = str(evaluation.rows["knows"].iloc[0])
        content = io.BytesIO()
        np.savez_compressed(content, shown=evaluation.shown, knows=np.array(knows), **columns)
        self._write(self._part(cell), content.getvalue())

    def load_part(self, cell: Cell) -> Evaluation | None:
        """A finished cell, or None if there is none; a part that cannot be read counts as none, and is noted."""
        path = self._part(cell)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as part:
                columns = {name: part[name] for name in _ROW_COLUMNS}
                knows, shown = str(part["knows"]), part["shown"]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error):
            self.damaged.append(path)
            return None
        rows = pd.DataFrame(
            {"family": cell.family, "denoiser": cell.denoiser, "knows": knows, "sigma": cell.sigma, **columns}
        )
        rows.insert(6, "status", "ok")
        rows.insert(7, "reason", "")
        return Evaluation(rows, shown)

    def forget(self) -> None:
        """Remove this plan's finished parts (``--no-resume``)."""
        with _explained(self.path):
            for cell in self.plan.cells():
                self._part(cell).unlink(missing_ok=True)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write run.json."""
        content = {"schema": SCHEMA, "plan_key": self.plan.key, **manifest, "plan": self.plan.as_dict()}
        self._write(self.path / "run.json", (json.dumps(content, indent=2) + "\n").encode())

    def write_tables(self, scores: pd.DataFrame, curves: pd.DataFrame) -> None:
        """Write scores.parquet and curves.csv."""
        content = io.BytesIO()
        scores.to_parquet(content, index=False)
        self._write(self.path / "scores.parquet", content.getvalue())
        self._write(self.path / "curves.csv", curves.to_csv(index=False).encode())

    def _part(self, cell: Cell) -> Path:
        return self._parts / f"{cell.key}.npz"

    def _write(self, path: Path, content: bytes) -> None:
        with _explained(self.path):
            write_atomically(path, lambda file: file.write(content))

    def _refuse_another_plan(self) -> None:
        path = self.path / "run.json"
        if not path.exists():
            return
        try:
            key = json.loads(path.read_text(encoding="utf-8"))["plan_key"]
        except (ValueError, KeyError, TypeError):
            raise StoreError(
                f"{path} cannot be read: it is not a run's manifest. Give --out another folder, or remove it."
            ) from None
        if key != self.plan.key:
            raise StoreError(
                f"{self.path} holds the run of another plan (key {key}, not {self.plan.key}): nothing was changed. "
                "Give --out another folder, or remove that one."
            )


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file so that it is either whole or not there: temporary name, flush to disk, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def estimates(folder: Path) -> dict[tuple[str, str, float], np.ndarray]:
    """The estimates of the first few images, float32 ``(k, c, h, w)``, by (family, denoiser, sigma)."""
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))["plan"]
    found = {}
    for family in manifest["families"]:
        for denoiser in family["denoisers"]:
            for sigma in manifest["sigmas"]:
                cell = Cell(
                    family["spec"],
                    denoiser["spec"],
                    denoiser["digest"],
                    sigma,
                    manifest["images"],
                    manifest["seed"],
                    manifest["split"],
                )
                path = folder / "parts" / f"{cell.key}.npz"
                if path.exists():
                    with np.load(path, allow_pickle=False) as part:
                        found[family["spec"], denoiser["spec"], sigma] = part["shown"]
    return found


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Operating-system errors as a sentence that says what to do."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"cannot write to the run folder {path}: {error.strerror or error}. Give --out a folder that "
            "can be written, with space left. Finished cells are kept, and the same command goes on from them."
        ) from error
