"""A run in a few lines of text, for the terminal."""

import numpy as np
import pandas as pd

from gahb_bench.reporting.study.words import REGRET_TO
from gahb_bench.scoring.curve import below_optimum

_LEVELS = 5


def summary(curves: pd.DataFrame) -> str:
    """One table a family: regret in dB at a few noise levels, or MSE where no optimum is known."""
    blocks = [_family(str(family), rows) for family, rows in curves.groupby("family", sort=False)]
    return "\n".join(blocks)


def _family(family: str, rows: pd.DataFrame) -> str:
    levels = np.sort(rows["sigma"].unique())
    chosen = levels[np.unique(np.linspace(0, len(levels) - 1, _LEVELS).round().astype(int))]
    kind = str(rows["reference_kind"].iloc[0])
    known = kind != "none"
    what = f"regret to {REGRET_TO[kind]}, dB" if known else "MSE per pixel (no optimum is known)"
    what += " (0 is the best possible)" if kind == "exact" else ""
    column = "regret_db" if known else "mse"
    lines = [f"\n{family}: {what}", f"{'denoiser':<36} {'knows':<12}" + "".join(f"{f'σ={s:.3g}':>10}" for s in chosen)]
    for name, curve in rows.groupby("denoiser", sort=False):
        at = curve.set_index("sigma").reindex(chosen)
        cells = "".join(f"{_cell(*row):>10}" for row in zip(at[column], at["status"], strict=True))
        lines.append(f"{name!s:<36} {curve['knows'].iloc[0]:<12}{cells}")
    for name in rows[below_optimum(rows)]["denoiser"].unique():
        lines.append(f"warning: {name} is below the optimum, which nothing that sees only y can be: has it seen x?")
    return "\n".join(lines) + "\n"


def _cell(value: float, status: object) -> str:
    """A number; why there is none, if there is none: the denoiser failed, or the optimum is zero or unknown there."""
    if np.isnan(value):
        return "failed" if status == "failed" else "–"
    return f"{value:.3g}"
