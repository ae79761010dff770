"""What networks from outside have in common: those whose conventions are known, and those the user must describe."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import D, Denoiser, Facts, check_estimate
from gahb_bench.core.errors import DenoiserError, GahbError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images
from gahb_bench.denoisers.apply import by_channel


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


class AdaptedNetwork(ExternalNetwork):
    """An external network of unknown conventions: the user's options say how it is called and what it returns.

        x_hat = net(y, sigma_scale sigma)        returns=image
        x_hat = y - net(y, sigma_scale sigma)    returns=noise
        x_hat = net(y), or y - net(y)            blind=true

    Graphs are called with float32 images ``(n, c, h, w)`` and a float32 tensor ``(n,)`` of noise levels. A network
    made for one channel, by its file or by ``channels=1``, is applied to each channel of an image alone.
    """

    returns: Literal["image", "noise"] = Field("image", description="what the network estimates: image or noise")
    sigma_scale: float = Field(1.0, gt=0, description="sigma is multiplied by this; 255 for networks of 8-bit images")
    blind: bool = Field(False, description="call it with y only")
    channels: int = Field(0, ge=0, description="channels it was made for; 0: those that its file states, else any")

    @abstractmethod
    def run(self, y: Images, *sigma: Tensor) -> Any:
        """What the network returns for images and, unless it is blind, scaled noise levels ``(n,)``, float64."""

    @property
    def made_for(self) -> int | None:
        """The number of channels that it takes; None where neither the user nor the file says so."""
        return self.channels or None

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        levels = () if self.blind else (self.sigma_scale * sigma,)
        try:
            answer = by_channel(self._answer, self.made_for, y, *levels, name=self.spec)
        except GahbError:
            raise
        except Exception as error:
            how = "y only" if self.blind else "(y, sigma); give blind=true if it takes y only"
            if y.shape[1] > 1 and self.made_for is None:
                how += "; give channels=1 if it was made for one channel"
            raise DenoiserError(
                f"{self.spec} failed on images of shape {tuple(y.shape)}, called with {how}: {reason_of(error)}"
            ) from error
        return y - answer if self.returns == "noise" else answer

    def _answer(self, y: Images, *sigma: Tensor) -> Images:
        return check_estimate(self.run(y, *sigma), y, self.spec).to(y.dtype)


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
