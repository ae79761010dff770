"""A run's folder: the one module that knows its files, writes them and reads them again.

    run.json            plan, environment, status          (written first as partial, last as complete)
    scores.parquet      one row an image
    reference.parquet   what is known of each family's optimum, at the run's noise levels and between them
    curves.csv          one row per family, denoiser and noise level
    summary.csv         one row per family and denoiser
    thumbnails.npz      the pictures that its page shows
    parts/              finished work, found again by content (`gahb_bench.running.parts`)

A page, a comparison and a figure need nothing else: no law, no oracle, no catalogue. Every file is written under a
temporary name, flushed to disk and renamed, so that a file that exists is whole.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
from pydantic import BaseModel, ValidationError

from gahb_bench.core.denoiser import UNTUNED
from gahb_bench.core.errors import StoreError
from gahb_bench.core.files import (
    explain_errors,
    lock,
    read_file,
    refuse_overwriting,
    refuse_unwritable,
    write_atomically,
)
from gahb_bench.core.images import Knows
from gahb_bench.core.optimum import Reference, ReferenceKind
from gahb_bench.running.thumbnails import Thumbnails

SCHEMA = 2
REPORT = ("report.html", "report.md", "curves.png")  # what `gahb_bench.reporting` adds
_TABLES = ("scores.parquet", "reference.parquet", "curves.csv", "summary.csv", "thumbnails.npz")
_READABLE = (1, SCHEMA)  # 1 had no reference.parquet, summary.csv and thumbnails
_TEXT = dict.fromkeys(("family", "denoiser", "knows", "reference_kind", "regret_kind", "status"), str)


class DenoiserRecord(BaseModel):
    """One denoiser of a plan, resolved: canonical spec, what it knows, all its parameters, and its `Facts`.

    ``tuning`` is None in runs of earlier versions, which did not say.
    """

    spec: str
    knows: Knows
    parameters: dict[str, Any] = {}
    digest: str = ""
    brought: bool = False
    fitted: int | None = None
    tuning: str | None = None
    tuned: tuple[tuple[float, float, bool], ...] = ()
    architecture: str = ""
    trained_on: str = ""
    look: tuple[str, str, str] | None = None  # hue, marker, and the parameters that chose them

    @property
    def untuned(self) -> bool:
        """Whether its parameter follows a rule, for want of tuning."""
        return (self.tuning or "").startswith(UNTUNED)


class FamilyRecord(BaseModel):
    """One family of a plan, resolved, and the denoisers scored on it."""

    spec: str
    name: str
    shape: tuple[int, int, int] | None = None
    parameters: dict[str, Any] = {}
    digest: str = ""
    denoisers: list[DenoiserRecord]


class PlanRecord(BaseModel):
    """What a run was to do."""

    families: list[FamilyRecord]
    sigmas: list[float]
    images: int
    seed: int
    split: str


class Failure(BaseModel):
    """One cell in which an image failed."""

    family: str
    denoiser: str
    sigma: float
    images: int = 0
    reason: str


class Manifest(BaseModel):
    """run.json."""

    schema_version: int = SCHEMA
    plan_key: str = ""
    results_version: int
    status: str
    started: str
    finished: str | None = None
    seconds: float | None = None
    command: str = ""
    environment: dict[str, Any] = {}
    failures: list[Failure] = []
    warnings: list[str] = []
    plan: PlanRecord


@dataclass(frozen=True)
class RunData:
    """A run as it lies on disk. ``references`` are by family spec."""

    folder: Path
    manifest: Manifest
    scores: pd.DataFrame
    curves: pd.DataFrame
    references: dict[str, Reference] = field(default_factory=dict)

    @cached_property
    def thumbnails(self) -> dict[str, Thumbnails]:
        """The pictures that were kept, by family spec; empty where there are none."""
        return Thumbnails.load(self.folder / "thumbnails.npz")


@contextmanager
def open_run(path: Path) -> Iterator["RunFolder"]:
    """A run's folder, made if need be and locked against other processes.

    Raises
    ------
    StoreError
        If it cannot be made or written, holds something else, or another process is writing it.
    """
    with lock(path):
        folder = RunFolder(path)
        folder.refuse_others()
        yield folder


def check_folder(path: Path, families: Iterable[str], seed: int, split: str) -> None:
    """Refuse a folder that a run could not be written into; nothing is made.

    Raises
    ------
    StoreError
        If it cannot be written, or holds something else, or a run of other images.
    """
    refuse_unwritable(path)
    folder = RunFolder(path)
    folder.refuse_others()
    folder.refuse_unrelated(families, seed, split)


def refuse_file_of_a_run(path: Path, option: str = "--out") -> None:
    """Refuse to write another thing over a file that a run keeps in its folder, or under the name of one.

    Raises
    ------
    StoreError
    """
    path = path.resolve()
    if path.name in ("run.json", *_TABLES, *REPORT) and (path.parent / "run.json").exists():
        raise StoreError(
            f"{path} is a file of the run in that folder: nothing was changed. Give {option} another name."
        )


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run that is being written."""

    path: Path

    def refuse_others(self) -> None:
        """Refuse a folder that holds a training, a run.json that is not a run's, or files of our names without one."""
        if (self.path / "training.json").exists():
            raise StoreError(f"{self.path} holds a training: nothing was changed. Give --out another folder.")
        path = self.path / "run.json"
        if not path.exists():  # it is written first
            refuse_overwriting(self.path, (*_TABLES, *REPORT))
            return
        try:
            json.loads(read_file(path))["plan_key"]
        except Exception:  # a folder, unreadable, not JSON, not a manifest: whatever it is, it is not ours
            raise StoreError(
                f"{path} cannot be read: it is not a run's manifest. Give --out another folder, or remove it."
            ) from None

    def refuse_unrelated(self, families: Iterable[str], seed: int, split: str) -> None:
        """Refuse a folder that holds a run of other images: its page would be replaced by one about something else."""
        there = self.manifest()
        if there is None:
            return
        shared = {family.spec for family in there.plan.families}.intersection(families)
        if not shared or (there.plan.seed, there.plan.split) != (seed, split):
            raise StoreError(
                f"{self.path} holds a run of other families, or of another seed or split: nothing was changed. Give "
                "--out another folder, or remove that one."
            )

    def manifest(self) -> Manifest | None:
        """The manifest that is there; None where there is none.

        Raises
        ------
        StoreError
            If it cannot be read, or is of a schema this version does not know: it would be lost.
        """
        path = self.path / "run.json"
        return read_manifest(path) if path.exists() else None

    def has_tables(self) -> bool:
        """Whether a run of this folder was once done to its tables."""
        return (self.path / "scores.parquet").is_file()

    def has_thumbnails(self) -> bool:
        """Whether pictures are there, whole."""
        return bool(Thumbnails.load(self.path / "thumbnails.npz"))

    def write_manifest(self, manifest: Manifest) -> None:
        """Write run.json."""
        content = manifest.model_dump(mode="json", exclude={"schema_version"})
        text = json.dumps({"schema": manifest.schema_version, **content}, indent=2) + "\n"
        self._write("run.json", text.encode())

    def write_tables(
        self,
        scores: pd.DataFrame,
        curves: pd.DataFrame,
        summary: pd.DataFrame,
        references: Mapping[str, Reference],
        thumbnails: Mapping[str, Thumbnails] | None,
    ) -> None:
        """Write the tables, and the thumbnails if given; a file that is there with just this content stays."""
        tables = {
            "scores.parquet": _parquet(scores),
            "reference.parquet": _parquet(pd.concat([r.as_table(spec) for spec, r in references.items()])),
            "curves.csv": curves.to_csv(index=False).encode(),
            "summary.csv": summary.to_csv(index=False).encode(),
        }
        if thumbnails is not None:
            tables["thumbnails.npz"] = Thumbnails.pack(thumbnails)
        for name, content in tables.items():
            with explain_errors(self.path):
                path = self.path / name
                same = path.is_file() and path.read_bytes() == content
            if not same:
                self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        with explain_errors(self.path):
            write_atomically(self.path / name, lambda file: file.write(content))


