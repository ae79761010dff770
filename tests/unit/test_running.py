import errno
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from gahb_bench import make
from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.crew import Crew
from gahb_bench.core.errors import StoreError, UsageError
from gahb_bench.core.levels import DEFAULT_SIGMAS, parse_sigmas
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.calpha.optimum import CalphaOptimum
from gahb_bench.running import engine
from gahb_bench.running.folder import SCHEMA, open_run, read
from gahb_bench.running.plan import make_plan
from gahb_bench.scoring import curve, score
from gahb_bench.scoring.summary import COLUMNS

DENOISERS = ["mmse", "identity", "wavelet"]
MODULE = """
import pathlib
def flaky(y, sigma):
    if not pathlib.Path({flag!r}).exists():
        raise RuntimeError("no flag yet")
    return y
"""


def _plan(**changes):
    settings = {"families": ["calpha:size=16"], "denoisers": DENOISERS, "sigmas": [0.1, 1.0], "images": 6} | changes
    return make_plan(**settings)


def _same_scores(a: Path, b: Path) -> bool:
    first, second = (pd.read_parquet(p / "scores.parquet").drop(columns="seconds") for p in (a, b))
    return first.equals(second)


def test_defaults():
    plan = make_plan(["calpha"])
    assert plan.sigmas == pytest.approx(10.0 ** np.arange(-2.5, 0.51, 0.25))
    assert plan.images == 128
    assert len(plan.families[0].methods) >= 7
    assert plan.families[0].methods[0].spec == "mmse"
    assert len(DEFAULT_SIGMAS) == 13


def test_defaults_can_be_extended():
    alone, more = (make_plan(["calpha:size=16"], chosen).families[0].methods for chosen in (None, ["defaults", "dct"]))
    assert [d.spec for d in more] == [*(d.spec for d in alone), "dct"]
    with pytest.raises(UsageError, match="given twice"):
        make_plan(["calpha:size=16"], ["defaults", "mmse"])


def test_a_run_folder_holds_what_it_should(tmp_path):
    outcome = engine.run(_plan(), tmp_path, command="the command")
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["schema"] == SCHEMA
    assert manifest["status"] == "complete"
    assert manifest["command"] == "the command"
    assert manifest["plan"]["families"][0]["parameters"]["alpha"] == 2
    assert manifest["environment"]["packages"]["torch"]
    assert manifest["environment"]["threads"] >= 1
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scores.columns) == score.COLUMNS
    assert len(scores) == 3 * 2 * 6
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert list(curves.columns) == curve.COLUMNS
    assert curves["mse"].to_numpy() == pytest.approx(outcome.curves["mse"].to_numpy())
    kept = read(tmp_path)
    assert kept.scores.equals(scores)
    reference = kept.references["calpha:size=16"]
    stated = make.family("calpha:size=16").reference([0.1, 1.0])
    assert reference.at(stated.sigma).mse == pytest.approx(stated.mse)
    assert len(reference.sigma) > 40, "a closed form is also stated between the levels"
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert list(summary.columns) == COLUMNS
    assert summary["denoiser"].tolist() == DENOISERS
    assert summary["mean_regret_db"].tolist() == pytest.approx(
        [curves[curves["denoiser"] == name]["regret_db"].mean() for name in DENOISERS]
    )
    shown = kept.thumbnails["calpha:size=16"]
    batch = make.family("calpha:size=16").sample(range(score.SHOWN))
    y = add_noise(batch, 0.1)
    assert np.array_equal(np.stack([shown.clean[i] for i in range(score.SHOWN)]), batch.images.numpy())
    assert shown.noisy(1, 0.1) == pytest.approx(y[1].numpy(), abs=1e-3)
    assert shown.estimate("mmse", 0.1, 1) == pytest.approx(make.denoiser("mmse", "calpha:size=16")(y, 0.1)[1], abs=1e-3)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_same_command_again_computes_nothing(tmp_path, monkeypatch):
    engine.run(_plan(), tmp_path / "a")
    monkeypatch.setattr(engine, "evaluate_all", lambda *_, **__: pytest.fail("computed again"))
    outcome = engine.run(_plan(), tmp_path / "a")
    assert outcome.resumed == 6
    with pytest.raises(pytest.fail.Exception):
        engine.run(_plan(), tmp_path / "a", resume=False)


