"""What networks from outside have in common."""

import math
from typing import Any, ClassVar, TypeVar

from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import D, Denoiser, Facts
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.spec import format_value

N = TypeVar("N", bound="ExternalNetwork")

RANGES = ("0:1", "0:255", "-1:1", "0:65535")  # of images, as networks are made for them: black:white
_MOST = 1e6  # an end of a range beyond this is a mistake


def make_again(cls: type[N], parameters: dict[str, Any], name: str, family: Family | None, digest: str) -> N:
    """A network from its file in another process, the same content or none.

    Raises
    ------
    UsageError
        If the file there is another one.
    """
    made = cls.from_parameters(parameters)
    if made._digest != digest:
        raise UsageError(f"a worker has another file of {made.spec}: bring its files to the same state.")
    made._name, made._family = name, family
    return made


class ExternalNetwork(Denoiser):
    """A network that was trained outside of this project: it knows what it was trained on, and needs no family.

    How it is called, and what it returns, is for a subclass to know (that of the research code estimates the noise).
    Where only the user knows it, the subclass is an `AdaptedNetwork`. A subclass that reads a file sets ``_digest``,
    the hash of its content, when it is made.
    """

    knows: ClassVar = "training set"

    _digest: str = PrivateAttr(default="")

    @property
    def own_facts(self) -> Facts:
        return Facts(digest=self._digest, brought=True)

    @property
    def needs_family(self) -> bool:
        return False

    def bind(self: D, family: Family) -> D:
        del family
        return self

    def by_its_file(self) -> tuple[Any, ...]:
        """How another process makes it, where it cannot be sent itself: the ``__reduce__`` of a program in a file."""
        return make_again, (type(self), self.parameters, self._name, self._family, self._digest)


def read_range(value: Any) -> str:
    """A range ``black:white`` as text, of two numbers in text or, in Python, a pair of them; a validator of pydantic.

    Raises
    ------
    ValueError
        If it is none.
    """
    ends = value.split(":") if isinstance(value, str) else value
    try:
        low, high = map(float, ends)
    except (TypeError, ValueError):
        low = high = math.nan
    if not -_MOST <= low < high <= _MOST:
        raise ValueError("it should be black:white, two numbers of which the second is larger, for example 0:255")
    return f"{format_value(low)}:{format_value(high)}"


def ends_of(span: str) -> tuple[float, float]:
    """Intensities of black and white of a range as `read_range` gives it."""
    low, high = span.split(":")
    return float(low), float(high)


def channels_of(shape: tuple[int | None, ...]) -> int | None:
    """The number of channels in the shape ``(n, c, h, w)`` that a graph states, None where it may vary."""
    return shape[1] if len(shape) == 4 else None


def check_fixed(shape: tuple[int | None, ...], y: Tensor, spec: str) -> None:
    """Refuse images that a graph of fixed shape cannot take; None stands for a side that may vary.

    Raises
    ------
    DenoiserError
        Saying which shape the graph takes.
    """
    given = tuple(y.shape)
    if len(shape) != len(given) or any(side not in (None, got) for side, got in zip(shape, given, strict=True)):
        sides = ", ".join("any" if side is None else str(side) for side in shape)
        raise DenoiserError(
            f"{spec} takes images of shape ({sides}) only, not {given}: export it again with a variable number of "
            "images and for this size."
        )
