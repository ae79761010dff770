"""A plan of several trainings: every network on every law, with equal budgets. It is a TOML file:

    [[trainings]]
    families = ["calpha:size=32", "disks:size=32"]
    networks = ["edm-unet", "dncnn:padding=circular"]
    minutes = 15                # of one core, each; or steps = 3000
    precision = "bf16"          # and whatever else `Settings` states: split = "train-a", images = 1000, ...

A block ``[[trainings]]`` for each budget. Every training has a folder of its own, named after its law and network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gahb_bench.core.crew import Crew
from gahb_bench.core.errors import DenoiserError, UsageError, reason_of
from gahb_bench.core.files import read_toml
from gahb_bench.training.budget import Training
from gahb_bench.training.elsewhere import train_all
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import make_settings
from gahb_bench.training.trainer import PausedError, Progress


@dataclass(frozen=True)
class PlanProgress:
    """What is told while a plan is done: which training, of how many, how far it is, and the time left for all."""

    training: Training
    place: int
    count: int
    progress: Progress
    seconds_left: float


class _Block(BaseModel):
    model_config = ConfigDict(extra="allow")
    families: list[str] = Field(min_length=1)
    networks: list[str] = Field(min_length=1)
    minutes: float | None = Field(None, gt=0, allow_inf_nan=False)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trainings: list[_Block] = Field(min_length=1)


def read(path: Path) -> list[Training]:
    """The trainings of a plan, block by block, law by law.

    Raises
    ------
    UsageError
        If the file cannot be read, or a training in it is not possible: which, and what is allowed.
    """
    try:
        content = _File.model_validate(read_toml(path))
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}.") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UsageError(
            f"the plan {path}: {problems}. It has blocks [[trainings]] with families, networks and minutes or steps."
        ) from None
    except ValueError as error:
        raise UsageError(f"the plan {path} is not TOML: {error}.") from None
    found = [training for block in content.trainings for training in _trainings(block)]
    names = [training.name for training in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the plan {path} states {twice} twice: give it another seed or split, or remove it.")
    return found


def carry_out(
    trainings: list[Training],
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = True,
    compiled: bool = False,
    tensorboard: bool = False,
    progress: Callable[[PlanProgress], object] = lambda _: None,
    crew: Crew | None = None,
) -> dict[str, str]:
    """Do the trainings of a plan, each in a folder of its own in ``out``: one after the other, or on a crew's workers.

    What is finished is not done again, and one that was stopped goes on. One that fails costs itself alone.

    Parameters
    ----------
    trainings, out, device, resume, compiled, tensorboard
    progress : callable
    crew : who does the trainings; without one, this process

    Returns
    -------
    dict
        The reason of each training that failed, by its name.

    Raises
    ------
    StoreError
        If a folder holds another training, or cannot be written.
    UsageError
        If events for TensorBoard are asked of workers, which would write them elsewhere.
    PausedError
        If the crew was stopped before the end; every training goes on from its state.
    """
    crew = crew or Crew()
    if not crew.alone:
        if tensorboard:
            raise UsageError("--tensorboard cannot be given beside --workers or --scheduler: see log.jsonl.")
        return _on_workers(trainings, out, crew, device, resume, compiled, progress)
    failed: dict[str, str] = {}
    for place, training in enumerate(trainings):
        if crew.stopped:
            raise PausedError("the trainings were stopped; each goes on from its state")
        folder = out / training.name
        later = 60 * sum(each.minutes or 0.0 for each in trainings[place + 1 :])

        def tell(now: Progress, training: Training = training, place: int = place, later: float = later) -> None:
            progress(PlanProgress(training, place + 1, len(trainings), now, now.seconds_left + later))

        try:
            settings = training.settled(folder, device, resume)
            fit(
                settings,
                folder,
                device=device,
                resume=resume,
                compiled=compiled,
                tensorboard=tensorboard,
                progress=tell,
                pause=lambda: crew.stopped,
            )
        except DenoiserError as error:
            failed[training.name] = reason_of(error)
    return failed


def _on_workers(
    trainings: list[Training],
    out: Path,
    crew: Crew,
    device: str,
    resume: bool,
    compiled: bool,
    progress: Callable[[PlanProgress], object],
) -> dict[str, str]:
    """Several at once; what is told of the time left supposes that the others take as long as this one."""
    failed: dict[str, str] = {}
    folders = {out / training.name: training for training in trainings}
    left = set(folders)
    for folder, came in train_all(folders, crew, device=device, resume=resume, compiled=compiled):
        training = folders[folder]
        if came.ended:
            left.discard(folder)
        if came.failed:
            failed[training.name] = came.failed
        if (now := came.progress) is not None:
            whole = now.seconds_left + sum(60 * (folders[other].minutes or 0.0) for other in left - {folder})
            told = PlanProgress(training, len(folders) - len(left), len(folders), now, whole / crew.workers())
            progress(told)
    if left:
        raise PausedError("the trainings were stopped; each goes on from its state")
    return failed


def _trainings(block: _Block) -> list[Training]:
    """Those of one block, checked."""
    values = dict(block.model_extra or {})
    if (block.minutes is None) == ("steps" not in values):
        raise UsageError("a block of trainings states either minutes of one core or steps.")
    found = []
    for family in block.families:
        for network in block.networks:
            settings = make_settings(family, network, values)
            settings.architecture.check_shape(settings.law.shape)
            found.append(Training(settings.family, settings.network, block.minutes, values))
    return found
