"""The installed package works outside the checkout, with its data."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_runs_elsewhere(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    assert (tmp_path / "site" / "gahb_bench" / "py.typed").is_file()
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}

    def python(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=work, env=environment, check=True, capture_output=True, text=True
        ).stdout

    where = python("-c", "import gahb_bench, gahb_bench.core.files as d; print(gahb_bench.__file__, d.data_folder())")
    assert where.count(str(tmp_path / "site")) == 2
    run = ("-m", "gahb_bench", "run", "--denoisers", "mmse,identity", "--out", "run")
    python(*run, "--family", "calpha:size=16", "--images", "4", "--sigmas", "0.1,1")
    assert (work / "run" / "report.html").stat().st_size > 1e6
    shipped = ("--family", "calpha:size=32", "--denoisers", "network:weights=calpha-32", "--out", "shipped")
    scored = python("-m", "gahb_bench", "run", *shipped, "--images", "4", "--sigmas", "0.1")
    assert "network:weights=calpha-32" in scored
    python("-m", "gahb_bench", "compare", "run", "run", "--format", "html", "--out", "compare.html")
    assert "<html" in (work / "compare.html").read_text()
    python("-m", "gahb_bench", "generate", "--card", "calpha-1-64", "--out", "set.npz")
    assert (work / "set.npz").exists()
