"""Files that travel with the package: cards and reference tables."""

from pathlib import Path

from gahb_bench.errors import StoreError

_PACKAGE = Path(__file__).parent


def data_file(*parts: str) -> Path:
    """A file under ``datasets/``: inside the installed package, or at the top of a checkout.

    Raises
    ------
    StoreError
        If it is in neither.
    """
    places = [_PACKAGE / "datasets", _PACKAGE.parent / "datasets"]
    for place in places:
        if (found := place.joinpath(*parts)).exists():
            return found
    raise StoreError(f"the file {'/'.join(parts)!r} is missing: looked in {' and '.join(map(str, places))}.")
