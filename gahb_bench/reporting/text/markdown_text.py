"""Markdown that holds any text harmlessly."""

import re
from collections.abc import Iterable, Sequence

from gahb_bench.reporting.study import words
from gahb_bench.scoring.summary import Worst


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


def with_interval(value: str, interval: str) -> str:
    """A number, and its interval where that says more than the number.

    >>> with_interval("0.00", "[0.00, 0.00]"), with_interval("0.10", "[0.05, 0.15]")
    ('0.00', '0.10 [0.05, 0.15]')
    """
    return value if interval in ("", f"[{value}, {value}]") else f"{value} {interval}"


def worst_regret(worst: Worst) -> str:
    """The largest regret in dB, with its interval, and where it is."""
    if worst.value == 0:
        return words.decibel(0.0)
    text = with_interval(words.decibel(worst.value), words.interval(worst.low, worst.high))
    return f"{text} at σ = {words.number(worst.sigma)}"
