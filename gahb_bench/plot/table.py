"""What a figure asks of a table: that it is of one thing, and its law."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family


def law_of(spec: str, families: Iterable[Family] = ()) -> Family | None:
    """The law of a table; None where it is not known here, and so not how its oracles are drawn."""
    try:
        return next((law for law in families if law.spec == spec), None) or make.family(spec)
    except UsageError:
        return None


def the_one(table: pd.DataFrame, column: str) -> Any:
    """The one value of a column.

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    found = table[column].unique().tolist()
    if len(found) != 1:
        there = f"it holds those of {', '.join(map(str, found))}" if found else "there is no such row"
        raise UsageError(f"a figure is of one {column}, and {there}: choose one, table[table[{column!r}] == ...].")
    return found[0]
