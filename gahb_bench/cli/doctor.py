"""``doctor``: versions, threads, bfloat16, GPU, home and plugins, and what is wrong with them."""

import textwrap
from typing import Annotated

import typer

from gahb_bench.cli.app import app

_WIDTH, _TOPIC = 110, 11  # of a line, and of what it is about


@app.command()
def doctor(
    torch: Annotated[
        bool, typer.Option("--torch", help="Import torch too (seconds), and ask it for its threads and GPU.")
    ] = False,
) -> None:
    """Say what is installed, what this machine has, what is stored in your home, and what is wrong; exit 1 if anything.

    Torch is imported only if asked, or where there may be a GPU.
    """
    from gahb_bench.doctor import examine

    problems = []
    for finding in examine(torch):
        topics = [finding.topic, *[""] * len(finding.lines)]
        for topic, line in zip(topics, finding.lines, strict=False):
            typer.echo(_lines(topic, line))
        problems += [f"{finding.topic}: {problem}" for problem in finding.problems]
    for problem in problems:
        typer.echo(f"problem: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo("\nno problem found")


def _lines(topic: str, text: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"{topic:<{_TOPIC}}",
        subsequent_indent=" " * _TOPIC,
        break_long_words=False,
        break_on_hyphens=False,
    )
