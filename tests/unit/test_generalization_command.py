"""The command ``generalization``: what it measures of the truth and of the memoriser, and that it goes on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench import make
from gahb_bench.cli import app
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.generalization.carry_out import carry_out
from gahb_bench.generalization.measure import Pair
from gahb_bench.generalization.study import make_study
from gahb_bench.running.generalization.folder import COLUMNS, MEASURES

SPEC, NETWORK = "calpha:size=8", "edm-unet:levels=1,width=4"
LAW = gb.family(SPEC)
THEORIES = {
    "truth",
    "memoriser",
    "shifted memoriser",
    "local",
    "local-equivariant",
    "locality",
    "gaussian score",
    "mixture score",
}


def tiny(sizes=(1, 5), **values):
    few: dict[str, Any] = {"steps": 25, "batch": 8, "images": 6, "samples": 6, "theories": 3}
    return make_study(SPEC, NETWORK, sizes, **(few | values))


def pair(networks, n, **values):
    """Any two denoisers in place of the networks."""
    a, b = (gb.denoiser(network, family=LAW) for network in networks)
    return Pair(tiny(**({"images": 40, "samples": 40} | values)), LAW, n, (a, b), "cpu")


def measured(networks, n, **values):
    """What is measured of them on images and of samples."""
    of = pair(networks, n, **values)
    return pd.concat([of.on_images(), of.of_samples()[0]])


def values_of(rows, measure):
    return rows.loc[rows["measure"] == measure, "value"].to_numpy(dtype=float)


@pytest.mark.parametrize("n", [1, 10, 100])
def test_the_truth_generalises(n):
    rows = measured(["mmse", "mmse"], n, sigmas=[0.03, 0.1])
    for measure, value in {"t_train": 1, "t_test": 1, "r_train": 0, "r_test": 0, "test_regret_db": 0}.items():
        np.testing.assert_allclose(values_of(rows, measure), value, atol=1e-5)
        assert len(values_of(rows, measure)) == 4, "two splits, two noise levels"
    np.testing.assert_allclose(values_of(rows, "sample_correlation"), 1, atol=1e-6)
    np.testing.assert_allclose(values_of(rows, "nearest_share").sum(), 1, atol=1e-9)  # the same samples
    assert (np.abs(values_of(rows, "train_regret_db")) < 1.5).all(), "by the luck of the draw"


@pytest.mark.parametrize("n", [1, 10, 100])
def test_the_memoriser_memorises(n):
    rows = measured([f"empirical:n={n},split={split}" for split in ("train-a", "train-b")], n, sigmas=[0.03, 0.1])
    for measure, value in {"t_train": 0, "t_test": 0, "r_train": 0, "r_test": 0}.items():
        np.testing.assert_allclose(values_of(rows, measure), value, atol=1e-5)
    assert (values_of(rows, "train_regret_db") < -6).all()
    assert (values_of(rows, "test_regret_db") > 6).all()
    assert (values_of(rows, "sample_correlation") < 0.8).all()
    np.testing.assert_allclose(values_of(rows, "nearest_ratio"), 0, atol=1e-6)
    np.testing.assert_allclose(values_of(rows, "nearest_share"), 1)
    np.testing.assert_allclose(values_of(rows, "shifted_ratio"), 0, atol=1e-6)


def test_fewer_training_images_than_are_measured_come_again_with_other_noise():
    batch = pair(["mmse", "mmse"], 4).own_images("train-a", 6)
    own = LAW.sample(range(4), split="train-a").images
    assert torch.equal(batch.images, own[[0, 1, 2, 3, 0, 1]])
    noise = gb.add_noise(batch, 1.0) - batch.images
    assert not torch.isclose(noise[4], noise[0]).flatten().all()
    other = pair(["mmse", "mmse"], 100).own_images("train-b", 6)
    assert torch.equal(other.images, LAW.sample(range(6), split="train-b").images)


def test_blind_networks_are_sampled_by_the_ascent(monkeypatch):
    used = []
    make_sampler = make.sampler
    monkeypatch.setattr(make, "sampler", lambda *asked: used.append(asked[0]) or make_sampler(*asked))
    blind = gb.denoiser(lambda y, sigma: 0.5 + 0.5 * (y - 0.5))
    pair([blind, blind], 1, samples=3).samples(blind)
    pair(["mmse", "mmse"], 1, samples=3).samples(gb.denoiser("mmse", family=LAW))
    pair([blind, blind], 1, samples=3, sampler="euler").samples(blind)
    assert used == ["ascent", "heun", "euler", "euler"]  # the study asks for its own once to check it


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generalization") / "out"
    words = ["--sizes", "5,1", "--steps", "25", "--batch", "8", "--images", "6", "--samples", "6", "--theories", "3"]
    words += ["--family", SPEC, "--network", NETWORK, "--out", str(folder)]
    done = CliRunner().invoke(app, ["generalization", *words])
    assert done.exit_code == 0, done.output
    for line in ("n=1   t on training images", "n=5: nearest on training images to ", "open "):
        assert line in done.output
    return folder


def test_the_table(whole):
    rows = pd.read_csv(whole / "generalization.csv")
    assert list(rows.columns) == list(COLUMNS)
    assert list(dict.fromkeys(rows["n"])) == [1, 5]
    for _, of_n in rows.groupby("n"):
        assert set(of_n["measure"]) == set(MEASURES)
    assert set(rows["split"].dropna()) == {"train-a", "train-b"}
    assert set(rows["theory"].dropna()) == THEORIES
    shown = rows.dropna(subset=["value", "low", "high"])
    assert (shown["low"] <= shown["value"]).all()
    assert (shown["value"] <= shown["high"]).all()
    assert json.loads((whole / "run.json").read_text())["generalization"]["sizes"] == [1, 5]
    last = gb.denoiser(str(whole / "trainings" / "n=5-train-b" / "last.safetensors"))
    batch = LAW.sample(range(6))
    y = gb.add_noise(batch, 0.3)
    mmse = gb.denoiser("mmse", family=LAW)
    excess = float((last(y, 0.3).double() - mmse(y.double(), 0.3)).square().mean())
    row = rows[(rows["n"] == 5) & (rows["split"] == "train-b") & (rows["sigma"] == 0.3)].set_index("measure")["value"]
    assert row["test_regret_db"] == pytest.approx(10 * np.log10(1 + excess / LAW.reference(0.3).mse[0]))


class StoppedError(Exception):
    pass


def test_a_study_that_was_stopped_goes_on_to_the_same_table(whole, tmp_path, monkeypatch):
    def stop(done, total):
        assert total == 2 * (2 * 25 + 6), "on images, of samples, of the theories at four noise levels"
        told.append(done)
        if done > 75:
            raise StoppedError

    told = []
    with pytest.raises(StoppedError):
        carry_out(tiny(), tmp_path, progress=stop)
    assert told == sorted(told)
    assert set(pd.read_csv(tmp_path / "generalization.csv")["n"]) == {1}, "what is finished is there"
    counted = _count_measuring(monkeypatch)
    done = []
    carry_out(tiny(), tmp_path, progress=lambda *now: done.append(now))
    assert counted == [5]
    assert done[0] == (50, 112), "both of n=1 are trained; the next was stopped before its end was kept"
    assert done[-1] == (112, 112)
    assert (tmp_path / "generalization.csv").read_text() == (whole / "generalization.csv").read_text()
    carry_out(tiny(sizes=[1, 5, 7]), tmp_path)
    assert counted == [5, 7], "a size that is added costs itself alone"
    carry_out(tiny(sizes=[1, 5, 7], samples=7), tmp_path)
    assert counted == [5, 7, 1, 5, 7], "other samples are measured anew"


def _count_measuring(monkeypatch):
    counted, of_samples = [], Pair.of_samples
    monkeypatch.setattr(Pair, "of_samples", lambda pair: counted.append(pair.n) or of_samples(pair))
    return counted


def test_damaged_measurements_are_made_anew(whole, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    pictures = sorted((copy / "parts").glob("*.npz"), key=lambda path: path.stat().st_size)
    pictures[-1].write_bytes(pictures[-1].read_bytes()[:-30])
    counted = _count_measuring(monkeypatch)
    carry_out(tiny(), copy)
    assert len(counted) == 1
    assert (copy / "generalization.csv").read_bytes() == (whole / "generalization.csv").read_bytes()


def test_the_two_networks_share_no_training_image_and_no_start(whole):
    recipes = [
        json.loads((whole / "trainings" / f"n=5-{split}" / "training.json").read_text())["settings"]
        for split in ("train-a", "train-b")
    ]
    assert [recipe["split"] for recipe in recipes] == ["train-a", "train-b"]
    differing = {key for key in recipes[0] if recipes[0][key] != recipes[1][key]}
    assert differing == {"split"}


@pytest.mark.parametrize("name", ["generalization.csv", "scores.parquet", "training.json", "run.json"])
def test_a_folder_of_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match="nothing was changed"):
        carry_out(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_another_study_in_the_folder_is_refused(whole):
    with pytest.raises(StoreError, match="steps 25, not 26"):
        carry_out(replace(tiny(), steps=26), Path(whole))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sizes", "0,10"], "sizes=0,10"),
        (["--sizes", "ten"], "cannot read --sizes 'ten'"),
        (["--images", "2"], "images=2"),
        (["--samples", "0"], "samples=0"),
        (["--theories", "2"], "theories=2"),
        (["--patches", "0"], "patches=0"),
        (["--steps", "0"], "steps=0"),
        (["--network", "nothing"], "nothing"),
        (["--sampler", "hein"], "hein"),
        (["--sigmas", "-1"], "sigma=-1"),
        (["--family", "calpha:law=uniform"], "posterior mean of calpha:law=uniform is not known"),
        (["--family", "no-such"], "no-such"),
        (["--out", "."], "working folder"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_done(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    family = [] if "--family" in words else ["--family", SPEC]
    done = CliRunner().invoke(app, ["generalization", *family, *words])
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)
    assert list(tmp_path.iterdir()) == []
