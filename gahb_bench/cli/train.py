"""``train``: a network on a law, beside the optimum."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import SchedulerOption, WorkersOption
from gahb_bench.core.errors import UsageError
from gahb_bench.core.progress import Reminder

if TYPE_CHECKING:
    from gahb_bench.training.plan import PlanProgress
    from gahb_bench.training.trainer import Progress
    from gahb_bench.training.validation import Measured


@app.command()
def train(
    context: typer.Context,
    family: Annotated[str, typer.Option("--family", help="Family spec, for example calpha:alpha=3.")] = "",
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="A TOML file of many trainings, in place of --family and what belongs to one."),
    ] = None,
    network: Annotated[
        str, typer.Option("--network", help="Architecture, for example edm-unet:width=32 or unet:preset=paper.")
    ] = "edm-unet",
    initial: Annotated[
        str | None, typer.Option("--init", help="Weights of the same network to start from: a file, or a shipped name.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Size of a finite training set; default: new images at every step.")
    ] = None,
    split: Annotated[
        str,
        typer.Option("--split", help="train, train-a or train-b: disjoint training images, weights and noise."),
    ] = "train",
    stream: Annotated[bool, typer.Option("--stream", help="New images at every step (the default).")] = False,
    steps: Annotated[int, typer.Option("--steps", help="How many steps.")] = 4000,
    batch: Annotated[int, typer.Option("--batch", help="Images a step, over all processes.")] = 32,
    lr: Annotated[
        float | None, typer.Option("--lr", help="Learning rate at its peak; default: the architecture's, mostly 2e-3.")
    ] = None,
    sigma_range: Annotated[
        str | None, typer.Option("--sigma-range", help="Noise levels low:high; default 10^-2.5 to 10^0.5.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0; under torchrun, cpu or cuda.")] = "cpu",
    precision: Annotated[
        str,
        typer.Option("--precision", help="float32, or bf16: two thirds of the steps in bfloat16, the rest in float32."),
    ] = "float32",
    seed: Annotated[int, typer.Option("--seed", help="Which seed: weights, images, noise.")] = 0,
    validate_every: Annotated[int, typer.Option("--validate-every", help="Steps between two validations.")] = 500,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default trained/FAMILY-NETWORK or trained/PLAN.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from the folder's state, or begin again.")
    ] = True,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network: half a minute at first, then faster steps.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write events for TensorBoard, which must be installed.")
    ] = False,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Train a network on a law, with its distance to the optimum in dB as it learns; keep the best and last weights.

    With --plan, many networks on many laws: what is finished is kept, and the same command goes on.
    """
    if plan is not None:
        options = {"device": device, "resume": resume, "compiled": compiled, "tensorboard": tensorboard}
        folder = _refuse_beside_plan(context, out or Path("trained") / plan.stem)
        _carry_out(plan, folder, options, workers, scheduler)
        return
    if workers is not None or scheduler is not None:
        raise UsageError(
            "--workers and --scheduler share the trainings of a --plan: one training is shared by torchrun."
        )
    if not family:
        raise UsageError("name what to train on: --family SPEC, or --plan FILE for many trainings.")
    from gahb_bench.core.executors import open_crew
    from gahb_bench.training import processes
    from gahb_bench.training.loop import fit
    from gahb_bench.training.settings import check_possible, make_settings
    from gahb_bench.training.trainer import PausedError

    if stream and images is not None:
        raise UsageError("--stream and --images exclude each other: new images at every step, or a finite set.")
    values: dict[str, Any] = {
        "initial": initial,
        "split": split,
        "images": images,
        "steps": steps,
        "batch": batch,
        "learning_rate": lr,
        "precision": precision,
        "seed": seed,
        "validate_every": validate_every,
        **_range(sigma_range),
    }
    settings = make_settings(family, network, values)
    folder = (out or Path("trained") / f"{settings.law.name}-{settings.architecture.name}").absolute()
    with processes.join(device) as place:
        check_possible(settings, place, processes.count(), folder)
        try:
            with open_crew(signals=processes.count() == 1) as crew, Reminder("preparing") as reminder:
                best = fit(
                    settings,
                    folder,
                    device=place,
                    resume=resume,
                    compiled=compiled,
                    tensorboard=tensorboard,
                    progress=lambda now: _print_progress(now, reminder),
                    pause=lambda: crew.stopped,
                )
        except (KeyboardInterrupt, PausedError):
            kept = "goes on from the state" if (folder / "state.safetensors").exists() else "begins again"
            typer.echo(f"interrupted: the same command {kept} in {folder}.", err=True)
            raise typer.Exit(1) from None
    if processes.rank() == 0:
        shown = os.path.relpath(best)
        typer.echo(f"weights: {shown}")
        typer.echo(
            f"score them: python -m gahb_bench run --family '{settings.family}' "
            f"--denoisers 'defaults,network:weights={shown}'"
        )


