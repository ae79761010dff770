"""``posterior``: inverse problems solved by methods and denoisers, scored beside the exact posterior."""

from pathlib import Path
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import (
    INTERRUPTED,
    Denoisers,
    OneFamily,
    SchedulerOption,
    Seed,
    WorkersOption,
    command_line,
    warn_of_problems,
)
from gahb_bench.core.progress import Progress


@app.command()
def posterior(
    family: OneFamily,
    problem: Annotated[str, typer.Option("--problem", help="Operator spec, for example mask:keep=0.5.")],
    methods: Annotated[
        list[str] | None, typer.Option("--methods", help="Comma-separated method specs; default pigdm,diffpir.")
    ] = None,
    denoisers: Denoisers = None,
    sigma: Annotated[float, typer.Option("--sigma", help="Noise of the measurement, image units.")] = 0.1,
    samples: Annotated[int, typer.Option("--samples", help="Posterior samples of each image.")] = 19,
    images: Annotated[int, typer.Option("--images", help="How many images.")] = 64,
    seed: Seed = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Tune weights of methods that no table holds, on split val, and keep them.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default reports/runs/posterior-NAME-KEY.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be drawn and how long it takes; keep nothing.")
    ] = False,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Solve an inverse problem by methods that a denoiser drives, and score them against the exact posterior.

    Denoisers are the exact posterior mean and the shipped networks unless given: with the exact one what is wrong is
    the method's, and what a network adds is the network's. The exact sampler is scored beside them. Methods are listed
    by `list posteriors`. Their weights are those that a table holds for the law, operator and noise, tuned on split
    val, and elsewhere the published ones, called untuned, unless `--tune` is given. What is finished is kept: the same
    command goes on from it.
    """
    from gahb_bench.core.errors import UsageError
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.spec import parse_list
    from gahb_bench.reporting.geometry.content import shown_name
    from gahb_bench.reporting.posterior.report import write_report
    from gahb_bench.running.plan import split_specs
    from gahb_bench.running.posterior.carry_out import estimate, plan_posterior, posterior_all
    from gahb_bench.running.posterior.folder import FOLDER

    if out == Path():
        raise UsageError("--out is the working folder: name a folder of its own.")
    if out is not None:
        FOLDER.refuse_others(out)
    if tune and dry_run:
        raise UsageError("--dry-run keeps nothing, and --tune keeps what it finds: give one of the two.")
    ways = [spec for text in methods or ["pigdm,diffpir"] for spec in parse_list(text)]
    with Progress("tuning parameters") as tuning:
        planned = plan_posterior(
            family, problem, ways, split_specs(denoisers), sigma, samples, images, seed or 0, tuning, tune
        )
    warn_of_problems()
    name = planned.problem.family.name[:40]
    folder = (out or Path("reports/runs") / f"posterior-{name}-{planned.key[:8]}").absolute()
    if dry_run:
        typer.echo(f"{planned.plan.images} images, {samples} samples of each, into {folder}")
        for spec, words in planned.record["weights"].items():
            if words:
                typer.echo(f"  {spec}: {words}")
        total = 0.0
        for cell, seconds, reason in estimate(planned):
            total += seconds
            what = f"{cell.address['method']} {shown_name(cell.address['denoiser'])}".strip()
            typer.echo(f"  {what}: " + (f"fails: {reason}" if reason else f"{seconds:.0f} s"))
        typer.echo(f"about {total / 60:.1f} minutes, measured on five images")
        return
    try:
        with open_crew(workers, scheduler) as crew, Progress("posteriors") as progress:
            made = posterior_all(planned, folder, command=command_line(), progress=progress, crew=crew)
    except KeyboardInterrupt:
        typer.echo(INTERRUPTED, err=True)
        raise typer.Exit(1) from None
    write_report(folder)
    for cell in made.failures:
        typer.echo(f"failed: {cell.method} with {shown_name(cell.denoiser)}: {cell.reason}", err=True)
    if made.resumed:
        typer.echo(f"{made.resumed} finished images were found and used.")
    typer.echo(f"open {folder / 'report.html'}   (also posterior.csv, images.parquet, *.png)")
    if made.unfinished:
        typer.echo(INTERRUPTED, err=True)
    if made.failures or made.unfinished:
        raise typer.Exit(1)
