"""``gb.run``: the main job from Python does what the command line does, and says what went wrong."""

import json
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core.errors import RunWarning, StoreError

LAW = "calpha:size=8"
SMALL = {"sigmas": [0.1, 1.0], "images": 4, "progress": False}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def halved(y, sigma):
    return 0.25 + y / 2


def broken(y, sigma):
    raise ValueError("<b>no</b>")


def test_it_is_what_the_command_line_does(tmp_path):
    done = gb.run(LAW, ["mmse", "wavelet"], out="ours", **SMALL)
    words = ["run", "--family", LAW, "--denoisers", "mmse,wavelet", "--sigmas", "0.1,1", "--images", "4"]
    typed = CliRunner().invoke(app, [*words, "--out", "theirs"])
    assert typed.exit_code == 0
    assert typed.output.rstrip() == str(done).replace(str(tmp_path / "ours"), str(tmp_path / "theirs"))
    ours, theirs = (pd.read_parquet(tmp_path / name / "scores.parquet") for name in ("ours", "theirs"))
    pd.testing.assert_frame_equal(ours.drop(columns="seconds"), theirs.drop(columns="seconds"))
    pd.testing.assert_frame_equal(done.scores, ours)
    for name in ("curves", "summary"):
        stored = pd.read_csv(tmp_path / "ours" / f"{name}.csv")
        assert list(getattr(done, name).columns) == list(stored.columns)
        assert len(getattr(done, name)) == len(stored)
    assert done.page == tmp_path / "ours" / "report.html"
    assert done.page.is_file()
    assert done.failures == []


def test_its_tables_are_those_of_score_and_curves():
    done = gb.run(LAW, ["mmse", "identity"], **SMALL)
    scores = gb.score(LAW, ["mmse", "identity"], [0.1, 1.0], images=4)
    columns = ["denoiser", "sigma", "image", "mse"]
    pd.testing.assert_frame_equal(
        done.scores[columns].sort_values(columns[:3], ignore_index=True),
        scores[columns].sort_values(columns[:3], ignore_index=True),
    )
    regret = done.curves.set_index(["denoiser", "sigma"])["regret_db"]
    assert np.allclose(regret, gb.curves(scores).set_index(["denoiser", "sigma"])["regret_db"].loc[regret.index])


def test_the_same_call_goes_on_from_what_is_finished(tmp_path):
    first = gb.run([LAW], ["mmse", "identity"], **SMALL)
    assert first.folder.parent == tmp_path / "reports" / "runs"
    assert "finished cells" not in str(first)
    again = gb.run([LAW], ["mmse", "identity"], **SMALL)
    assert again.folder == first.folder
    assert "4 finished cells were found and used." in str(again)
    further = gb.run(LAW, ["mmse", "identity"], out="other", reuse=[first.folder], **SMALL)
    assert "4 finished cells" in str(further)
    anew = gb.run(LAW, ["mmse", "identity"], resume=False, **SMALL)
    assert "finished cells" not in str(anew)


def test_denoisers_come_as_specs_callables_and_by_name():
    done = gb.run([LAW, "disks:size=16"], ["mmse", halved, {"mine": halved, "blur": "gaussian-blur:width=1"}], **SMALL)
    assert list(done.summary["denoiser"].unique()) == ["mmse", "halved", "mine", "blur"]
    wide = done.curves.pivot_table(index=["family", "sigma"], columns="denoiser", values="mse")
    assert np.array_equal(wide["mine"], wide["halved"])
    assert len(wide) == 4
    alone = gb.run(gb.family(LAW), {"mine": halved}, **SMALL)
    assert list(alone.summary["denoiser"]) == ["mine"]


def test_defaults_stand_beside_what_is_ones_own():
    from gahb_bench import defaults
    from gahb_bench.running.plan import make_plan

    law = gb.family(LAW)
    made = make_plan([law], ["defaults", {"mine": halved}], [0.1], 4, tune=False)
    names = [method.spec for method in made.families[0].methods]
    assert names[-1] == "mine"
    assert names[:-1] == [str(getattr(each, "spec", each)) for each in defaults.scored(law)]


def test_the_record_says_how_it_was_asked_for():
    done = gb.run(LAW, ["mmse", {"mine": halved}], **SMALL)
    command = json.loads((done.folder / "run.json").read_text())["command"]
    assert command == (
        "gb.run('calpha:size=8', ['mmse', {'mine': halved}], sigmas=[0.1, 1.0], images=4, seed=0, split='test')"
    )


class Cells(HTMLParser):
    """The texts of the cells of tables, and the links."""

    def __init__(self):
        super().__init__()
        self.cells, self.links, self.tags = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        self.links += [value for name, value in attributes if name == "href"]

    def handle_data(self, data):
        if self.cells and self.tags[-1] in ("td", "th"):
            self.cells[-1] += data.strip("\n")


def test_a_failure_is_warned_of_and_shown_escaped():
    told = r"^failed: b&<i> on calpha:size=8 at sigma=0\.1: .*ValueError: <b>no</b>$"
    with pytest.warns(RunWarning, match=told):
        done = gb.run(LAW, {"b&<i>": broken, "mine": halved}, [0.1], images=4, progress=False)
    assert [(each.denoiser, each.sigma, each.images) for each in done.failures] == [("b&<i>", 0.1, 4)]
    text = done._repr_html_()
    assert "<i>" not in text
    assert "<b>no</b>" not in text
    page = Cells()
    page.feed(text)
    assert page.cells[:3] == ["denoiser", "knows", "regret"]
    assert "b&<i>" in page.cells
    assert "failed" in page.cells
    assert page.links == [done.page.relative_to(done.page.parents[3]).as_posix()]
    assert "1 failed" in repr(done)


def test_what_is_shown_in_a_notebook_is_what_the_text_says():
    done = gb.run(LAW, ["mmse", "identity"], out="a b#c", **SMALL)
    page = Cells()
    page.feed(done._repr_html_())
    lines = [line.split() for line in str(done).splitlines()]
    width = len(lines[2 if not lines[0] else 1])
    rows = [page.cells[start : start + width] for start in range(0, len(page.cells), width)]
    assert all([word for cell in row for word in cell.split()] in lines for row in rows)
    assert [row[0] for row in rows] == ["denoiser", "mmse", "identity"]
    assert page.links == ["a%20b%23c/report.html"]
    assert len(done._repr_html_()) < 4000


def test_progress_is_told_only_if_wanted(capsys, monkeypatch):
    from gahb_bench.core import progress

    monkeypatch.setattr(progress, "EVERY", 1e-3)
    gb.run(LAW, ["mmse"], [0.1], images=4, progress=False)
    assert capsys.readouterr().err == ""
    gb.run(LAW, ["mmse"], [0.3], images=4)
    assert "denoising: " in capsys.readouterr().err


def test_a_folder_of_something_else_is_refused():
    gb.run(LAW, ["mmse"], [0.1], images=4, out="here", progress=False)
    with pytest.raises(StoreError, match="other families"):
        gb.run("disks:size=16", ["mmse"], [0.1], images=4, out="here", progress=False)
