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
from gahb_bench.cli.progress import Progress

if TYPE_CHECKING:
    from gahb_bench.running.engine import Outcome
    from gahb_bench.running.plan import Plan


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
    from gahb_bench import make
    from gahb_bench.core.environment import check_device
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.levels import parse_sigmas
    from gahb_bench.running import engine
    from gahb_bench.running.folder import check_folder
    from gahb_bench.running.parts import Parts, parts_of
    from gahb_bench.running.plan import make_plan, split_specs

    levels = parse_sigmas(sigmas) if sigmas is not None else None
    chosen = split_specs(denoisers)
    families, count, start, split = split_specs(family) or [], 128 if images is None else images, seed or 0, "test"
    if card is not None:
        described = read_card(card, given={"--family": family, "--sigmas": sigmas, "--images": images, "--seed": seed})
        families, levels, count = [described.spec], described.sigmas, described.images
        start, split = described.seed, described.split
    check_device(device)
    laws = [make.family(spec) for spec in families]
    if laws and out is not None:  # what cannot be done is refused before anything is tuned
        check_folder(out, [law.spec for law in laws], start, split)
    for other in reuse or ():
        parts_of(other)
    with Progress("tuning parameters") as tuning:
        plan = make_plan(laws, chosen, levels, count, start, split, tune=not untuned, progress=tuning)
    warn_of_problems()
    default = Path("reports/runs") / f"{'-'.join(part.family.name for part in plan.families)[:40]}-{plan.key[:8]}"
    folder = (out or default).absolute()  # a denoiser is foreign code and may change the working folder
    if dry_run:
        _print_plan(plan, folder, device)
        return
    from gahb_bench.reporting.report import write_report

    try:
        with open_crew(workers, scheduler) as crew:
            with Progress("denoising") as progress:
                outcome = engine.run(
                    plan,
                    folder,
                    device=device,
                    batch=batch,
                    resume=resume,
                    reuse=[other.absolute() for other in reuse or ()],
                    command=command_line(),
                    crew=crew,
                    progress=progress,
                )
            write_report(outcome.folder)
    except KeyboardInterrupt:
        _print_interrupted(Parts(folder).count(plan.cells(), plan.images))
        raise typer.Exit(1) from None
    _print_outcome(outcome, plan)
    if outcome.unfinished:
        _print_interrupted(len(plan.cells()) - outcome.unfinished)
    if outcome.failures or outcome.unfinished:
        raise typer.Exit(1)


def _print_interrupted(kept: int) -> None:
    typer.echo(f"interrupted: {kept} finished cells are kept; the same command goes on from them.", err=True)


def _print_plan(plan: "Plan", folder: Path, device: str) -> None:
    from gahb_bench.core.memory import in_words
    from gahb_bench.running.estimate import disk, estimate

    cells = plan.cells()
    typer.echo(f"{len(cells)} cells of {plan.images} images (seed {plan.seed}, split {plan.split}) -> {folder}")
    typer.echo("noise levels: " + ", ".join(f"{sigma:.4g}" for sigma in plan.sigmas) + "\n")
    typer.echo(f"{'family':<24} {'denoiser':<40} {'knows':<12} {'ms an image':>11} {'seconds':>9}")
    total = 0.0
    for row in estimate(plan, device):
        total += row.seconds
        cost = f"{1000 * row.seconds_an_image:>11.3g} {row.seconds:>9.2g}" if not row.reason else f"fails: {row.reason}"
        typer.echo(f"{row.family:<24} {row.denoiser:<40} {row.knows:<12} {cost}")
    typer.echo(
        f"\nabout {total:.2g} s of denoising, measured on a few images at the middle noise level; "
        f"{in_words(plan.memory)} of memory, without what denoisers take themselves; at most {in_words(disk(plan))} on "
        "disk; nothing was written."
    )


def _print_outcome(outcome: "Outcome", plan: "Plan") -> None:
    from gahb_bench.reporting.text.summary import summary

    for path in outcome.damaged:
        typer.echo(f"warning: the finished part {path} was damaged and has been computed again.", err=True)
    for failure in outcome.failures:
        where = f"{failure.denoiser} on {failure.family} at sigma={failure.sigma:.4g}"
        typer.echo(f"failed: {where}: {failure.reason}", err=True)
    for message in outcome.warnings:
        typer.echo(f"warning: {message}", err=True)
    if outcome.resumed:
        typer.echo(f"{outcome.resumed} finished cells were found and used.")
    families = plan.record.families
    untuned = {(family.spec, each.spec) for family in families for each in family.denoisers if each.untuned}
    typer.echo(summary(outcome.curves, outcome.summary, untuned))
    typer.echo(f"open {outcome.folder / 'report.html'}   (also report.md, curves.png, curves.csv, scores.parquet)")
