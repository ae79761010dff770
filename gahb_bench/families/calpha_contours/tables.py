"""Computes the stored brackets of ``calpha-contours``: resumable, with progress and an estimate of the time left.

python -m gahb_bench.families.calpha_contours.tables "calpha-contours:alpha=1.5" --images 64 --out FOLDER
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from gahb_bench.core import registry
from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha_contours.bracket import SWEEPS, planted_bracket
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.tables.reference_tables import OWN_TABLES, Row, add_row, read_rows

TABLE = "calpha-contours.csv"


def unit_contrast(family: CalphaContours) -> CalphaContours:
    """The law at contrast 1, named in one way: MMSE(s; contrast) = contrast^2 MMSE(s / contrast; 1)."""
    same = family.background == "constant" or family.beta == family.alpha
    return CalphaContours(**{**family.parameters, "contrast": 1.0, "beta": None if same else family.beta})


def compute_table(
    family: CalphaContours,
    levels: Sequence[float],
    images: int,
    path: Path,
    *,
    sweeps: int = SWEEPS,
    seed: int = 0,
    echo: Callable[[str], None] = print,
) -> None:
    """Bracket the MMSE at each level of sigma/contrast and add the rows to a table; levels that are there are kept.

    Raises
    ------
    UsageError
        For ``law=paper``, which has no bracket.
    """
    if family.law != "gaussian":
        raise UsageError(f"{family.spec}: the law of the paper has no bracket; use law=gaussian.")
    law = unit_contrast(family)
    rows = read_rows(path) if path.exists() else []
    stored = [float(row["level"]) for row in rows if row["family"] == law.spec]
    todo = [level for level in levels if not any(np.isclose(level, known, rtol=1e-9) for known in stored)]
    echo(f"{law.spec}: {len(levels) - len(todo)} of {len(levels)} levels stored, {len(todo)} to do")
    begin = time.monotonic()
    for position, level in enumerate(todo):

        def progress(done: int, position: int = position, level: float = level) -> None:
            share = (position + done / images) / len(todo)
            left = (time.monotonic() - begin) * (1 / share - 1)
            echo(f"  sigma/contrast={level:.4g}: {done} of {images} images, about {left / 60:.1f} minutes left")

        start = time.monotonic()
        bracket = planted_bracket(law, level, range(images), seed=seed, sweeps=sweeps, progress=progress)
        row: Row = {"family": law.spec, "level": level, "images": images, "sweeps": sweeps, "seed": seed}
        for key in ("lower", "upper", "upper_run", "genie", "gap"):
            values = getattr(bracket, key)
            row[key] = float(values.mean())
            row[f"{key}_se"] = float(values.std(ddof=1) / np.sqrt(images))
        row["acceptance"] = float(bracket.acceptance.mean())
        row["least_acceptance"] = float(bracket.acceptance.min())
        row["seconds"] = time.monotonic() - start
        add_row(path, row)


def main(
    family: Annotated[str, typer.Argument(help="spec of the law; its contrast plays no part")],
    images: Annotated[int, typer.Option(min=2, help="images a level")] = 64,
    levels: Annotated[str, typer.Option(help="sigma/contrast as first:last:count")] = "0.03:4:10",
    sweeps: Annotated[int, typer.Option(min=9, help="sweeps of each chain")] = SWEEPS,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help=f"folder; name it in the variable {OWN_TABLES} to use the table")] = Path(),
) -> None:
    """Bracket the MMSE of a law by simulation and store it as a reference table."""
    law = registry.make("families", family)
    if not isinstance(law, CalphaContours):
        raise UsageError(f"{family!r} is not a 'calpha-contours' law: only that one is bracketed by simulation.")
    first, last, count = levels.split(":")
    grid = np.geomspace(float(first), float(last), int(count))
    compute_table(law, [float(level) for level in grid], images, out / TABLE, sweeps=sweeps, seed=seed)


if __name__ == "__main__":
    try:
        typer.run(main)
    except UsageError as error:
        sys.exit(f"error: {error}")
