"""``list``, ``show``, ``generate``: what there is, and images of it."""

from pathlib import Path
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import CardOption, Images, OneFamily, Seed, Split, read_card
from gahb_bench.core.errors import UsageError


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="families, oracles, denoisers, networks, or all.")] = "all",
) -> None:
    """List families, oracles, denoisers and networks: what they know, their parameters, defaults and sources."""
    from typing import get_args

    from gahb_bench.core import registry
    from gahb_bench.core.errors import unknown

    kinds = [kind for kind in get_args(registry.Kind) if what in (kind, "all")]
    if not kinds:
        raise unknown("kind of thing to list", what, [*get_args(registry.Kind), "all"])
    for kind in kinds:
        typer.echo(f"{kind.upper()}\n")
        for entry in registry.entries(kind):
            about = [f"knows {entry.knows}"] if entry.knows else []
            if kind == "oracles":
                about.append(f"of {entry.family or 'any family'}")
            if entry.aliases:
                about.append(f"also {', '.join(entry.aliases)}")
            typer.echo(f"  {entry.name}" + (f"  ({'; '.join(about)})" if about else ""))
            typer.echo(f"      {entry.summary}")
            for preset, (count, field) in entry.facts.items():
                reach = f"receptive field {field} x {field} pixels" if field else "receptive field the whole image"
                typer.echo(f"        preset={preset:<11} {count / 1e6:.3g} M parameters, {reach}")
            for parameter in entry.parameters:
                limits = f"  [{parameter.limits}]" if parameter.limits else ""
                left = f"{parameter.name} = {parameter.default or repr('')}"
                typer.echo(f"        {left:<18} {parameter.description}{limits}  {parameter.type}")
            typer.echo(f"      source: {entry.source}\n")


@app.command()
def show(
    family: OneFamily,
    sigmas: Annotated[str, typer.Option("--sigmas", help="Noise levels of the noisy rows.")] = "0.03,0.1,0.3",
    images: Annotated[int, typer.Option("--images", help="How many images.")] = 6,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
    split: Split = "test",
    out: Annotated[Path | None, typer.Option("--out", help="PNG file; default NAME.png.")] = None,
) -> None:
    """Draw a gallery of a family's images, clean and noisy, as a PNG."""
    from gahb_bench import make
    from gahb_bench.core.files import write_atomically
    from gahb_bench.reporting.figure.samples import draw_samples
    from gahb_bench.running.levels import parse_sigmas
    from gahb_bench.scoring.score import check_images

    law = make.family(family)
    check_images(images)
    path = out or Path(f"{law.name}.png")
    figure = draw_samples(law, list(parse_sigmas(sigmas)), images, seed, split)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: figure.savefig(file, format="png"))
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}. Give --out a place that can be written."
        ) from error
    typer.echo(f"{law.spec}: {images} images -> {path}")


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
    from gahb_bench.sets.export import export

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