def test_an_interrupted_run_goes_on_with_the_same_numbers(tmp_path):
    def stop_after_three(done, total):
        if done == 3:
            raise KeyboardInterrupt

    engine.run(_plan(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        engine.run(_plan(), tmp_path / "cut", progress=stop_after_three)
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["status"] == "partial"
    assert engine.run(_plan(), tmp_path / "cut").resumed == 3
    assert _same_scores(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_any_executor_gives_the_same_numbers(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(engine, "BLOCK", 2)  # several tasks, which may finish in any order
    engine.run(_plan(), tmp_path / "a")
    options = {"mp_context": multiprocessing.get_context("spawn")} if kind is ProcessPoolExecutor else {}
    with kind(max_workers=2, **options) as executor:
        engine.run(_plan(), tmp_path / "b", crew=Crew(executor, workers=lambda: 2))
    assert _same_scores(tmp_path / "a", tmp_path / "b")
    assert read(tmp_path / "b").thumbnails["calpha:size=16"].shown == score.SHOWN


def test_kill_9_then_the_same_command(tmp_path):
    """Killed in the middle by SIGKILL, the same command completes with the uninterrupted run's numbers."""
    command = [sys.executable, "-m", "gahb_bench", "run", "--family", "calpha:size=32", "--images", "24"]
    command += ["--denoisers", "mmse,identity,wavelet:rule=sure,shifts=all,ideal", "--sigmas", "0.01:1:12"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True, env=environment, capture_output=True)
    process = subprocess.Popen([*command, "--out", tmp_path / "cut"], env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "cut").glob("parts/*.npz"))) < 5:
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "scores.parquet").exists()
    again = subprocess.run([*command, "--out", tmp_path / "cut"], check=True, env=environment, capture_output=True)
    assert b"finished cells were found and used" in again.stdout
    assert _same_scores(tmp_path / "whole", tmp_path / "cut")
    assert json.loads((tmp_path / "cut" / "run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("other", [{"seed": 1}, {"split": "val"}, {"families": ["calpha:size=8"]}])
def test_a_run_of_other_images_is_refused_and_nothing_is_lost(tmp_path, other):
    engine.run(_plan(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match=r"holds a run of other families, or of another seed or split.*--out another"):
        engine.run(_plan(**other), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("more", "cells"),
    [
        ({"denoisers": [*DENOISERS, "ideal"]}, [("ideal", 0.1, 0, 6), ("ideal", 1.0, 0, 6)]),
        ({"sigmas": [0.1, 0.3, 1.0]}, [(name, 0.3, 0, 6) for name in DENOISERS]),
        ({"images": 9}, [(name, sigma, 6, 9) for name in DENOISERS for sigma in (0.1, 1.0)]),
        ({"images": 4}, []),
        ({"denoisers": DENOISERS[::-1]}, []),
    ],
)
def test_what_is_added_to_a_run_costs_only_itself(tmp_path, monkeypatch, more, cells):
    engine.run(_plan(), tmp_path / "grown")
    computed = []

    def counting(denoisers, optimum, batch, z, sigma):
        for position, evaluation in score.evaluate_all(denoisers, optimum, batch, z, sigma):
            computed.append((denoisers[position].spec, sigma, batch.indices[0], batch.indices[-1] + 1))
            yield position, evaluation

    monkeypatch.setattr(engine, "evaluate_all", counting)
    grown = engine.run(_plan(**more), tmp_path / "grown")
    assert sorted(computed) == sorted(cells)
    whole = engine.run(_plan(**more), tmp_path / "whole")
    assert grown.scores.drop(columns="seconds").equals(whole.scores.drop(columns="seconds"))
    assert grown.curves.equals(whole.curves)


def test_finished_work_of_other_runs_is_used_and_not_touched(tmp_path, monkeypatch):
    engine.run(_plan(), tmp_path / "other")
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()}
    monkeypatch.setattr(engine, "evaluate_all", lambda *_, **__: pytest.fail("computed again"))
    outcome = engine.run(_plan(sigmas=[0.1]), tmp_path / "mine", reuse=[tmp_path / "other"])
    assert outcome.resumed == 3
    assert {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()} == before


def test_a_law_that_fails_costs_itself_alone(tmp_path):
    class Broken(Calpha):
        name: ClassVar = "broken"

        def draw(self, streams, count):
            raise RuntimeError("no images today")

    class Crooked(Calpha):
        name: ClassVar = "crooked"

        def draw(self, streams, count):
            images, latents = super().draw(streams, count)
            return images[..., 1:], latents

    class Silent(CalphaOptimum):
        def reference(self, sigmas):
            raise RuntimeError("no reference today")

    class Unsaid(Calpha):
        name: ClassVar = "unsaid"
        best: ClassVar = Silent

    families = [Broken(size=16), Crooked(size=16), Unsaid(size=16), "calpha:size=16"]
    outcome = engine.run(_plan(families=families), tmp_path)
    rows = outcome.scores.groupby("family")["status"].agg(set).to_dict()
    assert rows == {
        "broken:size=16": {"failed"},
        "crooked:size=16": {"failed"},
        "unsaid:size=16": {"ok"},
        "calpha:size=16": {"ok"},
    }
    assert any("no images today" in failure.reason for failure in outcome.failures)
    assert any("do not agree" in failure.reason for failure in outcome.failures)
    assert any("no reference today" in warning for warning in outcome.warnings)
    assert outcome.references["unsaid:size=16"].kind == "none"
    assert read(tmp_path).manifest.status == "partial"


def test_a_part_in_the_place_of_another_is_computed_again(tmp_path):
    clean = engine.run(_plan(), tmp_path).scores.drop(columns="seconds")
    first, second = sorted((tmp_path / "parts").glob("*.npz"))[:2]
    first.write_bytes(second.read_bytes())
    outcome = engine.run(_plan(), tmp_path)
    assert outcome.damaged == (first,)
    assert outcome.scores.drop(columns="seconds").equals(clean)


def test_an_interrupted_extension_leaves_the_run_as_it_was(tmp_path):
    def stop_at_once(done, total):
        if done == 7:
            raise KeyboardInterrupt

    engine.run(_plan(), tmp_path, command="the first")
    before = read(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        engine.run(_plan(images=9, denoisers=[*DENOISERS, "ideal"]), tmp_path, progress=stop_at_once)
    after = read(tmp_path)
    assert after.manifest == before.manifest
    assert after.scores.equals(before.scores)
    engine.run(_plan(images=9, denoisers=[*DENOISERS, "ideal"]), tmp_path)
    assert read(tmp_path).manifest.plan.images == 9


def test_pictures_of_a_run_that_grew_and_of_one_whose_file_was_damaged(tmp_path):
    engine.run(_plan(images=2), tmp_path)
    engine.run(_plan(), tmp_path)
    kept = read(tmp_path).thumbnails["calpha:size=16"]
    assert kept.shown == score.SHOWN
    assert len(kept.errors) == 6
    (tmp_path / "thumbnails.npz").write_bytes((tmp_path / "thumbnails.npz").read_bytes()[:100])
    engine.run(_plan(), tmp_path)
    assert len(read(tmp_path).thumbnails["calpha:size=16"].errors) == 6


def test_a_folder_of_a_later_schema_is_refused(tmp_path):
    engine.run(_plan(), tmp_path)
    manifest = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(manifest | {"schema": SCHEMA + 1}))
    with pytest.raises(StoreError, match="schema"):
        engine.run(_plan(), tmp_path)


def test_what_was_used_of_another_run_is_needed_no_more(tmp_path, monkeypatch):
    engine.run(_plan(), tmp_path / "other")
    engine.run(_plan(), tmp_path / "mine", reuse=[tmp_path / "other"])
    shutil.rmtree(tmp_path / "other")
    monkeypatch.setattr(engine, "evaluate_all", lambda *_, **__: pytest.fail("computed again"))
    engine.run(_plan(), tmp_path / "mine")


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" + b[1:]])
def test_a_damaged_part_is_computed_again(tmp_path, damage):
    engine.run(_plan(), tmp_path / "a")
    engine.run(_plan(), tmp_path / "b")
    part = sorted((tmp_path / "b" / "parts").glob("*.npz"))[2]
    part.write_bytes(damage(part.read_bytes()))
    outcome = engine.run(_plan(), tmp_path / "b")
    assert outcome.resumed == 5
    assert outcome.damaged == (part,)
    assert _same_scores(tmp_path / "a", tmp_path / "b")


def _spoil(**changes):
    """Damage that leaves a part readable: some of its arrays are not what they should be."""

    def damage(path):
        with np.load(path) as part:
            arrays = {name: part[name] for name in part.files}
        np.savez_compressed(path, **arrays | {name: change(arrays[name]) for name, change in changes.items()})

    return damage


def _plain_array():
    np.save(content := io.BytesIO(), np.ones(3))
    return content.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        _spoil(mse=lambda a: a[1:]),
        _spoil(mse=lambda a: np.full_like(a, np.nan)),
        _spoil(mse=lambda a: -a),
        _spoil(mse=lambda a: a.astype("U")),
        _spoil(image=lambda a: a + 1),
        _spoil(seconds=lambda a: a[:, None]),
        _spoil(knows=lambda a: np.array("everything")),
        _spoil(shown=lambda a: a[0]),
        _spoil(shown=lambda a: a.astype(complex)),
        lambda path: path.write_bytes(np.random.default_rng(0).bytes(500)),
        lambda path: path.write_bytes(_plain_array()),
    ],
)
def test_a_part_of_the_wrong_content_is_computed_again(tmp_path, damage):
    plan = _plan(denoisers=["mmse", "identity"])
    clean = engine.run(plan, tmp_path).scores.drop(columns="seconds")
    part = sorted((tmp_path / "parts").glob("*.npz"))[1]
    damage(part)
    outcome = engine.run(plan, tmp_path)
    assert (outcome.resumed, outcome.damaged) == (3, (part,))
    assert outcome.scores.drop(columns="seconds").equals(clean)
    assert len(read(tmp_path).thumbnails["calpha:size=16"].errors) == 4


def test_a_finished_run_keeps_its_record(tmp_path, monkeypatch):
    engine.run(_plan(), tmp_path, command="the first")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    monkeypatch.setattr(engine, "environment", lambda device: {"machine": "another"})
    assert engine.run(_plan(), tmp_path, command="the second").resumed == 6
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    (tmp_path / "curves.csv").unlink()
    engine.run(_plan(), tmp_path)
    assert (tmp_path / "curves.csv").read_bytes() == before[tmp_path / "curves.csv"][0]


def test_changed_code_is_computed_again(tmp_path):
    """A helper beside the user's module changes between two commands: nothing stored is used."""
    command = [sys.executable, "-m", "gahb_bench", "run", "--family", "calpha:size=16", "--images", "2"]
    command += ["--denoisers", "mine_code:d", "--sigmas", "0.1", "--out"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])}
    (tmp_path / "mine_code.py").write_text("from mine_helper import h\ndef d(y, sigma):\n    return h(y)\n")
    means, folders = [], []
    for gain, folder in ((0.5, "a"), (0.625, "b")):
        (tmp_path / "mine_helper.py").write_text(f"def h(y):\n    return {gain} * y\n")
        subprocess.run([*command, tmp_path / folder], check=True, env=environment, capture_output=True)
        folders.append(json.loads((tmp_path / folder / "run.json").read_text()))
        means.append(pd.read_parquet(tmp_path / folder / "scores.parquet")["mse"].mean())
    assert folders[0]["plan_key"] != folders[1]["plan_key"]
    assert means[0] != means[1]
    again = subprocess.run([*command, tmp_path / "b"], check=True, env=environment, capture_output=True)
    assert b"1 finished cells were found" in again.stdout


