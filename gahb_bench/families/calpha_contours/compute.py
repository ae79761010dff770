"""Computes the stored brackets of ``calpha-contours``, level by level: resumable, with progress."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gahb_bench.core.errors import UsageError
from gahb_bench.families.calpha_contours.bracket import SWEEPS, planted_bracket
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.tables import store

RULE = 1  # of `planted_bracket`: raised when it changes what it computes
QUANTITIES = ("lower", "upper", "upper_run", "genie", "gap")

Progress = Callable[[float, int, float], object]


def unit_contrast(family: CalphaContours) -> CalphaContours:
    """The law at contrast 1, named in one way: MMSE(s; contrast) = contrast^2 MMSE(s / contrast; 1)."""
    same = family.background == "constant" or family.beta == family.alpha
    return CalphaContours(**{**family.parameters, "contrast": 1.0, "beta": None if same else family.beta})


def compute_curve(
    family: CalphaContours,
    levels: Sequence[float],
    images: int,
    path: Path,
    *,
    sweeps: int = SWEEPS,
    seed: int = 0,
    progress: Progress = lambda *_: None,
) -> None:
    """Bracket the MMSE at each level of sigma/contrast and add it to a table at once; levels that are there stay.

    Parameters
    ----------
    levels : sequence of float
        sigma/contrast.
    images, seed : how many images of split ``val``, and their seed
    path : Path
        A table, ``store.own("curves")`` for one's own.
    progress : callable (level, images done, share done of all that was to do)

    Raises
    ------
    UsageError
        For ``law=paper``, which has no bracket.
    StoreError
        If the table cannot be written.
    """
    if family.law != "gaussian":
        raise UsageError(f"{family.spec}: the law of the paper has no bracket; use law=gaussian.")
    law = unit_contrast(family)
    todo = store.missing_levels(path, law.spec, levels, rule=RULE)
    for position, level in enumerate(todo):

        def report(done: int, position: int = position, level: float = level) -> None:
            progress(level, done, (position + done / images) / len(todo))

        store.add(path, compute(law, level, images, sweeps=sweeps, seed=seed, progress=report))


def compute(
    family: CalphaContours,
    sigma: float,
    images: int,
    *,
    sweeps: int = SWEEPS,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """The bracket at one noise level: rows of the store."""
    bracket = planted_bracket(family, sigma, range(images), seed=seed, sweeps=sweeps, progress=progress)
    values: dict[str, float | tuple[float, float]] = {}
    for name in QUANTITIES:
        each = getattr(bracket, name)
        values[name] = float(each.mean()), float(each.std(ddof=1) / np.sqrt(images))
    values["acceptance"] = float(bracket.acceptance.mean())
    values["least_acceptance"] = float(bracket.acceptance.min())
    provenance = f"planted bracket, {sweeps} sweeps a chain"
    return store.make_rows(family.spec, sigma, values, images=images, seed=seed, rule=RULE, provenance=provenance)
