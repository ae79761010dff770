"""The main job, from Python and from the command line: score denoisers against the best that is possible."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gahb_bench import make
from gahb_bench.core import registry
from gahb_bench.core.crew import Crew
from gahb_bench.core.environment import check_device
from gahb_bench.core.errors import RunWarning, UsageError, printable
from gahb_bench.core.executors import open_crew
from gahb_bench.core.family import Family
from gahb_bench.core.progress import Progress
from gahb_bench.reporting.report import write_report
from gahb_bench.reporting.text import notebook, summary
from gahb_bench.running import engine
from gahb_bench.running.engine import Outcome
from gahb_bench.running.folder import Failure, check_folder
from gahb_bench.running.parts import Parts, parts_of
from gahb_bench.running.plan import Chosen, Plan, make_plan

Told = Callable[[int, int], object]  # of (done, total)
RUNS = Path("reports/runs")  # where a run goes that names no folder


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is done: its tables, its page, and what went wrong. As text it is what the command line prints."""

    plan: Plan
    outcome: Outcome

    @property
    def scores(self) -> pd.DataFrame:
        """One row an image, as `gahb_bench.score` gives it."""
        return self.outcome.scores

    @property
    def curves(self) -> pd.DataFrame:
        """One row per family, denoiser and noise level (`gahb_bench.curves`)."""
        return self.outcome.curves

    @property
    def summary(self) -> pd.DataFrame:
        """One row per family and denoiser (`gahb_bench.summary`)."""
        return self.outcome.summary

    @property
    def folder(self) -> Path:
        """The run's folder, absolute: the same run goes on from it."""
        return self.outcome.folder

    @property
    def page(self) -> Path:
        """The page about it, one file that needs nothing else."""
        return self.folder / "report.html"

    @property
    def failures(self) -> list[Failure]:
        """The denoisers and noise levels at which an image failed, each with its reason."""
        return self.outcome.failures

    @property
    def warnings(self) -> list[str]:
        """What seems to be meant otherwise, could not be known, or is computed anew in every run."""
        return self.outcome.warnings

    @property
    def troubles(self) -> list[str]:
        """All that went wrong, a sentence each."""
        damaged = (
            f"warning: the finished part {path} was damaged and has been computed again."
            for path in self.outcome.damaged
        )
        failed = (
            f"failed: {each.denoiser} on {each.family} at sigma={each.sigma:.4g}: {each.reason}"
            for each in self.failures
        )
        return [*damaged, *failed, *(f"warning: {message}" for message in self.warnings)]

    @property
    def untuned(self) -> set[tuple[str, str]]:
        """The families and denoisers whose parameter follows a rule, for want of tuning."""
        records = self.plan.record.families
        return {(family.spec, each.spec) for family in records for each in family.denoisers if each.untuned}

    def __str__(self) -> str:
        resumed = self.outcome.resumed
        found = f"{resumed} finished cells were found and used.\n" if resumed else ""
        beside = "(also report.md, curves.png, curves.csv, scores.parquet)"
        return f"{found}{summary.summary(self.curves, self.summary, self.untuned)}\nopen {self.page}   {beside}"

    def __repr__(self) -> str:
        return f"<run of {len(self.plan.cells())} cells, {len(self.failures)} failed: {self.page}>"

    def _repr_html_(self) -> str:
        tables = summary.tables(self.curves, self.summary, self.untuned)
        return notebook.render(tables, self.troubles, self.page)


@dataclass(frozen=True, eq=False)
class Job:
    """A run that is resolved and checked, and not yet done."""

    plan: Plan
    folder: Path
    device: str = "cpu"
    batch: int | None = None
    resume: bool = True
    reuse: tuple[Path, ...] = ()

    @property
    def kept(self) -> int:
        """How many of its cells are finished in its folder."""
        return Parts(self.folder).count(self.plan.cells(), self.plan.images)

    def do(self, command: str = "", progress: Told = lambda *_: None, crew: Crew | None = None) -> Run:
        """Do what is not finished, make the tables and write the page.

        Parameters
        ----------
        command : how it was asked for, for the record
        progress : told after every cell of a task
        crew : who does the tasks; without one, this process

        Raises
        ------
        StoreError
            If the folder cannot be used; what is finished is kept.
        KeyboardInterrupt
            If the crew is stopped before there is anything to make tables of.
        """
        outcome = engine.run(
            self.plan,
            self.folder,
            device=self.device,
            batch=self.batch,
            resume=self.resume,
            reuse=self.reuse,
            command=command,
            crew=crew,
            progress=progress,
        )
        write_report(outcome.folder)
        return Run(self.plan, outcome)


def prepare(
    families: str | Family | Sequence[str | Family],
    denoisers: Chosen | None = None,
    sigmas: object = None,
    images: int = 128,
    seed: int = 0,
    split: str = "test",
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    batch: int | None = None,
    tune: bool = True,
    resume: bool = True,
    reuse: Sequence[str | Path] = (),
    progress: Told = lambda *_: None,
) -> Job:
    """Resolve and check a run (the parameters of `run`), and tune what is to be tuned; ``progress`` is told of that."""
    check_device(device)
    if not isinstance(families, str | Family | Iterable):
        raise UsageError(f"families come as specs or laws, one or a list: not {families!r}.")
    laws = [make.family(spec) for spec in ([families] if isinstance(families, str | Family) else families)]
    if laws and out is not None:  # what cannot be done is refused before anything is tuned
        check_folder(Path(out), [law.spec for law in laws], seed, split)
    others = [Path(other).absolute() for other in reuse]
    for other in others:
        parts_of(other)
    plan = make_plan(laws, denoisers, sigmas, images, seed, split, tune=tune, progress=progress)
    default = RUNS / f"{'-'.join(part.family.name for part in plan.families)[:40]}-{plan.key[:8]}"
    # A denoiser is foreign code and may change the working folder.
    return Job(plan, Path(default if out is None else out).absolute(), device, batch, resume, tuple(others))


