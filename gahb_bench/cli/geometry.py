"""``geometry``: the basis in which a denoiser shrinks, beside the true one."""

from pathlib import Path
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import (
    INTERRUPTED,
    Denoisers,
    FamilyOption,
    SchedulerOption,
    Seed,
    WorkersOption,
    command_line,
    warn_of_problems,
)
from gahb_bench.core.progress import Progress

_SIGMAS = (0.03, 0.1, 0.3, 1.0)


@app.command()
def geometry(
    family: FamilyOption = None,
    denoisers: Denoisers = None,
    sigmas: Annotated[
        str | None, typer.Option("--sigmas", help="Noise levels: 0.01,0.1 or low:high:count; default 0.03,0.1,0.3,1.")
    ] = None,
    images: Annotated[int, typer.Option("--images", help="How many images.")] = 4,
    top: Annotated[int, typer.Option("--top", help="How many eigenvectors are shown.")] = 16,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default reports/runs/geometry-NAME-KEY.")] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Measure Jacobians: spectra, eigenvectors, overlap with the true eigenspace; write tables, figures and a page.

    Denoisers are the law's oracles and shipped networks unless given. Whole Jacobians of images of up to 4,096 values,
    the leading eigenpairs of larger ones. What is finished is kept: the same command goes on from it. In the folder
    geometry of a run's folder, it is linked from that run's page.
    """
    from gahb_bench import defaults, make
    from gahb_bench.core.errors import UsageError
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.levels import parse_sigmas
    from gahb_bench.reporting import report
    from gahb_bench.reporting.geometry.content import shown_name
    from gahb_bench.reporting.geometry.report import write_report
    from gahb_bench.running.geometry.carry_out import check_possible, measure_all
    from gahb_bench.running.geometry.folder import FOLDER
    from gahb_bench.running.plan import make_plan, split_specs

    if out == Path():
        raise UsageError("--out is the working folder: name a folder of its own.")
    levels = parse_sigmas(sigmas) if sigmas is not None else _SIGMAS
    laws = [make.family(spec) for spec in split_specs(family) or []]
    check_possible(laws, top)
    if out is not None:
        FOLDER.refuse_others(out)
    with Progress("tuning parameters") as tuning:
        plan = make_plan(
            laws,
            split_specs(denoisers),
            levels,
            images,
            seed or 0,
            progress=tuning,
            defaults=defaults.differentiated,
        )
    warn_of_problems()
    name = "-".join(part.family.name for part in plan.families)[:40]
    folder = (out or Path("reports/runs") / f"geometry-{name}-{plan.key[:8]}").absolute()
    try:
        with open_crew(workers, scheduler) as crew, Progress("Jacobians") as progress:
            made = measure_all(plan, folder, top=top, command=command_line(), progress=progress, crew=crew)
    except KeyboardInterrupt:
        typer.echo(INTERRUPTED, err=True)
        raise typer.Exit(1) from None
    if not len(made.rows) and made.unfinished:
        typer.echo(INTERRUPTED, err=True)
        raise typer.Exit(1)
    write_report(folder)
    if folder.name == report.GEOMETRY and (folder.parent / "scores.parquet").is_file():
        report.write_report(folder.parent)  # it links to the page
    for (name, spec, reason), cells in made.failed().items():
        typer.echo(f"failed: {shown_name(name)} on {spec}, {cells}: {reason}", err=True)
    if made.resumed:
        typer.echo(f"{made.resumed} finished cells were found and used.")
    typer.echo(f"open {folder / 'report.html'}   (also geometry.csv, spectra.parquet, bases.parquet, *.png)")
    if made.unfinished:
        typer.echo(INTERRUPTED, err=True)
    if made.failures or made.unfinished:
        raise typer.Exit(1)
