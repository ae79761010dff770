"""References by simulation: making and keeping them, and what a table of one's own changes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import gahb_bench as gb
from gahb_bench.cli.app import app
from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import HOME
from gahb_bench.families.calpha_contours.compute import compute, provenance, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.tables import simulate, store

SPEC = "calpha-contours:background=constant,contrast=0.3,size=16"
LEVELS = [0.06, 0.12, 0.24, 0.48]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME, str(tmp_path))
    return tmp_path


def test_a_simulation_that_was_stopped_goes_on_and_runs_use_it(own_home: Path) -> None:
    law = gb.family(SPEC)
    assert law.reference(LEVELS).kind == "approximate"
    assert f'python -m gahb_bench reference --family "{law.spec}"' in law.reference(LEVELS).note
    simulation = simulate.simulation_of(law)
    seen: list[tuple[int, int]] = []
    stopped = simulate.simulate(law, LEVELS, 5, lambda *told: seen.append(told))
    assert next(stopped).sigma == 0.48
    assert seen == [(4, 20), (5, 20), (5, 20)]
    stopped.close()
    subject = (unit_contrast(law).spec, "")  # pyright: ignore[reportArgumentType]
    first = store.read(store.own("curves"))[subject]
    assert set(first["quantity"]) == {"lower", "upper", "upper_run", "genie", "gap", "acceptance", "least_acceptance"}
    assert simulate.missing(simulation, LEVELS, 5) == LEVELS[:3]
    command = ["reference", "--family", SPEC, "--images", "5", "--sigmas", "0.06,0.12,0.24,0.48"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "stored already at 1 of 4 noise levels" in result.output
    assert result.output.count("MMSE between") == 3
    whole = store.read(store.own("curves"))[subject]
    assert whole[np.isclose(whole["sigma"], 1.6)].reset_index(drop=True).equals(first.reset_index(drop=True))
    known = law.reference([0.06, 0.2])
    assert known.kind == "bracket"
    assert np.isfinite(known.mse).all()
    again = CliRunner().invoke(app, command)
    assert "stored already at 4 of 4" in again.output
    assert "MMSE" not in again.output


@pytest.mark.slow
def test_a_run_scores_against_the_bracket_that_was_made(own_home: Path) -> None:
    levels = ["--sigmas", "0.01,0.02,0.04,0.08"]
    made = CliRunner().invoke(app, ["reference", "--family", SPEC, "--images", "4", *levels])
    assert made.exit_code == 0, made.output
    assert "about 0 s left" in made.output
    run = ["run", "--family", SPEC, "--denoisers", "identity", "--images", "2", *levels, "--out", str(own_home / "run")]
    result = CliRunner().invoke(app, run)
    assert result.exit_code == 0, result.output
    known = pd.read_parquet(own_home / "run" / "reference.parquet")
    assert set(known["kind"]) == {"bracket"}
    np.testing.assert_allclose(known["mse"], gb.family(SPEC).reference(known["sigma"].to_numpy()).mse)


def test_a_short_curve_of_ones_own_leaves_the_shipped_one_elsewhere(own_home: Path) -> None:
    law = gb.family("calpha-contours:background=constant,contrast=1")
    asked = np.array([0.02, 0.5, 1.0, 5.0])
    before = law.reference(asked)
    for level in (0.4, 0.6, 0.8, 1.0):
        values = dict.fromkeys(("lower", "upper", "genie"), (level**1.5, 0.01 * level**1.5))
        store.keep("curves", store.make_rows(law.spec, level, values, images=8, seed=0, rule=1))
    after = law.reference(asked)
    np.testing.assert_array_equal(after.mse[[0, 3]], before.mse[[0, 3]])
    np.testing.assert_allclose(after.mse[1:3], asked[1:3] ** 1.5)
    simulation = simulate.simulation_of(law)
    assert simulate.missing(simulation, list(asked), 64) == []
    assert simulate.missing(simulation, list(asked), 1000) == list(asked)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "Simulate the reference of a law"),
        (["--family", "calpha"], 2, "calpha: nothing to simulate, its reference (exact)"),
        (["--family", SPEC, "--sigmas", "0.1"], 2, "at least 4 noise levels"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, said: str, own_home: Path) -> None:
    command = [sys.executable, "-m", "gahb_bench", "reference", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == code, result.stderr
    assert said in result.stdout + result.stderr


def test_rows_say_which_method_made_them() -> None:
    """Tempered particles with much noise and annealed chains with little, so that older rows can be made again."""
    law = CalphaContours.from_parameters({"background": "constant", "contrast": 1.0, "size": 16})
    assert provenance(law, 0.3) == "planted bracket, 135 sweeps a chain, tempered particles"
    assert provenance(law, 0.29) == "planted bracket, 135 sweeps a chain, annealed chains"
    assert compute(law, 2.0, 4)["provenance"].unique().tolist() == [provenance(law, 2.0)]


def test_what_needs_no_simulation_or_has_too_few_levels_is_refused(own_home: Path) -> None:
    for spec, reason in {
        "calpha": r"calpha: nothing to simulate, its reference \(exact\)",
        "gmm:variant=points": "nothing to simulate",
        "calpha-contours:law=paper": "no optimum is known",
    }.items():
        with pytest.raises(UsageError, match=reason):
            simulate.simulation_of(gb.family(spec))
    with pytest.raises(UsageError, match="at least 4 noise levels, and there would be 2"):
        simulate.missing(simulate.simulation_of(gb.family(SPEC)), [0.1, 0.2], 5)
    result = CliRunner().invoke(app, ["reference", "--family", SPEC, "--images", "2"])
    assert isinstance(result.exception, UsageError)
    assert "images=2" in str(result.exception)
    assert not list(own_home.rglob("*.parquet"))


@pytest.mark.parametrize(
    "spec",
    ["gmm:size=16", "hierarchy:depth=3", "disks:size=16", "markov-contours:size=16", "coloured:of=(gmm:size=16)"],
)
def test_more_images_than_on_demand_are_kept_and_used(spec: str, own_home: Path) -> None:
    law = gb.family(spec)
    simulation = simulate.simulation_of(law)
    before = law.reference([0.5])
    (level,) = simulate.simulate(law, [0.5], 300)
    after = law.reference([0.5])
    assert after.mse[0] == pytest.approx(simulation.unit**2 * level.numbers["mse"], rel=1e-12)
    assert after.mse[0] != before.mse[0]
    assert abs(after.mse[0] - before.mse[0]) < 5 * np.hypot(after.standard_error[0], before.standard_error[0])
    assert simulate.missing(simulation, [0.5], 300) == []
    assert simulate.missing(simulation, [0.5], 301) == [0.5]


def test_ones_own_table_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    law = CalphaContours.from_parameters({"size": 16, "background": "constant"})
    assert law.reference([0.1]).kind == "approximate"
    monkeypatch.setenv(HOME, str(tmp_path))
    for level in (0.1, 0.2, 0.4, 0.8):
        ends = {"lower": 0.9, "upper": 1.1, "genie": 1.1}
        values = {name: (end * level**1.5, 0.01 * level**1.5) for name, end in ends.items()}
        store.keep("curves", store.make_rows(unit_contrast(law).spec, level, values, images=8, seed=0, rule=1))
    reference = law.reference([0.1, 0.15, 0.9])
    assert reference.kind == "bracket"
    np.testing.assert_allclose(reference.upper[:2], 0.25 * 1.1 * np.array([0.2, 0.3]) ** 1.5)
    np.testing.assert_allclose(reference.lower[:2], 0.25 * 0.9 * np.array([0.2, 0.3]) ** 1.5)
    np.testing.assert_allclose(reference.standard_error[:2], 0.25 * 0.01 * np.array([0.2, 0.3]) ** 1.5, rtol=1e-6)
    np.testing.assert_allclose(reference.exponent[:2], 1.5)
    assert np.isnan([reference.mse[2], reference.lower[2], reference.upper[2], reference.exponent[2]]).all()


def test_names_of_one_law() -> None:
    make = CalphaContours.from_parameters
    assert unit_contrast(make({"beta": 2.0})) == unit_contrast(make({"contrast": 0.2}))
    assert unit_contrast(make({"beta": 1.0, "background": "constant"})) == unit_contrast(
        make({"background": "constant"})
    )
    assert unit_contrast(make({"beta": 1.0})) != unit_contrast(make({}))
    law = make({})
    assert law.background_spectrum.sum() == pytest.approx((law.contrast / 4) ** 2 * 64**2)
    assert unit_contrast(law).background_spectrum.sum() == pytest.approx(64**2 / 16)
