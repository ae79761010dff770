"""A study that is killed, again and again, ends with the table of one that was not, and loses little on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gahb_bench.networks.recipe import read_recipe
from gahb_bench.running.generalization.folder import read_pictures

INTERVAL = 20  # steps between two saves, where one is made at every look at the clock
KILLS = 5
# One process that has imported everything forks a child for each folder it is told, and says the child's number.
SERVER = """
import os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from gahb_bench.generalization.carry_out import carry_out
from gahb_bench.generalization.study import make_study
few = {"steps": 50, "batch": 2, "images": 3, "samples": 3, "theories": 3, "sigmas": [0.2]}
study = make_study("calpha:size=8", "edm-unet:levels=1,width=4", [1, 4], **few)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        with open(line.strip() + ".told", "a", buffering=1) as told:
            carry_out(study, Path(line.strip()), save_seconds=0, progress=lambda *now: print(*now, file=told))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def server(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def begin(server, folder):
    print(folder, file=server.stdin, flush=True)
    return int(server.stdout.readline())


def end(server):
    return int(server.stdout.readline())


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def lost(training):
    """Steps that were taken, as the log has them, and are not kept."""
    taken = [json.loads(line)["step"] for line in lines(training / "log.jsonl") if line.endswith("}")]
    state = training / "state.safetensors"
    return max(taken, default=0) - (int(read_recipe(state)["step"]) if state.exists() else 0)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_table(server, tmp_path):
    chance = random.Random(7)
    whole, killed, told = tmp_path / "whole", tmp_path / "killed", tmp_path / "killed.told"
    begin(server, whole)
    assert end(server) == 0
    moments = len(lines(tmp_path / "whole.told"))
    most = []
    for _ in range(KILLS):
        child, before = begin(server, killed), len(lines(told))
        wait_for = before + chance.randint(1, moments // 4)
        while len(lines(told)) < wait_for:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        if end(server) == 0:  # it came to its end first
            break
        most.append(max((lost(path) for path in (killed / "trainings").glob("n=*")), default=0))
    assert len(most) >= 3
    assert max(most) <= INTERVAL
    begin(server, killed)
    assert end(server) == 0
    assert (killed / "generalization.csv").read_bytes() == (whole / "generalization.csv").read_bytes()
    there, expected = (read_pictures(folder / "pictures.npz") for folder in (killed, whole))
    assert list(there) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(there[name], values)
    parts = [len(list((folder / "parts").glob("[!.]*.csv"))) for folder in (killed, whole)]
    assert parts[0] == parts[1], "nothing was measured twice, of other weights"
