"""The user's own settings and environment: nothing of them is in a figure, and nothing of them stops a run."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from reporting_runs import small_run
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core import environment
from gahb_bench.core.errors import FigureWarning
from gahb_bench.reporting import report
from gahb_bench.reporting.figure import figures, samples
from gahb_bench.reporting.geometry import figures as geometry_figures
from gahb_bench.reporting.geometry.report import write_report as write_geometry

RUN = ["run", "--family", "calpha:size=8", "--denoisers", "mmse,gaussian-blur", "--sigmas", "0.1,0.3", "--images", "4"]
GEOMETRY = ["geometry", "--family", "calpha:size=8", "--denoisers", "mmse,wavelet", "--sigmas", "0.1", "--images", "1"]
DARK = """
text.usetex: True
font.family: No Such Font
font.weight: bold
text.color: white
axes.facecolor: black
axes.edgecolor: white
axes.titlesize: 30
figure.facecolor: black
savefig.facecolor: black
savefig.bbox: tight
savefig.transparent: True
lines.linewidth: 9
image.lut: 4
image.cmap: jet
svg.fonttype: none
"""
DRAW = """
import sys
from pathlib import Path
import gahb_bench as gb
from gahb_bench.reporting import report
from gahb_bench.reporting.figure import samples
from gahb_bench.reporting.geometry.report import write_report
run, geometry, out = map(Path, sys.argv[1:])
report.write_report(run)
write_report(geometry)
for ending in ("pdf", "svg", "png"):
    report.write_figure(report.merged([run]), out / f"figure.{ending}", "single")
(out / "show.png").write_bytes(samples.png(gb.family("coloured:of=(calpha:size=8)"), [0.1], images=2))
(out / "grey.png").write_bytes(samples.png(gb.family("calpha:size=8"), [0.1], images=2))
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A run and a folder of geometry, with all their figures."""
    run, geometry = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("geometry")
    small_run(run, denoisers=("mmse", "identity"))
    report.write_report(run)
    done = CliRunner().invoke(app, [*GEOMETRY, "--out", str(geometry)])
    assert done.exit_code == 0, done.output
    return run, geometry


def in_environment(words, **changes):
    """A process of its own, with some variables changed, or taken away (None)."""
    variables = {name: value for name, value in (os.environ | changes).items() if value is not None}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=variables, capture_output=True, text=True, timeout=300
    )


def drawn(*places):
    """The bytes of all figures and pages in some folders."""
    paths = [path for place in places for path in place.glob("*") if path.suffix in (".png", ".pdf", ".svg", ".html")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths}


def test_a_dark_matplotlibrc_changes_no_byte_of_any_figure(folders, tmp_path):
    (tmp_path / "matplotlibrc").write_text(DARK)
    out = tmp_path / "out"
    out.mkdir()
    found = []
    for settings in (None, str(tmp_path)):
        done = in_environment(["-c", DRAW, *folders, out], MATPLOTLIBRC=settings)
        assert done.returncode == 0, done.stderr
        found.append(drawn(*folders, out))
    assert len(found[0]) == 1 + 1 + 1 + 5 + 3 + 2  # pages, the run's figure, geometry, for a paper, galleries
    assert found[0] == found[1]


def test_a_session_s_own_settings_are_not_in_figures_and_stay_as_they_are(folders):
    run, geometry = folders
    before = drawn(run, geometry)
    law = gb.family("calpha:size=8")
    gallery = samples.png(law, [0.1], images=1)
    with matplotlib.rc_context({"axes.facecolor": "black", "font.size": 20, "image.interpolation": "bilinear"}):
        settings = dict(matplotlib.rcParams)
        report.write_report(run)
        write_geometry(geometry)
        assert samples.png(law, [0.1], images=1) == gallery
        assert dict(matplotlib.rcParams) == settings
    assert drawn(run, geometry) == before


def test_a_hostile_environment_stops_no_run_and_changes_nothing(tmp_path):
    changes = {
        "MPLBACKEND": "nope",
        "COLUMNS": "20",
        "HOME": "/proc/nowhere",
        "XDG_CACHE_HOME": None,
        "GAHB_BENCH_HOME": None,
        "PYTHONIOENCODING": "ascii",
    }
    for name, variables in (("plain", {}), ("hostile", changes)):
        done = in_environment(["-m", "gahb_bench", *RUN, "--out", tmp_path / name], **variables)
        assert done.returncode == 0, done.stderr
    assert "not kept for the next time" in done.stderr  # of the hostile one: what was tuned
    plain, hostile = tmp_path / "plain", tmp_path / "hostile"
    assert (plain / "curves.png").read_bytes() == (hostile / "curves.png").read_bytes()
    both = [pd.read_parquet(folder / "scores.parquet").drop(columns="seconds") for folder in (plain, hostile)]
    pd.testing.assert_frame_equal(*both)


@pytest.mark.parametrize("how", ["drawing fails", "matplotlib cannot be imported"])
def test_a_figure_of_a_run_that_fails_costs_itself_only(folders, monkeypatch, how):
    run, _ = folders
    report.write_report(run)
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    if how == "drawing fails":
        monkeypatch.setattr(figures, "png", fail)
    else:
        monkeypatch.setitem(sys.modules, "gahb_bench.reporting.figure.figures", None)
        monkeypatch.delattr("gahb_bench.reporting.figure.figures")
    with pytest.warns(FigureWarning, match=r"curves\.png could not be drawn: "):
        report.write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert not (run / "curves.png").exists()  # an older one would stand beside other numbers
    monkeypatch.undo()
    report.write_report(run)
    assert (run / "curves.png").exists()


def test_a_figure_of_geometry_that_fails_costs_itself_only(folders, monkeypatch):
    _, geometry = folders
    write_geometry(geometry)
    before = drawn(geometry)
    monkeypatch.setattr(geometry_figures, "spectra", fail)
    with pytest.warns(FigureWarning, match=r"spectra\.png could not be drawn: RuntimeError: no font"):
        write_geometry(geometry)
    after, name = drawn(geometry), geometry.name
    assert set(before) - set(after) == {f"{name}/spectra.png"}
    assert all(after[one] == before[one] for one in after if one.endswith(".png"))
    page = after[f"{name}/report.html"].decode()
    assert page.count("data:image/png;base64,") == before[f"{name}/report.html"].decode().count("data:image") - 1
    assert 'base64,"' not in page  # no empty frame in its place
    monkeypatch.undo()
    write_geometry(geometry)
    assert drawn(geometry) == before


def fail(*_):
    raise RuntimeError("no font")


def test_a_machine_that_hides_its_processor_stops_nothing(monkeypatch):
    read = Path.read_text

    def refuse(path, *arguments, **keywords):
        if path == Path("/proc/cpuinfo"):
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **keywords)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert isinstance(environment.environment("cpu")["cpu"], str)