def test_failures_are_recorded_and_tried_again(tmp_path, monkeypatch):
    flag = tmp_path / "flag"
    (tmp_path / "flaky_module.py").write_text(MODULE.format(flag=str(flag)))
    monkeypatch.syspath_prepend(tmp_path)
    plan = _plan(denoisers=["identity", "flaky_module:flaky"])
    outcome = engine.run(plan, tmp_path / "run")
    assert [failure.sigma for failure in outcome.failures] == [0.1, 1.0]
    assert outcome.failures[0].reason.endswith("RuntimeError: no flag yet")
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["status"] == "partial"
    assert manifest["failures"] == [failure.model_dump() for failure in outcome.failures]
    scores = pd.read_parquet(tmp_path / "run" / "scores.parquet")
    assert scores[scores["denoiser"] == "identity"]["status"].eq("ok").all()
    flag.touch()
    again = engine.run(plan, tmp_path / "run")
    assert (again.resumed, again.failures) == (2, [])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "complete"


def test_a_full_disk_keeps_what_is_finished(tmp_path, monkeypatch):
    calls = []
    real = os.fsync

    def full_after_four(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full_after_four)
    with pytest.raises(StoreError, match=r"No space left on device.*What is finished is kept"):
        engine.run(_plan(), tmp_path / "a")
    assert not list((tmp_path / "a").rglob("*.tmp"))
    monkeypatch.setattr(os, "fsync", real)
    assert engine.run(_plan(), tmp_path / "a").resumed == 3


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write to the folder.*--out"):
        engine.run(_plan(), tmp_path / "file" / "run")


