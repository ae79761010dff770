"""The stored brackets of ``calpha-contours``: what they hold, and how one noise level is made."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from gahb_bench.families.calpha_contours.bracket import planted_bracket
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.particles import LEAST_NOISE
from gahb_bench.tables import store

RULE = 1  # of `planted_bracket`: raised when it changes what it computes
SWEEPS = {"constant": 135, "gaussian": 24}  # of each chain, by background
IMAGES = 64  # a noise level
QUANTITIES = ("lower", "upper", "upper_run", "genie", "gap")


def unit_contrast(family: CalphaContours) -> CalphaContours:
    """The law at contrast 1, named in one way: MMSE(s; contrast) = contrast^2 MMSE(s / contrast; 1)."""
    same = family.background == "constant" or family.beta == family.alpha
    return CalphaContours(**{**family.parameters, "contrast": 1.0, "beta": None if same else family.beta})


def compute(
    family: CalphaContours,
    sigma: float,
    images: int,
    *,
    seed: int = 0,
    progress: Callable[[int], object] = lambda _: None,
) -> pd.DataFrame:
    """The bracket at one noise level: rows of the store.

    Parameters
    ----------
    images, seed : how many images of split ``val``, and their seed
    progress : told the number of images done
    """
    sweeps = SWEEPS[family.background]
    bracket = planted_bracket(family, sigma, range(images), seed=seed, sweeps=sweeps, progress=progress)
    values: dict[str, float | tuple[float, float]] = {}
    for name in QUANTITIES:
        each = getattr(bracket, name)
        values[name] = float(each.mean()), float(each.std(ddof=1) / np.sqrt(images))
    values["acceptance"] = float(bracket.acceptance.mean())
    values["least_acceptance"] = float(bracket.acceptance.min())
    made_by = provenance(family, sigma)
    return store.make_rows(family.spec, sigma, values, images=images, seed=seed, rule=RULE, provenance=made_by)


def provenance(family: CalphaContours, sigma: float) -> str:
    """How `compute` makes the bracket at a noise level, in words: rows that say otherwise are of another method."""
    start = "tempered particles" if sigma >= LEAST_NOISE * family.contrast else "annealed chains"
    return f"planted bracket, {SWEEPS[family.background]} sweeps a chain, {start}"
