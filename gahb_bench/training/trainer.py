"""One training: the network, its optimizer and its running average, step by step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gahb_bench.core import rng
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import DenoiserError, GahbError, StoreError, UsageError, reason_of
from gahb_bench.core.network import parameter_count
from gahb_bench.networks.weights import file_digest, load
from gahb_bench.training import state
from gahb_bench.training.batches import Batches, first_images
from gahb_bench.training.folder import TrainingFolder
from gahb_bench.training.settings import Settings, with_defaults
from gahb_bench.training.validation import Measured, Validation

_WARM_UP = 0.02  # part of the steps in which the learning rate rises
_CLIP = 1.0  # largest norm of the gradient
_LOW = 2 / 3  # part of the steps taken in bfloat16 where the settings ask for it
_DIVERGED = (
    "{what} is no longer a finite number at step {step}: lower --lr or use --precision float32. The state of the last "
    "save is kept."
)
_REPORT_EVERY = 20  # steps between two lines of the log


class PausedError(GahbError):
    """A training was asked to pause; its state is kept, and it goes on from there."""


@dataclass(frozen=True)
class Progress:
    """What is told every few steps: the mean loss since the last time (1 at the optimum), the latest measurement."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    measured: Measured | None


class Trainer:
    """The network, its optimizer and its running average, at some step."""

    def __init__(self, settings: Settings, store: TrainingFolder, device: str, rank: int, count: int) -> None:
        self.settings, self.store, self.device, self.processes = settings, store, device, count
        self.network, self.moments, self.before = _initial(settings)
        self.network.to(device)
        self.average = AveragedModel(self.network, multi_avg_fn=self._averaging, use_buffers=True)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate, fused=True)
        self.batches = Batches(settings, self.moments[1], rank, count)
        self.validates = rank == 0
        self.step, self.least, self.seconds, self.core_seconds = 0, math.inf, 0.0, 0.0

    @cached_property
    def validation(self) -> Validation:
        """What measures the regret, made when it is first needed."""
        return Validation(self.settings, self.device)

    def run(
        self,
        compiled: bool,
        save_seconds: float,
        progress: Callable[[Progress], object],
        pause: Callable[[], bool] = lambda: False,
    ) -> None:
        """All remaining steps, or those before it is asked to pause."""
        forward: Any = DistributedDataParallel(self.network) if self.processes > 1 else self.network
        forward = torch.compile(forward) if compiled else forward
        settings, first, before, core_before = self.settings, self.step, self.seconds, self.core_seconds
        began, core_began = time.perf_counter(), time.process_time()
        saved = began
        self.network.train()
        if first == 0:
            self.store.write_description(environment(self.device) | {"processes": self.processes})
        total, count = torch.zeros((), device=self.device), 0
        while self.step < settings.steps:
            total += self.advance(forward)
            count += 1
            validate = self.step == settings.steps or self.step % settings.validate_every == 0
            if not validate and self.step % _REPORT_EVERY:
                continue
            loss, count = self._mean_loss(total, count), 0
            total.zero_()
            measured = self._validate() if validate and self.validates else None
            now = time.perf_counter()
            self.seconds = before + now - began
            self.core_seconds = core_before + time.process_time() - core_began
            left = (now - began) / (self.step - first) * (settings.steps - self.step)
            self.store.log(self._log_entry(loss, measured))
            progress(Progress(self.step, settings.steps, loss, left, measured))
            asked = pause() and self.step < settings.steps
            if validate or asked or now - saved > save_seconds:
                self._save()
                saved = time.perf_counter()
            if asked:
                raise PausedError(f"the training pauses after step {self.step} of {settings.steps}")

    def restore(self) -> None:
        """Go on from the folder's state, if there is one."""
        kept = self.store.load_state()
        if kept is not None:
            self._restore(*kept)
        self.store.cut_log(self.step)

    def _restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        if with_defaults(facts.get("settings", {})) != self.settings.model_dump():
            raise StoreError(f"{self.store.path} holds the state of another training: give --out another folder.")
        try:
            state.restore(self.network, self.average, self.optimizer, tensors)
            self.step, self.least = int(facts["step"]), float(facts["least_score"])
            self.seconds, self.core_seconds = float(facts["seconds"]), float(facts["core_seconds"])
            if not 0 < self.step <= self.settings.steps:
                raise ValueError(f"step {self.step} of {self.settings.steps}")
        except (UsageError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"the state in {self.store.path} cannot be gone on from ({reason_of(error)}): begin again with "
                "--no-resume."
            ) from None

    @property
    def low_steps(self) -> int:
        """How many steps, the first ones, are computed in bfloat16."""
        return int(_LOW * self.settings.steps) if self.settings.precision == "bf16" else 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 1: a linear rise, then a cosine that would be zero after the last."""
        rise = min(1.0, step / math.ceil(_WARM_UP * self.settings.steps))
        return self.settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * (step - 1) / self.settings.steps))

    def advance(self, forward: Any) -> Tensor:
        """One step of ``forward``, the network as it is called; its loss, left on the device."""
        batch = self.batches(self.step).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step + 1)
        low = self.step < self.low_steps
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=low):
            x_hat = forward(batch.y, batch.sigma)
        loss = ((x_hat.float() - batch.x).square().flatten(1).mean(dim=1) * batch.weight).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _CLIP)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        self.step += 1
        return loss.detach()

    def _averaging(self, averaged: Any, current: Any, count: Any) -> None:
        """The running average: over the whole past at first, then with the decay of the settings."""
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        get_ema_multi_avg_fn(decay)(averaged, current, count)

    def _mean_loss(self, total: Tensor, count: int) -> float:
        """Mean over the steps since the last report and over the processes.

        Raises
        ------
        DenoiserError
            If it is not finite: the same on every process, so that none waits for another.
        """
        mean = total / count
        if self.processes > 1:
            distributed.all_reduce(mean)
            mean /= self.processes
        if not torch.isfinite(mean):
            raise DenoiserError(_DIVERGED.format(what=f"the loss of {self.settings.network}", step=self.step))
        return float(mean)

    def _validate(self) -> Measured:
        """Measure the averaged weights; keep them as the last, and as the best if they are."""
        network = self.average.module
        measured = self.validation(network)
        if not math.isfinite(measured.mean_mse_db):
            raise DenoiserError(_DIVERGED.format(what=f"the error of {self.settings.network}", step=self.step))
        recipe = self._recipe(measured)
        tensors = network.state_dict()
        self.store.save_weights("last", tensors, recipe)
        if measured.score < self.least:
            self.least = measured.score
            self.store.save_weights("best", tensors, recipe)
        return measured

    def _recipe(self, measured: Measured) -> dict[str, Any]:
        """How these weights came about, and how good they are."""
        law = self.settings.law
        regrets = zip(measured.sigma, measured.regret_db, strict=True)
        return {
            "network": self.settings.network,
            "family": self.settings.family,
            "shape": list(law.shape),
            "mean": self.moments[0],
            "std": self.moments[1],
            "parameters": parameter_count(self.network),
            "step": self.step,
            "seconds": round(self.seconds, 1),
            "core_seconds": round(self.core_seconds, 1),
            "settings": self.settings.model_dump(),
            "initial": self.before,
            "validation_regret_db": {f"{sigma:.6g}": _number(regret) for sigma, regret in regrets},
            "environment": environment(self.device) | {"processes": self.processes},
        }

    def _log_entry(self, loss: float, measured: Measured | None) -> dict[str, Any]:
        entry: dict[str, Any] = {"step": self.step, "loss": loss, "rate": self.rate(self.step)}
        entry |= {"seconds": round(self.seconds, 2), "core_seconds": round(self.core_seconds, 2)}
        if measured is not None:
            entry["mean_regret_db"] = _number(measured.mean_regret_db)
            entry["regret_db"] = [_number(regret) for regret in measured.regret_db]
        return entry

    def _save(self) -> None:
        facts = {"step": self.step, "least_score": self.least, "settings": self.settings.model_dump()}
        facts |= {"seconds": self.seconds, "core_seconds": self.core_seconds}
        self.store.save_state(state.tensors(self.network, self.average, self.optimizer), facts)


def _initial(settings: Settings) -> tuple[nn.Module, tuple[float, float], dict[str, Any] | None]:
    """The network before training, the moments of a pixel it is told, and the recipe of the weights it starts from.

    Raises
    ------
    UsageError
        If the weights to start from are of another network, or for images of another shape.
    """
    if settings.initial is not None:
        network, recipe = load(Path(settings.initial))
        if file_digest(Path(settings.initial)) != settings.initial_digest:
            raise UsageError(f"{settings.initial} is not the file that this training started from: it was changed.")
        if recipe["network"] != settings.network or tuple(recipe["shape"]) != settings.law.shape:
            raise UsageError(
                f"{settings.initial} holds {recipe['network']} for images {tuple(recipe['shape'])}: training "
                f"{settings.network} on images {settings.law.shape} cannot start from it."
            )
        return network.requires_grad_(True), (recipe["mean"], recipe["std"]), recipe
    images = first_images(settings)
    moments = settings.law.pixel_moments(images)
    with rng.torch_seeded("initial weights", settings.network, *settings.stream):
        network = settings.architecture.build(settings.law.shape, *moments)
        settings.architecture.start_from(network, images)
    return network, moments, None


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return round(float(value), 4) if math.isfinite(value) else None
