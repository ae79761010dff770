"""A folder of one kind of results alone, known by what its ``run.json`` says: nothing else is ever written over."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahb_bench.core.errors import StoreError
from gahb_bench.core.files import explain_errors, write_atomically


@dataclass(frozen=True)
class OwnFolder:
    """A kind of folder.

    what : what is in it, in words
    marks : keys of its ``run.json`` by which it is known
    files : names of its files
    advice : where else to write
    """

    what: str
    marks: frozenset[str]
    files: tuple[str, ...]
    advice: str

    def begin(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Mark a folder before anything else is written; one that is marked already stays as it is.

        Raises
        ------
        StoreError
            If it holds anything else (a run, the user's files), or cannot be written. Then nothing was changed.
        """
        self.refuse_others(folder)
        if not _entries(folder):
            put(folder / "run.json", json.dumps(manifest, indent=2).encode())

    def refuse_others(self, folder: Path) -> None:
        """Refuse a folder that holds anything else; one that is empty, or not there, is allowed.

        Raises
        ------
        StoreError
        """
        there = _entries(folder) if folder.exists() else []
        for name in self.files:
            if (folder / name).is_dir():
                raise StoreError(f"{folder / name} is a folder, but a file is to be written there: remove it.")
        if there and not self._is_one(folder):
            raise StoreError(
                f"{folder} holds {there[0]!r} and is no folder of {self.what}: nothing was changed. {self.advice}"
            )

    def _is_one(self, folder: Path) -> bool:
        try:
            return self.marks <= set(json.loads((folder / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return False


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, errors in words."""
    with explain_errors(path):
        write_atomically(path, lambda file: file.write(content))


def _entries(folder: Path) -> list[str]:
    with explain_errors(folder):
        return sorted(path.name for path in folder.iterdir() if path.name != "parts" and not path.name.startswith("."))
