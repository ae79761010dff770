"""Runs a command of gahb_bench on a Slurm cluster: jobs of workers, and the command here as their client.

    python docs/slurm.py --jobs 20 --cores 32 --memory 64GB --walltime 12:00:00 -- run --family calpha --images 100000

The client, here, hands out the work and writes what comes back; workers need the same environment, and no shared disk.
With ``--dry-run`` it prints the script of one job and submits nothing.
"""

import argparse
import subprocess
import sys
from typing import Any


def cluster_of(options: argparse.Namespace) -> Any:
    """The cluster: each job has ``cores`` workers of one thread."""
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(
        queue=options.queue,
        cores=options.cores,
        processes=options.cores,
        memory=options.memory,
        walltime=options.walltime,
        python=sys.executable,
        job_script_prologue=["export OMP_NUM_THREADS=1", *options.setup],
        scheduler_options={"dashboard_address": None},
    )


def main(words: list[str]) -> int:
    """Submit the jobs, run the command, cancel the jobs."""
    ours, command = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description="Run a command of gahb_bench on a Slurm cluster.")
    parser.add_argument("--jobs", type=int, default=1, help="how many jobs are submitted")
    parser.add_argument("--cores", type=int, default=16, help="workers of a job, one core each")
    parser.add_argument("--memory", default="32GB", help="of a job")
    parser.add_argument("--walltime", default="04:00:00")
    parser.add_argument("--queue", default=None)
    parser.add_argument("--setup", action="append", default=[], help="a line of the job's script, before the workers")
    parser.add_argument("--dry-run", action="store_true", help="print the script of a job, and submit nothing")
    options = parser.parse_args(ours)
    if not command and not options.dry_run:
        parser.error("name the command behind --, for example: -- run --family calpha")
    with cluster_of(options) as cluster:
        if options.dry_run:
            print(cluster.job_script())
            return 0
        cluster.scale(jobs=options.jobs)
        where = ["--scheduler", cluster.scheduler_address]
        return subprocess.run([sys.executable, "-m", "gahb_bench", *command, *where], check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
