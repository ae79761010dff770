"""How often a run makes what it needs, by counters: each family, denoiser, reference and image once."""

from collections import Counter

import numpy as np
import pytest

from gahb_bench import make
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.plugin import Plugin
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.denoisers import training_set, wiener_data
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.calpha.optimum import CalphaOptimum
from gahb_bench.running import engine
from gahb_bench.running.plan import make_plan
from gahb_bench.scoring import score

FAMILY = "calpha:size=16"
SEVEN = ["mmse", "local-mmse", "ideal", "identity", "wavelet", "wavelet:rule=soft", "wiener-data"]
SIGMAS = [0.1, 1.0]


@pytest.fixture
def counts(monkeypatch):
    """Counts what is made of the law, its denoisers, its reference and its images, and what is evaluated."""
    found = Counter()
    made, drawn, stated, evaluated = Plugin.__init__, Calpha.draw, CalphaOptimum.reference, score.evaluate_all

    def count_made(self, **parameters):
        made(self, **parameters)
        if isinstance(self, Family):
            found["families"] += 1
        elif isinstance(self, Denoiser):
            found["denoisers"] += 1
            found[self.spec] += 1

    def count_drawn(self, streams, count):
        found["draws"] += 1
        found["images"] += count
        return drawn(self, streams, count)

    def count_stated(self, sigmas):
        found[f"reference at {len(sigmas)}"] += 1
        return stated(self, sigmas)

    def count_evaluated(denoisers, optimum, batch, z, sigma):
        for position, evaluation in evaluated(denoisers, optimum, batch, z, sigma):
            found["cells"] += 1
            found["scored"] += len(batch)
            found[f"scored {denoisers[position].spec}"] += len(batch)
            yield position, evaluation

    monkeypatch.setattr(Plugin, "__init__", count_made)
    monkeypatch.setattr(Calpha, "draw", count_drawn)
    monkeypatch.setattr(CalphaOptimum, "reference", count_stated)
    monkeypatch.setattr(engine, "evaluate_all", count_evaluated)
    posterior_mean.cache_clear()
    return found


def plan(denoisers=SEVEN, sigmas=SIGMAS, images=6):
    return make_plan([FAMILY], denoisers, sigmas, images, tune=False)


def of_test_images(denoisers):
    """Without those that draw images of another split to fit themselves."""
    return [spec for spec in denoisers if spec != "wiener-data"]


def test_a_run_makes_each_thing_once(counts, tmp_path):
    chosen = [*of_test_images(SEVEN), "dct"]
    engine.run(plan(chosen), tmp_path)
    assert counts["families"] == 1
    assert counts["denoisers"] == len(chosen) == 7
    assert {counts[spec] for spec in chosen} == {1}
    assert counts["reference at 2"] == 1
    assert [counts[key] for key in counts if key.startswith("reference at")] == [1, 1], "at its levels, and between"
    assert (counts["draws"], counts["images"]) == (1, 6)
    assert (counts["cells"], counts["scored"]) == (14, 84)


def test_the_report_of_a_run_makes_nothing(counts, tmp_path):
    from gahb_bench.reporting.report import write_report

    engine.run(plan(), tmp_path)
    before = dict(counts)
    write_report(tmp_path)
    assert dict(counts) == before