def test_a_folder_in_use_is_refused(tmp_path):
    with open_run(tmp_path), pytest.raises(StoreError, match="another process"):
        engine.run(_plan(), tmp_path)


def test_a_foreign_manifest_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("[1]")
    with pytest.raises(StoreError, match="not a run's manifest"):
        engine.run(_plan(), tmp_path)


@pytest.mark.parametrize("text", [None, "[" * 100_000, "\x00"])
def test_what_stands_in_the_place_of_a_manifest_is_refused(tmp_path, text):
    if text is None:
        (tmp_path / "run.json").mkdir()
    else:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(StoreError, match="not a run's manifest"):
        engine.run(_plan(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"], "a refused run leaves nothing behind"


def test_a_report_that_cannot_be_written(tmp_path, monkeypatch):
    from gahb_bench.reporting import report

    engine.run(_plan(denoisers=["identity"], sigmas=[0.1]), tmp_path)
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StoreError, match=r"cannot write to the folder.*Give --out a folder"):
        report.write_report(tmp_path)


def test_noise_levels_as_written():
    assert parse_sigmas("0.01,0.1").tolist() == [0.01, 0.1]
    assert parse_sigmas("0.01:1:3") == pytest.approx([0.01, 0.1, 1])
    for bad in ("a", "1:2", "0.1:1:1", "0.1:1:x", "", "0,1", "-1", "nan", "0:1:3"):
        with pytest.raises(UsageError):
            parse_sigmas(bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": []}, "no family"),
        ({"families": ["calpha", "calpha:alpha=2"]}, "given twice"),
        ({"denoisers": ["wavelet", "wavelet:rule=hard"]}, "given twice"),
        ({"denoisers": ["wavlet"]}, "did you mean 'wavelet'"),
        ({"sigmas": [0.1, 0.0]}, "sigma=0 is not allowed"),
        ({"images": 0}, "images=0"),
        ({"seed": -3}, "seed=-3"),
        ({"split": "tests"}, "unknown split"),
    ],
)
def test_bad_plans(changes, message):
    with pytest.raises(UsageError, match=message):
        _plan(**changes)


