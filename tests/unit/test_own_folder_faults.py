"""Faults of folders of geometry, samples and posteriors: told clearly, and the next run completes what is there."""

import errno
import os

import pandas as pd
import pytest

from gahb_bench.core.errors import StoreError
from gahb_bench.core.files import lock
from gahb_bench.running.geometry import carry_out as geometry
from gahb_bench.running.plan import make_plan
from gahb_bench.running.posterior import carry_out as posterior
from gahb_bench.running.sampling import carry_out as sampling
from gahb_bench.running.sampling import cell as sampling_cell
from gahb_bench.scoring import sample_statistics

LAW = "calpha:size=8"
COMMANDS = {
    "geometry": lambda folder: geometry.measure_all(make_plan([LAW], ["mmse"], [0.1, 0.3], 1), folder, top=4).rows,
    "sample": lambda folder: (
        sampling.sample_all(sampling.plan_samples([LAW], ["mmse"], ["euler"], [3], 8), folder).rows
    ),
    "posterior": lambda folder: (
        posterior.posterior_all(
            posterior.plan_posterior(LAW, "mask:keep=0.5", ["pnp:steps=2"], ["mmse"], 0.2, 3, 8), folder
        ).images
    ),
}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(sampling_cell, "BLOCK", 4)
    monkeypatch.setattr(posterior, "BLOCK", 4)
    monkeypatch.setattr(sample_statistics, "_EXACT", 16)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_cannot_be_written_at_any_file(name, tmp_path, monkeypatch):
    whole = COMMANDS[name](tmp_path / "whole")
    real, left, number = os.fsync, 0, errno.ENOSPC

    def refuse(descriptor):
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    for writes, number in ((0, errno.EROFS), (1, errno.ENOSPC), (2, errno.ENOSPC)):
        left = writes
        with pytest.raises(StoreError, match=rf"{os.strerror(number)}.*Give --out a folder"):
            COMMANDS[name](tmp_path / "out")
        assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.setattr(os, "fsync", real)
    pd.testing.assert_frame_equal(COMMANDS[name](tmp_path / "out"), whole)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_that_another_process_writes(name, tmp_path):
    with lock(tmp_path), pytest.raises(StoreError, match="is being written by another process"):
        COMMANDS[name](tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot write to the folder"):
        COMMANDS[name](tmp_path / "file" / "below")
