"""The command line as a user meets it: output, exit codes, errors in one paragraph."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gahb_bench import __main__ as entry
from gahb_bench.core import registry

PATHS = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command line in this process and gives (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gahb_bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            entry.main()
        out = capsys.readouterr()
        return caught.value.code, out.out, out.err

    return call


SMALL = ("run", "--family", "calpha:size=16", "--images", "6", "--sigmas", "0.1,1")


def test_run_writes_its_folder(run, tmp_path):
    code, out, err = run(*SMALL, "--denoisers", "mmse,wavelet:rule=soft,shifts=all", "--out", tmp_path / "r")
    assert code == 0, err
    assert "wavelet:rule=soft,shifts=all" in out
    assert err == ""
    names = {path.name for path in (tmp_path / "r").iterdir()}
    assert {"run.json", "scores.parquet", "curves.csv", "report.html", "report.md", "curves.png"} <= names


def test_report_of_one_run_and_of_several(run, tmp_path):
    one, two, page = tmp_path / "one", tmp_path / "two", tmp_path / "page"
    assert run(*SMALL, "--denoisers", "mmse", "--out", one)[0] == 0
    assert run(*SMALL, "--denoisers", "identity", "--out", two)[0] == 0
    (one / "report.html").unlink()
    assert run("report", one, "--figure", tmp_path / "a.svg")[0] == 0  # a figure alone
    assert (tmp_path / "a.svg").exists()
    assert not (one / "report.html").exists()
    assert run("report", one)[0] == 0
    assert (one / "report.html").exists()
    code, _, err = run("report", one, two)
    assert (code, "give --out a folder" in err) == (2, True)
    code, _, err = run("report", one, two, "--out", one)
    assert (code, "whose own page this would replace" in err) == (2, True)
    code, out, _ = run("report", one, two, "--out", page, "--denoisers", "identity")
    assert code == 0
    assert str(page / "report.html") in out
    assert {path.name for path in page.iterdir()} == {"report.html", "report.md", "curves.png"}
    code, _, err = run("report", tmp_path / "no\nthing")
    assert (code, "needs the folder of a run" in err, "Traceback" in err) == (2, True, False)


def test_a_run_may_reuse_others(run, tmp_path):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    assert run(*SMALL, "--denoisers", "mmse", "--out", one)[0] == 0
    assert run(*SMALL, "--denoisers", "identity", "--out", two)[0] == 0
    code, out, _ = run(*SMALL, "--denoisers", "mmse,identity", "--out", three, "--reuse", one, "--reuse", two)
    assert code == 0
    assert out.startswith("4 finished cells were found and used.")
    code, _, err = run(*SMALL, "--denoisers", "mmse", "--out", tmp_path / "four", "--reuse", tmp_path / "nothing")
    assert (code, "holds no finished work to use again" in err) == (2, True)


def test_every_command_is_a_file_of_its_name():
    from gahb_bench import cli

    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")}
    commands = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    assert commands == files - {"__init__", "app", "options", "progress"}


@pytest.mark.parametrize("command", ["show", "generate", "compare"])
def test_a_file_that_cannot_be_written_is_said_in_one_way(run, tmp_path, command):
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / {"show": "a.png", "generate": "a.npz", "compare": "a.txt"}[command]
    if command == "compare":
        baseline = tmp_path / "run"
        assert run(*SMALL, "--denoisers", "identity", "--out", baseline)[0] == 0
        arguments = (command, baseline, baseline, "--out", place)
    else:
        arguments = (command, "--family", "calpha:size=16", "--images", "2", "--out", place)
    code, _, err = run(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: cannot write {place}: ")
    assert err.endswith("Give --out a place that can be written.\n")


def test_default_folder_is_named_by_the_plan(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*SMALL, "--denoisers", "identity")[0] == 0
    assert run(*SMALL, "--denoisers", "identity")[1].startswith("2 finished cells")
    assert run(*SMALL, "--denoisers", "mmse")[0] == 0
    assert len(list((tmp_path / "reports" / "runs").iterdir())) == 2


def test_dry_run_prints_the_plan_and_writes_nothing(run, tmp_path):
    code, out, _ = run(*SMALL, "--dry-run", "--out", tmp_path / "r")
    assert code == 0
    assert "mmse" in out
    assert "ms an image" in out
    assert not (tmp_path / "r").exists()


def test_a_failing_denoiser_exits_1_and_the_rest_is_kept(run, tmp_path, monkeypatch):
    (tmp_path / "mine_broken.py").write_text("def d(y, sigma):\n    return y * float('nan') if sigma > 0.5 else y\n")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*SMALL, "--denoisers", "identity,mine_broken:d", "--out", tmp_path / "r")
    assert code == 1
    assert "failed: mine_broken:d on calpha:size=16 at sigma=1: mine_broken:d returned NaN or infinity." in err
    assert "identity" in out
    assert "mine_broken:d" in (tmp_path / "r" / "report.md").read_text()
    assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "partial"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "no family given"),
        (("run", "--family", "calfa"), "did you mean 'calpha'"),
        (("run", "--family", "calpha:sise=3"), "did you mean 'size'"),
        (("run", "--family", "calpha:alpha=-1"), "alpha=-1 is not allowed: it should be greater than 0"),
        (("run", "--family", "calpha:size=3"), "size=3 is not allowed"),
        ((*SMALL, "--sigmas", "0"), "sigma=0 is not allowed"),
        ((*SMALL, "--sigmas", "-1"), "sigma=-1 is not allowed"),
        ((*SMALL, "--sigmas", "nan"), "sigma=nan is not allowed"),
        ((*SMALL, "--denoisers", "wavelt"), "did you mean 'wavelet'"),
        ((*SMALL, "--denoisers", "wavelet:hard"), "name:key=value"),
        ((*SMALL, "--denoisers", "no_such_module:d"), "No module named 'no_such_module'"),
        ((*SMALL, "--images", "0"), "images=0 is not allowed"),
        ((*SMALL, "--device", "toaster"), "device 'toaster' cannot be used here"),
        ((*SMALL, "--card", "calpha-2-64"), "--card"),
        (("run", "--card", "nothing"), "calpha-2-64"),
        (("list", "famlies"), "did you mean 'families'"),
        (("show", "--family", "calpha", "--images", "0"), "images=0"),
        (("generate", "--out", "x.npz"), "give --family SPEC or --card FILE"),
        (("generate", "--out", "x.txt", "--family", "calpha"), ".npz"),
        (("verify", "--family", "calpha-contours:law=paper"), "no optimum to verify"),
        (("verify",), "--all"),
        (("verify", "--all", "--family", "calpha"), "--all"),
        (("verify", "--family", "calpha", "--images", "2"), "at least 64"),
    ],
)
def test_wrong_usage_exits_2_with_one_paragraph(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*arguments)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gahb_bench", "--debug", "run", "--family", "calfa"])
    with pytest.raises(ValueError, match="calfa"):
        entry.main()


@pytest.mark.parametrize("position", [0, 1, 3])
def test_debug_may_stand_anywhere(monkeypatch, position):
    words = ["run", "--family", "calfa"]
    monkeypatch.setattr(sys, "argv", ["gahb_bench", *words[:position], "--debug", *words[position:]])
    with pytest.raises(ValueError, match="calfa"):
        entry.main()


@pytest.mark.parametrize("error", [MemoryError("16 GiB\nmore"), ZeroDivisionError("division by zero")])
def test_the_unexpected_ends_with_one_line(run, monkeypatch, error):

    def broken(kind):
        raise error

    monkeypatch.setattr(registry, "entries", broken)
    code, _, err = run("list")
    assert code == 1
    assert err.startswith(f"error: unexpected {type(error).__name__}: ")
    assert err.endswith("(run with --debug for the traceback)\n")
    assert err.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["gahb_bench", "list", "--debug"])
    with pytest.raises(type(error)):
        entry.main()


def test_ctrl_c_ends_with_one_line_and_keeps_what_is_finished(run, monkeypatch, tmp_path):
    (tmp_path / "mine_stops.py").write_text(
        "def d(y, sigma):\n    if sigma > 0.5:\n        raise KeyboardInterrupt\n    return y\n"
    )
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*SMALL, "--denoisers", "identity,mine_stops:d", "--out", "r")
    assert code == 1
    assert err == "interrupted: 3 finished cells are kept; the same command goes on from them.\n"

    def interrupted(kind):
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "entries", interrupted)
    code, _, err = run("list")
    assert (code, err) == (1, "interrupted.\n")


def test_a_denoiser_may_change_the_working_folder(run, monkeypatch, tmp_path):
    (tmp_path / "mine_moves.py").write_text("import os\ndef d(y, sigma):\n    os.chdir('/')\n    return y\n")
    monkeypatch.chdir(tmp_path)
    assert run(*SMALL, "--denoisers", "mine_moves:d", "--out", "r")[0] == 0
    assert (tmp_path / "r" / "report.html").exists()


def test_list_names_everything_with_parameters_and_sources(run):
    code, out, _ = run("list")
    assert code == 0
    for text in ("calpha", "alpha = 2", "mmse  (knows law; of calpha)", "wavelet  (knows nothing)", "source: Donoho"):
        assert text in out
    assert run("list", "families")[1].count("(knows") == 0


def test_generate_exports_images_latents_and_a_manifest(run, tmp_path):
    path = tmp_path / "sub" / "set.npz"
    code, _, _ = run("generate", "--family", "calpha:size=16", "--images", "5", "--noise", "--out", path)
    assert code == 0
    import gahb_bench as gb

    batch = gb.family("calpha:size=16").sample(range(5))
    with np.load(path) as data:
        assert np.array_equal(data["images"], batch.images.numpy())
        assert np.array_equal(data["images"] + np.float32(0.1) * data["unit_noise"], gb.add_noise(batch, 0.1).numpy())
        manifest = json.loads(str(data["manifest"]))
    assert manifest["family"] == "calpha:size=16"
    assert manifest["arrays"]["images"] == {"shape": [5, 1, 16, 16], "dtype": "float32"}


def test_show_draws_a_png(run, tmp_path):
    code, _, _ = run("show", "--family", "calpha:size=16", "--images", "2", "--out", tmp_path / "a.png")
    assert code == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_verify_prints_a_table_and_a_verdict(run):
    code, out, _ = run("verify", "--family", "calpha:size=16", "--images", "64")
    assert code == 0
    assert "dense linear algebra" in out
    assert out.rstrip().endswith("all hold")
    assert "Fourier transforms = dense linear algebra" in out
    assert "VIOLATED" not in out


def test_verify_exits_1_when_an_identity_is_violated(run, monkeypatch):
    from gahb_bench.core.posterior import Posterior
    from gahb_bench.families.calpha.optimum import Mmse

    exact = Mmse.moments
    monkeypatch.setattr(Mmse, "moments", lambda s, y, g: Posterior((p := exact(s, y, g)).mean, 1.5 * p.variance))
    code, out, _ = run("verify", "--family", "calpha:size=16", "--images", "64")
    assert code == 1
    assert "VIOLATED" in out


def _fresh(code):
    """Run code in a fresh interpreter without the import hook of the tests."""
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | PATHS, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("command", ["--help", "list"])
def test_help_and_list_do_not_import_torch(command):
    code = (
        f"import sys; sys.argv = ['gahb_bench', {command!r}]\n"
        "from gahb_bench.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    _fresh(code)


@pytest.mark.parametrize("command", ["--help", "list"])
def test_help_and_list_answer_quickly(command):
    """Under 0.5 s of this process's own time, whatever else the machine does: the best of three."""
    code = (
        "import sys, time\n"
        f"sys.argv = ['gahb_bench', {command!r}]\n"
        "from gahb_bench.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('SECONDS', time.process_time())"
    )
    assert min(float(_fresh(code).stdout.rsplit("SECONDS", 1)[1]) for _ in range(3)) < 0.5


def test_importing_the_package_is_light():
    _fresh("import sys, gahb_bench; gahb_bench.__version__; assert 'torch' not in sys.modules")
