"""Where data that travels with the package is found, and where what was computed on demand is kept."""

import os
from pathlib import Path

from gahb_bench.errors import UsageError


def data_file(*parts: str) -> Path:
    """A file of the top-level folder ``datasets/``: inside the installed package or, in a checkout, beside it.

    >>> data_file("reference", "disks.csv").name
    'disks.csv'

    Raises
    ------
    UsageError
        If there is no such file.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "datasets", package.parent / "datasets"):
        if (found := folder.joinpath(*parts)).is_file():
            return found
    raise UsageError(f"there is no data file {'/'.join(parts)!r} in this installation of gahb_bench: reinstall it.")


def cache_file(*parts: str) -> Path:
    """Where something computed on demand is kept: under ``$GAHB_BENCH_CACHE`` or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("GAHB_BENCH_CACHE") or Path(home) / "gahb_bench").joinpath(*parts)
