"""What every architecture offers: a module ``D(y, sigma) -> x_hat``."""

import threading
from abc import abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from gahb_bench.core.errors import UsageError, unknown
from gahb_bench.core.images import Images
from gahb_bench.core.plugin import Plugin

N = TypeVar("N", bound="Network")

Padding = Literal["circular", "zeros"]  # what convolutions find beyond the border of an image


class Network(Plugin):
    """An architecture. A subclass states its parameters (the defaults are the preset ``small``) and how to `build`.

    presets : parameters by the name of a size; ``unet:preset=paper`` stands for them, and others given win over them
    facts : number of parameters (one channel) and receptive field (pixels; None: the whole image) of each preset,
        literal, so that they can be listed without building anything; a test measures them
    learning_rate : at its peak, unless a training states another
    """

    kind: ClassVar = "networks"
    presets: ClassVar[dict[str, dict[str, Any]]] = {"small": {}}
    facts: ClassVar[dict[str, tuple[int, int | None]]] = {}
    learning_rate: ClassVar[float] = 2e-3

    @classmethod
    def from_parameters(cls: type[N], parameters: dict[str, Any]) -> N:
        """Build from parameters, text or typed; ``preset=NAME`` stands for that preset's parameters."""
        given = dict(parameters)
        preset = given.pop("preset", "small")
        if preset not in cls.presets:
            raise unknown(f"preset of {cls.name!r}", str(preset), cls.presets)
        return super().from_parameters({**cls.presets[preset], **given})

    @abstractmethod
    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        """A new module called as ``D(y, sigma)`` with ``y`` (n, c, h, w) and ``sigma`` (n,), giving ``x_hat``.

        Parameters
        ----------
        shape : (c, h, w) of the images it will be trained on
        mean, std : of a pixel under the law it will be trained on, in image units

        Raises
        ------
        UsageError
            If the architecture cannot take images of this shape.
        """

    def start_from(self, module: nn.Module, images: Images) -> None:
        """Set what a new module takes from clean training images ``(n, c, h, w)`` before its first step: nothing."""
        del module, images

    @property
    def divisor(self) -> int:
        """What the sides of an image must be divisible by; 1 unless it is halved, or cut into patches."""
        return 1

    def check_shape(self, shape: tuple[int, int, int]) -> None:
        """Refuse images ``(c, h, w)`` that cannot be halved, or cut into patches, as the architecture does."""
        if shape[1] % self.divisor or shape[2] % self.divisor:
            raise UsageError(
                f"{self.spec} takes images whose sides are divisible by {self.divisor}, but these are {shape[1]} x "
                f"{shape[2]}. Choose another size, or an architecture with fewer levels or smaller patches."
            )


class _Float32(nn.Module):
    """Computes in float32 where autocast is on: for a network's first and last layers, which carry the image itself."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch names it
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.float() if input.dtype in (torch.bfloat16, torch.float16) else input)


def in_float32(forward: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor, Tensor], Tensor]:
    """A ``forward(y, sigma)`` that autocast leaves alone: of a network whose numbers bfloat16 would not carry."""

    @wraps(forward)
    def kept(self: Any, y: Tensor, sigma: Tensor) -> Tensor:
        with torch.autocast(y.device.type, enabled=False):
            return forward(self, y, sigma)

    return kept


class Float32Conv2d(_Float32, nn.Conv2d):
    """A convolution that autocast leaves in float32."""


class Float32Linear(_Float32, nn.Linear):
    """A linear layer that autocast leaves in float32."""


class Residual(nn.Module):
    """``D(y, sigma) = y - network(y)``: a network that estimates the noise, blind to sigma."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        del sigma
        return y - self.network(y)


class _TooManyError(Exception):
    """A module under construction holds more numbers than it may."""


def build_empty(network: Network, shape: tuple[int, int, int], mean: float, std: float, most: int) -> nn.Module | None:
    """The module of an architecture without its numbers, on device ``meta``; None if they were more than ``most``.

    They are counted as they come, buffers and what is replaced later included, and nothing is built beyond: this takes
    little memory and time whatever is asked for.
    """
    seen, thread = 0, threading.get_ident()

    def count(module: nn.Module, name: str, value: Tensor | None) -> None:
        nonlocal seen
        del module, name
        if value is not None and threading.get_ident() == thread:
            seen += value.numel()
            if seen > most:
                raise _TooManyError

    hooks = [
        registration.register_module_parameter_registration_hook(count),
        registration.register_module_buffer_registration_hook(count),
    ]
    try:
        with torch.device("meta"):
            return network.build(shape, mean, std)
    except _TooManyError:
        return None
    finally:
        for hook in hooks:
            hook.remove()


def parameter_count(module: nn.Module) -> int:
    """Number of parameters that training fits, whether or not they are frozen now."""
    return sum(parameter.numel() for parameter in module.parameters())
