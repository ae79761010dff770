"""A run in a few tables, and those in a few lines of text, for the terminal."""

import textwrap
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gahb_bench.reporting.study import sentences
from gahb_bench.reporting.study.words import REGRET_TO, named
from gahb_bench.scoring.curve import below_optimum

_LEVELS = 3
_WIDTH = 110
_LEFT, _RIGHT = (36, 13, 17), (8, 10)  # widths of columns: of text, and of the mean and the bits; of others, the last


@dataclass(frozen=True)
class Table:
    """One family: what is lost over all noise levels and at a few, or the MSE where no optimum is known.

    ``words`` says how many of the columns are text, which stands to the left. A row has a cell for each column, and may
    have a remark behind them. ``warnings`` are sentences.
    """

    family: str
    what: str
    header: list[str]
    words: int
    rows: list[list[str]]
    warnings: list[str]


def tables(curves: pd.DataFrame, summed: pd.DataFrame, untuned: Collection[tuple[str, str]] = ()) -> list[Table]:
    """One table a family.

    Parameters
    ----------
    curves, summed : the columns of curves.csv and summary.csv
    untuned : the families and denoisers whose parameter follows a rule
    """
    return [
        _table(str(family), rows, summed[summed["family"] == family], untuned)
        for family, rows in curves.groupby("family", sort=False)
    ]


def summary(curves: pd.DataFrame, summed: pd.DataFrame, untuned: Collection[tuple[str, str]] = ()) -> str:
    """The tables as text, and what their words mean; the parameters are those of `tables`."""
    blocks = [_as_text(table) for table in tables(curves, summed, untuned)]
    found = set(curves["regret_kind"])
    kinds = [f"{name}: {text}" for kind, (name, text) in sentences.REGRET_KIND.items() if kind in found]
    bits = [f"bits: {sentences.BITS}"] if summed["excess_bits"].notna().any() else []
    return "\n".join([*blocks, *(textwrap.fill(text, _WIDTH, subsequent_indent="  ") for text in (*kinds, *bits))])


def _table(family: str, rows: pd.DataFrame, summed: pd.DataFrame, untuned: Collection[tuple[str, str]]) -> Table:
    levels = np.sort(rows["sigma"].unique())
    chosen = levels[np.unique(np.linspace(0, len(levels) - 1, _LEVELS).round().astype(int))]
    kind = str(rows["reference_kind"].iloc[0])
    known = kind != "none"
    what = f"regret to {REGRET_TO[kind]}, dB" if known else "MSE per pixel (no optimum is known)"
    what += " (0 is the best possible)" if kind == "exact" else ""
    column = "regret_db" if known else "mse"
    over_all = ["regret", "mean", "bits"] if known else []
    lines = []
    for name, curve in rows.groupby("denoiser", sort=False):
        at = curve.set_index("sigma").reindex(chosen)
        cells = [_cell(*row) for row in zip(at[column], at["status"], strict=True)]
        over = summed[summed["denoiser"] == name].iloc[0]
        whole, failed = _over_all(curve, over) if known else [], int((curve["status"] == "failed").sum())
        count = int(over["levels"])
        partly = [f"mean over {count} of {count + failed} levels"] if known and count and failed else []
        shown = named(str(name), (family, str(name)) in untuned)
        lines.append([shown, str(curve["knows"].iloc[0]), *whole, *cells, *partly])
    warnings = [
        f"{name} is below the optimum, which nothing that sees only y can be: has it seen x?"
        for name in rows[below_optimum(rows)]["denoiser"].unique()
    ]
    header = ["denoiser", "knows", *over_all, *(f"σ={sigma:.3g}" for sigma in chosen)]
    return Table(family, what, header, 3 if known else 2, lines, warnings)


def _as_text(table: Table) -> str:
    numbers = _RIGHT if table.words == len(_LEFT) else ()
    others = len(table.header) - table.words - len(numbers)
    widths = [*_LEFT[: table.words], *numbers, *[_RIGHT[-1]] * others]

    def line(cells: list[str]) -> str:
        columns = list(zip(cells, widths, strict=False))
        first, *left = [f"{cell:<{width}}" for cell, width in columns[: table.words]]
        right = [f"{cell:>{width}}" for cell, width in columns[table.words :]]
        remark = [f"   {text}" for text in cells[len(widths) :]]
        return f"{first} {''.join([*left, *right, *remark])}"

    lines = [f"\n{table.family}: {table.what}", *map(line, [table.header, *table.rows])]
    return "\n".join([*lines, *(f"warning: {text}" for text in table.warnings)]) + "\n"


def _over_all(curve: pd.DataFrame, summed: pd.Series) -> list[str]:
    """What kind of regret, its mean, and the bits."""
    kinds = tuple(kind for kind in dict.fromkeys(curve["regret_kind"]) if kind)
    mean, bits = (_cell(summed[name], "ok") for name in ("mean_regret_db", "excess_bits"))
    return [sentences.kinds(kinds), mean, bits]


def _cell(value: float, status: object) -> str:
    """A number; why there is none, if there is none: the denoiser failed, or the optimum is zero or unknown there."""
    if np.isnan(value):
        return "failed" if status == "failed" else "–"
    return f"{value:.3g}"
