"""The page of a folder of posteriors, and its figures as files."""

import re
from functools import partial
from pathlib import Path

from markupsafe import Markup

from gahb_bench.reporting.figure.drawing import attempt
from gahb_bench.reporting.geometry.content import shown_name
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.reporting.page.written import embedded, write_page
from gahb_bench.reporting.posterior.content import HEADINGS, Content
from gahb_bench.running.posterior.folder import read

_FIGURES = ("calibration", "images")
_FIGURE = re.compile(rf"({'|'.join(_FIGURES)})\.png")


def write_report(folder: Path) -> None:
    """Write ``report.html`` and a PNG a figure into a folder of posteriors, from its files alone.

    A figure that cannot be drawn costs itself alone, with a `FigureWarning`: an older one is removed.

    Raises
    ------
    StoreError
        If the folder holds no posteriors, or cannot be written.
    """
    content = Content(read(folder))
    drawn = {name: attempt(f"{name}.png", partial(_draw, name, content)) for name in _FIGURES}
    write_page(folder, render(content, drawn), {f"{name}.png": figure for name, figure in drawn.items()}, _FIGURE)


def _draw(name: str, content: Content) -> bytes | None:
    from gahb_bench.reporting.posterior import figures  # where matplotlib cannot be imported, the rest is written

    return getattr(figures, name)(content) if content.rows else None


def render(content: Content, drawn: dict[str, bytes | None]) -> str:
    """The whole page as text."""
    return (
        jinja_environment()
        .from_string(template("posterior.html"))
        .render(
            content=content,
            headings=list(HEADINGS.values()),
            drawn=embedded(drawn),
            manifest=content.made.manifest,
            failures=content.made.failures,
            name=shown_name,
            style=Markup(template("page.css")),
        )
    )
