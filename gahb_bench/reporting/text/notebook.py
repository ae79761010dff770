"""A run in a few lines of HTML, for a notebook: its tables, what went wrong, and where its page is."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup, escape

from gahb_bench.reporting.study.words import sentence
from gahb_bench.reporting.text.summary import Table

_MOST = 5  # troubles that are shown


def render(tables: Sequence[Table], troubles: Sequence[str], page: Path) -> str:
    """The tables of `gahb_bench.reporting.text.summary.tables`, in the colours of whatever page they are shown on."""
    parts = [_table(table) for table in tables]
    warned = [*troubles, *(f"warning: {text}" for table in tables for text in table.warnings)]
    parts += [Markup("<p>{}</p>").format(sentence(text)) for text in warned[:_MOST]]
    if len(warned) > _MOST:
        parts.append(Markup("<p>and {} more, in .troubles</p>").format(len(warned) - _MOST))
    parts.append(Markup('<p>Page: <a href="{}">{}</a></p>').format(_link(page), page))
    return str(Markup("\n").join(parts))


def _table(table: Table) -> Markup:
    rows = [_row("td", cells, table.words) for cells in table.rows]
    head = _row("th", table.header, table.words)
    caption = Markup('<p style="margin:.8em 0 .2em"><b>{}</b>: {}</p>').format(table.family, table.what)
    return caption + Markup("<table>\n{}\n</table>").format(Markup("\n").join([head, *rows]))


def _row(tag: str, cells: Sequence[str], words: int) -> Markup:
    aligned = [
        Markup('<{0} style="text-align:{1}">{2}</{0}>').format(tag, "left" if place < words else "right", escape(cell))
        for place, cell in enumerate(cells)
    ]
    return Markup("<tr>{}</tr>").format(Markup("").join(aligned))


def _link(page: Path) -> str:
    """From the working folder, as a notebook's server shows it; a page that lies elsewhere is a file."""
    here = Path.cwd()
    return quote(page.relative_to(here).as_posix()) if page.is_relative_to(here) else page.as_uri()
