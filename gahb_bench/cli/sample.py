"""``sample``: images from denoisers by samplers, measured beside the exact law."""

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


@app.command()
def sample(
    family: FamilyOption = None,
    denoisers: Denoisers = None,
    samplers: Annotated[
        list[str] | None, typer.Option("--samplers", help="Comma-separated sampler specs; default heun,euler.")
    ] = None,
    evaluations: Annotated[
        str, typer.Option("--evaluations", help="Budgets of evaluations of the denoiser for each sample.")
    ] = "5,10,20,40",
    samples: Annotated[int, typer.Option("--samples", help="How many samples a cell.")] = 256,
    start: Annotated[
        str,
        typer.Option("--start", help="gaussian (noise), exact (noisy images of the law), or both: gaussian,exact."),
    ] = "gaussian",
    schedule: Annotated[str, typer.Option("--schedule", help="karras or log, from sigma = 10 to 0.002, 0.")] = "karras",
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default reports/runs/sample-NAME-KEY.")] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Sample images and score them against the exact law: error against evaluations, samplers by denoisers.

    Denoisers are the exact posterior mean and the shipped networks unless given; all of a family start from the same
    noise. Each statistic stands beside its value for as many exact images, and has a p-value. What is finished is kept:
    the same command goes on from it.
    """
    from gahb_bench.core.errors import UsageError
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.spec import parse_list
    from gahb_bench.reporting.geometry.content import shown_name
    from gahb_bench.reporting.sampling.report import write_report
    from gahb_bench.running.plan import split_specs
    from gahb_bench.running.sampling.carry_out import plan_samples, sample_all
    from gahb_bench.running.sampling.folder import FOLDER

    if out == Path():
        raise UsageError("--out is the working folder: name a folder of its own.")
    try:
        budgets = [int(text) for text in evaluations.split(",")]
    except ValueError:
        raise UsageError(f"--evaluations {evaluations} cannot be read: give numbers, like 5,10,20.") from None
    if out is not None:
        FOLDER.refuse_others(out)
    ways = [spec for text in samplers or ["heun,euler"] for spec in parse_list(text)]
    with Progress("tuning parameters") as tuning:
        planned = plan_samples(
            split_specs(family) or [],
            split_specs(denoisers),
            ways,
            budgets,
            samples,
            seed or 0,
            [each.strip() for each in start.split(",")],
            schedule,
            progress=tuning,
        )
    warn_of_problems()
    name = "-".join(law.family.name for law in planned.plan.families)[:40]
    folder = (out or Path("reports/runs") / f"sample-{name}-{planned.key[:8]}").absolute()
    try:
        with open_crew(workers, scheduler) as crew, Progress("samples") as progress:
            made = sample_all(planned, folder, command=command_line(), progress=progress, crew=crew)
    except KeyboardInterrupt:
        typer.echo(INTERRUPTED, err=True)
        raise typer.Exit(1) from None
    write_report(folder)
    for reason in dict.fromkeys(cell.reason for cell in made.skipped):
        typer.echo(f"left out: {reason}", err=True)
    for cell in made.failures:
        where = f"{shown_name(cell.denoiser)} by {cell.sampler} within {cell.evaluations} on {cell.family}"
        typer.echo(f"failed: {where}: {cell.reason}", err=True)
    if made.resumed:
        typer.echo(f"{made.resumed} finished samples were found and used.")
    typer.echo(f"open {folder / 'report.html'}   (also samples.csv, trajectories.parquet, exact.csv, *.png)")
    if made.unfinished:
        typer.echo(INTERRUPTED, err=True)
    if made.failures or made.unfinished:
        raise typer.Exit(1)
