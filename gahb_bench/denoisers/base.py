"""What every denoiser offers: ``x_hat = D(y, sigma)``."""

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.errors import DenoiserError, UsageError
from gahb_bench.families.base import Family
from gahb_bench.plugin import Plugin
from gahb_bench.types import Batch, Images, Knows, per_image_sigma

D = TypeVar("D", bound="Denoiser")


class Denoiser(Plugin):
    """A stateless map ``(y, sigma) -> x_hat``. A subclass states its parameters, what it `knows`, and `estimate`."""

    knows: ClassVar[Knows] = "nothing"
    brought: ClassVar[bool] = False  # by the user, from elsewhere: it may have been made for other units
    nan_reason: ClassVar[str] = "the estimate is not finite"  # what it means when an image's estimate is NaN
    _family: Family | None = PrivateAttr(default=None)

    @abstractmethod
    def estimate(self, y: Images, sigma: Tensor) -> Images:
        """The estimate: ``y`` is ``(n, c, h, w)`` floating point, ``sigma`` is ``(n,)`` float64, both checked."""

    def __call__(self, y: Tensor, sigma: float | Tensor) -> Images:
        """Denoise.

        Parameters
        ----------
        y : Tensor, shape (n, c, h, w), floating point
            Noisy images ``x + sigma z``.
        sigma : float, or Tensor of shape (n,)
            Standard deviation of the noise in image units, > 0.

        Returns
        -------
        Tensor, shape (n, c, h, w), dtype and device of ``y``
            A denoiser that cannot vouch for an image returns NaN for it; ``nan_reason`` says why.

        Raises
        ------
        UsageError
            For images or noise levels of the wrong kind or shape, or a denoiser that lacks what it must know.
        """
        if not isinstance(y, Tensor):
            raise UsageError(f"{self.name} takes a torch tensor of images (n, c, h, w), not {type(y).__name__}.")
        if y.ndim != 4 or not y.is_floating_point():
            raise UsageError(f"{self.name} takes floating-point images (n, c, h, w), not {y.dtype} {tuple(y.shape)}.")
        if self.needs_family and self._family is None:
            raise UsageError(
                f"{self.name} knows the {self.knows}: name its family, gb.denoiser({self.name!r}, family=...)."
            )
        levels = per_image_sigma(sigma, y)
        if y.shape[0] == 0:
            return y.clone()
        work = y.float() if y.dtype in (torch.float16, torch.bfloat16) else y
        return self.estimate(work, levels).to(y.dtype)

    @property
    def needs_family(self) -> bool:
        """Whether the family must be known (everything but ``knows = nothing``)."""
        return self.knows != "nothing"

    @property
    def digest(self) -> str:
        """Hash of what the spec does not say (weights, the user's code); empty where the spec says all."""
        return ""

    @property
    def fitted(self) -> int | None:
        """How many numbers of it were fitted to images: weights, tuned parameters; None where that is not stated."""
        return None

    @property
    def family(self) -> Family:
        """The family this denoiser was made for."""
        if self._family is None:
            raise UsageError(f"{self.name} needs a family: gb.denoiser({self.name!r}, family=...).")
        return self._family

    def bind(self: D, family: Family) -> D:
        """The same denoiser for a family."""
        bound = type(self).from_parameters(self.parameters)
        bound._family = family
        return bound

    def given(self: D, batch: Batch) -> D:
        """The same denoiser told of the batch it will denoise (only oracles that know latents or the image use it)."""
        del batch
        return self


def check_estimate(x_hat: Any, y: Tensor, name: str) -> Tensor:
    """Refuse an estimate that is not a floating-point tensor of the shape of ``y``."""
    if not isinstance(x_hat, Tensor) or x_hat.shape != y.shape:
        got = tuple(x_hat.shape) if isinstance(x_hat, Tensor) else type(x_hat).__name__
        raise DenoiserError(f"{name} returned {got}, but an estimate has the shape of its input, {tuple(y.shape)}.")
    if not x_hat.is_floating_point():
        raise DenoiserError(f"{name} returned {x_hat.dtype}, but an estimate is floating point, like its input.")
    return x_hat


def as_batch_shape(sigma: Tensor, like: Tensor) -> Tensor:
    """``sigma`` of shape (n,) as (n, 1, 1, 1) in the dtype of ``like``."""
    return sigma.to(like.dtype).reshape(-1, 1, 1, 1)
