"""Finished work, kept part by part: the scores of a range of images in one cell, found again by content.

    parts/KEY-START-STOP.npz     the rows of images START to STOP - 1, and the estimates of the first few images

The key says everything a score depends on but the image's number, so that images, noise levels or denoisers that are
added to a run cost only themselves, in whatever run the others were computed.
"""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd

from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.core.files import explain_errors, write_atomically
from gahb_bench.core.images import Knows
from gahb_bench.running.plan import Cell
from gahb_bench.scoring.score import COLUMNS, SHOWN, Evaluation

_ROW_COLUMNS = ("image", "mse", "excess", "seconds")
_NAME = re.compile(r"(?P<key>[0-9a-f]+)-(?P<start>\d+)-(?P<stop>\d+)\.npz")


@dataclass(frozen=True, order=True)
class _Part:
    start: int
    stop: int
    path: Path


class Parts:
    """The parts in a run's folder, and in other runs' folders, which are only read.

    Raises
    ------
    StoreError
        If the folder cannot be made or written.
    UsageError
        If another is not the folder of a run.
    """

    def __init__(self, folder: Path, others: Iterable[Path] = ()) -> None:
        self.folder = folder / "parts"
        self.damaged: list[Path] = []
        with explain_errors(folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, list[_Part]] = {}
        for place in (self.folder, *map(parts_of, others)):
            for path in sorted(place.glob("*.npz")):
                found = _NAME.fullmatch(path.name)
                if found and path.is_file():
                    part = _Part(int(found["start"]), int(found["stop"]), path)
                    self._known.setdefault(found["key"], []).append(part)

    def missing(self, cell: Cell, images: int) -> list[range]:
        """The images of a cell that no whole part holds, as ranges; damaged parts are noted, and removed if ours."""
        gaps, at = [], 0
        for start, stop, _ in self._cover(cell, images):
            if start > at:
                gaps.append(range(at, start))
            at = stop
        return [*gaps, range(at, images)] if at < images else gaps

    def save(self, cell: Cell, start: int, evaluation: Evaluation) -> bool:
        """Keep finished images; tells whether it did. Where one failed, none is kept: they will be tried again."""
        rows = evaluation.rows
        if (rows["status"] != "ok").any():
            return False
        columns = {name: rows[name].to_numpy() for name in _ROW_COLUMNS}
        content = io.BytesIO()
        knows = np.array(str(rows["knows"].iloc[0]))
        pack = np.savez if len(evaluation.shown) else np.savez_compressed  # pictures take long and hardly shrink
        pack(content, key=np.array(cell.key), shown=evaluation.shown, knows=knows, **columns)
        path = self.folder / f"{cell.key}-{start}-{start + len(rows)}.npz"
        with explain_errors(self.folder.parent):
            write_atomically(path, lambda file: file.write(content.getvalue()))
        self._known.setdefault(cell.key, []).append(_Part(start, start + len(rows), path))
        return True

    def load(self, cell: Cell, images: int) -> pd.DataFrame:
        """The rows of a finished cell.

        Raises
        ------
        StoreError
            If a part has gone or was damaged since.
        """
        rows = self.present(cell, images)
        if len(rows) < images:
            raise StoreError(
                f"finished work of {cell.denoiser} on {cell.family} disappeared from {self.folder}, or was damaged, "
                "during the run: run the same command again, it goes on from the finished cells."
            )
        return rows

    def present(self, cell: Cell, images: int) -> pd.DataFrame:
        """The rows of a cell that are finished, in order; there may be none."""
        tables = [_rows(cell, start, stop, content) for start, stop, content in self._cover(cell, images)]
        if len(tables) == 1:  # as nearly always: joining costs as much as reading
            return tables[0]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def first_estimates(self, cell: Cell, count: int) -> np.ndarray | None:
        """The estimates of the first images, ``(count, c, h, w)``; None where they are not all finished."""
        shown = [
            content["shown"][start - int(content["image"][0]) : stop - int(content["image"][0])]
            for start, stop, content in self._cover(cell, count)
        ]
        return np.concatenate(shown) if sum(map(len, shown)) == count else None

    def adopt(self, cells: Iterable[Cell]) -> None:
        """Copy what is used of other runs' parts, so that this run needs them no more."""
        for cell in cells:
            for position, part in enumerate(self._known.get(cell.key, [])):
                if part.path.parent == self.folder or not _read(part, cell.key):
                    continue
                path = self.folder / part.path.name
                with explain_errors(self.folder.parent):
                    content = part.path.read_bytes()
                    write_atomically(path, lambda file, content=content: file.write(content))
                self._known[cell.key][position] = _Part(part.start, part.stop, path)

    def forget(self, cells: Iterable[Cell]) -> None:
        """Remove our own parts of these cells, and do not use those of others (``--no-resume``)."""
        with explain_errors(self.folder.parent):
            for cell in cells:
                for part in self._known.pop(cell.key, []):
                    if part.path.parent == self.folder:
                        part.path.unlink(missing_ok=True)

    def count(self, cells: Iterable[Cell], images: int) -> int:
        """How many of these cells are finished."""
        return sum(not self.missing(cell, images) for cell in cells)

    def _cover(self, cell: Cell, images: int) -> list[tuple[int, int, dict[str, np.ndarray]]]:
        """Whole parts that do not overlap, in order: what they add to those before, and their content."""
        found, at = [], 0
        for part in sorted(self._known.get(cell.key, [])):
            if part.stop <= at or part.start >= images:
                continue
            content = _read(part, cell.key)
            if content is None:
                continue
            if not content:
                self._drop(cell, part)
                continue
            found.append((max(part.start, at), min(part.stop, images), content))
            at = min(part.stop, images)
        return found

    def _drop(self, cell: Cell, part: _Part) -> None:
        self.damaged.append(part.path)
        self._known[cell.key].remove(part)
        if part.path.parent == self.folder:
            with explain_errors(self.folder.parent):
                part.path.unlink(missing_ok=True)


