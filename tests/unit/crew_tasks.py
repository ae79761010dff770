"""What the workers of the tests are asked to do: importable by another process."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Some numbers to square; those of ``fatal`` end the process by SIGKILL, as long as fewer than ``lives`` marks lie
    in the folder.
    """

    numbers: tuple[int, ...]
    fatal: tuple[int, ...] = ()
    folder: Path = Path()
    lives: int = 10**6

    def apart(self):
        return [Job((number,), self.fatal, self.folder, self.lives) for number in self.numbers]


def squares(job):
    for number in job.numbers:
        if number in job.fatal and len(list(job.folder.glob("died-*"))) < job.lives:
            (job.folder / f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        yield number, number**2


def environment(_):
    import torch

    yield os.getpid(), torch.get_num_threads(), os.environ["OMP_NUM_THREADS"]


class UnsendableError(Exception):
    def __init__(self, text, lock):
        super().__init__(text)
        self.lock = lock

    def __reduce__(self):
        raise TypeError("not this one")


def fails(kind):
    if kind == "sendable":
        raise ValueError("boom")
    raise UnsendableError("no way", field)
    yield
