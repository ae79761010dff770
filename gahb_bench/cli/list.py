"""``list``: all there is of each kind, by reading its files; none is imported."""

from typing import Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import warn_of_problems


@app.command("list")
def list_(
    what: Annotated[
        str, typer.Argument(help="families, oracles, denoisers, networks, samplers, operators, posteriors, or all.")
    ] = "all",
) -> None:
    """List what there is of each kind: what it knows, its parameters, its source."""
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
                about.append(f"of {entry.of}")
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
    warn_of_problems()
