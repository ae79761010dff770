"""Who does the work: this process, other processes of this machine, or a cluster; with retries, and stopped gently.

What a command does is a number of tasks, each a range of something that can be done apart, and a function that yields
the results of one. They come back here, whoever did them, and what is written is written here.
"""

import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from gahb_bench.core.errors import GahbError, UsageError, reason_of

T = TypeVar("T")
R = TypeVar("R")

TRIES = 3  # of a task whose worker is lost
_A_WORKER = 2  # tasks in flight: one that is done, and one that is next
_LOOK_EVERY = 1.0  # seconds between two looks at whether the executor is still there
_one_at_a_time = threading.Lock()  # what is scored sets what belongs to a whole process, and puts it back


@dataclass(frozen=True)
class Lost:
    """In the place of a task's results: its worker was lost, again and again, and how."""

    reason: str


class Queue(deque[T]):
    """Tasks to be done, of which more may be added while they are: it has no more for now, and then has."""

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self:
            raise StopIteration
        return self.popleft()


@dataclass(frozen=True)
class _Raised:
    """What a task itself raised on a worker, to be raised here."""

    error: BaseException


@dataclass(frozen=True)
class _Attempt(Generic[T]):
    task: T
    number: int = 1


class Crew:
    """Does tasks, by an executor or, without one, here, one after the other.

    Parameters
    ----------
    executor : concurrent.futures.Executor, optional
        What is submitted is one picklable function with one argument of bytes.
    workers : callable
        How many tasks it does at once, now; twice as many are in flight.
    threads : int, optional
        How many threads torch uses for a task there; as many as it is set to, unless told.
    check : callable
        Raises where the executor is gone for good.
    withdraws : bool
        Whether its futures can be cancelled before they begin, but not after.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        workers: Callable[[], int] = lambda: 1,
        threads: int | None = None,
        check: Callable[[], object] = lambda: None,
        withdraws: bool = True,
    ) -> None:
        self.executor, self.workers, self.threads = executor, workers, threads
        self.stopped = False  # asked to finish what is in flight, and begin nothing more
        self._check, self._withdraws = check, withdraws

    @property
    def alone(self) -> bool:
        """Whether all is done in this process."""
        return self.executor is None

    @property
    def record(self) -> dict[str, Any]:
        """What an environment keeps of it: nothing where all is done here."""
        if self.executor is None:
            return {}
        return {"workers": self.workers()} | ({} if self.threads is None else {"threads": self.threads})

    def each(
        self,
        perform: Callable[[T], Iterable[R]],
        tasks: Iterable[T],
        split: Callable[[T], list[T]] = lambda task: [task],
    ) -> Iterator[tuple[T, R | Lost]]:
        """Every task with each of its results, in whatever order they come; fewer where `stopped` is set meanwhile.

        A task whose worker is lost is tried again, in parts, three times in all; then it is `Lost`, and the others go
        on. What a task raises is raised here.

        Parameters
        ----------
        perform : callable
            The results of one task, in turn; here, each is handed on before the next is computed.
        tasks : iterable
            One that has no more for now may have more once another result was handed on, like a `Queue`.
        split : callable
            The parts in which a task is tried again, so that what ends a worker costs itself alone.

        Raises
        ------
        UsageError
            If a task cannot be sent to another process.
        """
        if self.executor is not None:
            yield from self._elsewhere(self.executor, perform, tasks, split)
            return
        for task in tasks:
            if self.stopped:
                return
            for result in perform(task):
                yield task, result
                if self.stopped:
                    return

    def _elsewhere(
        self,
        executor: Executor,
        perform: Callable[[T], Iterable[R]],
        tasks: Iterable[T],
        split: Callable[[T], list[T]],
    ) -> Iterator[tuple[T, R | Lost]]:
        source, again = iter(tasks), deque[_Attempt[T]]()
        flying: dict[Future[Any], _Attempt[T]] = {}
        try:
            while True:
                while not self.stopped and len(flying) < _A_WORKER * self.workers():
                    attempt = again.popleft() if again else next((_Attempt(task) for task in source), None)
                    if attempt is None:
                        break
                    flying[self._submitted(executor, _message(perform, attempt.task, self.threads))] = attempt
                if self.stopped and self._withdraws:
                    flying = {future: attempt for future, attempt in flying.items() if not future.cancel()}
                if not flying:
                    return
                done, _ = wait(flying, timeout=_LOOK_EVERY, return_when=FIRST_COMPLETED)
                self._check()
                for future in done:
                    attempt = flying.pop(future)
                    problem = GahbError("it was cancelled") if future.cancelled() else future.exception()
                    if problem is None:
                        yield from ((attempt.task, result) for result in _unpacked(future.result()))
                    elif attempt.number < TRIES:
                        again += [_Attempt(part, attempt.number + 1) for part in split(attempt.task)]
                    else:
                        yield attempt.task, Lost(f"given up after {TRIES} attempts: {reason_of(problem)}")
        finally:
            for future in flying:
                future.cancel()

    def _submitted(self, executor: Executor, message: bytes) -> Future[Any]:
        try:
            return executor.submit(_on_worker, message)
        except Exception:
            self._check()
            raise


def _message(perform: Callable[[T], Iterable[R]], task: T, threads: int | None) -> bytes:
    try:
        return pickle.dumps((_versions(), threads, pickle.dumps((perform, task))))
    except Exception as error:  # pickle, and what is pickled, raise anything
        raise UsageError(
            f"this cannot be sent to another process ({reason_of(error)}): name denoisers and laws by module:callable "
            "or spec, so that a worker can import them, or leave out --workers and --scheduler."
        ) from None


def _on_worker(message: bytes) -> Any:
    """Do one task, where its executor does it: the list of its results, or what it raised."""
    versions, threads, content = pickle.loads(message)
    with _one_at_a_time:
        try:
            _refuse_others(versions)
            if threads is not None:
                import torch

                torch.set_num_threads(threads)
            perform, task = pickle.loads(content)
            return list(perform(task))
        except BaseException as error:  # it would end the worker, or be taken for its loss
            return _Raised(_portable(error))


def _unpacked(results: Any) -> list[Any]:
    if isinstance(results, _Raised):
        raise results.error
    return results


def _portable(error: BaseException) -> BaseException:
    """The error, or where it cannot be sent, what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return GahbError(reason_of(error))
    return error


@cache
def _versions() -> dict[str, str | None]:
    from gahb_bench.core.environment import version

    return {name: version(name) for name in ("gahb_bench", "torch", "numpy")}


def _refuse_others(versions: dict[str, str | None]) -> None:
    """Refuse the work of a client with other packages: the numbers would not be the same."""
    for name, theirs in versions.items():
        mine = _versions()[name]
        if mine != theirs:
            raise UsageError(
                f"a worker has {name} {mine}, and this command {theirs}: install the same versions on both sides."
            )
