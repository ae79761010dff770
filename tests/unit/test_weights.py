"""Weights of methods of inverse problems: tuned on split val, kept, found, and said to be so."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.cli import app
from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import HOME
from gahb_bench.core.inverse import WeightedMethod
from gahb_bench.running.posterior.folder import read
from gahb_bench.sampling import weights
from gahb_bench.sampling.tuning import GRID, tune
from gahb_bench.scoring.posterior_scores import energy_score
from gahb_bench.tables import store

LAW, SIGMA = "calpha:size=8", 0.2


@pytest.fixture
def problem():
    return gb.problem("mask:keep=0.5", LAW)


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME, str(tmp_path / "home"))


def settled(spec, problem, sigma=SIGMA):
    way, words = weights.settled(make.posterior_method(spec), problem, sigma)
    return way.spec, words


def test_by_hand_or_tuned_or_published(problem):
    assert settled("diffpir:steps=4", problem) == ("diffpir:steps=4,weight=1", "untuned: weight as published")
    assert settled("red-diff", problem)[0] == "red-diff:weight=0.25"
    assert settled("diffpir:weight=3", problem) == ("diffpir:weight=3", "weight given by hand")
    assert settled("ensemble", problem) == ("ensemble", "")
    rows = store.make_rows(
        LAW, SIGMA, {"weight": 0.5, "energy_score": 0.1, "at_edge": 0.0}, denoiser=f"diffpir:steps=4 {problem.spec}",
        images=16, seed=0, rule=weights.RULE,
    )  # fmt: skip
    weights.keep(rows)
    found = ("diffpir:steps=4,weight=0.5", "weight tuned on 16 images of split val")
    assert settled("diffpir:steps=4", problem) == found
    assert settled("diffpir:steps=4,weight=3", problem)[0] == "diffpir:steps=4,weight=3"
    for other in (settled("diffpir:steps=5", problem), settled("diffpir:steps=4", problem, 0.3)):
        assert other[1].startswith("untuned")
    assert settled("diffpir:steps=4", gb.problem("mask:keep=0.4", LAW))[1].startswith("untuned")
    assert settled("diffpir:steps=4", gb.problem("mask:keep=0.5", "calpha:size=16"))[1].startswith("untuned")
    measured = problem.measure(problem.family.sample(range(2)), SIGMA)
    drawn = gb.sample_posterior("diffpir:steps=4", "mmse", problem, measured, 2)
    assert drawn.method == found[0]
    by_hand = gb.sample_posterior(found[0], "mmse", problem, measured, 2)
    torch.testing.assert_close(drawn.samples, by_hand.samples, atol=0, rtol=0)


def test_the_weight_found_is_the_best_of_split_val(problem):
    method = make.posterior_method("diffpir:steps=6")
    assert isinstance(method, WeightedMethod)
    seen = []
    rows = tune(method, problem, SIGMA, images=8, samples=3, progress=lambda done, _: seen.append(done))
    value = rows.set_index("quantity")["value"]
    batch = problem.family.sample(range(8), 0, "val")
    measured = problem.measure(batch, SIGMA)

    def score(weight):
        found = gb.sample_posterior(method.weighted(weight), "mmse", problem, measured, samples=3)
        assert found.samples is not None
        return float(energy_score(batch.images, found.samples).mean())

    assert value["energy_score"] == pytest.approx(score(value["weight"]), rel=1e-2)
    for weight in method.published * GRID:
        assert value["energy_score"] <= score(weight) + 1e-9
    assert len(seen) > len(GRID)
    assert set(rows["images"]) == {8}


def test_the_energy_score_is_least_for_the_posterior(problem):
    batch = problem.family.sample(range(60), split="val")
    exact = problem.exact(problem.measure(batch, SIGMA))
    samples = exact.sample(8, 0)
    right = energy_score(batch.images, samples)
    narrow = energy_score(batch.images, exact.mean + 0.3 * (samples - exact.mean))
    wide = energy_score(batch.images, exact.mean + 2 * (samples - exact.mean))
    point = energy_score(batch.images, exact.mean[None])
    for other in (narrow, wide, point):
        off = (other - right).numpy()
        assert off.mean() > 4 * off.std(ddof=1) / len(off) ** 0.5


def test_the_command_tunes_once_and_says_so(tmp_path, monkeypatch):
    words = ["posterior", "--family", LAW, "--problem", "mask", "--methods", "pnp:steps=2", "--denoisers", "mmse"]
    words += ["--images", "8", "--samples", "2", "--sigma", str(SIGMA), "--out", str(tmp_path / "out")]
    dry = CliRunner().invoke(app, [*words, "--dry-run"])
    assert "pnp:steps=2,weight=0.23: untuned: weight as published" in dry.output
    with pytest.raises(UsageError, match="one of the two"):
        CliRunner().invoke(app, [*words, "--dry-run", "--tune"], catch_exceptions=False)
    done = CliRunner().invoke(app, [*words, "--tune"])
    assert done.exit_code == 0, done.output
    (spec, told), *_ = read(tmp_path / "out").manifest["plan"]["weights"].items()
    assert told.startswith("weight tuned on 16 images of split val")
    assert spec in read(tmp_path / "out").rows["method"].tolist()
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"<code>{spec}</code>: {told}" in page
    monkeypatch.setattr("gahb_bench.running.posterior.carry_out.tune", None)  # nothing is left to tune
    assert CliRunner().invoke(app, [*words, "--tune"]).exit_code == 0


def test_the_shipped_weights_are_those_of_the_report():
    """Every method of the report's rows has the weight that is stored now, and says where it is from."""
    table = pd.read_csv(Path(__file__).parents[2] / "reports" / "posterior" / "methods.csv", keep_default_na=False)
    rows = table[["family", "problem", "method", "weight"]].drop_duplicates()
    tuned = 0
    for row in rows[rows["method"] != "exact"].itertuples():
        method = make.posterior_method(str(row.method))
        if not isinstance(method, WeightedMethod):
            assert row.weight == ""
            continue
        way, words = weights.settled(method.weighted(0.0), gb.problem(str(row.problem), str(row.family)), 0.1)
        assert (way.spec, words) == (row.method, row.weight), "run: python reports/posterior.py"
        tuned += "tuned on" in words
    assert tuned >= 30
