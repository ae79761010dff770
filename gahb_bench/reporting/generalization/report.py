"""The page of a study of generalisation, and its figures as files."""

import re
from functools import partial
from pathlib import Path

from markupsafe import Markup

from gahb_bench.reporting.figure.drawing import attempt
from gahb_bench.reporting.generalization.content import KINDS, OF_ALL, QUANTITIES, Content, content_of
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.reporting.page.written import embedded, write_page
from gahb_bench.running.generalization.folder import read

FIGURES = ("transition", "regret", "samples", "theories")
_FIGURE = re.compile(rf"({'|'.join(FIGURES)}|mosaic-[0-9]+)\.png")


def write_report(folder: Path) -> Content:
    """Write ``report.html`` and a PNG a figure into the folder of a study, from its files alone; remove older figures.

    A figure that cannot be drawn costs itself alone, with a `FigureWarning`: an older one is removed.

    Raises
    ------
    StoreError
        If the folder holds no study of which anything is finished, or cannot be written.
    """
    content = content_of(read(folder))
    drawn = draw(content)
    files = {f"{name}.png": figure for name, figure in drawn.items()}
    write_page(folder, render(content, drawn), files, _FIGURE)
    return content


def draw(content: Content) -> dict[str, bytes | None]:
    """The figures by name; None where there is nothing to draw, or drawing failed (`FigureWarning`)."""
    drawn = {name: attempt(f"{name}.png", partial(_draw, name, content)) for name in FIGURES}
    for n in content.sizes:
        drawn[f"mosaic-{n}"] = attempt(f"mosaic-{n}.png", partial(_draw, "mosaic", content, n))
    return drawn


def _draw(name: str, *what: object) -> bytes | None:
    from gahb_bench.reporting.generalization import figures  # where matplotlib cannot be imported, the rest is written

    return getattr(figures, name)(*what)


def render(content: Content, drawn: dict[str, bytes | None]) -> str:
    """The whole page as text."""
    return (
        jinja_environment()
        .from_string(template("generalization.html"))
        .render(
            content=content,
            pictures=embedded(drawn),
            quantities=QUANTITIES,
            of_all=OF_ALL,
            kinds=KINDS,
            style=Markup(template("page.css")),
        )
    )
