"""What long work says on standard error: lines where there is no terminal, and numbers that say what they are."""

import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from gahb_bench.cli import app
from gahb_bench.cli.train import _in_words
from gahb_bench.core import progress
from gahb_bench.core.progress import Progress, Reminder
from gahb_bench.training.validation import Measured


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)


def test_work_that_tells_nothing_is_not_silent(capsys):
    with Reminder("simulating"):
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert all(line.startswith("simulating   (0.0 min so far)") for line in lines)
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # it ends with the work


def test_the_line_says_how_far_the_work_has_come(capsys):
    with Progress("denoising") as told:
        told(10, 40)  # done before
        time.sleep(0.1)
        told(25, 40)
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("denoising: 25 of 40, about 0.0 min left   (")
    assert any(line.startswith("denoising: 10 of 40   (") for line in lines)


def test_the_time_left_does_not_count_what_was_done_before(monkeypatch):
    now = iter([0.0, 0.0, 600.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    told = Progress("denoising").__enter__()
    assert told._left(30, 40) == ""
    next(now)
    now = iter([600.0])
    assert told._left(35, 40) == ", about 10.0 min left"
    told.__exit__()


class Terminal:
    def isatty(self):
        return True

    def write(self, text):
        raise AssertionError(text)

    def flush(self):
        pass


def test_on_a_terminal_there_are_no_lines(monkeypatch):
    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    with Reminder("simulating"):
        time.sleep(0.1)


def test_of_processes_the_first_speaks(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    with Reminder("preparing"):
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "--family", "calpha:size=8", "--images", "64", "--sigmas", "0.1"],
        ["run", "--family", "calpha:size=8", "--denoisers", "mmse", "--sigmas", "0.1", "--images", "2", "--dry-run"],
        ["generate", "--family", "calpha:size=8", "--images", "2", "--out", "images.npz"],
    ],
)
def test_no_command_is_silent_for_long(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "EVERY", 0.001)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "working   (0.0 min so far)" in done.stderr
    assert "so far" not in done.stdout


def test_a_training_says_its_last_line_between_validations(tmp_path):
    code = "from gahb_bench.cli import app; from gahb_bench.core import progress; progress.EVERY = 0.001; app()"
    words = ["train", "--family", "calpha:size=8", "--network", "linear", "--steps", "60", "--validate-every", "60"]
    command = [sys.executable, "-c", code, *words, "--out", str(tmp_path / "t")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    reminded = [line for line in done.stderr.splitlines() if "so far" in line]
    assert reminded[0].startswith(("working ", "preparing "))
    assert any(line.startswith("step     20/60   loss ") for line in reminded)
    lines = done.stderr.splitlines()
    (validation,) = [line for line in lines if "regret" in line]
    first = lines.index(next(line for line in lines if line.startswith("step")))
    assert not any("working" in line for line in lines[first : lines.index(validation)])  # the innermost speaks
    levels = ["0.0032", "0.01", "0.032", "0.1", "0.32", "1", "3.2"]
    assert [part.rpartition(" at ")[2].rstrip(")") for part in validation.partition("σ: ")[2].split(", ")] == levels


def test_each_regret_stands_beside_its_noise_level():
    sigma, nan = np.array([0.01, 0.1, 1.0]), float("nan")
    known = Measured(sigma, np.ones(3), np.array([0.126, 2.0, 30.5]))
    assert _in_words(known) == "regret 10.875 dB   (σ: 0.13 at 0.01, 2.00 at 0.1, 30.50 at 1)"
    vanishing = Measured(sigma, np.ones(3), np.array([nan, 2.0, 3.0]))
    assert _in_words(vanishing) == "regret 2.500 dB   (σ: – at 0.01, 2.00 at 0.1, 3.00 at 1)"
    unknown = Measured(sigma, np.full(3, 0.1), np.full(3, nan))
    assert _in_words(unknown) == "error -10.00 dB"
