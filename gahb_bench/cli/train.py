"""``train``: a network on a law, beside the optimum."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import OneFamily
from gahb_bench.core.errors import UsageError

if TYPE_CHECKING:
    from gahb_bench.training.loop import Progress


@app.command()
def train(
    family: OneFamily,
    network: Annotated[
        str, typer.Option("--network", help="Architecture, for example edm-unet:width=32 or unet:preset=paper.")
    ] = "edm-unet",
    initial: Annotated[
        Path | None, typer.Option("--init", help="Weights of the same network to start from, of an earlier training.")
    ] = None,
    images: Annotated[
        int | None, typer.Option("--images", help="Size of a finite training set; default: new images at every step.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="New images at every step (the default).")] = False,
    steps: Annotated[int, typer.Option("--steps", help="How many steps.")] = 4000,
    batch: Annotated[int, typer.Option("--batch", help="Images a step, over all processes.")] = 32,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate at its peak.")] = 2e-3,
    sigma_range: Annotated[
        str | None, typer.Option("--sigma-range", help="Noise levels low:high; default 10^-2.5 to 10^0.5.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0; under torchrun, cpu or cuda.")] = "cpu",
    precision: Annotated[str, typer.Option("--precision", help="float32 or bf16.")] = "float32",
    seed: Annotated[int, typer.Option("--seed", help="Which seed: weights, images, noise.")] = 0,
    validate_every: Annotated[int, typer.Option("--validate-every", help="Steps between two validations.")] = 500,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; default trained/FAMILY-NETWORK.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on from the folder's state, or begin again.")
    ] = True,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network: half a minute at first, then faster steps.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write events for TensorBoard, which must be installed.")
    ] = False,
) -> None:
    """Train a network on a law, with its distance to the optimum in dB as it learns; keep the best and last weights."""
    from gahb_bench.training import processes
    from gahb_bench.training.loop import fit
    from gahb_bench.training.settings import check_possible, make_settings

    if stream and images is not None:
        raise UsageError("--stream and --images exclude each other: new images at every step, or a finite set.")
    values: dict[str, Any] = {
        "initial": str(initial) if initial is not None else None,
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
            best = fit(
                settings,
                folder,
                device=place,
                resume=resume,
                compiled=compiled,
                tensorboard=tensorboard,
                progress=_print_progress,
            )
        except KeyboardInterrupt:
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


def _range(text: str | None) -> dict[str, float]:
    if text is None:
        return {}
    try:
        low, high = (float(end) for end in text.split(":"))
    except ValueError:
        raise UsageError(f"cannot read --sigma-range {text!r}: write low:high, for example 0.01:1.") from None
    return {"sigma_low": low, "sigma_high": high}


def _print_progress(progress: "Progress") -> None:
    """One line a validation, and between two of them a line that is written over, on a terminal."""
    from gahb_bench.training import processes

    if processes.rank() > 0:
        return
    minutes = f"{progress.seconds_left / 60:.1f} min left"
    line = f"step {progress.step:>6}/{progress.steps}   loss {progress.loss:.4g}   {minutes}"
    if progress.measured is not None:
        levels = "  ".join(f"{regret:.2f}" for regret in progress.measured.regret_db)
        known = progress.measured.mean_regret_db
        told = (
            f"regret {known:.3f} dB  ({levels})" if known == known else f"error {progress.measured.mean_mse_db:.2f} dB"
        )
        typer.echo(f"{line}   {told}", err=True)
    elif sys.stderr.isatty():
        typer.echo(f"{line}\r", err=True, nl=False)
