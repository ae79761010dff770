"""``tune``: a denoiser's parameter, chosen on validation images."""

from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import OneFamily, SchedulerOption, Sigmas, WorkersOption
from gahb_bench.core.progress import Progress


@app.command()
def tune(
    denoiser: Annotated[str, typer.Option("--denoiser", help="A denoiser with a tuned parameter, for example tv.")],
    family: OneFamily,
    sigmas: Sigmas = None,
    images: Annotated[int, typer.Option("--images", help="How many images of split val.")] = 32,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Tune a denoiser's parameter for a family at each noise level, on the validation split; keep it in your home.

    It is used beside what is stored at other noise levels, and in the place of what is stored at the same ones. The
    home is the folder that GAHB_BENCH_HOME names, by default gahb_bench in your cache folder.
    """
    from gahb_bench import make, tuning
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.levels import DEFAULT_SIGMAS, parse_sigmas
    from gahb_bench.tables import tuned

    levels = parse_sigmas(sigmas) if sigmas is not None else DEFAULT_SIGMAS
    with open_crew(workers, scheduler) as crew, Progress(f"tuning {denoiser}") as progress:
        law = make.family(family)
        method = make.tunable(denoiser, law)
        table = tuning.tune(method, law, levels, images=images, seed=seed, progress=progress, crew=crew)
    before = tuned.find(table.denoiser, table.family)
    path = tuned.keep(table)
    typer.echo(
        f"{table.denoiser} on {table.family}: {table.parameter}, tuned on {images} images of split {tuning.SPLIT}\n"
    )
    typer.echo(f"{'sigma':>10} {table.parameter:>12} {'mse':>12}")
    for sigma, value, mse, edge in zip(table.sigma, table.value, table.mse, table.at_edge, strict=True):
        typer.echo(
            f"{sigma:>10.4g} {value:>12.4g} {mse:>12.4g}" + ("   at the end of the range searched" if edge else "")
        )
    if path is not None:
        typer.echo(f"\nkept in {path}")
        merged = tuned.find(table.denoiser, table.family)
        if before is not None and merged is not None:
            others = len(merged.sigma) - len(table.sigma)
            if others:
                typer.echo(f"used beside {others} noise levels that were stored before")
            if replaced := len(before.sigma) - others:
                typer.echo(
                    f"used in the place of what was stored at {replaced} of these noise levels (images of split "
                    f"{tuning.SPLIT}: {before.images}); remove {path} to go back to what the package holds"
                )
    for sigma, reason in table.lost:
        typer.echo(f"sigma = {sigma:.4g} failed: {reason}", err=True)
    if stopped := len(levels) - len(table.sigma) - len(table.lost):
        typer.echo(f"interrupted: {stopped} noise levels are left; --sigmas takes them.", err=True)
    if stopped or table.lost:
        raise typer.Exit(1)