def test_the_images_are_made_once_a_task(counts, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK", 4)
    engine.run(plan(of_test_images(SEVEN), images=10), tmp_path)
    assert (counts["draws"], counts["images"]) == (3, 10)
    assert (counts["cells"], counts["scored"]) == (36, 120)


@pytest.mark.parametrize(
    ("family", "laws"),
    [
        ("calpha:size=16", 1),
        ("disks:size=16,vary=scale+foreground", 1),
        ("shuffled:of=(calpha:size=16)", 2),
        ("coloured:of=(shuffled:of=(calpha:size=16))", 3),
        ("shuffled:of=(coloured:of=(disks:size=16,vary=scale))", 3),
        ("gmm:size=16", 1),
        ("hierarchy:depth=3", 1),
    ],
)
def test_a_run_makes_each_law_once_and_few_oracles(counts, tmp_path, monkeypatch, family, laws):
    """An oracle a law, for the plan or for the law around it, and one that a sampled reference needs."""
    monkeypatch.setattr(engine, "BLOCK", 2)
    engine.run(make_plan([family], ["mmse", "identity"], [0.1234, 0.5432], 4), tmp_path)
    assert counts["families"] == laws
    assert counts["mmse"] <= laws + 1
    assert counts["denoisers"] == counts["mmse"] + 1


def test_training_images_are_drawn_once_a_run(counts, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "BLOCK", 2)
    variants = [f"wiener-data:n=50,shrinkage={each}" for each in ("none", "identity", "stationary")]
    variants += [f"wiener-data:n=50,seed={seed}" for seed in (1, 2)]
    wiener_data.model.cache_clear()
    training_set._part.cache_clear()
    engine.run(plan(variants), tmp_path)
    assert counts["images"] == 6 + 3 * 50  # once for each seed
    assert counts["families"] == 1


@pytest.mark.parametrize("name", ["mmse", "inner"])
def test_an_inner_oracle_is_made_once_a_law(counts, tmp_path, name):
    engine.run(make_plan(["shuffled:of=(calpha:size=16)"], [name], SIGMAS, 4), tmp_path)
    first = counts["mmse"]
    assert first <= 2  # the one of the plan, and the inner one
    engine.run(make_plan(["shuffled:of=(calpha:size=16)"], [name], [0.3], 4), tmp_path)
    assert counts["mmse"] <= 3


def test_a_denoiser_that_is_added_costs_itself_alone(counts, tmp_path):
    engine.run(plan(SEVEN[:3]), tmp_path)
    counts.clear()
    outcome = engine.run(plan([*SEVEN[:3], "identity"]), tmp_path)
    assert (counts["scored"], counts["scored identity"]) == (12, 12)
    assert outcome.resumed == 6
    assert outcome.scores["denoiser"].nunique() == 4


def test_a_noise_level_that_is_added_costs_itself_alone(counts, tmp_path):
    engine.run(plan(SEVEN[:3]), tmp_path)
    counts.clear()
    engine.run(plan(SEVEN[:3], sigmas=[0.1, 0.3, 1.0]), tmp_path)
    assert (counts["cells"], counts["scored"]) == (3, 18)


def test_images_that_are_added_cost_themselves_alone(counts, tmp_path):
    engine.run(plan(SEVEN[:3]), tmp_path)
    counts.clear()
    outcome = engine.run(plan(SEVEN[:3], images=10), tmp_path)
    assert (counts["cells"], counts["scored"]) == (6, 24)
    whole = engine.run(plan(SEVEN[:3], images=10), tmp_path.with_name("whole"))
    np.testing.assert_array_equal(outcome.scores["mse"], whole.scores["mse"])


@pytest.mark.parametrize(
    "changed", [{"denoisers": SEVEN[:3][::-1]}, {"denoisers": SEVEN[:1]}, {"sigmas": [1.0]}, {"images": 3}]
)
def test_reordering_and_leaving_out_compute_nothing(counts, tmp_path, changed):
    engine.run(plan(SEVEN[:3]), tmp_path)
    counts.clear()
    outcome = engine.run(plan(**{"denoisers": SEVEN[:3]} | changed), tmp_path)
    assert counts["scored"] == 0
    assert len(outcome.scores) == len(outcome.scores.drop_duplicates(["denoiser", "sigma", "image"]))
    assert (outcome.scores["status"] == "ok").all()


def test_another_run_is_used_again_and_left_as_it_is(counts, tmp_path):
    engine.run(plan(SEVEN[:2]), tmp_path / "one")
    before = {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()}
    counts.clear()
    outcome = engine.run(plan(SEVEN[:3]), tmp_path / "two", reuse=[tmp_path / "one"])
    assert (counts["scored"], outcome.resumed) == (12, 4)
    assert {path: path.read_bytes() for path in (tmp_path / "one").rglob("*") if path.is_file()} == before
    again = engine.run(plan(SEVEN[:3]), tmp_path / "three", reuse=[tmp_path / "one", tmp_path / "two"])
    assert (counts["scored"], again.resumed) == (12, 6)
    assert again.scores.drop(columns="seconds").equals(outcome.scores.drop(columns="seconds"))


def test_a_folder_without_a_run_is_not_taken_for_one(tmp_path):
    with pytest.raises(UsageError, match="holds no finished work to use again"):
        engine.run(plan(SEVEN[:1]), tmp_path / "one", reuse=[tmp_path / "nothing"])


def test_a_denoiser_is_made_by_one_call(counts):
    law = make.family(FAMILY)
    counts.clear()
    made = make.denoiser("mmse", law)
    assert counts["mmse"] == 1
    assert made.family is law
