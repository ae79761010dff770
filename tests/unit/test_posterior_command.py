"""The command ``posterior``: drawn once, kept, scored beside the exact posterior, shown from its files alone."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.reporting.posterior.content import Content, Row
from gahb_bench.reporting.posterior.report import write_report
from gahb_bench.running.posterior import carry_out as posterior
from gahb_bench.running.posterior import folder as posterior_folder
from gahb_bench.scoring.posterior_scores import STATISTICS, score_images, summarise

SPEC, PROBLEM = "calpha:size=8", "mask:keep=0.5"
METHODS = ["diffpir:steps=4,weight=1", "pnp:steps=2,weight=1"]
DENOISERS = ["mmse", "wiener-data:n=3"]


def _command(folder, *more):
    words = ["--family", SPEC, "--problem", PROBLEM, "--methods", ",".join(METHODS)]
    words += ["--denoisers", ",".join(DENOISERS), "--images", "10", "--samples", "4", "--sigma", "0.2"]
    return CliRunner().invoke(app, ["posterior", *words, "--out", str(folder), *more])


def _plan(methods=METHODS, denoisers=DENOISERS, **more):
    return posterior.plan_posterior(SPEC, PROBLEM, methods, denoisers, 0.2, 4, 10, **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("posteriors") / "out"
    patch = pytest.MonkeyPatch()
    patch.setattr(posterior, "BLOCK", 4)
    done = _command(place)
    patch.undo()
    assert done.exit_code == 0, done.output
    return place


def test_the_table(folder):
    rows = posterior_folder.read(folder).rows
    assert list(rows.columns) == list(posterior_folder.COLUMNS)
    cells = rows.groupby(["denoiser", "method"], sort=False).size().to_dict()
    assert cells == {
        ("", "exact"): 6,
        ("mmse", "diffpir:steps=4,weight=1"): 6,
        ("mmse", "pnp:steps=2,weight=1"): 1,
        ("wiener-data:n=3", "diffpir:steps=4,weight=1"): 6,
        ("wiener-data:n=3", "pnp:steps=2,weight=1"): 1,
    }
    law = gb.family(SPEC)
    problem = gb.problem(PROBLEM, law)
    batch = law.sample(range(10), split="test")
    measured = problem.measure(batch, 0.2)
    exact = problem.exact(measured)
    drawn = gb.sample_posterior("diffpir:steps=4", "mmse", problem, measured, samples=4)
    scores = score_images(batch.images, exact, exact.sample(4, 0), drawn.mean, drawn.samples)
    mine = rows[(rows["denoiser"] == "mmse") & (rows["method"] == "diffpir:steps=4,weight=1")].reset_index(drop=True)
    assert mine["statistic"].tolist() == list(STATISTICS)
    assert set(mine["evaluations"]) == {16}
    expected = summarise(scores, 4)
    for name in ("value", "standard_error", "due"):
        np.testing.assert_allclose(mine[name], expected[name], rtol=1e-3, atol=1e-5)
    reference = rows[rows["method"] == "exact"].set_index("statistic")["value"]
    assert mine["exact"].tolist() == reference[mine["statistic"]].tolist()


def test_the_page_and_its_figures(folder):
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    for word in ("exact sampler", "Where the regret comes from", "wiener-data:n=3", "http-equiv", "calibration"):
        assert word in page
    assert "http://" not in page
    assert "https://" not in page
    for name in ("calibration", "images"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    write_report(folder)
    assert (folder / "report.html").read_text() == page


def test_where_the_regret_comes_from_adds_up(folder):
    content = Content(posterior_folder.read(folder))
    parts = {(method, denoiser): cells for method, denoiser, cells in content.split()}
    assert set(parts) == {(method, "wiener-data:n=3") for method in METHODS}
    least, added, whole = (float(text) for text in parts["diffpir:steps=4,weight=1", "wiener-data:n=3"])
    expected = content.statistics(Row("mmse", "diffpir:steps=4,weight=1")).loc["regret_db", "value"]
    assert least == pytest.approx(expected, rel=0.01)
    assert least + added == pytest.approx(whole, abs=0.02)
    shown = content.histogram(content.rows[0])
    assert shown is not None
    ends, height, images = shown
    assert images == 10
    assert (height * np.diff(ends)).sum() == pytest.approx(5)
    assert content.histogram(Row("mmse", "pnp:steps=2,weight=1")) is None


def test_killed_it_resumes_with_the_same_numbers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(posterior, "BLOCK", 4)
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) == 9:  # the first is what is there
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        posterior.posterior_all(_plan(), tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out" / "posterior.csv").exists()
    parts = sorted((tmp_path / "out" / "parts").glob("*.npz"))
    assert len(parts) == 8
    parts[0].write_bytes(parts[0].read_bytes()[:-40])
    parts[1].write_bytes(parts[-1].read_bytes())  # a part in the place of another
    made = posterior.posterior_all(_plan(), tmp_path / "out")
    assert made.resumed == 6 * 4
    before, after = (posterior_folder.read(place) for place in (folder, tmp_path / "out"))
    pd.testing.assert_frame_equal(after.rows.drop(columns="seconds"), before.rows.drop(columns="seconds"))
    pd.testing.assert_frame_equal(after.images, before.images)
    again = posterior.posterior_all(_plan(), tmp_path / "out")
    assert again.resumed == 5 * 10


def _fails(y, sigma):
    raise RuntimeError("out of order")


def _lost(y, sigma):
    return torch.full_like(y, torch.nan)


def test_a_denoiser_that_fails_fails_alone(tmp_path):
    planned = _plan(["diffpir:steps=2"], ["mmse", _fails, _lost])
    made = posterior.posterior_all(planned, tmp_path / "out")
    assert [failure.denoiser for failure in made.failures] == ["_fails", "_lost"]
    assert "out of order" in made.failures[0].reason
    assert "finite" in made.failures[1].reason
    assert set(made.rows["denoiser"]) == {"", "mmse"}
    write_report(tmp_path / "out")
    assert "out of order" in (tmp_path / "out" / "report.html").read_text()


def test_signals_are_drawn_as_curves_in_their_own_units(tmp_path):
    planned = posterior.plan_posterior("levy:jumps=gauss,size=16", PROBLEM, ["diffpir:steps=3"], ["mmse"], 1.0, 3, 8)
    posterior.posterior_all(planned, tmp_path / "out")
    write_report(tmp_path / "out")
    assert (tmp_path / "out" / "images.png").exists()


def test_the_dry_run_says_how_long_it_takes_and_keeps_nothing(tmp_path):
    done = _command(tmp_path / "out", "--dry-run")
    assert done.exit_code == 0, done.output
    assert done.output.count(" s\n") == 5
    assert "minutes, measured on five images" in done.output
    assert not (tmp_path / "out").exists()


def test_the_time_of_blocks_and_of_images_is_foreseen(monkeypatch):
    """Two seconds a block and half a second an image: ten images in blocks of four take eleven."""
    monkeypatch.setattr(posterior, "BLOCK", 4)
    monkeypatch.setattr(posterior, "_seconds", lambda cell, truth: 2 + len(truth.numbers) / 2)
    assert [(seconds, reason) for _, seconds, reason in posterior.estimate(_plan())] == [(11, "")] * 5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--images", "7"], "images=7"),
        (["--samples", "1"], "samples=1"),
        (["--samples", "100000000000"], "of memory, and this machine has"),
        (["--sigma", "0"], "sigma=0"),
        (["--problem", "mosk"], "unknown operator 'mosk'"),
        (["--methods", "dqs"], "unknown posterior 'dqs'"),
        (["--methods", "dps,dps"], "twice"),
        (["--denoisers", "ideal"], "knows the image"),
        (["--family", "besov:size=16"], "given mask is not known"),
        (["--out", "."], "working folder"),
    ],
)
def test_wrong_usage(tmp_path, words, reason):
    given = {"--family": SPEC, "--problem": PROBLEM, "--methods": "pnp", "--denoisers": "mmse", "--images": "8"}
    given |= {"--out": str(tmp_path / "x")} | dict([words])
    flat = [word for pair in given.items() for word in pair]
    with pytest.raises(UsageError, match=reason):
        CliRunner().invoke(app, ["posterior", *flat], catch_exceptions=False)
    assert not (tmp_path / "x").exists()


def test_the_defaults_are_the_exact_denoiser_and_the_shipped_networks():
    planned = posterior.plan_posterior("calpha:size=32", PROBLEM, ["pnp"])
    names = [cell.address["denoiser"] for cell in planned.cells]
    assert names[:2] == ["", "mmse"]
    assert "network:weights=calpha-32" in names


def test_what_a_cell_depends_on_is_in_its_key():
    keys = {cell.key for cell in _plan().cells}
    assert len(keys) == 5
    others = [_plan(seed=1), posterior.plan_posterior(SPEC, "mask:keep=0.4", METHODS, DENOISERS, 0.2, 4, 10)]
    others += [posterior.plan_posterior(SPEC, PROBLEM, METHODS, DENOISERS, 0.3, 4, 10)]
    for other in others:
        assert not keys & {cell.key for cell in other.cells}


def test_folders_of_anything_else_are_refused_and_stay(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"rule": 1, "plan": {}}))
    with pytest.raises(StoreError, match="is no folder of posteriors"):
        posterior.posterior_all(_plan(), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["run.json"]
    with pytest.raises(StoreError, match="no posteriors that can be read"):
        posterior_folder.read(tmp_path)
