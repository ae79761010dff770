"""``generalization``: pairs of networks on disjoint training sets, from memorising to generalising."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gahb_bench.cli.app import app
from gahb_bench.cli.options import INTERRUPTED, OneFamily, SchedulerOption, WorkersOption, command_line
from gahb_bench.core.errors import UsageError
from gahb_bench.core.progress import Progress

if TYPE_CHECKING:
    import pandas as pd


@app.command()
def generalization(
    family: OneFamily,
    network: Annotated[
        str, typer.Option("--network", help="Architecture, for example edm-unet:width=32.")
    ] = "edm-unet",
    sizes: Annotated[str, typer.Option("--sizes", help="Images in each training set: 1,10,100.")] = "1,10,100,1000",
    steps: Annotated[int, typer.Option("--steps", help="How many steps each network is trained.")] = 800,
    batch: Annotated[int, typer.Option("--batch", help="Images a step.")] = 32,
    sigmas: Annotated[
        str | None, typer.Option("--sigmas", help="Noise levels: 0.01,0.1 or low:high:count; default 0.03,0.1,0.3,1.")
    ] = None,
    images: Annotated[int, typer.Option("--images", help="How many noisy test and training images.")] = 64,
    samples: Annotated[int, typer.Option("--samples", help="How many images each network generates.")] = 64,
    theories: Annotated[
        int, typer.Option("--theories", help="On how many of the images analytic theories are compared; 0: none.")
    ] = 8,
    patches: Annotated[
        int, typer.Option("--patches", help="How many training images local-equivariant knows, at most.")
    ] = 30,
    sampler: Annotated[
        str | None, typer.Option("--sampler", help="How; default heun, and ascent for blind networks.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Which seed: weights, images, noise.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:0.")] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder; default reports/runs/generalization-FAMILY-NETWORK.")
    ] = None,
    workers: WorkersOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Train two networks on disjoint sets of n images each, and measure what they memorise and what they share.

    For each n: regret on test and training images, the place t between the memoriser of the training set (0) and the
    posterior mean under the law (1), model variance, samples from the same seeds and the nearest training images, and
    the distance to each analytic theory of the same training set: a table, figures and a page. What is finished is
    kept: the same command goes on from it.
    """
    from gahb_bench.core.environment import check_device
    from gahb_bench.core.executors import open_crew
    from gahb_bench.core.levels import parse_sigmas
    from gahb_bench.generalization.carry_out import carry_out
    from gahb_bench.generalization.study import SIGMAS, make_study
    from gahb_bench.reporting.generalization.report import write_report
    from gahb_bench.training.trainer import PausedError

    if out == Path():
        raise UsageError("--out is the working folder: name a folder of its own.")
    check_device(device)
    study = make_study(
        family,
        network,
        _sizes(sizes),
        steps=steps,
        batch=batch,
        sigmas=SIGMAS if sigmas is None else parse_sigmas(sigmas),
        images=images,
        samples=samples,
        theories=theories,
        patches=patches,
        sampler=sampler,
        seed=seed,
    )
    name = "-".join(spec.partition(":")[0] for spec in (study.family, study.network))
    folder = (out or Path("reports/runs") / f"generalization-{name}").absolute()
    try:
        with open_crew(workers, scheduler) as crew, Progress("training steps") as progress:
            table = carry_out(study, folder, device=device, command=command_line(), progress=progress, crew=crew)
    except (KeyboardInterrupt, PausedError):
        typer.echo(INTERRUPTED, err=True)
        raise typer.Exit(1) from None
    for n, rows in table.groupby("n"):
        typer.echo(f"n={n}   {_in_words(rows)}")
    for sentence in write_report(folder).closing:
        typer.echo(sentence)
    typer.echo(f"open {folder / 'report.html'}   (also generalization.csv, *.png)")


def _sizes(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise UsageError(f"cannot read --sizes {text!r}: write numbers of images, for example 1,10,100.") from None


def _in_words(rows: "pd.DataFrame") -> str:
    """The means over both networks: t and regrets at each noise level, and what is of the pair."""
    value = rows.groupby(["measure", "sigma"], dropna=False)["value"].mean()
    over = {measure: " ".join(f"{each:.2f}" for each in value[measure]) for measure in value.index.levels[0]}
    return (
        f"t on training images {over['t_train']}, regret on them {over['train_regret_db']} dB, on test images "
        f"{over['test_regret_db']} dB, model variance {over['model_variance']} (over σ); correlation of samples "
        f"{over['sample_correlation']}, nearer to the own training set {over['nearest_share']}"
    )
