"""The command ``sample``: drawn once, kept, measured, drawn from its files alone."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench.cli import app
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.reporting.sampling.content import families
from gahb_bench.reporting.sampling.report import write_report
from gahb_bench.running.sampling import carry_out as sampling
from gahb_bench.running.sampling import cell as sampling_cell
from gahb_bench.running.sampling import folder as sampling_folder
from gahb_bench.sampling import exact_error, sample
from gahb_bench.scoring import sample_statistics as sample_statistics_module
from gahb_bench.scoring.sample_statistics import sample_statistics

SPEC = "calpha:size=8"
CONTRACT = ["family", "denoiser", "sampler", "start", "evaluations", "statistic", "value", "floor", "p_value"]


def _command(folder, *more):
    words = ["--family", SPEC, "--denoisers", "mmse,wiener-data:n=3", "--samplers", "heun,langevin:steps=4"]
    words += ["--evaluations", "7,9", "--samples", "12", "--start", "gaussian,exact"]
    return CliRunner().invoke(app, ["sample", *words, "--out", str(folder), *more])


@pytest.fixture(scope="module", autouse=True)
def _quick():
    """Fewer exact images to compare with, and blocks of which a cell has two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample_statistics_module, "_EXACT", 32)
        patch.setattr(sampling_cell, "BLOCK", 8)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("samples") / "out"
    done = _command(place)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("left out: 7 evaluations are too few: langevin:steps=4 takes 9") == 1
    return place