def parts_of(run: Path) -> Path:
    """The finished work of another run.

    Raises
    ------
    UsageError
        If it is not the folder of a run.
    """
    place = run / "parts"
    if not place.is_dir():
        raise UsageError(f"{run} holds no finished work to use again: give the folder of a run.")
    return place


def _rows(cell: Cell, start: int, stop: int, content: dict[str, np.ndarray]) -> pd.DataFrame:
    """Rows of the score table, from a part's content."""
    first = int(content["image"][0])
    columns = {name: content[name][start - first : stop - first] for name in _ROW_COLUMNS}
    address = {"family": cell.family, "denoiser": cell.denoiser, "knows": str(content["knows"]), "sigma": cell.sigma}
    return pd.DataFrame({**address, **columns, "status": "ok", "reason": ""}, columns=COLUMNS)


def _read(part: _Part, key: str) -> dict[str, np.ndarray] | None:
    """The arrays of a part; empty if it is damaged in any way, None if it is not there."""
    try:
        with np.load(io.BytesIO(part.path.read_bytes()), allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        return arrays if _is_whole(arrays, part, key) else {}
    except FileNotFoundError:
        return None
    except Exception:  # a damaged file can make its readers raise anything
        return {}


def _is_whole(content: dict[str, np.ndarray], part: _Part, key: str) -> bool:
    """Whether a part holds what `Parts.save` writes of this cell: each image's finite error, and first estimates."""
    shown, count = content["shown"], part.stop - part.start
    return bool(
        str(content["key"]) == key
        and str(content["knows"]) in get_args(Knows)
        and all(content[name].shape == (count,) for name in _ROW_COLUMNS)
        and np.array_equal(content["image"], np.arange(part.start, part.stop))
        and all(content[name].dtype == np.float64 and np.isfinite(content[name]).all() for name in ("mse", "seconds"))
        and (content["mse"] >= 0).all()
        and content["excess"].dtype == np.float64
        and not (content["excess"] < 0).any()
        and shown.ndim == 4
        and shown.dtype == np.float32
        and len(shown) == min(max(SHOWN - part.start, 0), count)
    )
