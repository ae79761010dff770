"""What a training is to do, checked before anything is computed."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor, nn

from gahb_bench import make
from gahb_bench.core import memory
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray, Images, PerImage, check_scored_sigmas
from gahb_bench.core.network import Network, build_empty, parameter_count
from gahb_bench.core.spec import format_value
from gahb_bench.networks.recipe import locate
from gahb_bench.networks.weights import file_digest

DEFAULT_RANGE = (10**-2.5, 10**0.5)  # the range of the default noise levels of a run
Precision = Literal["float32", "bf16"]
TrainingSplit = Literal["train", "train-a", "train-b"]


class Settings(BaseModel):
    """Everything the trained weights depend on, but for the device and the number of processes.

    family, network : canonical specs
    initial, initial_digest : file of weights of the same network to start from, instead of random ones; its content
    split : where the training images come from: disjoint streams, each with initial weights and noise of its own
    images : size of a finite training set, the first images of the split; None: a new image every time
    sigma_low, sigma_high : noise levels are drawn log-uniformly between them, one an image, stratified over the batch
    batch : images a step, over all processes
    learning_rate : at its peak, the architecture's own unless another is given; a linear rise over the first 2 % of the
        steps, then a cosine that would be zero after the last
    ema : decay a step of the running average of the weights, which is what is validated and kept
    precision : ``bf16`` computes the first two thirds of the steps in bfloat16, but for the first and last layers, and
        the rest in float32, which is what the kept average comes from
    validate_every, validation_images : the regret is measured on images of split ``val``
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: str
    network: str
    initial: str | None = None
    initial_digest: str | None = None
    split: TrainingSplit = "train"
    images: int | None = Field(None, ge=1)
    steps: int = Field(4000, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(gt=0, le=1)
    sigma_low: float = DEFAULT_RANGE[0]
    sigma_high: float = DEFAULT_RANGE[1]
    ema: float = Field(0.999, ge=0, lt=1)
    precision: Precision = "float32"
    seed: int = Field(0, ge=0)
    validate_every: int = Field(500, ge=1)
    validation_images: int = Field(64, ge=2)

    @model_validator(mode="after")
    def _noise_levels(self) -> "Settings":
        check_scored_sigmas([self.sigma_low, self.sigma_high])
        if self.sigma_low > self.sigma_high:
            raise UsageError(
                f"the lowest noise level, {self.sigma_low:g}, is above the highest, {self.sigma_high:g}: "
                "give --sigma-range as low:high."
            )
        return self

    @property
    def law(self) -> Family:
        return make.family(self.family)

    @property
    def architecture(self) -> Network:
        return make.network(self.network)

    @property
    def stream(self) -> tuple[str | int, ...]:
        """What the address of every draw of this training ends with, beside those of images."""
        return (self.seed,) if self.split == "train" else (self.seed, self.split)

    @property
    def validation_sigmas(self) -> FloatArray:
        """Seven noise levels over the range, evenly spaced in log sigma (one if the range is a point)."""
        if self.sigma_low == self.sigma_high:
            return np.array([self.sigma_low])
        return np.geomspace(self.sigma_low, self.sigma_high, 7)


def make_settings(family: str, network: str, values: dict[str, Any]) -> Settings:
    """Settings with canonical specs, the values given in place of the defaults, the network's own learning rate.

    Raises
    ------
    UsageError
        For an unknown name, or a value that is not allowed: what was given, and what is allowed.
    """
    law, architecture = make.family(family), make.network(network)
    if values.get("learning_rate") is None:
        values = values | {"learning_rate": architecture.learning_rate}
    if values.get("initial") is not None:
        path = locate(values["initial"])
        values = values | {"initial": str(path), "initial_digest": file_digest(path)}
    try:
        return Settings(family=law.spec, network=architecture.spec, **values)
    except ValidationError as error:
        told = []
        for problem in error.errors():
            subject = f"{problem['loc'][0]}={format_value(problem['input'])} is not allowed: " if problem["loc"] else ""
            message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
            told.append(subject + message.rstrip("."))
        raise UsageError("; ".join(told) + ".") from None


def with_defaults(kept: dict[str, Any]) -> dict[str, Any]:
    """Settings as a file keeps them, those that were stated in a later version at their defaults."""
    fields = Settings.model_fields.items()
    return {name: field.default for name, field in fields if not field.is_required()} | kept


def check_possible(settings: Settings, device: str, processes: int, folder: Path) -> None:
    """Refuse at once what would fail later: the network on these images, the batch over the processes, the precision.

    Raises
    ------
    UsageError
        Naming the setting, and what to do.
    """
    if settings.batch % processes:
        raise UsageError(
            f"batch={settings.batch} cannot be shared evenly by {processes} processes: give a multiple of {processes}."
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file: give a folder.")
    law = settings.law
    law.check_fits(max(settings.images or 0, settings.validation_images))
    what = f"training {settings.network} on {settings.family} with batch={settings.batch // processes}"
    advice = "choose a smaller batch, network or images"
    least = memory.of_training(0, settings.batch // processes, law.shape)
    memory.check_fits(least, what, advice, device)
    most = memory.total(device) // memory.of_training(1, 0, law.shape)
    empty = build_empty(settings.architecture, law.shape, 0.5, 0.25, most)
    if empty is None:
        raise UsageError(
            f"training {settings.network} would take more than the {memory.in_words(memory.total(device))} of memory "
            "that there are: choose a smaller network."
        )
    check_scored_sigmas([settings.sigma_low], law.sample([0], settings.seed, settings.split).images, settings.family)
    y, ends = torch.zeros(2, *law.shape), torch.tensor([settings.sigma_low, settings.sigma_high])
    x_hat, saved = _saved_bytes(settings.architecture.build(law.shape, 0.5, 0.25), y, ends)
    if x_hat.shape != y.shape:
        raise UsageError(f"{settings.network} gives {tuple(x_hat.shape)} from images {tuple(y.shape)}.")
    needed = memory.of_training(parameter_count(empty), settings.batch // processes, law.shape, saved // len(y))
    memory.check_fits(needed, what, advice, device)
    if settings.precision == "bf16" and torch.device(device).type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError("precision=bf16 is not supported by this GPU: use --precision float32.")


def _saved_bytes(module: nn.Module, y: Images, sigma: PerImage) -> tuple[Images, int]:
    """What a network in training makes of images, and the bytes it keeps for the way back beside its weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in module.parameters()}
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        x_hat = module.train()(y, sigma)
    return x_hat.detach(), sum(kept.values())
