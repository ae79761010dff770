"""A plan of several trainings: every network on every law, with equal budgets. It is a TOML file:

    [[trainings]]
    families = ["calpha:size=32", "disks:size=32"]
    networks = ["edm-unet", "dncnn:padding=circular"]
    minutes = 15                # of one core, each; or steps = 3000
    precision = "bf16"          # and whatever else `Settings` states: split = "train-a", images = 1000, ...

A block ``[[trainings]]`` for each budget. Every training has a folder of its own, named after its law and network.
"""

import json
import math
import re
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gahb_bench.core.errors import DenoiserError, UsageError, reason_of
from gahb_bench.core.files import read_file
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.loop import Progress, Trainer, fit
from gahb_bench.training.settings import Settings, check_possible, make_settings

_VALIDATIONS = 20  # of a training whose budget is in minutes
_WARM_UP, _TIMED = 2, 8  # steps, in each precision


@dataclass(frozen=True)
class Training:
    """One training of a plan: law, network, minutes of one core (None: a number of steps), and other settings."""

    family: str
    network: str
    minutes: float | None
    values: dict[str, Any]

    @property
    def name(self) -> str:
        """Of its folder."""
        seed = self.values.get("seed", 0)
        split = self.values.get("split", "train")
        parts = [self.family, self.network, *([f"seed={seed}"] if seed else [])]
        parts += [split] if split != "train" else []
        return "--".join(re.sub(r"[^\w=.,-]+", "-", part).strip("-") for part in parts)


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
        content = _File.model_validate(tomllib.loads(read_file(path).decode()))
    except OSError as error:
        raise UsageError(f"cannot read the plan {path}: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the plan {path} is not TOML: {error}.") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UsageError(
            f"the plan {path}: {problems}. It has blocks [[trainings]] with families, networks and minutes or steps."
        ) from None
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
) -> dict[str, str]:
    """Do the trainings of a plan one after the other, each in a folder of its own in ``out``.

    What is finished is not done again, and one that was stopped goes on. One that fails costs itself alone.

    Parameters
    ----------
    trainings, out, device, resume, compiled, tensorboard
    progress : callable

    Returns
    -------
    dict
        The reason of each training that failed, by its name.

    Raises
    ------
    StoreError
        If a folder holds another training, or cannot be written.
    """
    failed: dict[str, str] = {}
    for place, training in enumerate(trainings):
        folder = out / training.name
        later = 60 * sum(each.minutes or 0.0 for each in trainings[place + 1 :])

        def tell(now: Progress, training: Training = training, place: int = place, later: float = later) -> None:
            progress(PlanProgress(training, place + 1, len(trainings), now, now.seconds_left + later))

        try:
            settings = _settled(training, folder, device, resume)
            fit(
                settings,
                folder,
                device=device,
                resume=resume,
                compiled=compiled,
                tensorboard=tensorboard,
                progress=tell,
            )
        except DenoiserError as error:
            failed[training.name] = reason_of(error)
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


def _settled(training: Training, folder: Path, device: str, resume: bool) -> Settings:
    """The settings, with as many steps as fit into the minutes: those the folder states, or measured now."""
    values = dict(training.values)
    if training.minutes is not None:
        steps = _steps_of(folder) if resume else None
        if steps is None:
            trial = make_settings(training.family, training.network, values)
            check_possible(trial, device, 1, folder)
            steps = max(1, math.floor(60 * training.minutes / seconds_a_step(trial, device)))
        values = {"validate_every": math.ceil(steps / _VALIDATIONS)} | values | {"steps": steps}
    return make_settings(training.family, training.network, values)


def _steps_of(folder: Path) -> int | None:
    """How many steps the training in a folder has, if there is one."""
    try:
        return int(json.loads((folder / "training.json").read_text(encoding="utf-8"))["settings"]["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def seconds_a_step(settings: Settings, device: str = "cpu") -> float:
    """The time of a step, over both precisions as a training shares them: of one core, or of the device's clock."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    trainer = Trainer(settings, TrainingFolder(Path(), settings, main=False), device, 0, 1)
    trainer.network.train()
    lasting = {}
    try:
        for first in dict.fromkeys((0, trainer.low_steps)):  # the first step of each precision
            trainer.step = first
            began = 0.0
            for count in range(_WARM_UP + _TIMED):
                if count == _WARM_UP:
                    began = clock()
                float(trainer.advance(trainer.network))  # waits for the device
            lasting[first] = (clock() - began) / _TIMED
    finally:
        trainer.batches.close()
    share = trainer.low_steps / settings.steps
    return share * lasting[0] + (1 - share) * lasting[trainer.low_steps]
