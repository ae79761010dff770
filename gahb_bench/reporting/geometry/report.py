"""The page of a folder of geometry, and its figures as files."""

import re
from functools import partial
from pathlib import Path

from markupsafe import Markup

from gahb_bench.reporting.figure.drawing import attempt
from gahb_bench.reporting.geometry.content import QUANTITIES, Family, families, shown_name
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.reporting.page.written import by_file, embedded, write_page
from gahb_bench.running.geometry.folder import Geometry, read

_FIGURE = re.compile(r"((spectra|overlap|adaptivity)|(eigenvectors|fields)-[0-9.e+-]+?)(-[0-9]+)?\.png")


def write_report(folder: Path) -> None:
    """Write ``report.html`` and a PNG a figure into a folder of geometry, from its files alone; remove older figures.

    A figure that cannot be drawn costs itself alone, with a `FigureWarning`: an older one is removed.

    Raises
    ------
    StoreError
        If the folder holds no geometry, or cannot be written.
    """
    made = read(folder)
    shown = families(made)
    pictures = {family.anchor: draw(family, made) for family in shown}
    write_page(folder, render(made, shown, pictures), by_file(list(pictures.values())), _FIGURE)


def draw(family: Family, made: Geometry) -> dict[str, bytes | None]:
    """The figures of one family, by name; None where there is nothing to draw, or drawing failed (`FigureWarning`)."""
    drawn = {
        name: attempt(f"{name}.png", partial(_draw, name, family)) for name in ("spectra", "overlap", "adaptivity")
    }
    for sigma in family.sigmas:
        for name in ("eigenvectors", "fields"):
            titled = f"{name}-{family.names[sigma]}"
            drawn[titled] = attempt(f"{titled}.png", partial(_draw, name, family, made, sigma))
    return drawn


def _draw(name: str, *what: object) -> bytes | None:
    from gahb_bench.reporting.geometry import figures  # where matplotlib cannot be imported, the rest is written

    return getattr(figures, name)(*what)


def render(made: Geometry, shown: list[Family], pictures: dict[str, dict[str, bytes | None]]) -> str:
    """The whole page as text."""
    encoded = {anchor: embedded(drawn) for anchor, drawn in pictures.items()}
    environment = jinja_environment()
    return environment.from_string(template("geometry.html")).render(
        families=shown,
        pictures=encoded,
        quantities=QUANTITIES,
        manifest=made.manifest,
        failures=made.failures,
        failed=[((shown_name(name), *more), cells) for (name, *more), cells in made.failed().items()][:8],
        style=Markup(template("page.css")),
    )
