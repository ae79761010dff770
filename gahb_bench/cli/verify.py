"""``verify``: the identities that a known optimum satisfies, measured."""

from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import FamilyOption, Sigmas, warn_of_problems


@app.command()
def verify(
    family: FamilyOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every law of the catalogue, and its variants.")] = False,
    sigmas: Sigmas = None,
    images: Annotated[int, typer.Option("--images", help="Images for the statistical identities.")] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
) -> None:
    """Measure what shows an optimum to be right, by two routes each time; exit 1 if an identity is violated."""
    from gahb_bench import make
    from gahb_bench.core.errors import UsageError
    from gahb_bench.core.levels import parse_sigmas
    from gahb_bench.verification import identities
    from gahb_bench.verification import verify as verification

    if everything == bool(family):
        raise UsageError("give --family SPEC, which may be repeated, or --all.")
    if images < verification.FEWEST_IMAGES:
        raise UsageError(
            f"images={images} is not allowed: the statistical identities need at least {verification.FEWEST_IMAGES}."
        )
    levels = identities.SIGMAS if sigmas is None else tuple(parse_sigmas(sigmas))
    laws = verification.all_laws() if everything else [make.family(spec) for spec in family or []]
    for law in laws:
        verification.check_known(law, levels)
    warn_of_problems()
    width = max(len(law.spec) for law in laws)
    typer.echo(f"{len(laws)} laws, {images} images, seed {seed}, split val; statistical identities are z-scores\n")
    typer.echo(f"{'law':<{width}} {'optimum':<8} {'identity':<58} {'value':>10} {'tolerance':>10}  verdict   routes")
    count = violated = 0
    for found in verification.verify_laws(laws, images, seed, levels):
        check = found.check
        count += 1
        violated += not check.passed
        verdict = ("holds" if check.applicable else "n/a") if check.passed else "VIOLATED"
        routes = f"{check.routes[0]} = {check.routes[1]}" if check.routes[0] else ""
        typer.echo(
            f"{found.family:<{width}} {found.optimum:<8} {check.identity:<58} {check.value:>10.3g} "
            f"{check.tolerance:>10.1e}  {verdict:<8}  {routes}{'; ' if routes and check.detail else ''}{check.detail}"
        )
    typer.echo(f"\n{count} identities: {'all hold' if not violated else f'{violated} violated'}")
    if violated:
        raise typer.Exit(1)
