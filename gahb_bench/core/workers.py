"""Other processes of this machine as an executor. The death of one costs the task that it was doing, and no other."""

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

from gahb_bench.core.errors import GahbError

# Read by the libraries that compute, when they are loaded.
_NAMES = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
_starting = threading.Lock()


class WorkerLostError(GahbError):
    """A process ended while it was doing a task."""


class Workers(Executor):
    """A number of processes, each with one thread for its arithmetic; one that ends is replaced.

    Futures raise `WorkerLostError` where the process that did them ended. They can be cancelled before they begin.
    """

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._all = [_Worker() for _ in range(count)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._do, fn, args, kwargs)

    def _do(self, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        worker = self._idle.get()
        try:
            return worker.do(call, args, kwargs)
        finally:
            self._idle.put(worker)

    def pids(self) -> list[int]:
        """The processes that are there now."""
        return [worker.pid for worker in self._all if worker.pid]

    def kill(self) -> None:
        """End all processes at once, whatever they do."""
        for worker in self._all:
            worker.close(at_once=True)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)
        for worker in self._all:
            worker.close(at_once=not wait)


class _Worker:
    """One process, started when it is first needed, and again when it is needed after it ended."""

    def __init__(self) -> None:
        self._process: Any = None
        self._connection: Any = None
        self._closed = False

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    def do(self, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        message = pickle.dumps((call, args, kwargs))
        self._start()
        try:
            self._connection.send_bytes(message)
            done, value = pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            raise WorkerLostError(self._end()) from None
        if done:
            return value
        raise value

    def close(self, at_once: bool) -> None:
        """It ends when nobody can speak to it any more, at once if need be."""
        self._closed = True
        process = self._process
        if process is None:
            return
        if at_once:
            process.kill()
        else:
            self._connection.close()
        process.join()

    def _start(self) -> None:
        with _starting:
            if self._closed:
                raise WorkerLostError("the processes are shut down")
            if self._process is not None:
                return
            spawn = multiprocessing.get_context("spawn")
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs,), name="gahb_bench worker", daemon=True)
            with _one_thread():
                process.start()
            theirs.close()  # or nobody would notice that it ended
            self._process, self._connection = process, ours

    def _end(self) -> str:
        """Forget the process that was lost; how it ended, in words."""
        self._connection.close()
        self._process.kill()
        self._process.join()
        code, self._process = self._process.exitcode, None
        if code is not None and code < 0:
            return f"the process that did it was ended by {signal.Signals(-code).name}"
        return f"the process that did it ended itself, with exit code {code}"


def _serve(connection: Connection) -> None:
    """Do what is asked, until nobody can ask any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal: the client decides
    threading.Thread(target=_end_with_client, daemon=True).start()
    while True:
        try:
            call, args, kwargs = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            answer = pickle.dumps((True, call(*args, **kwargs)))
        except Exception as error:
            answer = pickle.dumps((False, error))
        with contextlib.suppress(OSError):
            connection.send_bytes(answer)


def _end_with_client() -> None:
    """A client that was killed cannot end its processes: they see to it themselves, in the middle of a task too."""
    client = multiprocessing.parent_process()
    if client is not None:
        client.join()
        os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """A process that is started meanwhile computes with one thread."""
    names = [f"{name}_THREADS" for name in _NAMES]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
