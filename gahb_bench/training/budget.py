"""One training of several: law, network and a budget, in steps or in minutes of one core."""

import json
import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.settings import Settings, check_possible, make_settings
from gahb_bench.training.trainer import Trainer

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

    def settled(self, folder: Path, device: str = "cpu", resume: bool = True) -> Settings:
        """Its settings, with as many steps as fit into the minutes: those the folder states, or measured now."""
        values = dict(self.values)
        if self.minutes is not None:
            steps = _steps_of(folder) if resume else None
            if steps is None:
                trial = make_settings(self.family, self.network, values)
                check_possible(trial, device, 1, folder)
                steps = max(1, math.floor(60 * self.minutes / seconds_a_step(trial, device)))
            values = {"validate_every": math.ceil(steps / _VALIDATIONS)} | values | {"steps": steps}
        return make_settings(self.family, self.network, values)


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
