"""Where the package's data files are: dataset cards, reference tables, tuned parameters."""

from pathlib import Path

from gahb_bench.errors import UsageError

_PACKAGE = Path(__file__).parent


def data_folder() -> Path:
    """The folder ``datasets``: inside an installed package, or at the top of a checkout."""
    installed = _PACKAGE / "datasets"
    return installed if installed.is_dir() else _PACKAGE.parent / "datasets"


def data_file(*parts: str) -> Path:
    """A file under ``datasets``, by the parts of its path.

    Raises
    ------
    UsageError
        If there is no such file; the message lists what is there.
    """
    path = data_folder().joinpath(*parts)
    if not path.is_file():
        there = sorted(p.name for p in path.parent.glob(f"*{path.suffix}")) if path.parent.is_dir() else []
        raise UsageError(f"there is no data file {'/'.join(parts)!r}; there are: {', '.join(there) or 'none'}.")
    return path
