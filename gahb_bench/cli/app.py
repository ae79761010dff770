"""The program itself: its name, its help, and what all commands share."""

from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import gahb_bench
from gahb_bench.core.errors import UsageError
from gahb_bench.core.progress import Reminder


class _Commands(TyperGroup):
    """The commands, the main job first; none takes an empty value or is silent for long; Ctrl-C ends any in a line."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: (name != "run", name))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """An empty text is what a shell makes of a variable that is not set; as a path it would be the folder here."""
        for before, word in pairwise(["", *args]):
            option, equals, value = word.partition("=")
            if not (value if equals and option.startswith("--") else word).strip():
                name = option if equals else before if before.startswith("--") else "an argument"
                raise UsageError(f"{name} is given an empty value: give one, or leave it out.")
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            with Reminder("working"):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted.", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="gahb_bench",
    cls=_Commands,
    help="How far is a denoiser from the best that is mathematically possible?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"gahb_bench {gahb_bench.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del version, debug  # this is read by __main__, where errors end
