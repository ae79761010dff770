"""The page of a folder of samples, and its figures as files."""

import re
from functools import partial
from pathlib import Path

from markupsafe import Markup

from gahb_bench.reporting.figure.drawing import attempt
from gahb_bench.reporting.geometry.content import shown_name
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.reporting.page.written import by_file, embedded, write_page
from gahb_bench.reporting.sampling.content import Family, families
from gahb_bench.running.sampling.folder import Sampling, read

_FIGURE = re.compile(r"(errors|exact|mosaic|trajectories)(-[0-9]+)*\.png")
_SHOWN = 8  # cells that failed


def write_report(folder: Path) -> None:
    """Write ``report.html`` and a PNG a figure into a folder of samples, from its files alone; remove older figures.

    A figure that cannot be drawn costs itself alone, with a `FigureWarning`: an older one is removed.

    Raises
    ------
    StoreError
        If the folder holds no samples, or cannot be written.
    """
    made = read(folder)
    shown = families(made)
    pictures = {family.anchor: draw(family, made) for family in shown}
    write_page(folder, render(made, shown, pictures), by_file(list(pictures.values())), _FIGURE)


def draw(family: Family, made: Sampling) -> dict[str, bytes | None]:
    """The figures of one family, by name; None where there is nothing to draw, or drawing failed (`FigureWarning`)."""
    wanted = {f"errors-{number}": ("errors", family, name) for number, name in enumerate(family.denoisers)}
    wanted |= {"exact": ("exact", family), "mosaic": ("mosaic", family, made)}
    wanted |= {"trajectories": ("trajectories", family, made)}
    return {name: attempt(f"{name}.png", partial(_draw, *what)) for name, what in wanted.items()}


def _draw(name: str, *what: object) -> bytes | None:
    from gahb_bench.reporting.sampling import figures  # where matplotlib cannot be imported, the rest is written

    return getattr(figures, name)(*what)


def render(made: Sampling, shown: list[Family], pictures: dict[str, dict[str, bytes | None]]) -> str:
    """The whole page as text."""
    encoded = {anchor: embedded(drawn) for anchor, drawn in pictures.items()}
    return (
        jinja_environment()
        .from_string(template("sampling.html"))
        .render(
            families=shown,
            pictures=encoded,
            manifest=made.manifest,
            failures=made.failures,
            failed=made.failures[:_SHOWN],
            unfinished=made.unfinished,
            skipped=list({(cell.family, cell.sampler, cell.evaluations): cell for cell in made.skipped}.values()),
            name=shown_name,
            style=Markup(template("page.css")),
        )
    )
