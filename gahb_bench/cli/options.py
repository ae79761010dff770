"""Options that several commands have, and what they are read into."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gahb_bench.core.errors import UsageError

if TYPE_CHECKING:
    from gahb_bench.sets.cards import Card

FamilyOption = Annotated[
    list[str] | None,
    typer.Option("--family", help="Family spec, for example calpha:alpha=3,size=128; may be repeated."),
]
OneFamily = Annotated[str, typer.Option("--family", help="Family spec, for example calpha:alpha=3.")]
Denoisers = Annotated[
    list[str] | None,
    typer.Option(
        "--denoisers",
        help="Comma-separated denoiser specs, module:callable, or weights.safetensors; `defaults` stands for the "
        "oracles, shipped networks and classics that are scored if none are given.",
    ),
]
Sigmas = Annotated[
    str | None,
    typer.Option("--sigmas", help="Noise levels: 0.01,0.1 or low:high:count; default 13 from 10^-2.5 to 10^0.5."),
]
Images = Annotated[int | None, typer.Option("--images", help="How many images.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Which seed.")]
Split = Annotated[str, typer.Option("--split", help="train, train-a, train-b, val or test.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Do the work in so many processes of this machine, one thread each.")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option("--scheduler", help="Do the work on a cluster of dask: tcp://HOST:PORT of its scheduler."),
]
CardOption = Annotated[
    str | None, typer.Option("--card", help="A dataset card: a TOML file, or the name of a shipped one.")
]

INTERRUPTED = "interrupted: what is finished is kept; the same command goes on from it."


def read_card(path: str, given: dict[str, object]) -> "Card":
    """A card, checked against its fingerprint; it fixes what could otherwise be given."""
    from gahb_bench.sets.cards import load_card

    clashing = [option for option, value in given.items() if value is not None]
    if clashing:
        raise UsageError(f"{', '.join(clashing)} cannot be given beside --card: the card fixes it.")
    card = load_card(path)
    card.check()
    return card


def command_line() -> str:
    """The command line, as it could be typed again."""
    return shlex.join(["python", "-m", "gahb_bench", *sys.argv[1:]])


def warn_of_problems() -> None:
    """Name on standard error the plugins that are left out, once each."""
    from gahb_bench.core import registry

    for problem in registry.problems():
        typer.echo(f"warning: {problem}", err=True)
