"""The command line: parses, calls, prints. What a command needs is imported when it runs, so that help is quick."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gahb_bench.errors import UsageError

if TYPE_CHECKING:
    from gahb_bench.cards import Card
    from gahb_bench.running.engine import Outcome
    from gahb_bench.running.plan import Plan


class _Commands(TyperGroup):
    """The commands; Ctrl-C ends any of them with one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted.", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="gahb_bench",
    cls=_Commands,
    help="How far is a denoiser from the best that is mathematically possible?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del debug  # read by __main__, where errors end


FamilyOption = Annotated[
    list[str] | None,
    typer.Option("--family", help="Family spec, for example calpha:alpha=3,size=128; may be repeated."),
]
OneFamily = Annotated[str, typer.Option("--family", help="Family spec, for example calpha:alpha=3.")]
Denoisers = Annotated[
    list[str] | None,
    typer.Option(
        "--denoisers", help="Comma-separated denoiser specs, or module:callable; default: oracles and classics."
    ),
]
Sigmas = Annotated[
    str | None,
    typer.Option("--sigmas", help="Noise levels: 0.01,0.1 or low:high:count; default 13 from 10^-2.5 to 10^0.5."),
]
Images = Annotated[int | None, typer.Option("--images", help="How many images.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Which seed.")]
Split = Annotated[str, typer.Option("--split", help="train, train-a, train-b, val or test.")]
CardOption = Annotated[
    str | None, typer.Option("--card", help="A dataset card: a TOML file, or the name of a shipped one.")
]


@app.command()
def run(
    family: FamilyOption = None,
    card: CardOption = None,
    denoisers: Denoisers = None,
    sigmas: Sigmas = None,
    images: Images = None,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder; default reports/runs/NAME-KEY.")] = None,
    device: Annotated[str, typer.Option("--device", help="Where denoisers compute: cpu, cuda, cuda:0.")] = "cpu",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan with an estimate of the work; do nothing.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from finished cells, or begin again.")
    ] = True,
) -> None:
    """Score denoisers on families of images against the best that is possible; write a table, a figure and a page."""
    from gahb_bench.running import engine
    from gahb_bench.running.plan import make_plan, parse_sigmas, split_specs

    levels = parse_sigmas(sigmas) if sigmas is not None else None
    chosen = split_specs(denoisers)
    if card is not None:
        described = _card(card, given={"--family": family, "--sigmas": sigmas, "--images": images, "--seed": seed})
        plan = make_plan([described.spec], chosen, described.sigmas, described.images, described.seed, described.split)
    else:
        plan = make_plan(
            split_specs(family) or [], chosen, levels, 128 if images is None else images, 0 if seed is None else seed
        )
    default = Path("reports/runs") / f"{'-'.join(part.name for part in plan.families)[:40]}-{plan.key[:8]}"
    folder = (out or default).absolute()  # a denoiser is foreign code and may change the working folder
    engine.check_device(device)
    if dry_run:
        _print_plan(plan, folder, device)
        return
    try:
        with _Progress("denoising") as progress:
            outcome = engine.run(plan, folder, device=device, resume=resume, command=_command(), progress=progress)
        _write_report(outcome)
    except KeyboardInterrupt:
        kept = sum((folder / "parts" / f"{cell.key}.npz").exists() for cell in plan.cells())
        typer.echo(f"interrupted: {kept} finished cells are kept; the same command goes on from them.", err=True)
        raise typer.Exit(1) from None
    _print_outcome(outcome)
    if outcome.failures:
        raise typer.Exit(1)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="families, oracles, denoisers, or all.")] = "all",
) -> None:
    """List families, oracles and denoisers: what they know, their parameters, defaults and sources."""
    from typing import get_args

    from gahb_bench import catalog
    from gahb_bench.errors import unknown

    kinds = [kind for kind in get_args(catalog.Kind) if what in (kind, "all")]
    if not kinds:
        raise unknown("kind of thing to list", what, [*get_args(catalog.Kind), "all"])
    for kind in kinds:
        typer.echo(f"{kind.upper()}\n")
        for entry in catalog.entries(kind):
            about = [f"knows {entry.knows}"] if entry.knows else []
            if kind == "oracles":
                about.append(f"of {entry.family or 'any family'}")
            if entry.aliases:
                about.append(f"also {', '.join(entry.aliases)}")
            typer.echo(f"  {entry.name}" + (f"  ({'; '.join(about)})" if about else ""))
            typer.echo(f"      {entry.summary}")
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
    from gahb_bench import catalog
    from gahb_bench.reporting.samples import draw_samples
    from gahb_bench.running.plan import parse_sigmas
    from gahb_bench.running.store import write_atomically
    from gahb_bench.scoring.score import check_images

    law = catalog.family(family)
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
    from gahb_bench.export import export

    if card is not None:
        described = _card(card, given={"--family": family, "--images": images, "--seed": seed, "--split": split})
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


