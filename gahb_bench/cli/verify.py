"""``verify``: the identities that an exact optimum satisfies, measured."""

from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import OneFamily


@app.command()
def verify(
    family: OneFamily,
    images: Annotated[int, typer.Option("--images", help="Images for the statistical identities.")] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
) -> None:
    """Measure the identities that show a family's optimum to be right; exit 1 if one is violated."""
    from gahb_bench import make
    from gahb_bench.core.errors import UsageError
    from gahb_bench.verification import identities

    law = make.family(family)
    if images < 64:
        raise UsageError(f"images={images} is not allowed: the statistical identities need at least 64.")
    typer.echo(f"{law.spec}: identities of its exact posterior mean ({images} images, seed {seed}, split val)\n")
    typer.echo(f"{'identity':<58} {'value':>10} {'tolerance':>10}  verdict")
    violated = 0
    for check in identities.verify(law, images=images, seed=seed):
        violated += not check.passed
        verdict = "holds" if check.passed else "VIOLATED"
        typer.echo(f"{check.identity:<58} {check.value:>10.3g} {check.tolerance:>10.1e}  {verdict:<8}  {check.detail}")
    typer.echo(f"\n{'all hold' if not violated else f'{violated} violated'}")
    if violated:
        raise typer.Exit(1)