def test_devices_that_do_not_exist(tmp_path):
    with pytest.raises(UsageError, match="device"):
        engine.run(_plan(), tmp_path, device="cuda:99")
    with pytest.raises(UsageError, match="device"):
        engine.run(_plan(), tmp_path, device="toaster")


def test_a_law_whose_code_changed_is_computed_again(tmp_path):
    def law(level):
        class Level(Calpha):
            name: ClassVar = "level"

            def draw(self, streams, count):
                images, latents = super().draw(streams, count)
                return level + 0 * images, latents

        return Level(size=16)

    means = []
    for level, folder in ((0.1, "a"), (0.9, "a"), (0.9, "fresh")):
        plan = _plan(families=[law(level)], denoisers=["gaussian-blur:width=5"], sigmas=[0.1])
        outcome = engine.run(plan, tmp_path / folder)
        assert outcome.resumed == 0
        means.append(outcome.scores["mse"].mean())
    assert means[0] != means[1] == means[2]


def test_a_subclass_of_the_same_name_is_another_law(tmp_path):
    class Mine(Calpha):
        def draw(self, streams, count):
            images, latents = super().draw(streams, count)
            return 1 - images, latents

    engine.run(_plan(), tmp_path)
    assert engine.run(_plan(families=[Mine(size=16)]), tmp_path).resumed == 0
