"""The weights that are shipped: small, documented, and as good as their header says."""

import importlib.util
from pathlib import Path

import pytest

import gahb_bench as gb
from gahb_bench import defaults
from gahb_bench.networks.recipe import read_recipe, shipped
from gahb_bench.networks.weights import load

ROOT = Path(__file__).parents[2]
FAMILIES = ("calpha", "calpha-contours", "disks", "besov", "hierarchy", "shuffled")


def test_there_is_one_for_each_of_these_laws():
    trained_on = [gb.family(read_recipe(path)["family"]) for path in shipped().values()]
    assert {law.name for law in trained_on} >= set(FAMILIES)
    assert all(law.shape[1] >= 32 for law in trained_on)


def test_sizes():
    sizes = [path.stat().st_size for path in shipped().values()]
    assert max(sizes) <= 2e6
    assert sum(sizes) <= 16e6


def test_the_parameters_of_a_shipped_network_are_counted():
    facts = gb.denoiser("calpha-32").facts
    assert gb.denoiser("calpha-32").fitted == facts.fitted == 227689
    assert len(facts.digest) == 16
    assert not facts.brought


@pytest.mark.parametrize("name", shipped())
def test_recipe(name):
    recipe = read_recipe(shipped()[name])
    assert gb.family(recipe["family"]).spec == recipe["family"]
    assert recipe["environment"]["cpu"]
    assert recipe["step"] == recipe["settings"]["steps"]
    assert len(recipe["test"]["sigma"]) == len(recipe["test"]["regret_db"]) == 13
    assert "/" not in str(recipe["settings"].get("initial")), "no path of the machine it was made on"
    assert gb.denoiser(name).spec == f"network:weights={name}"
    module, _ = load(shipped()[name])
    assert sum(parameter.numel() for parameter in module.parameters()) == recipe["parameters"]
    assert f"network:weights={name}" in defaults.scored(gb.family(recipe["family"]))


@pytest.mark.parametrize("name", shipped())
def test_regret_is_what_the_header_says(name):
    recipe = read_recipe(shipped()[name])
    law, denoiser, test = gb.family(recipe["family"]), f"network:weights={name}", recipe["test"]
    level = test["sigma"][6]
    exact = law.reference(level).kind == "exact"
    curve = gb.curves(gb.score(law, [denoiser, *(["mmse"] if exact else [])], [level], images=test["images"]))
    row = curve[curve["denoiser"] == denoiser].iloc[0]
    assert row["regret_db"] == pytest.approx(test["regret_db"][6], abs=2e-3)
    assert law.reference(test["sigma"]).kind == test["reference"]


def test_documentation_holds_the_tables_that_the_script_makes():
    script = ROOT / "reports" / "tables.py"
    found = importlib.util.spec_from_file_location("tables", script)
    tables = importlib.util.module_from_spec(found)
    found.loader.exec_module(tables)
    for name, (page, _) in tables.MADE.items():
        assert page.read_text(encoding="utf-8") == tables.with_table(name), "run: python reports/tables.py"
    networks, _ = tables.MADE["networks"]
    for name in shipped():
        assert f"`{name}`" in networks.read_text(encoding="utf-8")
