"""How a denoiser from outside is called, and what it returns: everything that the user's options say of it."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr, field_validator, model_validator
from torch import Tensor, nn

from gahb_bench.core.denoiser import Denoiser, check_estimate
from gahb_bench.core.errors import DenoiserError, EstimateError, GahbError, reason_of
from gahb_bench.core.images import Images, per_pixel
from gahb_bench.denoisers.apply import by_channel
from gahb_bench.denoisers.brought.base import RANGES, ExternalNetwork, ends_of, read_range

A = TypeVar("A", bound="AdaptedNetwork")

MEAN = 0.5  # of an image, nominally

# What is tried where a call fails: how sigma is given, and what else may be needed.
_CALLS: tuple[dict[str, Any], ...] = (
    {},
    {"blind": True, "sigma_as": "auto", "sigma_scale": 1.0},
    *(
        {"blind": False, "sigma_as": form}
        for form in ("auto", "tensor", "number", "column", "scalar", "image", "channel")
    ),
)
_NEEDS: tuple[dict[str, Any], ...] = (
    {},
    {"channels": 1},
    {"batch": 1},
    {"pad": "reflect"},
    {"pad": "reflect", "multiple": 64},
)
# What is tried where an estimate is poor: units, and what is estimated.
_UNITS: tuple[dict[str, Any], ...] = tuple(
    {"range": span, "sigma_scale": scale, "returns": returns}
    for span, scale, returns in product(RANGES, (1.0, 255.0), ("image", "noise", "unit-noise"))
    if (span, scale) != ("0:65535", 255.0)  # of 16 bits, with sigma of 8 more
)


class AdaptedNetwork(ExternalNetwork):
    """A denoiser whose conventions only the user knows: options say how it is called and what it returns.

        y' = low + (high - low) y,   s' = sigma_scale (high - low) sigma            range=low:high
        x_hat = (net(y', s') - low) / (high - low)                                  returns=image
        x_hat = y - net(y', s') / (high - low)                                      returns=noise
        x_hat = y - sigma net(y', s')                                               returns=unit-noise
        net(y')                                                                     blind=true
        x_hat = m + (sigma / s0) (D(m + (y - m) s0 / sigma, s0) - m),  m = 1/2      adapt=s0

    What is returned may also be an array of NumPy, an object with a tensor ``sample``, a dictionary with one, or a
    tuple whose only tensor of the image's shape it is. A network made for one channel, by its file or by
    ``channels=1``, is applied to each channel of an image alone.
    """

    returns: Literal["image", "noise", "unit-noise"] = Field(
        "image", description="what it estimates: the image, the noise, or the noise over sigma"
    )
    range: str = Field("0:1", description="black:white of its images, 0:255 or -1:1; applied to image and sigma alike")
    sigma_scale: float = Field(
        1.0, ge=1e-6, le=1e6, description="sigma is multiplied by this as well, for networks that want so"
    )
    sigma_as: Literal["auto", "number", "scalar", "tensor", "column", "image", "channel"] = Field(
        "auto",
        description="sigma as a number, a tensor without axes (scalar), a tensor (n,), a tensor (n, 1, 1, 1) (column), "
        "an image (n, 1, h, w), or as one more channel of y; auto: a number for Python code where all images share it, "
        "else a tensor (n,)",
    )
    blind: bool = Field(False, description="call it with y only")
    channels: int = Field(
        0, ge=0, le=10_000, description="channels it was made for; 0: those that its file states, else any"
    )
    batch: int = Field(0, ge=0, le=1_000_000, description="images at once; 0: as many as come")
    pad: Literal["none", "reflect"] = Field("none", description="extend sides that are not divisible by `multiple`")
    multiple: int = Field(16, ge=1, le=4096, description="what the sides must be divisible by, with pad=reflect")
    adapt: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="the one sigma it was made for, in image units, to which images are scaled about 1/2; 0: any",
    )

    graph: ClassVar[bool] = True  # it takes tensors only

    _advice: str | None = PrivateAttr(default=None)

    _read_range = field_validator("range", mode="before")(read_range)

    @model_validator(mode="after")
    def _refuse_contradictions(self: A) -> A:
        if self.blind and (self.sigma_as, self.sigma_scale) != ("auto", 1.0):
            raise ValueError("blind=true calls it with y only: leave out sigma_as= and sigma_scale=, or blind=")
        return self

    @abstractmethod
    def run(self, y: Images, *sigma: Any) -> Any:
        """What the network returns for images in its range and, unless it is blind, its noise levels."""

    @property
    def made_for(self) -> int | None:
        """The number of channels that it takes; None where neither the user nor the file says so."""
        return self.channels or None

    @property
    def ends(self) -> tuple[float, float]:
        """Intensities of black and white."""
        return ends_of(self.range)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        try:
            return self._estimate(y, sigma)
        except EstimateError as error:
            raise DenoiserError(f"{error} {self._what_works(y, sigma)}".strip()) from error
        except GahbError:
            raise
        except Exception as error:
            how = "y only" if self.blind else "(y, sigma)"
            raise DenoiserError(
                f"{self.spec} failed on images of shape {tuple(y.shape)}, called with {how}: "
                f"{self._what_works(y, sigma)}{reason_of(error)}"
            ) from error

    def with_options(self: A, **options: Any) -> A:
        """The same with other options, already checked."""
        return self.model_copy(update=options)

    def units_to_try(self) -> list[Denoiser]:
        """The same for other units, and for other things to be estimated."""
        now = {key: getattr(self, key) for key in _UNITS[0]}
        seen = [units for units in _UNITS if not (self.blind and units["sigma_scale"] != 1)]
        return [self.with_options(**units) for units in seen if units != now]

    def _estimate(self, y: Images, sigma: Tensor) -> Images:
        level, scaled = sigma, y
        if self.adapt:
            level = torch.full_like(sigma, self.adapt)
            scaled = MEAN + (y - MEAN) * per_pixel(level / sigma, y)
        x_hat = by_channel(self._padded, self.made_for, scaled, level, name=self.spec)
        return MEAN + (x_hat - MEAN) * per_pixel(sigma / level, y) if self.adapt else x_hat

    def _padded(self, y: Images, sigma: Tensor) -> Images:
        if self.pad == "none":
            return self._in_batches(y, sigma)
        more = [-side % self.multiple for side in y.shape[:-3:-1]]  # of columns, of rows
        sides = [part for extra in more for part in (extra // 2, extra - extra // 2)]
        rows, columns = y.shape[-2:]
        if max(sides[:2]) >= columns or max(sides[2:]) >= rows:
            raise DenoiserError(
                f"{self.spec}: images of {rows} x {columns} are too small to be reflected to sides of a multiple of "
                f"{self.multiple}: give a smaller multiple=."
            )
        x_hat = self._in_batches(nn.functional.pad(y, sides, mode="reflect"), sigma)
        return x_hat[..., sides[2] : sides[2] + rows, sides[0] : sides[0] + columns]

    def _in_batches(self, y: Images, sigma: Tensor) -> Images:
        size = self.batch or len(y)
        return torch.cat([self._in_units(*part) for part in zip(y.split(size), sigma.split(size), strict=True)])

    def _in_units(self, y: Images, sigma: Tensor) -> Images:
        low, high = self.ends
        given = low + (high - low) * y if self.range != "0:1" else y.clone()  # its own copy, to do with as it likes
        answer = self.run(*self._called_with(given, self.sigma_scale * (high - low) * sigma))
        answer = check_estimate(_tensor(answer, y, self.spec), y, self.spec).to(y.dtype)
        if self.returns == "unit-noise":
            return y - per_pixel(sigma, y) * answer
        return y - answer / (high - low) if self.returns == "noise" else (answer - low) / (high - low)

    def _called_with(self, y: Images, sigma: Tensor) -> Sequence[Any]:
        """The arguments: images, and sigma in the form it is wanted."""
        if self.blind:
            return (y,)
        form = self.sigma_as
        if form == "auto":
            form = "number" if not self.graph and bool((sigma == sigma[:1]).all()) else "tensor"
        levels = sigma.to(y.dtype)
        if form in ("number", "scalar"):
            if not bool((sigma == sigma[:1]).all()):
                raise DenoiserError(f"{self.spec} takes sigma as a number: give it images that share one noise level.")
            return (y, float(sigma[0]) if form == "number" else levels[0])
        if form == "tensor":
            return (y, levels)
        column = per_pixel(levels, y)
        if form == "column":
            return (y, column)
        plane = column.expand(-1, 1, *y.shape[-2:])
        return (torch.cat([y, plane], dim=1),) if form == "channel" else (y, plane.clone())

    def _what_works(self, y: Images, sigma: Tensor) -> str:
        """Other ways to call it, tried on these images: the first that works, in words; nothing if none does."""
        if self._advice is None:
            self._advice = ""
            for call, need in product(_CALLS, _NEEDS):
                other = self.with_options(**call, **need)
                if other.parameters != self.parameters and _works(other._estimate, y, sigma):
                    self._advice = f"it works with {other.written()}. "
                    break
        return self._advice


def _works(estimate: Callable[..., Any], y: Images, sigma: Tensor) -> bool:
    """Whether a call gives finite numbers of the right shape."""
    try:
        return bool(torch.isfinite(estimate(y, sigma)).all())
    except Exception:
        return False


def _tensor(answer: Any, y: Images, name: str) -> Any:
    """The estimate in what was returned, where it stands in an object, a dictionary or a tuple; an array as a tensor.

    Raises
    ------
    EstimateError
        If several could be meant.
    """
    if isinstance(answer, Mapping):
        answer = answer.get("sample", answer)
    elif isinstance(getattr(answer, "sample", None), Tensor | np.ndarray):
        answer = answer.sample
    elif isinstance(answer, tuple | list):
        found = [part for part in answer if isinstance(part, Tensor | np.ndarray) and part.shape == tuple(y.shape)]
        if len(found) > 1:
            raise EstimateError(
                f"{name} returned a {type(answer).__name__} of {len(found)} tensors of the shape of its input: which "
                "of them is the estimate cannot be told, so return that one alone."
            )
        answer = found[0] if found else answer
    return torch.from_numpy(np.ascontiguousarray(answer)).to(y.device) if isinstance(answer, np.ndarray) else answer
