"""The tables of the documentation that are made from measurements: shipped networks, and speed.

    python reports/tables.py                        writes them between their markers
    pytest benchmarks/ -n 0 --benchmark-json b.json
    python reports/tables.py b.json                 takes a new measurement of speed, kept in reports/speed.json

A test checks that the pages hold what this makes.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gahb_bench.networks.recipe import read_recipe, shipped

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
SPEED = HERE / "speed.json"
LEVELS = slice(0, None, 2)  # every second of the 13 default noise levels


def networks() -> str:
    """Shipped networks: how they were made, and how far they are from the optimum."""
    recipes = {name: read_recipe(path) for name, path in shipped().items()}
    sigmas = next(iter(recipes.values()))["test"]["sigma"][LEVELS]
    head = ["weights", "trained on", "network", "parameters", "steps x batch", "minutes", "mean", "worst"]
    rows = [[*head, *(f"σ={sigma:.2g}" for sigma in sigmas)]]
    for name, recipe in recipes.items():
        regret = np.array(recipe["test"]["regret_db"], dtype=float)
        settings = recipe["settings"]
        row = [f"`{name}`", f"`{recipe['family']}`", f"`{recipe['network']}`", f"{recipe['parameters']:,}"]
        row += [f"{total(recipe, 'step')} x {settings['batch']}", f"{total(recipe, 'seconds') / 60:.3g}"]
        rows.append([*row, *map(_decibel, (np.nanmean(regret), np.nanmax(regret), *regret[LEVELS]))])
    hardware = {
        f"{recipe['environment']['cpu']}, {recipe['environment']['threads']} thread" for recipe in recipes.values()
    }
    return f"{_table(rows)}\n\nTrained on: {'; '.join(sorted(hardware))} (shared with other work)."


def total(recipe: dict[str, Any], what: str) -> float:
    """Over this training and those whose weights it started from; seconds are of one core where that was measured."""
    own = recipe.get(f"core_{what}", recipe[what])
    return own + (total(recipe["initial"], what) if recipe.get("initial") else 0)


def speed() -> str:
    """What `pytest benchmarks/` measured, a row a benchmark, its cases side by side."""
    content = json.loads(SPEED.read_text(encoding="utf-8"))
    rows = [["benchmark", "cases"]]
    for name, cases in content["benchmarks"].items():
        rows.append([name, ", ".join(f"{case} **{value}**" if case else f"**{value}**" for case, value in cases)])
    return f"{_table(rows)}\n\nOn {content['cpu']}, one thread, {content['date']}."


def take(measured: Path) -> None:
    """Keep of a benchmark run what the table shows."""
    content = json.loads(measured.read_text(encoding="utf-8"))
    found: dict[str, list[tuple[str, str]]] = {}
    for entry in content["benchmarks"]:
        file = Path(entry["fullname"].partition("::")[0]).stem.removeprefix("test_").replace("_", " ")
        name, _, case = entry["name"].removeprefix("test_").partition("[")
        found.setdefault(f"{file}: {name.replace('_', ' ')}", []).append((case.removesuffix("]"), _measured(entry)))
    kept = {"cpu": content["machine_info"]["cpu"]["brand_raw"], "date": content["datetime"][:10], "benchmarks": found}
    SPEED.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _measured(entry: dict[str, Any]) -> str:
    """A ratio if one was taken, else a rate, else the median time."""
    for key, value in entry["extra_info"].items():
        if key.startswith("times_"):
            return f"{value:.3g} {key.replace('_', ' ')}"
    rate = entry["extra_info"].get("images_per_second")
    return f"{rate:,.0f}/s" if rate else _seconds(entry["stats"]["median"])


MADE: dict[str, tuple[Path, Callable[[], str]]] = {
    "networks": (DOCS / "denoisers" / "networks.md", networks),
    "speed": (DOCS / "speed.md", speed),
}


def with_table(name: str) -> str:
    """A page with its table made anew."""
    page, make = MADE[name]
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{make()}\n{end}{after}"


def _decibel(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.2f}"


def _table(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} µs"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]))
    for table, (target, _) in MADE.items():
        target.write_text(with_table(table), encoding="utf-8")
