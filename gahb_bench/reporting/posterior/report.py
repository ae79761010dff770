"""The page of a folder of posteriors, and its figures as files."""

import base64
from functools import partial
from pathlib import Path

from markupsafe import Markup

from gahb_bench.core.files import explain_errors
from gahb_bench.reporting.figure.drawing import attempt
from gahb_bench.reporting.geometry.content import shown_name
from gahb_bench.reporting.page.html import jinja_environment, template
from gahb_bench.reporting.posterior.content import HEADINGS, Content
from gahb_bench.running.own_folder import put
from gahb_bench.running.posterior_folder import read

_FIGURES = ("calibration", "images")


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
    put(folder / "report.html", render(content, drawn).encode())
    for name, picture in drawn.items():
        if picture is not None:
            put(folder / f"{name}.png", picture)
        else:
            with explain_errors(folder):
                (folder / f"{name}.png").unlink(missing_ok=True)


def _draw(name: str, content: Content) -> bytes | None:
    from gahb_bench.reporting.posterior import figures  # where matplotlib cannot be imported, the rest is written

    return getattr(figures, name)(content) if content.rows else None


def render(content: Content, drawn: dict[str, bytes | None]) -> str:
    """The whole page as text."""
    encoded = {name: Markup(base64.b64encode(picture).decode()) for name, picture in drawn.items() if picture}
    return (
        jinja_environment()
        .from_string(template("posterior.html"))
        .render(
            content=content,
            headings=list(HEADINGS.values()),
            drawn=encoded,
            manifest=content.made.manifest,
            failures=content.made.failures,
            name=shown_name,
            style=Markup(template("page.css")),
        )
    )
