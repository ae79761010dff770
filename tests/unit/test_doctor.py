"""``doctor``, ``--version`` and completion: what they find, what they call a problem, and that they are quick."""

import os
import subprocess
import sys
import time
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

import gahb_bench
from gahb_bench import doctor
from gahb_bench.cli import app
from gahb_bench.core import registry
from gahb_bench.core.registry import Problem
from gahb_bench.tables import store

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GAHB_BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def findings(ask_torch=False):
    return {finding.topic: finding for finding in doctor.examine(ask_torch)}


def numbers(count=3):
    return [
        store.make_rows("calpha:size=8", 0.1 * (1 + place), {"mse": 0.5}, images=4, seed=0, rule=1)
        for place in range(count)
    ]


def program(*words, **environment):
    code = "import sys; sys.argv[0] = 'gahb-bench'; from gahb_bench.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=os.environ | environment, timeout=60
    )


def test_a_good_place_has_no_problem():
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "no problem found" in done.output
    for topic in (
        "program",
        "python",
        "packages",
        "processor",
        "memory",
        "threads",
        "gpu",
        "home",
        "stored",
        "plugins",
    ):
        assert f"\n{topic} " in f"\n{done.output}"
    assert all(len(line) <= 110 or " " not in line[11:].strip() for line in done.output.splitlines())


def test_it_is_quick_and_imports_no_torch():
    code = "import sys; from gahb_bench.doctor import examine; list(examine()); print('torch' in sys.modules)"
    began = time.process_time()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.process_time() - began < 5
    if not doctor._may_have_gpu():
        assert done.stdout.split() == ["False"]


def test_threads_are_those_of_torch():
    count = 2
    code = "from gahb_bench.doctor import examine; print([f.lines for f in examine(True) if f.topic == 'threads'])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": str(count)},
    )
    assert f"torch uses {count}; OMP_NUM_THREADS={count}" in done.stdout


def test_a_package_that_is_missing_or_too_old_is_a_problem(monkeypatch):
    true = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: {"torch": None, "numpy": "1.0"}.get(name, true(name)))
    problems = findings()["packages"].problems
    numpy = next(
        str(each.specifier) for each in map(Requirement, metadata.requires("gahb_bench")) if each.name == "numpy"
    )
    assert problems[0] == f"numpy is 1.0, and must be {numpy}: install it."
    assert problems[1].startswith("torch is not installed, and must be >=")
    assert len(problems) == 2


def test_what_is_stored_is_told_with_its_size(home):
    for rows in numbers(3):
        store.add(home / "tables" / "levels.parquet", rows)
    size = (home / "tables" / "levels.parquet").stat().st_size
    (line,) = findings()["stored"].lines
    assert line.startswith("tables/levels.parquet: ")
    assert f"{size / 1000:.2g} kB, 3 numbers of 1 laws" in line
    assert "can be written" in findings()["home"].lines[0]


def test_a_damaged_table_is_a_problem(home):
    (home / "tables").mkdir(parents=True)
    (home / "tables" / "tuned.parquet").write_bytes(b"no table")
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "problem: stored: " in done.output
    assert "tuned.parquet is no table of gahb_bench" in done.output


def test_a_home_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GAHB_BENCH_HOME", str(tmp_path / "file" / "home"))
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "problem: home: " in done.output
    assert "Set GAHB_BENCH_HOME to a folder that can be written" in done.output
    assert not (tmp_path / "file" / "home").exists()


def test_a_plugin_that_cannot_be_read_is_a_problem(monkeypatch):
    monkeypatch.setattr(registry, "problems", lambda: (Problem("theirs.py", "it is not Python"),))
    done = runner.invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "problem: plugins: theirs.py is left out: it is not Python" in done.output


def test_a_torch_that_cannot_be_imported_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = findings(ask_torch=True)
    assert "gpu" not in found
    assert "cannot be used: ModuleNotFoundError" in found["threads"].problems[0]


def test_the_version():
    done = runner.invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"gahb_bench {gahb_bench.__version__}\n")


def test_a_shell_completes_commands_and_options():
    asked = {"_GAHB_BENCH_COMPLETE": "complete_bash"}
    assert program(**asked, COMP_WORDS="gahb-bench do", COMP_CWORD="1").stdout.split() == ["doctor"]
    assert program(**asked, COMP_WORDS="gahb-bench run --fam", COMP_CWORD="2").stdout.split() == ["--family"]


@pytest.mark.parametrize("through", [["-m", "gahb_bench"], ["-c", "from gahb_bench.__main__ import main; main()"]])
def test_completion_is_that_of_the_installed_program(through, tmp_path):
    """However it is asked for: shells complete the name of a program, and `python -m` is none."""
    done = subprocess.run(
        [sys.executable, *through, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "complete -o default -F _gahb_bench_completion gahb-bench" in done.stdout
