"""``tune`` and ``verify``: parameters chosen on validation images, and identities measured."""

from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import OneFamily, Sigmas
from gahb_bench.cli.progress import Progress


@app.command()
def tune(
    denoiser: Annotated[str, typer.Option("--denoiser", help="A denoiser with a tuned parameter, for example tv.")],
    family: OneFamily,
    sigmas: Sigmas = None,
    images: Annotated[int, typer.Option("--images", help="How many images of split val.")] = 32,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
) -> None:
    """Tune a denoiser's parameter for a family at each noise level, on the validation split; keep it in your home.

    The home is the folder that GAHB_BENCH_HOME names, by default gahb_bench in your cache folder.
    """
    from gahb_bench import tuning
    from gahb_bench.running.levels import DEFAULT_SIGMAS, parse_sigmas
    from gahb_bench.tables import tuned

    levels = parse_sigmas(sigmas) if sigmas is not None else DEFAULT_SIGMAS
    with Progress(f"tuning {denoiser}") as progress:
        table = tuning.tune(denoiser, family, levels, images=images, seed=seed, progress=progress)
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
