"""``show``: a gallery of a family's images."""

from pathlib import Path
from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import OneFamily, Split


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
    from gahb_bench.core.errors import UsageError
    from gahb_bench.core.files import refuse_replacing, write_output
    from gahb_bench.core.levels import parse_sigmas
    from gahb_bench.reporting.figure.drawing import MARKS
    from gahb_bench.reporting.figure.samples import png
    from gahb_bench.running.folder import refuse_file_of_a_run
    from gahb_bench.scoring.score import check_images

    law = make.family(family)
    check_images(images)
    path = out or Path(f"{law.name}.png")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {path} is not allowed: a gallery is a .png file.")
    refuse_file_of_a_run(path)
    refuse_replacing(path, MARKS)
    drawn = png(law, list(parse_sigmas(sigmas)), images, seed, split)
    write_output(path, lambda file: file.write(drawn))
    typer.echo(f"{law.spec}: {images} images -> {path}")
