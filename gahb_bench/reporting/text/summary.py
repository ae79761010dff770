"""A run in a few lines of text, for the terminal."""

import textwrap
from collections.abc import Collection

import numpy as np
import pandas as pd

from gahb_bench.reporting.study import sentences
from gahb_bench.reporting.study.words import REGRET_TO, named
from gahb_bench.scoring.curve import below_optimum

_LEVELS = 3
_WIDTH = 110


def summary(curves: pd.DataFrame, summed: pd.DataFrame, untuned: Collection[tuple[str, str]] = ()) -> str:
    """One table a family: what is lost over all noise levels and at a few, or MSE where no optimum is known.

    Parameters
    ----------
    curves, summed : the columns of curves.csv and summary.csv
    untuned : the families and denoisers whose parameter follows a rule
    """
    blocks = [
        _family(str(family), rows, summed[summed["family"] == family], untuned)
        for family, rows in curves.groupby("family", sort=False)
    ]
    found = set(curves["regret_kind"])
    kinds = [f"{name}: {text}" for kind, (name, text) in sentences.REGRET_KIND.items() if kind in found]
    bits = [f"bits: {sentences.BITS}"] if summed["excess_bits"].notna().any() else []
    return "\n".join([*blocks, *(textwrap.fill(text, _WIDTH, subsequent_indent="  ") for text in (*kinds, *bits))])


def _family(family: str, rows: pd.DataFrame, summed: pd.DataFrame, untuned: Collection[tuple[str, str]]) -> str:
    levels = np.sort(rows["sigma"].unique())
    chosen = levels[np.unique(np.linspace(0, len(levels) - 1, _LEVELS).round().astype(int))]
    kind = str(rows["reference_kind"].iloc[0])
    known = kind != "none"
    what = f"regret to {REGRET_TO[kind]}, dB" if known else "MSE per pixel (no optimum is known)"
    what += " (0 is the best possible)" if kind == "exact" else ""
    column = "regret_db" if known else "mse"
    over_all = f"{'regret':<17}{'mean':>8}{'bits':>10}" if known else ""
    header = f"{'denoiser':<36} {'knows':<13}{over_all}" + "".join(f"{f'σ={s:.3g}':>10}" for s in chosen)
    lines = [f"\n{family}: {what}", header]
    for name, curve in rows.groupby("denoiser", sort=False):
        at = curve.set_index("sigma").reindex(chosen)
        cells = "".join(f"{_cell(*row):>10}" for row in zip(at[column], at["status"], strict=True))
        shown = named(str(name), (family, str(name)) in untuned)
        over = summed[summed["denoiser"] == name].iloc[0]
        whole, failed = _over_all(curve, over) if known else "", int((curve["status"] == "failed").sum())
        count = int(over["levels"])
        partly = f"   mean over {count} of {count + failed} levels" if known and count and failed else ""
        lines.append(f"{shown:<36} {curve['knows'].iloc[0]:<13}{whole}{cells}{partly}")
    for name in rows[below_optimum(rows)]["denoiser"].unique():
        lines.append(f"warning: {name} is below the optimum, which nothing that sees only y can be: has it seen x?")
    return "\n".join(lines) + "\n"


def _over_all(curve: pd.DataFrame, summed: pd.Series) -> str:
    """What kind of regret, its mean, and the bits."""
    kinds = tuple(kind for kind in dict.fromkeys(curve["regret_kind"]) if kind)
    mean, bits = (_cell(summed[name], "ok") for name in ("mean_regret_db", "excess_bits"))
    return f"{sentences.kinds(kinds):<17}{mean:>8}{bits:>10}"


def _cell(value: float, status: object) -> str:
    """A number; why there is none, if there is none: the denoiser failed, or the optimum is zero or unknown there."""
    if np.isnan(value):
        return "failed" if status == "failed" else "–"
    return f"{value:.3g}"