@app.command()
def tune(
    denoiser: Annotated[str, typer.Option("--denoiser", help="A denoiser with a tuned parameter, for example tv.")],
    family: OneFamily,
    sigmas: Sigmas = None,
    images: Annotated[int, typer.Option("--images", help="How many images of split val.")] = 32,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of tuned tables; default GAHB_BENCH_TUNED.")] = None,
) -> None:
    """Tune a denoiser's parameter for a family at each noise level, on the validation split; keep the table."""
    from gahb_bench import tuning
    from gahb_bench.running.plan import DEFAULT_SIGMAS, parse_sigmas

    levels = parse_sigmas(sigmas) if sigmas is not None else DEFAULT_SIGMAS
    with _Progress(f"tuning {denoiser}") as progress:
        table = tuning.tune(denoiser, family, levels, images=images, seed=seed, progress=progress)
    path = tuning.save(table, out)
    typer.echo(
        f"{table.denoiser} on {table.family}: {table.parameter}, tuned on {images} images of split {table.split}\n"
    )
    typer.echo(f"{'sigma':>10} {table.parameter:>12} {'mse':>12}")
    for sigma, value, mse, edge in zip(table.sigma, table.value, table.mse, table.at_edge, strict=True):
        typer.echo(
            f"{sigma:>10.4g} {value:>12.4g} {mse:>12.4g}" + ("   at the end of the range searched" if edge else "")
        )
    typer.echo(f"\nkept in {path}")


@app.command()
def verify(
    family: OneFamily,
    images: Annotated[int, typer.Option("--images", help="Images for the statistical identities.")] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Which seed.")] = 0,
) -> None:
    """Measure the identities that show a family's optimum to be right; exit 1 if one is violated."""
    from gahb_bench import catalog
    from gahb_bench.errors import UsageError
    from gahb_bench.scoring import identities

    law = catalog.family(family)
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


def _card(path: str, given: dict[str, object]) -> "Card":
    """A card, checked against its fingerprint; it fixes what could otherwise be given."""
    from gahb_bench.cards import load_card

    clashing = [option for option, value in given.items() if value is not None]
    if clashing:
        raise UsageError(f"{', '.join(clashing)} cannot be given beside --card: the card fixes it.")
    card = load_card(path)
    card.check()
    return card


def _command() -> str:
    """The command line, as it could be typed again."""
    return shlex.join(["python", "-m", "gahb_bench", *sys.argv[1:]])


def _print_plan(plan: "Plan", folder: Path, device: str) -> None:
    from gahb_bench.running.estimate import estimate

    cells = plan.cells()
    typer.echo(f"{len(cells)} cells of {plan.images} images (seed {plan.seed}, split {plan.split}) -> {folder}")
    typer.echo("noise levels: " + ", ".join(f"{sigma:.4g}" for sigma in plan.sigmas) + "\n")
    typer.echo(f"{'family':<24} {'denoiser':<40} {'knows':<12} {'ms an image':>11} {'seconds':>9}")
    total = 0.0
    for row in estimate(plan, device):
        total += row.seconds
        cost = f"{1000 * row.seconds_an_image:>11.3g} {row.seconds:>9.2g}" if not row.reason else f"fails: {row.reason}"
        typer.echo(f"{row.family:<24} {row.denoiser:<40} {row.knows:<12} {cost}")
    typer.echo(
        f"\nabout {total:.2g} s of denoising, measured on a few images at the middle noise level; nothing was written."
    )


def _write_report(outcome: "Outcome") -> None:
    from gahb_bench.reporting.report import write_report

    write_report(outcome.folder)


def _print_outcome(outcome: "Outcome") -> None:
    from gahb_bench.reporting.summary import summary

    for path in outcome.damaged:
        typer.echo(f"warning: the finished part {path} was damaged and has been computed again.", err=True)
    for failure in outcome.failures:
        where = f"{failure['denoiser']} on {failure['family']} at sigma={failure['sigma']:.4g}"
        typer.echo(f"failed: {where}: {failure['reason']}", err=True)
    if outcome.resumed:
        typer.echo(f"{outcome.resumed} finished cells were found and used.")
    typer.echo(summary(outcome.curves))
    typer.echo(f"open {outcome.folder / 'report.html'}   (also report.md, curves.png, curves.csv, scores.parquet)")


class _Progress:
    """A progress bar on standard error when it is a terminal and the work takes more than two seconds."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __enter__(self) -> "_Progress":
        import time

        self._began, self._bar = time.perf_counter(), None
        return self

    def __call__(self, done: int, total: int) -> None:
        import time

        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self._bar is None and time.perf_counter() - self._began > 2:
            console = Console(stderr=True)
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=total, completed=done)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