def test_tables(folder):
    rows = pd.read_csv(folder / "samples.csv")
    assert list(rows.columns) == CONTRACT
    cells = rows.groupby(CONTRACT[:5]).size()
    assert len(cells) == 2 * 2 * (2 + 1)
    assert cells.nunique() == 1
    chosen = rows[(rows["denoiser"] == "mmse") & (rows["sampler"] == "heun") & (rows["evaluations"] == 7)]
    law = gb.family(SPEC)
    for start, mine in chosen.groupby("start"):
        drawn = sample("mmse", law, "heun", 7, 12, start=str(start))
        expected = sample_statistics(law, drawn.images, seed=0)
        found = mine[["statistic", "value", "floor", "p_value"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected)
    kept = pd.read_parquet(folder / "trajectories.parquet")
    assert len(kept) == 12 * len(cells)
    mine = kept[(kept["denoiser"] == "mmse") & (kept["sampler"] == "heun") & (kept["evaluations"] == 7)]
    mine = mine[mine["start"] == "exact"]
    assert mine["used"].tolist() == [7] * 12
    drawn = sample("mmse", law, "heun", 7, 12, start="exact")
    np.testing.assert_allclose(mine["variance"].to_numpy(), drawn.trajectory_variance.numpy())


def test_the_exact_errors(folder):
    exact = pd.read_csv(folder / "exact.csv")
    assert len(exact) == 2 * (2 + 1)
    row = exact.set_index(["sampler", "start", "evaluations"]).loc[("heun", "gaussian", 9)]
    found = exact_error(SPEC, "heun", 9)
    assert row["w2"] == pytest.approx(found.w2)
    assert (row["start_error"], row["discretisation"]) == pytest.approx((found.start, found.discretisation))
    assert row["used"] == 9


def test_page_and_figures(folder):
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 + 1 + 1 + 1
    for word in ("energy distance", "trajectories", "discretisation", "+ learning", "wiener-data:n=3", "http-equiv"):
        assert word in page
    assert "http://" not in page
    assert "https://" not in page
    for name in ("errors-0", "errors-1", "exact", "mosaic", "trajectories"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    (folder / "errors-0-1.png").write_bytes(b"of a family that is no longer there")
    (folder / "mine.png").write_bytes(b"mine")
    write_report(folder)
    assert (folder / "report.html").read_text() == page
    assert not (folder / "errors-0-1.png").exists()
    assert (folder / "mine.png").exists()


def test_where_an_error_comes_from_adds_up(folder):
    made = sampling_folder.read(folder)
    family = families(made)[0]
    assert family.truth == "mmse"
    rows = made.rows.set_index(CONTRACT[1:6])["value"]
    parts = dict(family.split("energy distance"))
    assert set(parts) == {
        ("wiener-data:n=3", "heun", 7),
        ("wiener-data:n=3", "heun", 9),
        ("wiener-data:n=3", "langevin:steps=4", 9),
    }
    least, start, learning, whole = (float(text) for text in parts["wiener-data:n=3", "heun", 9])
    assert least == pytest.approx(rows["mmse", "heun", "exact", 9, "energy distance"], rel=0.01)
    assert whole == pytest.approx(rows["wiener-data:n=3", "heun", "gaussian", 9, "energy distance"], rel=0.01)
    assert least + start + learning == pytest.approx(whole, rel=0.02)


def test_killed_it_resumes_with_the_same_numbers(folder, tmp_path):
    planned = sampling.plan_samples(
        [SPEC], ["mmse", "wiener-data:n=3"], ["heun", "langevin:steps=4"], [7, 9], 12, starts=["gaussian", "exact"]
    )
    calls = []

    def interrupt(done, total):
        calls.append(done)
        if len(calls) == 9:  # the first is what is there; then two of three a cell are blocks
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampling.sample_all(planned, tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out" / "samples.csv").exists()
    parts = sorted((tmp_path / "out" / "parts").glob("*.npz"))
    assert len(parts) == 6
    parts[0].write_bytes(parts[0].read_bytes()[:-40])
    parts[1].write_bytes(parts[3].read_bytes())  # a part in the place of another
    statistics = sorted((tmp_path / "out" / "parts").glob("*.csv"))
    statistics[0].write_text("statistic,value\n")
    made = sampling.sample_all(planned, tmp_path / "out")
    assert 0 < made.resumed < 36
    for name in ("samples.csv", "exact.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / name), pd.read_csv(folder / name))
    before, after = (pd.read_parquet(place / "trajectories.parquet") for place in (folder, tmp_path / "out"))
    pd.testing.assert_frame_equal(after, before)


def _fails(y, sigma):
    raise RuntimeError("out of order")


def _lost(y, sigma):
    return torch.full_like(y, torch.nan)


def test_a_denoiser_that_fails_fails_alone(tmp_path):
    planned = sampling.plan_samples([SPEC], ["mmse", _fails, _lost], ["euler"], [4], 8)
    made = sampling.sample_all(planned, tmp_path / "out")
    assert set(made.rows["denoiser"]) == {"mmse"}
    assert [failure.denoiser for failure in made.failures] == ["_fails", "_lost"]
    assert "out of order" in made.failures[0].reason
    assert "finite" in made.failures[1].reason
    write_report(tmp_path / "out")
    assert "out of order" in (tmp_path / "out" / "report.html").read_text()


def test_points_are_drawn_in_the_plane_and_nothing_is_said_of_exact_errors(tmp_path):
    planned = sampling.plan_samples(["gmm:variant=points"], ["mmse"], ["teleport:of=heun", "ascent:most=4"], [5], 8)
    made = sampling.sample_all(planned, tmp_path / "out")
    assert made.exact.empty
    assert [failure.sampler for failure in made.failures] == ["ascent:most=4"], "it does not end so soon"
    write_report(tmp_path / "out")
    assert (tmp_path / "out" / "mosaic.png").exists()
    assert not (tmp_path / "out" / "trajectories.png").exists()


def test_the_variance_along_trajectories_as_a_detector(folder, tmp_path):
    planned = sampling.plan_samples(["gmm:variant=points"], ["mmse"], ["euler"], [9], 128)
    made = sampling.sample_all(planned, tmp_path / "out")
    rows = made.trajectories
    flags, scores = rows["flagged"].to_numpy() > 0, rows["variance"].to_numpy()
    between = made.rows[made.rows["statistic"] == "between modes"]
    assert flags.mean() == pytest.approx(between["value"].item()), "the law's own statistic says which"
    pairs = (scores[flags][:, None] > scores[~flags]).mean()
    said = dict(families(made)[0].detector())
    assert said["mmse", "euler", "gaussian"][0].startswith(f"{pairs:.2f} ± ")
    assert said["mmse", "euler", "gaussian"][0].endswith(f" ({flags.sum()})")
    write_report(tmp_path / "out")
    assert "a detector of samples between modes" in (tmp_path / "out" / "report.html").read_text()
    assert families(sampling_folder.read(folder))[0].detector() == [], "calpha has no modes"
    made.trajectories["flagged"] = 1.0
    assert dict(families(made)[0].detector())["mmse", "euler", "gaussian"] == ["– (128)"], "all of one kind"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--samples", "7"], "samples=7"),
        (["--evaluations", "0,5"], "evaluations=0"),
        (["--evaluations", "1000000000000"], "give at most 100,000"),
        (["--samples", "1000000000000"], "of memory, and this machine has"),
        (["--samples", "1000000"], "comparing 1000000 samples of calpha:size=8 would take"),
        (["--evaluations", "five"], "--evaluations five"),
        (["--evaluations", "2", "--samplers", "heun"], "2 evaluations are too few"),
        (["--start", "noise"], "unknown start"),
        (["--schedule", "linear"], "unknown schedule"),
        (["--samplers", "hein"], "unknown sampler"),
        (["--samplers", "heun,heun"], "twice"),
        (["--denoisers", "ideal"], "knows the image"),
        (["--family", "nosuch"], "unknown family"),
    ],
)
def test_wrong_usage(tmp_path, words, reason):
    base = ["--family", SPEC, "--denoisers", "mmse", "--samplers", "euler", "--samples", "8"]
    for option in words[::2]:
        at = base.index(option) if option in base else None
        if at is not None:
            del base[at : at + 2]
    with pytest.raises(UsageError, match=reason):
        CliRunner().invoke(app, ["sample", *base, *words, "--out", str(tmp_path / "x")], catch_exceptions=False)
    assert not (tmp_path / "x").exists()


def test_the_defaults_are_the_exact_denoiser_and_the_shipped_networks():
    planned = sampling.plan_samples(["calpha:size=32"], None, ["heun"], [5], 8)
    first, *networks = [method.spec for method in planned.plan.families[0].methods]
    assert first == "mmse"
    assert "network:weights=calpha-32" in networks


def test_folders_of_anything_else_are_refused_and_stay(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"rule": 1, "plan": {}}))
    planned = sampling.plan_samples([SPEC], ["mmse"], ["euler"], [4], 8)
    with pytest.raises(StoreError, match="is no folder of samples"):
        sampling.sample_all(planned, tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["run.json"]
    with pytest.raises(StoreError, match="no samples that can be read"):
        sampling_folder.read(tmp_path)
    with pytest.raises(UsageError, match=r"working folder|empty value"):
        CliRunner().invoke(app, ["sample", "--family", SPEC, "--out", "."], catch_exceptions=False)
