"""``compare``: is a run worse than a baseline? A report, and a gate for continuous integration."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.core.errors import unknown

if TYPE_CHECKING:
    from gahb_bench.reporting.comparison.content import Comparison

FORMATS = ("text", "md", "html", "json", "junit")


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Run folders: the baseline, then one or more candidates.")],
    margin: Annotated[float, typer.Option("--margin", help="Differences up to this many dB do not matter.")] = 0.1,
    margins: Annotated[
        Path | None, typer.Option("--margins", help='TOML file of margins by family: [families] and "calpha*" = 0.05.')
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Glob of a FAMILY, a DENOISER, or FAMILY/DENOISER; may be repeated."),
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="old=new: compare old of the baseline with new of the candidates, denoisers or architectures (on each "
            "law, its network trained there); may be repeated.",
        ),
    ] = None,
    fail_on: Annotated[
        str, typer.Option("--fail-on", help="Verdicts to exit 1 on: worse,missing,inconclusive,better,added.")
    ] = "worse",
    form: Annotated[str, typer.Option("--format", help="text, md, html, json or junit.")] = "text",
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default: standard output.")] = None,
) -> None:
    """Compare runs with a baseline, image by image where they share images; exit 1 if anything is worse."""
    from gahb_bench.core.files import refuse_replacing, write_output
    from gahb_bench.reporting.comparison.content import MARKS, compare_folders
    from gahb_bench.reporting.comparison.options import read_margins
    from gahb_bench.reporting.comparison.text import conclusion
    from gahb_bench.running.folder import refuse_file_of_a_run

    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if out is not None:
        refuse_file_of_a_run(out)
        refuse_replacing(out, MARKS)
    comparison = compare_folders(
        folders,
        margin=margin,
        margins=None if margins is None else read_margins(margins),
        only=only or (),
        mapping=mapping or (),
        fail_on=tuple(word.strip() for word in fail_on.split(",") if word.strip()),
    )
    report = _render(comparison, form)
    if out is None:
        typer.echo(report, nl=False)
    else:
        write_output(out, lambda file: file.write(report.encode()))
        typer.echo(f"{conclusion(comparison)} -> {out}")
    if len(comparison.failing):
        raise typer.Exit(1)


def _render(comparison: "Comparison", form: str) -> str:
    from gahb_bench.reporting.comparison import data, text

    if form == "html":
        from gahb_bench.reporting.comparison.page import page

        return page(comparison)
    render = {
        "text": text.text,
        "md": text.markdown,
        "json": data.as_json,
        "junit": data.junit,
    }
    return render[form](comparison)
