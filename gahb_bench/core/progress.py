"""Progress on standard error: a bar on a terminal, elsewhere a line every half minute."""

import os
import sys
import threading
import time
from typing import Any, ClassVar

EVERY = 30.0  # seconds between two lines where there is no terminal


class Reminder:
    """Says its line again every half minute while the work of a block goes on, with the time it has taken.

    It does so in a thread of its own, and so also where the work itself tells nothing for long. Of blocks inside each
    other the innermost speaks, of processes under ``torchrun`` the first; on a terminal none does.
    """

    _open: ClassVar[list["Reminder"]] = []

    def __init__(self, line: str) -> None:
        self.line = line

    def __enter__(self) -> "Reminder":
        self._began, self._ended, self._thread = time.monotonic(), threading.Event(), None
        self._open.append(self)
        if not sys.stderr.isatty() and os.environ.get("RANK", "0") == "0":
            self._thread = threading.Thread(target=self._remind, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._open.remove(self)
        if self._thread is not None:
            self._thread.join()

    def _remind(self) -> None:
        while not self._ended.wait(EVERY):
            if self._open[-1:] == [self]:
                minutes = (time.monotonic() - self._began) / 60
                print(f"{self.line}   ({minutes:.1f} min so far)", file=sys.stderr, flush=True)


class Progress(Reminder):
    """How far some work has come: a bar on a terminal if it takes more than two seconds, elsewhere the line."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self._label = label

    def __enter__(self) -> "Progress":
        super().__enter__()
        self._bar: Any = None
        self._first: int | None = None
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._thread is not None:
            self.line = f"{self._label}: {done} of {total}{self._left(done, total)}"
        elif self._bar is not None or time.monotonic() - self._began > 2:
            self._draw(done, total)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._bar is not None:
            self._bar.stop()

    def _left(self, done: int, total: int) -> str:
        """The time left, at the pace since the first call: what it counts as done was done before."""
        self._first = done if self._first is None else self._first
        if done == self._first:
            return ""
        seconds = (time.monotonic() - self._began) * (total - done) / (done - self._first)
        return f", about {seconds / 60:.1f} min left"

    def _draw(self, done: int, total: int) -> None:
        from rich import progress
        from rich.console import Console

        if self._bar is None:
            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
            )
            self._bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=total, completed=done)
        self._bar.update(self._task, completed=done, total=total)
