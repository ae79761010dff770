"""Reading a run's folder: the files a report is made from, checked."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ValidationError

from gahb_bench.core.errors import StoreError
from gahb_bench.core.images import Knows

SCHEMA = 1
_TEXT = {"family": str, "denoiser": str, "knows": str, "reference_kind": str, "status": str}


class PlannedDenoiser(BaseModel):
    """One denoiser of the plan, resolved."""

    spec: str
    knows: Knows
    parameters: dict[str, Any] = {}
    digest: str = ""
    fitted: int | None = None


class PlannedFamily(BaseModel):
    """One family of the plan, resolved."""

    spec: str
    name: str
    parameters: dict[str, Any] = {}
    denoisers: list[PlannedDenoiser]


class Plan(BaseModel):
    """What the run was to do."""

    families: list[PlannedFamily]
    sigmas: list[float]
    images: int
    seed: int
    split: str


class Failure(BaseModel):
    """One cell in which something failed."""

    family: str
    denoiser: str
    sigma: float
    reason: str


class Manifest(BaseModel):
    """run.json."""

    results_version: int
    status: str
    started: str
    finished: str | None = None
    seconds: float | None = None
    command: str = ""
    plan: Plan
    environment: dict[str, Any] = {}
    failures: list[Failure] = []


@dataclass(frozen=True)
class RunData:
    """A run as it lies on disk."""

    folder: Path
    manifest: Manifest
    scores: pd.DataFrame
    curves: pd.DataFrame


def read(folder: Path) -> RunData:
    """Read a run's folder.

    Raises
    ------
    StoreError
        If a file is missing or cannot be read, or is of a schema this version does not know.
    """
    return RunData(folder, _manifest(folder / "run.json"), _scores(folder), _curves(folder))


def _manifest(path: Path) -> Manifest:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        schema = content.get("schema")
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}. A report needs the folder of a run."
        ) from None
    except (ValueError, AttributeError):
        raise StoreError(f"{path} is not a run's manifest: it does not hold a JSON object.") from None
    if schema != SCHEMA:
        raise StoreError(
            f"{path} has schema {schema!r}, but this version reads schema {SCHEMA}: "
            "make the report with the version that made the run."
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise StoreError(f"{path} is not a run's manifest: missing or wrong: {fields}.") from None


def _scores(folder: Path) -> pd.DataFrame:
    path = folder / "scores.parquet"
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise _unfinished(path) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}. Run the same command again to write it anew.") from None


def _curves(folder: Path) -> pd.DataFrame:
    path = folder / "curves.csv"
    try:
        # Only an empty field is missing: a denoiser may be called "NA" or "null".
        missing = {column: [""] for column in _numbers(path)}
        return pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=missing)
    except FileNotFoundError:
        raise _unfinished(path) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}. Run the same command again to write it anew.") from None


def _numbers(path: Path) -> list[str]:
    return [str(name) for name in pd.read_csv(path, nrows=0).columns if name not in _TEXT]


def _unfinished(path: Path) -> StoreError:
    return StoreError(
        f"{path.parent} holds no {path.name}: the run was stopped before its tables were written. Run the same command "
        "again: it goes on from the finished cells."
    )
