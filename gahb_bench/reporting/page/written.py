"""A page and its figures, written into the folder that they are about."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from gahb_bench.core.files import explain_errors
from gahb_bench.running.own_folder import put


def write_page(folder: Path, page: str, figures: Mapping[str, bytes | None], ours: re.Pattern[str]) -> None:
    """Write ``report.html`` and figures, by the names of their files; None for those that could not be drawn.

    Files whose names match ``ours`` and that are not among the figures, or could not be drawn, are older ones, and are
    removed.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    put(folder / "report.html", page.encode())
    for name, content in figures.items():
        if content is not None:
            put(folder / name, content)
    for path in folder.iterdir():
        if ours.fullmatch(path.name) and figures.get(path.name) is None:
            with explain_errors(path):
                path.unlink()


def by_file(figures: Sequence[Mapping[str, bytes | None]]) -> dict[str, bytes | None]:
    """The figures of each family, by name, as files: numbered where there are several families."""
    return {
        f"{name}-{number}.png" if len(figures) > 1 else f"{name}.png": content
        for number, of_one in enumerate(figures)
        for name, content in of_one.items()
    }


def embedded(figures: Mapping[str, bytes | None]) -> dict[str, Markup]:
    """Figures as they stand in a page, base64; without those that could not be drawn."""
    return {name: Markup(base64.b64encode(content).decode()) for name, content in figures.items() if content}
