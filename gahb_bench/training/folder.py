"""A training's folder: weights, the state to go on from, the log.

    training.json       settings and environment
    state.safetensors   weights, their average, the optimizer; the step
    best.safetensors    the averaged weights with the least mean error on validation images, with their recipe
    last.safetensors    the averaged weights of the last validation
    log.jsonl           one line every few steps
    events/             the same for TensorBoard, if asked for

Every file is written under a temporary name and renamed, so that a file that exists is whole; lines of the log that
are younger than the state are dropped when a training goes on.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from gahb_bench.core.errors import MissingPackageError, StoreError, UsageError
from gahb_bench.core.files import explain_errors, lock, refuse_overwriting, write_atomically
from gahb_bench.networks import weights
from gahb_bench.training.settings import Settings, with_defaults

FILES = ("training.json", "state.safetensors", "best.safetensors", "last.safetensors", "log.jsonl")


class TrainingFolder:
    """The folder of one training; only the main process of several writes to it."""

    def __init__(self, path: Path, settings: Settings, *, main: bool = True, tensorboard: bool = False) -> None:
        self.path, self._settings, self._main = path, settings, main
        self.best = path / "best.safetensors"
        self._writer = _event_writer() if tensorboard and main else None
        self._events: Any = None

    @contextmanager
    def lock(self, begin_again: bool = False) -> Iterator["TrainingFolder"]:
        """The folder, made if need be and locked against other trainings.

        One that failed before anything was kept is no other training, if this one is to ``begin_again``.

        Raises
        ------
        StoreError
            If it cannot be made, holds another training, or another process is writing it.
        """
        if not self._main:
            yield self
            return
        with lock(self.path):
            self._refuse_another(begin_again)
            if self._writer is not None:  # it makes its folder
                self._events = self._writer(str(self.path / "events"))
            yield self

    def forget(self) -> None:
        """Remove the training that is there (``--no-resume``)."""
        if self._main:
            for name in FILES:
                (self.path / name).unlink(missing_ok=True)

    def write_description(self, environment: dict[str, Any]) -> None:
        """Write training.json."""
        content = {"settings": self._settings.model_dump(), "environment": environment}
        self._write("training.json", (json.dumps(content, indent=2) + "\n").encode())

    def save_state(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Keep what is needed to go on."""
        if self._main:
            with explain_errors(self.path):
                weights.save(self.path / "state.safetensors", tensors, facts)

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The state to go on from, or None if there is none."""
        path = self.path / "state.safetensors"
        if not path.exists():
            return None
        try:
            facts, tensors = weights.read_recipe(path), weights.read_tensors(path)
        except UsageError as error:
            raise StoreError(f"{error} The training cannot go on from it: begin again with --no-resume.") from None
        return tensors, facts

    def save_weights(self, name: str, tensors: dict[str, Tensor], recipe: dict[str, Any]) -> None:
        """Keep trained weights under ``best`` or ``last``."""
        with explain_errors(self.path):
            weights.save(self.path / f"{name}.safetensors", tensors, recipe)

    def log(self, entry: dict[str, Any]) -> None:
        """Add a line to the log, and its numbers to the events of TensorBoard."""
        if self._events is not None:
            for name in ("loss", "rate", "mean_regret_db"):
                if entry.get(name) is not None:
                    self._events.add_scalar(name, entry[name], entry["step"])
            self._events.flush()
        if self._main:
            with explain_errors(self.path), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    def cut_log(self, step: int) -> None:
        """Drop what the log says of later steps, which will be taken again."""
        path = self.path / "log.jsonl"
        if path.exists() and self._main:
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            self._write("log.jsonl", "".join(line + "\n" for line in kept).encode())

    def _write(self, name: str, content: bytes) -> None:
        if self._main:
            with explain_errors(self.path):
                write_atomically(self.path / name, lambda file: file.write(content))

    def _refuse_another(self, begin_again: bool) -> None:
        path = self.path / "training.json"
        if (self.path / "run.json").exists():
            raise StoreError(f"{self.path} holds a run: nothing was changed. Give --out another folder.")
        initial = Path(self._settings.initial).resolve() if self._settings.initial else None
        if initial in [(self.path / name).resolve() for name in FILES]:
            raise StoreError(
                f"the weights to start from, {initial}, lie in {self.path}, where the training would overwrite them: "
                "nothing was changed. Give --out another folder."
            )
        if not path.exists():  # it is written first
            refuse_overwriting(self.path, FILES)
            return
        kept = any((self.path / name).exists() for name in FILES if name.endswith(".safetensors"))
        if begin_again and not kept:
            return
        try:
            there = with_defaults(json.loads(path.read_text(encoding="utf-8"))["settings"])
            mine = self._settings.model_dump()
            differing = [key for key in mine if there.get(key) != mine[key]]
        except Exception:  # unreadable, not JSON, not ours
            raise StoreError(
                f"{path} cannot be read: it does not describe a training. Give --out another folder, or remove it."
            ) from None
        if differing:
            changes = ", ".join(f"{key} {there.get(key)!r}, not {mine[key]!r}" for key in differing)
            raise StoreError(
                f"{self.path} holds a training with other settings ({changes}): nothing was changed. Give --out "
                "another folder, or remove that one."
            )


def _event_writer() -> Any:
    """The class that writes events for TensorBoard.

    Raises
    ------
    MissingPackageError
        If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MissingPackageError(
            "--tensorboard needs the package tensorboard: pip install tensorboard. The log is in log.jsonl in any case."
        ) from None
    return SummaryWriter


def _step_of(line: str) -> float:
    """The step of a line of the log; a line cut short by a kill counts as younger than any state."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
