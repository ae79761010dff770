"""Every long command, ended by signals at random moments: what is there in the end is what is undisturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from itertools import count

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
# Of each command its words, where OUT is its folder, and the files that hold its numbers, there or in the home.
COMMANDS = {
    "run": (
        "--family calpha:size=8 --denoisers mmse,identity,wavelet --sigmas 0.05:1:6 --images 16 --out OUT",
        ["scores.parquet"],
    ),
    "reference": ("--family gmm:size=8 --sigmas 0.1:1:6 --images 40", ["tables/levels.parquet"]),
    "tune": (
        "--denoiser gaussian-blur --family calpha:size=8 --sigmas 0.1:1:4 --images 4",
        ["tables/tuned.parquet"],
    ),
    "geometry": (
        "--family calpha:size=8 --denoisers mmse,wavelet --sigmas 0.1,0.3 --images 2 --top 4 --out OUT",
        ["geometry.csv", "spectra.parquet"],
    ),
    "generalization": (
        "--family calpha:size=8 --network linear --sizes 1,3 --steps 20 --batch 4 --images 4 --samples 4 --theories 3 "
        "--sigmas 0.3 --out OUT",
        ["generalization.csv"],
    ),
    "sample": (
        "--family calpha:size=8 --denoisers mmse,identity --samplers euler,heun --evaluations 9 --samples 80 --out OUT",
        ["samples.csv", "trajectories.parquet"],
    ),
    "posterior": (
        "--family calpha:size=8 --problem mask:keep=0.5 --methods diffpir:steps=4 --denoisers mmse,identity "
        "--samples 4 --images 40 --out OUT",
        ["posterior.csv", "images.parquet"],
    ),
    "train": (
        "--family calpha:size=8 --network dncnn:depth=2,width=4 --steps 200 --batch 4 --validate-every 50 --out OUT",
        ["best.safetensors", "last.safetensors"],
    ),
    "generate": (
        "--family disks:size=16 --images 400 --shard-size 50 --out OUT",
        [f"shard-{number:05d}.npz" for number in range(8)],
    ),
}
# One process that has imported everything forks a child for each command, and says the child's number, then its end.
SERVER = """
import json, os, sys
import torch
torch.set_num_threads(1)
import gahb_bench.generalization.carry_out, gahb_bench.reporting.report, gahb_bench.training.loop
from gahb_bench.__main__ import main
for line in sys.stdin:
    words, home = json.loads(line)
    child = os.fork()
    if child == 0:
        said = os.open(home + ".said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1), os.dup2(said, 2)
        os.environ["GAHB_BENCH_HOME"], sys.argv, code = home, ["gahb_bench", *words], 1
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except KeyboardInterrupt:
            pass
        finally:
            sys.stdout.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    place = tmp_path_factory.mktemp("server")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=place, env=environment, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def begin(server, name, place):
    """Of one place the folder and the home."""
    words = [str(place / "out") if word == "OUT" else word for word in COMMANDS[name][0].split()]
    print(json.dumps([[name, *words], str(place / "home")]), file=server.stdin, flush=True)
    return int(server.stdout.readline())


def end(server):
    return os.waitstatus_to_exitcode(int(server.stdout.readline()))


def numbers(name, place):
    found = {}
    for file in COMMANDS[name][1]:
        path = next(path for path in (place / "out" / file, place / "home" / file) if path.exists())
        if path.suffix in (".csv", ".parquet"):
            read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
            table = read(path).drop(columns="seconds", errors="ignore")
            found[file] = table.sort_values("sigma", ignore_index=True, kind="stable") if name == "reference" else table
        else:
            found[file] = load_file(path) if path.suffix == ".safetensors" else dict(np.load(path))
    return found


def assert_same(one, other):
    assert list(one) == list(other)
    for name, expected in one.items():
        if isinstance(expected, pd.DataFrame):
            pd.testing.assert_frame_equal(other[name], expected, check_exact=True)
        else:
            assert {key: value.tobytes() for key, value in other[name].items()} == {
                key: value.tobytes() for key, value in expected.items()
            }


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_signals_at_random_moments(name, server, tmp_path):
    chance, kills, folders = random.Random(name), 0, count()
    allowed = {signal.SIGINT: [0, 1], signal.SIGTERM: [0, 1, -signal.SIGTERM], signal.SIGKILL: [0, -signal.SIGKILL]}

    def folder():
        place = tmp_path / str(next(folders))
        place.mkdir()
        return place

    whole, disturbed = folder(), folder()
    began = time.monotonic()
    begin(server, name, whole)
    assert end(server) == 0, (whole / "home.said").read_text()
    seconds, expected = time.monotonic() - began, numbers(name, whole)
    for number in SIGNALS * 2:
        child = begin(server, name, disturbed)
        time.sleep(chance.uniform(0, seconds / 2))
        with suppress(ProcessLookupError):
            os.kill(child, number)
        code = end(server)
        assert code in allowed[number], (disturbed / "home.said").read_text()
        kills += code != 0
        if code == 0:  # it came to its end first
            assert_same(expected, numbers(name, disturbed))
            disturbed = folder()
    assert kills >= 2
    begin(server, name, disturbed)
    said = (disturbed / "home.said").read_text()
    assert end(server) == 0, said
    assert "Traceback" not in said
    assert_same(expected, numbers(name, disturbed))
