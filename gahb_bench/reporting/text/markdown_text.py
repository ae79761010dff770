"""Markdown that holds any text harmlessly."""

import re
from collections.abc import Iterable, Sequence

from gahb_bench.reporting.study import words


def code(text: str) -> str:
    r"""Any text as an inline code span, in which nothing is markup, safe inside a table.

    >>> print(code("a|b"))
    `a\|b`
    """
    shown = words.visible(text) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    padding = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{padding}{shown}{padding}{fence}".replace("|", "\\|")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its first column to the left and the others to the right."""
    rule = ["---", *("---:" if index else "---" for index in range(len(header) - 1))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])
