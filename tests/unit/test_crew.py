"""Who does the work: results, lost workers, errors, and stopping."""

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import crew_tasks
import pytest
from crew_tasks import Job

from gahb_bench.core import crew as crews
from gahb_bench.core.crew import TRIES, Crew, Lost
from gahb_bench.core.errors import GahbError, MissingPackageError, UsageError
from gahb_bench.core.executors import open_crew
from gahb_bench.core.workers import Workers


@pytest.fixture(scope="module")
def processes():
    with Workers(2) as workers:
        yield workers


@pytest.fixture
def crew(processes):
    return Crew(processes, workers=lambda: 2, threads=1)


def test_here_each_result_is_handed_on_before_the_next_is_computed():
    crew, begun = Crew(), []

    def perform(task):
        for part in "ab":
            begun.append(task + part)
            yield task + part

    found = []
    for task, result in crew.each(perform, ["1", "2", "3"]):
        assert result == begun[-1]
        found.append((task, result))
        crew.stopped = len(found) == 3
    assert found == [("1", "1a"), ("1", "1b"), ("2", "2a")]
    assert begun == ["1a", "1b", "2a"]
    assert crew.record == {}


def test_processes_do_all_tasks_with_one_thread_each(crew):
    jobs = [Job((n, n + 10)) for n in range(8)]
    found = list(crew.each(crew_tasks.squares, jobs))
    assert sorted(result for _, result in found) == sorted((n, n**2) for job in jobs for n in job.numbers)
    assert all(result[0] in job.numbers for job, result in found)
    seen = [result for _, result in crew.each(crew_tasks.environment, range(6))]
    assert {(threads, variable) for _, threads, variable in seen} == {(1, "1")}
    assert os.getpid() not in {pid for pid, _, _ in seen}
    assert crew.record == {"workers": 2, "threads": 1}


def test_a_lost_worker_costs_the_task_that_it_did_once(crew, tmp_path):
    jobs = [Job((n,), fatal=(3,), folder=tmp_path, lives=1) for n in range(6)]
    assert sorted(result for _, result in crew.each(crew_tasks.squares, jobs)) == [(n, n**2) for n in range(6)]
    assert len(list(tmp_path.iterdir())) == 1


def test_what_ends_every_worker_is_given_up_alone(crew, tmp_path):
    jobs = [Job((1, 2, 3), fatal=(2,), folder=tmp_path), Job((4,))]
    found = list(crew.each(crew_tasks.squares, jobs, Job.apart))
    lost = [(task.numbers, result.reason) for task, result in found if isinstance(result, Lost)]
    assert lost == [((2,), f"given up after {TRIES} attempts: the process that did it was ended by SIGKILL")]
    assert sorted(result for _, result in found if not isinstance(result, Lost)) == [(1, 1), (3, 9), (4, 16)]
    assert len(list(tmp_path.iterdir())) == TRIES


def test_what_a_task_raises_is_raised_here(crew):
    with pytest.raises(ValueError, match="boom"):
        list(crew.each(crew_tasks.fails, ["sendable"]))
    with pytest.raises(GahbError, match="UnsendableError: no way"):
        list(crew.each(crew_tasks.fails, ["other"]))


def test_what_cannot_be_sent_is_refused(crew):
    with pytest.raises(UsageError, match=r"cannot be sent to another process.*module:callable.*leave out --workers"):
        list(crew.each(lambda task: [task], [1]))


def test_a_worker_of_other_versions_is_refused(crew, monkeypatch):
    monkeypatch.setattr(crews, "_versions", lambda: {"torch": "0.1"})
    with pytest.raises(UsageError, match=r"a worker has torch .*, and this command 0\.1: install the same versions"):
        list(crew.each(crew_tasks.squares, [Job((1,))]))


def test_few_tasks_are_in_flight_and_none_begins_after_a_stop():
    taken = []
    with ThreadPoolExecutor(2) as executor:
        crew = Crew(executor, workers=lambda: 2)
        for job, _ in crew.each(crew_tasks.squares, (taken.append(n) or Job((n,)) for n in count())):
            assert len(taken) - job.numbers[0] <= 2 * 2 + 2
            crew.stopped = crew.stopped or job.numbers[0] >= 10
    assert len(taken) < 20


def test_the_first_signal_asks_to_stop_and_the_second_stops():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with open_crew() as crew:
        assert not crew.stopped
        os.kill(os.getpid(), signal.SIGTERM)
        assert crew.stopped
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_takes_no_signals():
    crews_opened = []

    def opens():
        with open_crew() as crew:
            crews_opened.append(crew)

    thread = threading.Thread(target=opens)
    thread.start()
    thread.join()
    assert crews_opened[0].alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 2, "scheduler": "tcp://localhost:1"}, "exclude each other"),
        ({"workers": 0}, "--workers 0 is not allowed"),
        ({"workers": 10**6}, "is not allowed"),
    ],
)
def test_wrong_usage(options, message):
    with pytest.raises(UsageError, match=message), open_crew(**options):
        pass


def test_a_cluster_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(MissingPackageError, match=r"pip install 'gahb_bench\[cluster\]'"),
        open_crew(scheduler="tcp://a:1"),
    ):
        pass
