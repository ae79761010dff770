"""On a cluster of dask: the same numbers, lost workers and a lost scheduler, and jobs of Slurm."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import crew_tasks
import pytest
from crew_tasks import Job

from gahb_bench.core.crew import Lost
from gahb_bench.core.errors import UsageError
from gahb_bench.core.executors import SchedulerLostError, open_crew
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan

pytest.importorskip("distributed", reason="the extra cluster is not installed")

SLURM = Path(__file__).parents[2] / "docs" / "slurm.py"


def start(*words):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "distributed.cli." + words[0], *map(str, words[1:])]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


def address_in(file):
    """What a scheduler writes there, once it is there."""
    deadline = time.monotonic() + 300
    while True:
        try:
            return json.loads(file.read_text())["address"]
        except (OSError, ValueError):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and a worker, each of its own process: the address, and the scheduler's process."""
    file = tmp_path / "scheduler.json"
    scheduler = start("dask_scheduler", "--port", 0, "--no-dashboard", "--host", "127.0.0.1", "--scheduler-file", file)
    worker = start("dask_worker", "--scheduler-file", file, "--nthreads", 1, "--no-dashboard")
    yield address_in(file), scheduler
    for process in (worker, scheduler):
        process.send_signal(signal.SIGTERM)
    for process in (worker, scheduler):
        process.wait(60)


def test_a_cluster_gives_the_same_numbers_and_a_lost_worker_is_replaced(cluster, tmp_path):
    plan = make_plan(["calpha:size=16"], ["mmse", "wavelet"], [0.1, 1.0], 6)
    here = engine.run(plan, tmp_path / "here").scores.drop(columns="seconds")
    with open_crew(scheduler=cluster[0]) as crew:
        there = engine.run(plan, tmp_path / "there", crew=crew)
        assert there.scores.drop(columns="seconds").equals(here)
        jobs = [Job((n,), fatal=(2,), folder=tmp_path / "here", lives=1) for n in range(4)]
        found = [result for _, result in crew.each(crew_tasks.squares, jobs) if not isinstance(result, Lost)]
    assert sorted(found) == [(n, n**2) for n in range(4)]


def test_a_scheduler_that_is_lost(cluster):
    address, scheduler = cluster
    said = f"{address} cannot be reached any more.*the same command goes on"

    def endless(crew):
        for _ in crew.each(crew_tasks.squares, (Job((n,)) for n in count())):
            if scheduler.poll() is None:
                scheduler.kill()
                scheduler.wait()

    with open_crew(scheduler=address) as crew, pytest.raises(SchedulerLostError, match=said):
        endless(crew)


def test_nobody_answers():
    said = r"no scheduler of dask answers at tcp://127\.0\.0\.1:9.*dask scheduler"
    with pytest.raises(UsageError, match=said), open_crew(scheduler="tcp://127.0.0.1:9"):
        pass


def test_the_script_of_a_slurm_job(tmp_path):
    words = ["--cores", "4", "--memory", "8GB", "--queue", "long", "--setup", "module load python", "--dry-run"]
    made = subprocess.run([sys.executable, SLURM, *words], capture_output=True, text=True, check=True, cwd=tmp_path)
    script = made.stdout
    for line in ("#SBATCH -p long", "#SBATCH --cpus-per-task=4", "#SBATCH -t 04:00:00", "module load python"):
        assert line in script
    assert re.search(r"distributed\.cli\.dask_worker tcp://\S+ .*--nthreads 1 .*--nworkers 4", script), script
    assert "export OMP_NUM_THREADS=1" in script
