"""``reference``: what is known of a law's optimum by simulation, made once and kept."""

import time
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import OneFamily, SchedulerOption, Sigmas, WorkersOption
from gahb_bench.core.progress import Progress


@app.command()
def reference(
    family: OneFamily,
    sigmas: Sigmas = None,
    images: Annotated[
        int | None, typer.Option("--images", help="How many images of split val a noise level; default by law.")
    ] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Simulate the reference of a law that has no closed form, and keep it in your home; runs then use it.

    Brackets of calpha-contours, at any regularity, size and contrast; posterior variances of disks, gmm, hierarchy,
    levy and markov-contours over more images than are used on demand; of shuffled and coloured laws, those of the law
    inside.
    Every noise level is kept when it is finished: stop it at any time, and type the same again to go on. The home is
    the folder that GAHB_BENCH_HOME names, by default gahb_bench in your cache folder.
    """
    from gahb_bench import make
    from gahb_bench.core.errors import UsageError
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.levels import DEFAULT_SIGMAS, parse_sigmas
    from gahb_bench.tables import simulate, store

    levels = parse_sigmas(sigmas).tolist() if sigmas is not None else list(DEFAULT_SIGMAS)
    law = make.family(family)
    simulation = simulate.simulation_of(law)
    count = simulation.images if images is None else images
    if count < simulate.FEWEST_IMAGES:
        raise UsageError(f"images={count} is not allowed: a standard error takes at least {simulate.FEWEST_IMAGES}.")
    wanted = simulate.missing(simulation, levels, count)
    there = len(levels) - len(wanted)
    if there:
        typer.echo(f"{law.spec}: stored already at {there} of {len(levels)} noise levels, on {count} images or more")
    began, done, lost = time.monotonic(), 0, 0
    with open_crew(workers, scheduler) as crew, Progress(f"reference of {law.spec}") as progress:
        for level in simulate.simulate(law, wanted, count, progress, crew):
            if level.lost:
                lost += 1
                typer.echo(f"sigma = {level.sigma:.4g} failed: {level.lost}", err=True)
                continue
            done += 1
            left = (len(wanted) - lost - done) * (time.monotonic() - began) / done
            typer.echo(f"sigma = {level.sigma:.4g}: {_in_words(level.numbers, simulation.unit)}, {_left(left)}")
    if done:
        typer.echo(f"kept in {store.own(simulation.table)}")
    if done + lost < len(wanted):
        typer.echo(f"interrupted: {done} noise levels are kept; the same command goes on from them.", err=True)
    if done < len(wanted):
        raise typer.Exit(1)


def _in_words(numbers: dict[str, float], unit: float) -> str:
    """The numbers of one noise level, in units of the law."""
    scale = unit**2
    if "lower" in numbers:
        ends = (f"{scale * numbers[end]:.4g} +- {scale * numbers[f'{end}_se']:.1g}" for end in ("lower", "upper"))
        return "MMSE between {} and {}".format(*ends)
    return f"MMSE {scale * numbers['mse']:.4g} +- {scale * numbers['mse_se']:.1g}"


def _left(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
