"""Trainings on workers, a minute at a time: what a worker has to go on from comes from here, and goes back here.

So no disk is shared, nothing but a minute is lost with a worker, and the numbers are those of a training that was never
stopped, since one that goes on from its state has them bitwise.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from gahb_bench.core.crew import Crew, Lost, Queue
from gahb_bench.core.errors import DenoiserError, StoreError, reason_of
from gahb_bench.core.files import explain_errors, lock, write_atomically
from gahb_bench.training.budget import Training
from gahb_bench.training.folder import FILES
from gahb_bench.training.loop import fit
from gahb_bench.training.trainer import PausedError, Progress

SECONDS = 60.0  # of a training at a time
_OTHERS = ("run.json",)  # by which a worker sees that a folder is none of a training


@dataclass(frozen=True)
class Part:
    """The next minute of a training: all that it goes on from."""

    training: Training
    folder: Path  # here, for the messages; a worker need not see it
    files: Mapping[str, bytes]
    device: str
    resume: bool
    compiled: bool
    seconds: float


@dataclass(frozen=True)
class Advanced:
    """What came back of a training: its files, how far it is, whether it has ended, and why if it failed."""

    files: Mapping[str, bytes]
    progress: Progress | None
    ended: bool
    failed: str = ""


def train_all(
    trainings: Mapping[Path, Training],
    crew: Crew,
    *,
    device: str = "cpu",
    resume: bool = True,
    compiled: bool = False,
) -> Iterator[tuple[Path, Advanced]]:
    """Do trainings, by their folders, on the workers of a crew; each is told after every minute of it.

    Raises
    ------
    StoreError
        If a folder holds another training, is being written by another process, or cannot be written.
    """
    with ExitStack() as locks:
        parts = Queue[Part]()
        for folder, training in trainings.items():
            locks.enter_context(lock(folder))
            files = _read(folder, *_OTHERS)
            parts.append(Part(training, folder, files, device, resume, compiled, SECONDS))
        for part, result in crew.each(_advance, parts):
            if isinstance(result, Lost):
                yield part.folder, Advanced({}, None, ended=True, failed=result.reason)
                continue
            _write(part.folder, result.files)
            if not result.ended:
                parts.append(replace(part, files=result.files, resume=True))
            yield part.folder, result


def _advance(part: Part) -> Iterator[Advanced]:
    """Go on with one training for a while, in a folder that is removed afterwards."""
    with TemporaryDirectory() as place:
        folder = Path(place)
        _write(folder, part.files)
        until, told = time.monotonic() + part.seconds, list[Progress]()
        ended, failed = True, ""
        try:
            settings = part.training.settled(folder, part.device, part.resume)
            fit(
                settings,
                folder,
                device=part.device,
                resume=part.resume,
                compiled=part.compiled,
                progress=told.append,
                pause=lambda: time.monotonic() > until,
            )
        except PausedError:
            ended = False
        except DenoiserError as error:
            failed = reason_of(error)
        except StoreError as error:
            raise StoreError(str(error).replace(place, str(part.folder))) from None
        yield Advanced(_read(folder), told[-1] if told else None, ended, failed)


def _read(folder: Path, *others: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (*FILES, *others) if (folder / name).is_file()}


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Each file whole or not at all, the state last: what it goes on from is there when it says so."""
    with explain_errors(folder):
        for name in set(FILES) - set(files):
            (folder / name).unlink(missing_ok=True)
        for name in sorted(files, key=lambda name: name == "state.safetensors"):
            write_atomically(folder / name, lambda file, content=files[name]: file.write(content))
