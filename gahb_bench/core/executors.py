"""Opens what does the work of a command: this process, ``--workers N``, or ``--scheduler tcp://HOST:PORT``."""

import importlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from gahb_bench.core.crew import Crew
from gahb_bench.core.errors import GahbError, MissingPackageError, UsageError, reason_of
from gahb_bench.core.workers import Workers

_CONNECT = "10s"  # how long a scheduler is waited for
_ASK_EVERY = 1.0  # seconds
_MOST = 1024  # processes of one machine
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SchedulerLostError(GahbError):
    """The scheduler cannot be reached any more; what came back before is kept."""


@contextmanager
def open_crew(workers: int | None = None, scheduler: str | None = None, *, signals: bool = True) -> Iterator[Crew]:
    """Who does the work; without options this process.

    The first Ctrl-C (SIGINT) or SIGTERM sets ``stopped``: what is in flight is finished. The second raises
    KeyboardInterrupt at once, and ends the processes.

    Parameters
    ----------
    workers : int, optional
        How many processes of this machine, one thread each.
    scheduler : str, optional
        The address of a scheduler of dask.distributed.
    signals : bool
        Whether this process takes them: several that compute together stop together or not at all.

    Raises
    ------
    UsageError
        If both are given, the number is not allowed, or no scheduler answers.
    MissingPackageError
        If dask.distributed is not installed.
    """
    if workers is not None and scheduler is not None:
        raise UsageError("--workers and --scheduler exclude each other: processes of this machine, or a cluster.")
    if scheduler is not None:
        with _on_cluster(scheduler) as crew, _stopping(crew):
            yield crew
    elif workers is not None:
        if not 1 <= workers <= _MOST:
            raise UsageError(f"--workers {workers} is not allowed: it is a number of processes, 1 to {_MOST}.")
        with _in_processes(workers) as crew, _stopping(crew):
            yield crew
    else:
        crew = Crew()
        with _stopping(crew) if signals else nullcontext():
            yield crew


@contextmanager
def _in_processes(count: int) -> Iterator[Crew]:
    processes = Workers(count)
    try:
        yield Crew(processes, workers=lambda: count, threads=1)
    except BaseException:
        processes.kill()
        raise
    finally:
        processes.shutdown()


@contextmanager
def _on_cluster(address: str) -> Iterator[Crew]:
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise MissingPackageError(
            "--scheduler needs the package 'distributed', which is not installed: pip install 'gahb_bench[cluster]'."
        ) from None
    try:
        client: Any = distributed.Client(address, timeout=_CONNECT, set_as_default=False)
    except Exception as error:  # of the network, of the address, or of another version
        raise UsageError(
            f"no scheduler of dask answers at {address} ({reason_of(error)}): start one with 'dask scheduler', and "
            "give the address that it prints."
        ) from None
    try:
        executor = client.get_executor(pure=False, retries=0)
        yield Crew(
            executor,
            workers=_Counted(client),
            threads=1,
            check=lambda: _check_reachable(client, address),
            withdraws=False,
        )
    finally:
        client.close(timeout=2)


class _Counted:
    """How many workers a cluster has now, asked every second; one before there is any: its task waits for them."""

    def __init__(self, client: Any) -> None:
        self._client, self._count, self._asked = client, 1, -math.inf

    def __call__(self) -> int:
        if self._client.status == "running" and time.monotonic() - self._asked > _ASK_EVERY:
            self._count = max(1, len(self._client.nthreads()))
            self._asked = time.monotonic()
        return self._count


def _check_reachable(client: Any, address: str) -> None:
    if client.status != "running":
        raise SchedulerLostError(
            f"the scheduler at {address} cannot be reached any more. What came back is kept: start it again, and the "
            "same command goes on from there."
        )


@contextmanager
def _stopping(crew: Crew) -> Iterator[None]:
    """Signals ask a crew to stop; those that are not for Python to take stay as they are."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: object) -> None:
        del number, frame
        if crew.stopped:
            raise KeyboardInterrupt
        crew.stopped = True
        os.write(2, b"\nstopping: what is in flight is finished first; once more stops at once.\n")  # print may be busy

    before: dict[int, Callable[..., Any] | int | None] = {each: signal.signal(each, ask) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            if handler is not None:  # else nobody of Python set it
                signal.signal(each, handler)
