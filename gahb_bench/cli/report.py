"""``report``: one page of one run or of several, and figures for papers."""

from pathlib import Path
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import FamilyOption
from gahb_bench.core.errors import UsageError


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN...")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report; default the run's own, if it is one.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw the curves for a paper: FILE.pdf, FILE.svg or FILE.png.")
    ] = None,
    width: Annotated[str, typer.Option("--width", help="Of the figure: single (3.5 in) or double (7 in).")] = "double",
    family: FamilyOption = None,
    denoisers: Annotated[
        list[str] | None, typer.Option("--denoisers", help="Show these alone, comma-separated; default all.")
    ] = None,
) -> None:
    """Make the page of a run again, or one page of several runs; with --figure, a figure (a page too if --out)."""
    from gahb_bench.reporting.report import merged, write, write_figure
    from gahb_bench.running.plan import split_specs

    page = _folder(runs, out) if out is not None or figure is None else None
    content = merged(runs, split_specs(family) or (), split_specs(denoisers) or ())
    if figure is not None:
        write_figure(content, figure, width)
        typer.echo(f"drawn: {figure}")
    if page is not None:
        write(content, page)
        typer.echo(f"open {page / 'report.html'}   (also report.md, curves.png)")


def _folder(runs: list[Path], out: Path | None) -> Path:
    """Where the page goes: never in place of the page of a run among others."""
    if out is None and len(runs) > 1:
        raise UsageError("several runs make a page of its own: give --out a folder for it.")
    folder = out or runs[0]
    if (folder / "run.json").exists() and [run.resolve() for run in runs] != [folder.resolve()]:
        raise UsageError(f"{folder} holds a run, whose own page this would replace: give --out another folder.")
    return folder
