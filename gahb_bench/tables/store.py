"""The store of numbers that took hours: one schema, one writer, the user's own rows before the shipped ones.

A table is a parquet file of long-format rows: one number, of one law (and denoiser), at one noise level. Four tables
stand in ``datasets/tables`` beside the scripts that make them, and in the folder ``tables`` of the user's home
(`gahb_bench.core.files.home`):

    curves   references at noise levels dense enough to interpolate between
    levels   references that serve at their own noise levels only
    tuned    the best value of a denoiser's parameter
    weights  the best weight of a method of inverse problems
"""

import io
import warnings
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from gahb_bench.core.errors import GahbError, StoreError, StoreWarning, UsageError, reason_of
from gahb_bench.core.files import SET_HOME, data_file, data_folder, explain_errors, home, lock, write_atomically

Table = Literal["curves", "levels", "tuned", "weights"]
Subjects = dict[tuple[str, str], pd.DataFrame]

# family      spec of the law; at contrast 1, where that says all of it (then sigma is in units of the contrast)
# denoiser    spec of the denoiser without its tuned parameter; empty for a reference; in weights, method and operator
# sigma       noise level; in weights, of the measurement
# quantity    what the value is: mse, lower, upper, exponent, the name of a parameter, ...
# value       the number
# error       its standard error; NaN where it has none
# images      how many images of split val it was measured on
# seed        and their seed
# rule        version of the rule that made it: readers pass over other versions
# provenance  method and packages, in words
SCHEMA = {
    "family": "str",
    "denoiser": "str",
    "sigma": "float64",
    "quantity": "str",
    "value": "float64",
    "error": "float64",
    "images": "int64",
    "seed": "int64",
    "rule": "int64",
    "provenance": "str",
}
NUMBER = ("family", "denoiser", "sigma", "quantity")  # what names one number
SUBJECT = ("family", "denoiser")

ON_A_LEVEL = 1e-9  # relative distance below which a noise level is a stored one
_WAIT = 60.0  # seconds for another process that is writing: a row takes it milliseconds


def make_rows(
    family: str,
    sigma: float,
    values: Mapping[str, float | tuple[float, float]],
    *,
    images: int,
    seed: int,
    rule: int,
    provenance: str = "",
    denoiser: str = "",
) -> pd.DataFrame:
    """Rows of one noise level, from values by quantity: a number, or a number and its standard error."""
    numbers = [value if isinstance(value, tuple) else (value, np.nan) for value in values.values()]
    rows = pd.DataFrame(numbers, columns=["value", "error"])
    rows = rows.assign(family=family, denoiser=denoiser, sigma=sigma, quantity=list(values))
    rows = rows.assign(images=images, seed=seed, rule=rule, provenance=provenance)
    return rows[list(SCHEMA)].astype(SCHEMA)


def find(table: Table, family: str, denoiser: str = "", *, rule: int) -> list[pd.DataFrame]:
    """The rows of one law (and denoiser) in each place that has any: the user's own first, then the shipped.

    A file of the user's that is no table is passed over, with a warning, once a process.
    """
    each = [rows.get((family, denoiser)) for rows in (_read_own(table), read(data_file("tables", f"{table}.parquet")))]
    current = [rows[rows["rule"] == rule] for rows in each if rows is not None]
    return [rows for rows in current if len(rows)]


def by_level(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a noise level, ascending: a column a quantity, ``NAME_se`` its standard error, and ``images``."""
    wide = rows.pivot(index="sigma", columns="quantity", values=["value", "error"])
    values, errors = wide["value"], wide["error"].add_suffix("_se")
    images = rows.groupby("sigma")["images"].first()
    return pd.concat([values, errors, images], axis="columns").sort_index()


def missing_levels(
    path: Path, family: str, levels: Sequence[float], *, rule: int, provenance: str | None = None
) -> list[float]:
    """Those of some noise levels that a file lacks for a law: what is left to compute.

    With ``provenance``, rows of another one do not count.
    """
    rows = read(path).get((family, ""))
    if rows is None:
        return list(levels)
    current = rows[(rows["rule"] == rule) & (provenance is None or rows["provenance"] == provenance)]
    stored = current["sigma"].to_numpy()
    return [level for level in levels if not np.isclose(level, stored, rtol=ON_A_LEVEL, atol=0).any()]


def own(table: Table) -> Path:
    """The file of the user's own rows, which need not exist.

    Raises
    ------
    StoreError
        If this user has no home.
    """
    return home() / "tables" / f"{table}.parquet"


def shipped(table: Table) -> Path:
    """The file of the package's rows, for the scripts that make them."""
    return data_folder() / "tables" / f"{table}.parquet"


def _read_own(table: Table) -> Subjects:
    """The user's own rows; none, and a warning, where they cannot be read."""
    try:
        return read(own(table))
    except StoreError:  # no home
        return {}
    except UsageError as error:
        _warn(f"the tables in your home are not used, only those of the package: {error}")
        return {}


def read(path: Path) -> Subjects:
    """The rows of a file by (family, denoiser); none where there is no file that can be read.

    Parsed once a process, and again when the file has changed.

    Raises
    ------
    UsageError
        If the file is there but is no table.
    """
    try:
        state = path.stat()
    except OSError:
        return {}
    return _parse(path, (state.st_mtime_ns, state.st_size, state.st_ino))


def add(path: Path, rows: pd.DataFrame, replace: Sequence[str] = NUMBER) -> None:
    """Add rows to a file, in the place of those that agree with one of them in the columns ``replace``.

    Several processes may add at once: none loses rows, and the file is never torn.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    UsageError
        If the file is there but is no table.
    """
    with lock(path.parent, wait=_WAIT, advice=SET_HOME), explain_errors(path.parent, SET_HOME):
        known = list(read(path).values())
        new = _names(rows, replace)
        others = [each[~_names(each, replace).isin(new)] for each in known]
        table = pd.concat([*(each for each in others if len(each)), rows])
        table = table.sort_values(list(NUMBER), kind="stable", ignore_index=True)
        write_atomically(path, lambda file: table.to_parquet(file, index=False))


def _names(rows: pd.DataFrame, columns: Sequence[str]) -> pd.MultiIndex:
    """What names each row; noise levels that differ by rounding are the same."""
    named = rows[list(columns)]
    if "sigma" in columns:
        named = named.assign(sigma=[f"{sigma:.9g}" for sigma in rows["sigma"]])
    return pd.MultiIndex.from_frame(named)


def keep(table: Table, rows: pd.DataFrame, replace: Sequence[str] = NUMBER) -> Path | None:
    """Add rows to the user's own table and return its file; where that cannot be, warn once, and return None."""
    try:
        path = own(table)
        add(path, rows, replace)
    except GahbError as error:
        _warn(f"what was computed is used, but not kept for the next time: {error}")
        return None
    return path


@lru_cache(16)
def _parse(path: Path, state: tuple[int, int, int]) -> Subjects:
    del state  # part of the key: a file that was written again is read again
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    try:
        rows = pd.read_parquet(io.BytesIO(content))[list(SCHEMA)].astype(SCHEMA)
    except Exception as error:  # a damaged file can make its readers raise anything
        reason = reason_of(error)
        raise UsageError(f"{path} is no table of gahb_bench ({reason}): remove it, and compute again.") from None
    return {(str(key[0]), str(key[1])): group for key, group in rows.groupby(list(SUBJECT), sort=True)}  # type: ignore[index]


@cache
def _warn(message: str) -> None:
    """A warning, once a process."""
    warnings.warn(message, StoreWarning, stacklevel=2)