def read(folder: Path) -> RunData:
    """Read a run's folder.

    Raises
    ------
    StoreError
        If a file is missing or cannot be read, or is of a schema this version does not know.
    """
    manifest, curves = read_manifest(folder / "run.json"), _curves(folder)
    return RunData(folder, manifest, _scores(folder), curves, _references(folder, curves))


def read_manifest(path: Path) -> Manifest:
    """Read run.json.

    Raises
    ------
    StoreError
        If it cannot be read, is not a run's, or is of a schema this version does not know.
    """
    try:
        content = json.loads(read_file(path))
        schema = content.pop("schema", None)
    except OSError as error:
        raise StoreError(
            f"cannot read {path}: {error.strerror or error}. A report needs the folder of a run."
        ) from None
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise StoreError(f"{path} is not a run's manifest: it does not hold a JSON object.") from None
    if schema not in _READABLE:
        raise StoreError(
            f"{path} has schema {schema!r}, but this version reads schema {SCHEMA}: "
            "make the report with the version that made the run."
        )
    try:
        return Manifest.model_validate({**content, "schema_version": schema})
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors())
        raise StoreError(f"{path} is not a run's manifest: missing or wrong: {fields}.") from None


def _scores(folder: Path) -> pd.DataFrame:
    path = folder / "scores.parquet"
    try:
        table = pd.read_parquet(path)
        return table if "excess" in table else table.assign(excess=np.nan)  # runs of version 1 have none
    except FileNotFoundError:
        raise _unfinished(path) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}. Run the same command again to write it anew.") from None


