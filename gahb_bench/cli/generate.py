"""``generate``: images of a family as a file or many, for use outside this package."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import CardOption, Images, SchedulerOption, Seed, WorkersOption, read_card
from gahb_bench.core.errors import UsageError
from gahb_bench.core.progress import Progress


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="The .npz file to write, or the folder of the shards.")],
    family: Annotated[str | None, typer.Option("--family", help="Family spec, for example calpha:alpha=3.")] = None,
    card: CardOption = None,
    images: Images = None,
    seed: Seed = None,
    split: Annotated[
        str | None, typer.Option("--split", help="train, train-a, train-b, val or test (default).")
    ] = None,
    noise: Annotated[
        bool, typer.Option("--noise", help="Also the paired unit noise: y = images + sigma * unit_noise.")
    ] = False,
    shard_size: Annotated[
        int | None, typer.Option("--shard-size", help="Write a folder of files of so many images each.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Of the shards: npz or parquet.")] = "npz",
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Export a data set, described by a spec or a card, to .npz with latents and a manifest.

    With --shard-size any number of images: a folder of files, each made by itself; the same command makes those that
    are not there, or are damaged.
    """
    from gahb_bench.running.folder import refuse_file_of_a_run
    from gahb_bench.sets.export import export

    options: dict[str, Any]
    if card is not None:
        described = read_card(card, given={"--family": family, "--images": images, "--seed": seed, "--split": split})
        spec, options = described.spec, {"images": described.images, "seed": described.seed, "split": described.split}
        options["sigmas"] = described.sigmas
    elif family is not None:
        spec, options = family, {"images": 128 if images is None else images, "seed": seed or 0}
        options["split"] = split or "test"
    else:
        raise UsageError("no data set named: give --family SPEC or --card FILE.")
    if shard_size is not None:
        _shards(spec, out, shard_size, form, workers, scheduler, options | {"noise": noise})
        return
    if workers is not None or scheduler is not None or form != "npz":
        raise UsageError("--workers, --scheduler and --format are for shards: give --shard-size.")
    refuse_file_of_a_run(out)
    made = export(spec, out, noise=noise, **options)
    typer.echo(f"{made['family']}: {made['images']} images, seed {made['seed']}, split {made['split']} -> {out}")


def _shards(
    spec: str, out: Path, size: int, form: str, workers: int | None, scheduler: str | None, options: dict[str, Any]
) -> None:
    from gahb_bench.core.executors import open_crew
    from gahb_bench.sets.shards import export_shards

    with open_crew(workers, scheduler) as crew, Progress("shards") as progress:
        made = export_shards(spec, out, size=size, form=form, crew=crew, progress=progress, **options)
    for number, reason in made.failed.items():
        typer.echo(f"shard {number} failed: {reason}", err=True)
    if made.found:
        typer.echo(f"{made.found} shards were found whole.")
    typer.echo(f"{spec}: {made.finished} of {made.shards} shards of {size} images -> {out}")
    if made.finished + len(made.failed) < made.shards:
        typer.echo("interrupted: the finished shards are kept; the same command goes on from them.", err=True)
    if made.finished < made.shards:
        raise typer.Exit(1)
