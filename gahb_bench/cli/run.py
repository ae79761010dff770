"""``run``: score denoisers against the best that is possible."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import (
    CardOption,
    Denoisers,
    FamilyOption,
    Images,
    SchedulerOption,
    Seed,
    Sigmas,
    WorkersOption,
    command_line,
    read_card,
    warn_of_problems,
)
from gahb_bench.core.progress import Progress

if TYPE_CHECKING:
    from gahb_bench.job import Job


@app.command()
def run(
    family: FamilyOption = None,
    card: CardOption = None,
    denoisers: Denoisers = None,
    sigmas: Sigmas = None,
    images: Images = None,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default reports/runs/NAME-KEY.")] = None,
    reuse: Annotated[
        list[Path] | None,
        typer.Option("--reuse", help="Folder of another run whose finished work is used too; may be repeated."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="Where denoisers compute: cpu, cuda, cuda:0.")] = "cpu",
    batch: Annotated[
        int | None,
        typer.Option("--batch", help="Most images a denoiser is given at once, up to 128 (the default)."),
    ] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan with an estimate of the work; do nothing.")
    ] = False,
    untuned: Annotated[
        bool,
        typer.Option(
            "--untuned", help="Leave parameters without a stored value to a rule, instead of tuning them now."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from finished cells, or begin again.")
    ] = True,
) -> None:
    """Score denoisers on families of images against the best that is possible; write a table, a figure and a page."""
    from gahb_bench import job
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.levels import parse_sigmas
    from gahb_bench.running.plan import split_specs

    levels = parse_sigmas(sigmas) if sigmas is not None else None
    chosen = split_specs(denoisers)
    families, count, start, split = split_specs(family) or [], 128 if images is None else images, seed or 0, "test"
    if card is not None:
        described = read_card(card, given={"--family": family, "--sigmas": sigmas, "--images": images, "--seed": seed})
        families, levels, count = [described.spec], described.sigmas, described.images
        start, split = described.seed, described.split
    with Progress("tuning parameters") as tuning:
        prepared = job.prepare(
            families,
            chosen,
            levels,
            count,
            start,
            split,
            out,
            device=device,
            batch=batch,
            tune=not untuned,
            resume=resume,
            reuse=reuse or (),
            progress=tuning,
        )
    warn_of_problems()
    if dry_run:
        _print_plan(prepared)
        return
    try:
        with open_crew(workers, scheduler) as crew, Progress("denoising") as progress:
            done = prepared.do(command_line(), progress, crew)
    except KeyboardInterrupt:
        _print_interrupted(prepared.kept)
        raise typer.Exit(1) from None
    for trouble in done.troubles:
        typer.echo(trouble, err=True)
    typer.echo(done)
    if done.outcome.unfinished:
        _print_interrupted(prepared.kept)
    if done.failures or done.outcome.unfinished:
        raise typer.Exit(1)


def _print_interrupted(kept: int) -> None:
    typer.echo(f"interrupted: {kept} finished cells are kept; the same command goes on from them.", err=True)


def _print_plan(prepared: "Job") -> None:
    from gahb_bench.core.memory import in_words
    from gahb_bench.running.estimate import disk, estimate

    plan = prepared.plan
    cells = plan.cells()
    typer.echo(
        f"{len(cells)} cells of {plan.images} images (seed {plan.seed}, split {plan.split}) -> {prepared.folder}"
    )
    typer.echo("noise levels: " + ", ".join(f"{sigma:.4g}" for sigma in plan.sigmas) + "\n")
    typer.echo(f"{'family':<24} {'denoiser':<40} {'knows':<12} {'ms an image':>11} {'seconds':>9}")
    total = 0.0
    for row in estimate(plan, prepared.device):
        total += row.seconds
        cost = f"{1000 * row.seconds_an_image:>11.3g} {row.seconds:>9.2g}" if not row.reason else f"fails: {row.reason}"
        typer.echo(f"{row.family:<24} {row.denoiser:<40} {row.knows:<12} {cost}")
    typer.echo(
        f"\nabout {total:.2g} s of denoising, measured on a few images at the middle noise level; "
        f"{in_words(plan.memory)} of memory, without what denoisers take themselves; at most {in_words(disk(plan))} on "
        "disk; nothing was written."
    )