def run(
    families: str | Family | Sequence[str | Family],
    denoisers: Chosen | None = None,
    sigmas: object = None,
    images: int = 128,
    seed: int = 0,
    split: str = "test",
    out: str | Path | None = None,
    *,
    device: str = "cpu",
    batch: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    tune: bool = True,
    resume: bool = True,
    reuse: Sequence[str | Path] = (),
    progress: bool = True,
) -> Run:
    """The main job: score denoisers on laws of images against the best that is possible; tables, a figure, a page.

        mse(s) = E |D(x + s z, s) - x|^2 / pixels,     regret_db(s) = 10 log10(mse(s) / mmse(s))

    The same as ``python -m gahb_bench run``: parameters without a stored value are tuned, work that is finished in the
    folder is used again, and the page is written there.

    Parameters
    ----------
    families : spec, Family, or several
    denoisers : sequence, or dict by names of one's choice
        Specs, Denoisers, callables ``(y, sigma) -> x_hat``. In a sequence ``"defaults"`` stands for each law's oracles,
        the networks shipped for it and the classical methods, which are scored if none are given, and a dict for what
        it names: ``["defaults", {"mine": net}]``.
    sigmas : float or sequence of floats
        Standard deviations of the noise in image units, > 0; default 13 from 10^-2.5 to 10^0.5.
    images, seed, split : how many images, which seed, ``test``, ``val``, ``train``, ``train-a`` or ``train-b``
    out : path
        The run's folder; by default one in ``reports/runs`` named by what is run, so that the same call finds it.
    device : where denoisers compute: ``cpu``, ``cuda``
    batch : most images that a denoiser is given at once, up to 128, the default
    workers : how many processes of this machine compute, one thread each; by default this process does
    scheduler : address of a scheduler of dask.distributed, whose workers compute: ``tcp://HOST:PORT``
    tune : whether a parameter for which no value is stored is tuned now (seconds, kept), or left to a rule
    resume : whether to go on from what is finished in the folder, or to begin again
    reuse : folders of other runs whose finished work is used too
    progress : whether to say on standard error how far it is

    Returns
    -------
    Run
        ``scores``, ``curves``, ``summary`` (DataFrames), ``page`` and ``folder`` (paths), ``failures``, ``warnings``.

    Warns
    -----
    RunWarning
        For each cell that failed, and whatever else went wrong.

    Raises
    ------
    UsageError
        For what is unknown, not allowed or given twice, a device that is not there, or more than memory holds.
    StoreError
        If the folder cannot be used, or holds another run.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, ICLR 2024, arXiv:2310.02557, section 3 (curves of the error
    against the noise level, beside the optimum).

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> done = run("calpha:size=8", ["mmse", "identity"], [0.1, 1.0], images=4, out=mkdtemp(), progress=False)
    >>> done.summary["mean_regret_db"].gt(1).tolist(), done.page.name, done.failures
    ([False, True], 'report.html', [])
    """
    with _told("tuning parameters", progress) as tuning:
        job = prepare(
            families,
            denoisers,
            sigmas,
            images,
            seed,
            split,
            out,
            device=device,
            batch=batch,
            tune=tune,
            resume=resume,
            reuse=reuse,
            progress=tuning,
        )
    with open_crew(workers, scheduler, signals=False) as crew, _told("denoising", progress) as denoising:
        done = job.do(_call(job.plan, denoisers), denoising, crew)
    for message in (*map(str, registry.problems()), *done.troubles):
        warnings.warn(message.removeprefix("warning: "), RunWarning, stacklevel=2)
    return done


@contextmanager
def _told(label: str, wanted: bool) -> Iterator[Told]:
    """Somebody to tell how far the work is."""
    if not wanted:
        yield lambda *_: None
        return
    with Progress(label) as progress:
        yield progress


def _call(plan: Plan, denoisers: Any) -> str:
    """How a run is asked for from Python, for the record."""
    laws = [family.spec for family in plan.families]
    chosen = "" if denoisers is None else f"{_written(denoisers)}, "
    return printable(
        f"gb.run({(laws[0] if len(laws) == 1 else laws)!r}, {chosen}sigmas={list(plan.sigmas)}, images={plan.images}, "
        f"seed={plan.seed}, split={plan.split!r})",
        2000,
    )


def _written(chosen: Any) -> str:
    if isinstance(chosen, Mapping):
        return f"{{{', '.join(f'{name!r}: {_written(each)}' for name, each in chosen.items())}}}"
    if isinstance(chosen, list | tuple):
        return f"[{', '.join(map(_written, chosen))}]"
    return repr(chosen) if isinstance(chosen, str) else str(getattr(chosen, "__name__", type(chosen).__name__))
