"""What networks brought from elsewhere have in common: how they are called, and what they return."""

from abc import abstractmethod
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import D, Denoiser, Facts, check_estimate
from gahb_bench.core.errors import DenoiserError, GahbError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images


class Brought(Denoiser):
    """A network that somebody trained elsewhere: it knows what it was trained on, and needs no family.

    A subclass sets ``_digest``, the hash of its file, when it is made.
    """

    knows: ClassVar = "training set"

    _digest: str = PrivateAttr(default="")

    @property
    def facts(self) -> Facts:
        return Facts(digest=self._digest, brought=True)

    @property
    def needs_family(self) -> bool:
        return False

    def bind(self: D, family: Family) -> D:
        del family
        return self


class Foreign(Brought):
    """A network in a form that is not ours, with options of how it is called and what it returns.

        x_hat = net(y, sigma_scale sigma)        returns=image
        x_hat = y - net(y, sigma_scale sigma)    returns=noise
        x_hat = net(y), or y - net(y)            blind=true

    Graphs are called with float32 images ``(n, c, h, w)`` and a float32 tensor ``(n,)`` of noise levels.
    """

    returns: Literal["image", "noise"] = Field("image", description="what the network estimates: image or noise")
    sigma_scale: float = Field(1.0, gt=0, description="sigma is multiplied by this; 255 for networks of 8-bit images")
    blind: bool = Field(False, description="call it with y only")

    @abstractmethod
    def run(self, y: Images, *sigma: Tensor) -> Any:
        """What the network returns for images and, unless it is blind, scaled noise levels ``(n,)``, float64."""

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        levels = () if self.blind else (self.sigma_scale * sigma,)
        try:
            answer = self.run(y, *levels)
        except GahbError:
            raise
        except Exception as error:
            how = "y only" if self.blind else "(y, sigma); give blind=true if it takes y only"
            raise DenoiserError(
                f"{self.spec} failed on images of shape {tuple(y.shape)}, called with {how}: {reason_of(error)}"
            ) from error
        answer = check_estimate(answer, y, self.spec).to(y.dtype)
        return y - answer if self.returns == "noise" else answer


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
