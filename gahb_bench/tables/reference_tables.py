"""Reference curves that take hours to simulate: kept as tables for unit contrast, and read between their levels.

A table is a CSV file under ``datasets/reference``, one row a law and noise level: ``family`` is the spec of the law
at contrast 1, ``level`` the noise level over the contrast. Tables of one's own are looked for in the folder that the
environment variable ``GAHB_BENCH_REFERENCE`` names, and come first.
"""

import csv
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator, UnivariateSpline

from gahb_bench.core.errors import UsageError
from gahb_bench.core.files import data_file
from gahb_bench.core.images import FloatArray

OWN_TABLES = "GAHB_BENCH_REFERENCE"
_ON_A_LEVEL = 1e-9  # relative distance below which a noise level is a stored one

Row = dict[str, float | str]


def read_rows(path: Path) -> list[Row]:
    """The rows of a table; everything but the ``family`` is a number."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v if k == "family" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def add_row(path: Path, row: Row) -> None:
    """Add a row and keep the table sorted; written to a temporary name and renamed, so that it is never torn."""
    rows = [*(read_rows(path) if path.exists() else []), row]
    rows.sort(key=lambda each: (each["family"], each["level"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8", newline=""
    ) as file:
        writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
        writer.writeheader()
        for each in rows:
            writer.writerow({k: v if isinstance(v, str) else f"{v:.12g}" for k, v in each.items()})
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def find_rows(table: str, family: str) -> list[Row]:
    """The stored rows of one law, by increasing level: one's own table if it has any, else the packaged one."""
    places = [Path(os.environ[OWN_TABLES]) / table] if os.environ.get(OWN_TABLES) else []
    with suppress(UsageError):
        places.append(data_file("reference", table))
    for path in places:
        rows = [row for row in read_rows(path) if row["family"] == family] if path.exists() else []
        if rows:
            return sorted(rows, key=lambda row: row["level"])
    return []


def between_levels(
    levels: FloatArray, values: FloatArray, errors: FloatArray, at: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """A stored curve at other noise levels: values, standard errors, and local exponents; NaN outside the table.

    Cubic spline of log value against log level. Between levels the error adds, in quadrature, the distance of that
    spline from the monotone cubic one, which tells how much the choice of interpolation matters. Exponents are those
    of a smoothing spline that misses the values by half a standard error, since neighbouring levels may be close.
    """
    x, y = np.log(levels), np.log(values)
    spline, monotone = CubicSpline(x, y, extrapolate=False), PchipInterpolator(x, y, extrapolate=False)
    inside = (at >= levels[0] * (1 - _ON_A_LEVEL)) & (at <= levels[-1] * (1 + _ON_A_LEVEL))
    u = np.where(inside, np.log(np.clip(at, levels[0], levels[-1])), np.nan)
    value = np.exp(spline(u))
    relative = np.where(inside, np.interp(u, x, errors / values), np.nan)
    choice = np.expm1(np.abs(spline(u) - monotone(u)))
    smooth = UnivariateSpline(x, y, w=values / errors, k=3, s=len(x) / 4)
    exponent = np.where(inside, smooth(np.where(inside, u, x[0]), 1), np.nan)
    return value, value * np.hypot(relative, choice), exponent
