"""The page about posterior samplers follows from its committed tables, and these from what they say they are."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import gahb_bench as gb
from gahb_bench.running.posterior.carry_out import plan_posterior
from gahb_bench.running.posterior.cell import table
from gahb_bench.scoring.posterior_scores import summarise

REPORTS = Path(__file__).parents[2] / "reports"


@cache
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPORTS))
        found = importlib.util.spec_from_file_location("posterior_report", REPORTS / "posterior.py")
        assert found is not None
        assert found.loader is not None
        made = importlib.util.module_from_spec(found)
        found.loader.exec_module(made)
    return made


def test_the_page_is_what_the_tables_say():
    report = script()
    text = (REPORTS / "posterior.md").read_text(encoding="utf-8")
    assert text == report.page(*report.tables()), "run: python reports/posterior.py page"
    for name in ("methods", "choosing"):
        assert f"(posterior/{name}.png)" in text
        assert (REPORTS / "posterior" / f"{name}.png").exists()


def test_the_tables_hold_all_that_the_script_computes():
    report = script()
    methods, pixels = report.tables()
    for family, effort in report.LAWS.items():
        own = methods[methods["family"] == gb.family(family).spec]
        assert set(own["images"]) <= set(range(8, effort.images + 1))
        assert set(own["samples"]) == {effort.samples}
        for operator in report.OPERATORS:
            here = own[own["problem"] == gb.problem(operator, family).spec]
            assert len(here["method"].unique()) == 1 + len(effort.methods)
            assert set(here["sigma"]) == {report.SIGMA}
    for family, choice in report.choosing.CHOICES.items():
        own = pixels[pixels["family"] == gb.family(family).spec]
        assert own["rule"].unique().tolist() == list(choice.rules)
        assert own.groupby("rule")["pixels"].max().unique().tolist() == [choice.pixels]


def test_a_row_of_methods_is_computed_again():
    report = script()
    methods, _ = report.tables()
    family, operator = "calpha:size=16", "blur"
    effort = report.LAWS[family]
    planned = plan_posterior(family, operator, ["pnp"], ["mmse"], report.SIGMA, effort.samples, effort.images)
    parts = [planned.cells[0].made(planned.truth(numbers)) for numbers in planned.blocks]
    expected = summarise(table(parts), effort.samples).set_index("statistic")
    stored = methods[methods["family"].eq(family) & methods["problem"].eq(operator) & methods["method"].eq("exact")]
    stored = stored.set_index("statistic").loc[expected.index]
    for name in ("value", "standard_error", "due"):
        np.testing.assert_allclose(stored[name], expected[name], rtol=1e-3, atol=1e-5)


def test_a_curve_of_choosing_is_computed_again():
    report = script()
    _, pixels = report.tables()
    family, rule = "calpha:size=16", "exact variance"
    choice, law = report.choosing.CHOICES[family], gb.family(family)
    batch = law.sample(range(choice.images), split="test")
    seen = gb.sampling.observe(law, batch, report.SIGMA, gb.sampling.where_unsure, 4)
    stored = pixels[pixels["family"].eq(family) & pixels["rule"].eq(rule)].iloc[:5]
    np.testing.assert_allclose(stored["error"], seen.error.mean(1), rtol=1e-3)
    np.testing.assert_allclose(stored["variance"], seen.variance.mean(1), rtol=1e-3)


def test_what_is_called_right():
    report = script()
    methods, _ = report.tables()
    row = methods[methods["statistic"] == "variance_ratio"].iloc[0].copy()
    row["due"], row["standard_error"] = 1.0, 0.1
    for value, right in ((1.39, True), (1.41, False), (0.59, False)):
        row["value"] = value
        assert report.right(row) is right
    row["statistic"], row["value"] = "calibration_p", 5e-4
    assert not report.right(row)


def test_exact_samplers_are_right_and_chosen_pixels_tell_more():
    """Of the committed numbers: what they must say, whatever the methods do."""
    report = script()
    methods, pixels = report.tables()
    exact = methods[methods["method"].eq("exact") & methods["statistic"].isin(report.SCORES)]
    assert sum(not report.right(row) for _, row in exact.iterrows()) <= 1
    last = pixels[pixels["rule"] == "exact variance"].groupby("family").last()
    assert (last["ratio"] + 2 * last["ratio_error"] < 1).all()
