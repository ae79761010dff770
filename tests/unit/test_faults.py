"""Faults of runs: whatever happens, it is told clearly, and the next run completes what is there."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gahb_bench.core.crew import Crew
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.core.workers import Workers
from gahb_bench.reporting.report import write_report
from gahb_bench.running import engine
from gahb_bench.running.folder import read
from gahb_bench.running.plan import make_plan

FAMILY = "calpha:size=16"
CRASHES = """
import multiprocessing, os, signal
def crashes(y, sigma):
    if sigma > 0.5 and multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return y
"""


def plan(denoisers=("mmse", "identity", "wavelet"), sigmas=(0.1, 1.0), images=6):
    return make_plan([FAMILY], list(denoisers), list(sigmas), images)


def scores(folder):
    return pd.read_parquet(folder / "scores.parquet").drop(columns="seconds")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    engine.run(plan(), folder)
    return scores(folder)


@pytest.fixture(scope="module")
def processes():
    with Workers(2) as workers:
        yield workers


def stopping(crew, after):
    def stop(done, total):
        crew.stopped = crew.stopped or done >= after

    return stop


def test_workers_give_the_numbers_of_one_process_and_are_recorded(tmp_path, processes):
    engine.run(plan(), tmp_path / "one", batch=4)
    engine.run(plan(), tmp_path / "many", batch=4, crew=Crew(processes, workers=lambda: 2, threads=1))
    assert scores(tmp_path / "many").equals(scores(tmp_path / "one"))
    environment = read(tmp_path / "many").manifest.environment
    assert (environment["workers"], environment["threads"]) == (2, 1)


def test_a_batch_bounds_what_a_denoiser_is_given(tmp_path):
    given = []

    def counts(y, sigma):
        given.append(len(y))
        return y

    made = plan([counts], images=7)
    given.clear()  # it is called once to see what it reads
    engine.run(made, tmp_path, batch=3)
    assert given[:6] == [3, 3, 3, 3, 1, 1]
    for wrong in (0, 129):
        with pytest.raises(UsageError, match=f"batch={wrong} is not allowed"):
            engine.run(made, tmp_path, batch=wrong)


def test_a_denoiser_that_ends_its_process_costs_itself_alone(tmp_path, processes, monkeypatch):
    (tmp_path / "crashing_module.py").write_text(CRASHES)
    monkeypatch.syspath_prepend(tmp_path)
    with Workers(1) as worker:  # begun now: it knows the module's folder
        crew = Crew(worker, workers=lambda: 1, threads=1)
        outcome = engine.run(plan(["identity", "crashing_module:crashes"]), tmp_path / "run", crew=crew)
    (failure,) = outcome.failures
    assert (failure.denoiser, failure.sigma, failure.images) == ("crashing_module:crashes", 1.0, 6)
    assert failure.reason == "given up after 3 attempts: the process that did it was ended by SIGKILL"
    rows = outcome.scores
    assert (rows["status"] == "ok").sum() == 18
    assert read(tmp_path / "run").manifest.status == "partial"


def test_a_denoiser_that_cannot_be_sent_is_refused(tmp_path, processes):
    crew = Crew(processes, workers=lambda: 2, threads=1)
    with pytest.raises(UsageError, match=r"cannot be sent to another process.*leave out --workers"):
        engine.run(plan([lambda y, sigma: y]), tmp_path, crew=crew)


def test_a_run_that_is_stopped_writes_what_it_has_and_goes_on(tmp_path, whole):
    crew = Crew()
    outcome = engine.run(plan(), tmp_path, crew=crew, progress=stopping(crew, 4))
    assert outcome.unfinished == 2
    assert outcome.failures == []
    kept = read(tmp_path)
    assert kept.manifest.status == "partial"
    assert kept.manifest.warnings[0] == "the run was stopped: 2 of 6 cells are not finished"
    assert (kept.scores["status"] == "ok").sum() == 4 * 6
    assert set(kept.scores["reason"]) == {"", "not scored: the run was stopped before; the same command goes on"}
    write_report(tmp_path)
    assert "partial" in (tmp_path / "report.md").read_text()
    again = engine.run(plan(), tmp_path)
    assert (again.resumed, again.unfinished) == (4, 0)
    assert scores(tmp_path).equals(whole)
    assert read(tmp_path).manifest.status == "complete"


def test_a_run_that_is_stopped_before_anything_is_finished(tmp_path):
    crew = Crew()
    crew.stopped = True
    with pytest.raises(KeyboardInterrupt):
        engine.run(plan(), tmp_path, crew=crew)
    assert not (tmp_path / "scores.parquet").exists()
    assert engine.run(plan(), tmp_path).resumed == 0


def test_an_extension_that_is_stopped_leaves_the_complete_run(tmp_path):
    engine.run(plan(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    crew = Crew()
    with pytest.raises(KeyboardInterrupt):
        engine.run(plan(images=9), tmp_path, crew=crew, progress=stopping(crew, 3))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert len(engine.run(plan(images=9), tmp_path).scores) == 6 * 9


def test_a_clock_that_goes_back(tmp_path, whole, monkeypatch):
    class Back(datetime):
        calls = 0

        @classmethod
        def now(cls, tz=None):
            cls.calls += 1
            return datetime(2030, 1, 1, tzinfo=UTC) - cls.calls * timedelta(days=365)

    monkeypatch.setattr(engine, "datetime", Back)
    crew = Crew()
    engine.run(plan(), tmp_path, crew=crew, progress=stopping(crew, 4))
    for path in tmp_path.rglob("*"):
        os.utime(path, (2**33, 2**33))  # the year 2242
    assert engine.run(plan(), tmp_path).resumed == 4
    assert scores(tmp_path).equals(whole)


@pytest.mark.parametrize("fails_at", range(0, 12, 3))
def test_a_disk_that_fills_up_at_any_file(tmp_path, whole, monkeypatch, fails_at):
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        engine.run(plan(), tmp_path)
    monkeypatch.setattr(os, "fsync", real)
    assert not list(tmp_path.rglob("*.tmp"))
    engine.run(plan(), tmp_path)
    assert scores(tmp_path).equals(whole)


def test_a_folder_that_can_only_be_read(tmp_path, monkeypatch):
    engine.run(plan(sigmas=[0.1]), tmp_path)

    def refuse(path, write):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("gahb_bench.running.parts.write_atomically", refuse)
    with pytest.raises(StoreError, match=r"Read-only file system.*Give --out a folder"):
        engine.run(plan(), tmp_path)
    monkeypatch.undo()
    assert engine.run(plan(), tmp_path).resumed == 3


def test_of_two_runs_that_begin_at_once_one_is_refused_and_one_completes(tmp_path, whole):
    ends, begin = [], threading.Barrier(2)

    def go():
        begin.wait()
        try:
            engine.run(made, tmp_path)
            ends.append("done")
        except StoreError as error:
            ends.append(str(error))

    made = plan()
    threads = [threading.Thread(target=go) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "done" in ends
    assert all(end == "done" or "another process" in end for end in ends)
    assert scores(tmp_path).equals(whole)


@pytest.mark.parametrize("seed", range(3))
def test_bits_of_parts_that_flip_are_found_or_mean_nothing(tmp_path, whole, seed):
    engine.run(plan(), tmp_path)
    draw = np.random.default_rng(seed)
    for path in sorted((tmp_path / "parts").iterdir()):
        content = bytearray(path.read_bytes())
        content[draw.integers(len(content))] ^= 1 << draw.integers(8)
        path.write_bytes(content)
    engine.run(plan(), tmp_path)
    assert scores(tmp_path).equals(whole)


COMMAND = ["run", "--family", "calpha:size=32", "--denoisers", "mmse,identity,wavelet:rule=sure,shifts=all,ideal"]
COMMAND += ["--sigmas", "0.01:1:8", "--images", "24"]


def start(*words):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gahb_bench", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_parts(process, folder, count):
    deadline = time.monotonic() + 300
    while len(list(folder.glob("parts/*.npz"))) < count and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_gently(tmp_path, number):
    process = start(*COMMAND, "--out", tmp_path)
    wait_for_parts(process, tmp_path, 3)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "stopping: what is in flight is finished first" in said
    assert "finished cells are kept; the same command goes on from them." in said
    assert (tmp_path / "report.html").exists()
    assert read(tmp_path).manifest.status == "partial"


@pytest.mark.slow
def test_twenty_kills_of_workers_and_of_the_client(tmp_path):
    """At random moments of one run: what is there in the end is the undisturbed run."""
    whole = start(*COMMAND, "--out", tmp_path / "whole")
    said = whole.communicate(timeout=600)
    assert whole.returncode == 0, said
    draw, kills = np.random.default_rng(0), 0
    folder = tmp_path / "run"
    while kills < 20:
        process = start(*COMMAND, "--workers", 2, "--out", folder)
        while process.poll() is None and kills < 20:
            time.sleep(draw.uniform(0.05, 0.5))
            workers = children(process.pid)
            victim = int(draw.choice(workers)) if workers and draw.random() < 0.8 else process.pid
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills += 1
        process.communicate()
    final = start(*COMMAND, "--workers", 2, "--out", folder)
    said = final.communicate(timeout=600)
    assert final.returncode == 0, said
    assert scores(folder).equals(scores(tmp_path / "whole"))
    assert json.loads((folder / "run.json").read_text())["status"] == "complete"


def children(pid):
    """The processes that any thread of a process started."""
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it ended meanwhile
            found += [int(child) for child in tasks.read_text().split()]
    return found