def _curves(folder: Path) -> pd.DataFrame:
    path = folder / "curves.csv"
    try:
        # Only an empty field is missing: a denoiser may be called "NA" or "null".
        numbers = [str(name) for name in pd.read_csv(path, nrows=0).columns if name not in _TEXT]
        missing = {column: [""] for column in numbers}
        table = pd.read_csv(path, dtype=_TEXT, keep_default_na=False, na_values=missing)
        return table if "regret_kind" in table else table.assign(regret_kind="", excess=np.nan)  # of version 1
    except FileNotFoundError:
        raise _unfinished(path) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"cannot read {path}: {error}. Run the same command again to write it anew.") from None


def _references(folder: Path, curves: pd.DataFrame) -> dict[str, Reference]:
    """By family; what reference.parquet lacks (all of it in schema 1) stands in the curves, at their levels alone."""
    path = folder / "reference.parquet"
    stated = {str(spec): reference_of(rows) for spec, rows in curves.groupby("family", sort=False)}
    try:
        table = pd.read_parquet(path)
        return stated | {str(spec): Reference.from_table(rows) for spec, rows in table.groupby("family", sort=False)}
    except FileNotFoundError:
        return stated
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(f"cannot read {path}: {error}. Run the same command again to write it anew.") from None


def reference_of(curves: pd.DataFrame) -> Reference:
    """What curves say of the optimum of their one family: at their noise levels, without its error and slope."""
    rows = curves.drop_duplicates("sigma").sort_values("sigma")
    sigma, mse, lower, upper = (
        rows[name].to_numpy(dtype=np.float64) for name in ("sigma", "reference_mse", "reference_low", "reference_high")
    )
    unknown = np.full(len(rows), np.nan)
    kind: Any = rows["reference_kind"].iloc[0]
    if kind not in get_args(ReferenceKind):
        kind = "none"
    attained = {"exact": ("mmse", "wiener"), "linear": ("wiener",)}.get(kind, ())
    note = "As stored in a run of an earlier version; its standard error and its exponent are not."
    return Reference(kind, sigma, mse, lower, upper, unknown, unknown, None, note, attained_by=attained)


def _parquet(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    return content.getvalue()


def _unfinished(path: Path) -> StoreError:
    return StoreError(
        f"{path.parent} holds no {path.name}: the run was stopped before its tables were written. Run the same command "
        "again: it goes on from the finished cells."
    )
