"""``generate``: images of a family as a file, for use outside this package."""

from pathlib import Path
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import CardOption, Images, Seed, read_card
from gahb_bench.core.errors import UsageError


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", help="The .npz file to write.")],
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
) -> None:
    """Export a data set, described by a spec or a card, to .npz with latents and a manifest."""
    from gahb_bench.running.folder import refuse_file_of_a_run
    from gahb_bench.sets.export import export

    refuse_file_of_a_run(out)
    if card is not None:
        described = read_card(card, given={"--family": family, "--images": images, "--seed": seed, "--split": split})
        made = export(
            described.spec,
            out,
            images=described.images,
            seed=described.seed,
            split=described.split,
            noise=noise,
            sigmas=described.sigmas,
        )
    elif family is not None:
        made = export(
            family, out, images=128 if images is None else images, seed=seed or 0, split=split or "test", noise=noise
        )
    else:
        raise UsageError("no data set named: give --family SPEC or --card FILE.")
    typer.echo(f"{made['family']}: {made['images']} images, seed {made['seed']}, split {made['split']} -> {out}")