def _refuse_beside_plan(context: typer.Context, folder: Path) -> Path:
    """Refuse what belongs to a single training, or to several processes."""
    from gahb_bench.training import processes

    allowed = {"plan", "out", "device", "resume", "compiled", "tensorboard", "workers", "scheduler"}
    sources = {name: context.get_parameter_source(name) for name in context.params}
    stated = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    wrong = [f"--{name.replace('_', '-')}" for name in stated if name not in allowed]
    if wrong:
        raise UsageError(f"{', '.join(wrong)} cannot be given beside --plan: the file says it.")
    if processes.count() > 1:
        raise UsageError("a plan is done by one process, without torchrun: its trainings are one after the other.")
    return folder.absolute()


def _carry_out(path: Path, folder: Path, options: dict[str, Any], workers: int | None, scheduler: str | None) -> None:
    from gahb_bench.core.executors import open_crew
    from gahb_bench.training import plan as plans
    from gahb_bench.training.trainer import PausedError

    trainings = plans.read(path)
    try:
        with open_crew(workers, scheduler) as crew, Reminder("preparing") as reminder:
            failed = plans.carry_out(
                trainings, folder, progress=lambda now: _print_plan_progress(now, reminder), crew=crew, **options
            )
    except (KeyboardInterrupt, PausedError):
        typer.echo(f"interrupted: the same command goes on in {folder}.", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{len(trainings) - len(failed)} of {len(trainings)} trainings are finished: {os.path.relpath(folder)}")
    for name, reason in failed.items():
        typer.echo(f"{name} failed: {reason}", err=True)
    if failed:
        raise typer.Exit(1)


def _range(text: str | None) -> dict[str, float]:
    if text is None:
        return {}
    try:
        low, high = (float(end) for end in text.split(":"))
    except ValueError:
        raise UsageError(f"cannot read --sigma-range {text!r}: write low:high, for example 0.01:1.") from None
    return {"sigma_low": low, "sigma_high": high}


def _print_plan_progress(now: "PlanProgress", reminder: Reminder) -> None:
    hours = f"{now.seconds_left / 3600:.1f} h left for all"
    _print_progress(now.progress, reminder, f"[{now.place}/{now.count}, {hours}] {now.training.name}   ")


def _print_progress(progress: "Progress", reminder: Reminder, before: str = "") -> None:
    """One line a validation; between two, one that is written over on a terminal, elsewhere the reminder's."""
    from gahb_bench.training import processes

    if processes.rank() > 0:
        return
    minutes = f"{progress.seconds_left / 60:.1f} min left"
    line = f"{before}step {progress.step:>6}/{progress.steps}   loss {progress.loss:.4g}   {minutes}"
    reminder.line = line
    if progress.measured is not None:
        typer.echo(f"{line}   {_in_words(progress.measured)}", err=True)
    elif sys.stderr.isatty():
        typer.echo(f"{line}\r", err=True, nl=False)


def _in_words(measured: "Measured") -> str:
    """The mean regret, and that at each noise level; the mean error where no optimum is known."""
    mean = measured.mean_regret_db
    if mean != mean:
        return f"error {measured.mean_mse_db:.2f} dB"
    pairs = zip(measured.sigma, measured.regret_db, strict=True)
    levels = ", ".join(
        f"{regret:.2f} at {sigma:.2g}" if regret == regret else f"– at {sigma:.2g}" for sigma, regret in pairs
    )
    return f"regret {mean:.3f} dB   (σ: {levels})"
