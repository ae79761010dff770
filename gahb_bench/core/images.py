"""Images and noise levels: the data that flows through the package, and its shapes."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gahb_bench.core.errors import UsageError

Images = Float[Tensor, "n c h w"]
Directions = Float[Tensor, "n k c h w"]
PerImage = Float[Tensor, "n"]
FloatArray = NDArray[np.floating]

Knows = Literal["law", "latents", "image", "training set", "nothing"]

LEAST_SCORED_SIGMA = 1e-6  # noise below it is lost in the rounding of float32 images of values up to 2
_MOST_SIGMA = 1e9


@dataclass(frozen=True)
class Batch:
    """Clean images of one family with their latents and their address.

    ``images`` is float32 ``(n, c, h, w)``, intensities nominally in [0, 1], never clipped; every latent has first
    axis ``n``. The address (family spec, seed, split, indices) is all that the paired noise draws depend on.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> batch = gb.family("calpha:size=16").sample([3, 1])
    >>> len(batch), batch.images.shape, batch.select([1]).indices
    (2, torch.Size([2, 1, 16, 16]), (1,))
    """

    images: Images
    latents: dict[str, Tensor]
    family: str
    seed: int
    split: str
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: str | torch.device) -> "Batch":
        """The same batch on another device."""
        latents = {name: value.to(device) for name, value in self.latents.items()}
        return replace(self, images=self.images.to(device), latents=latents)

    def select(self, positions: list[int] | range) -> "Batch":
        """The images at these positions (0-based, within this batch), as a batch of their own."""
        chosen = list(positions)
        latents = {name: value[chosen] for name, value in self.latents.items()}
        indices = tuple(self.indices[position] for position in chosen)
        return replace(self, images=self.images[chosen], latents=latents, indices=indices)


def check_sigmas(sigmas: object) -> FloatArray:
    """Noise levels as a float64 vector, each positive and finite.

    Raises
    ------
    UsageError
        If there is none, or one is zero, negative, infinite or NaN.
    """
    try:
        values = np.atleast_1d(
            np.array(np.asarray(sigmas), dtype=np.float64)
        )  # a copy: a table's column is not writable
    except (TypeError, ValueError):
        raise UsageError(f"{sigmas!r} are no noise levels: give a number > 0, or a list of them.") from None
    if values.ndim != 1:
        raise UsageError(f"{sigmas!r} are no noise levels: give a number > 0, or a list of them, not one of lists.")
    if values.size == 0:
        raise UsageError("no noise levels given: give at least one sigma > 0.")
    bad = values[~(np.isfinite(values) & (values > 0) & (values <= _MOST_SIGMA))]
    if bad.size:
        raise UsageError(
            f"sigma={bad[0]:g} is not allowed: a noise level is the noise's standard deviation in image units, > 0 and "
            f"at most {_MOST_SIGMA:g} (images lie nominally in [0, 1])."
        )
    return values


def check_scored_sigmas(sigmas: object, images: Images | None = None, source: str = "") -> FloatArray:
    """`check_sigmas`, and refuse noise that float32 images cannot hold: those given, of what ``source`` names.

    What counts is the largest value of an image, and of ten and more images nine tenths must hold the noise: laws of
    heavy tails have single images that are larger than any bound.
    """
    values = check_sigmas(sigmas)
    largest = 0.0
    if images is not None and images.numel():
        largest = float(images.abs().flatten(1).amax(dim=1).quantile(0.9, interpolation="higher"))
    if not values.min() >= largest / 2 * LEAST_SCORED_SIGMA:
        raise UsageError(
            f"sigma={values.min():g} is not allowed on {source}, whose images have values of {largest:.3g}: noise "
            f"below {largest / 2 * LEAST_SCORED_SIGMA:.2g} is lost in their rounding to float32. Score at larger noise "
            "levels, or choose images that lie in [0, 1]."
        )
    if values.min() < LEAST_SCORED_SIGMA:
        raise UsageError(
            f"sigma={values.min():g} is not allowed: noise below {LEAST_SCORED_SIGMA:g} is lost in the rounding of "
            "float32 images; score at larger noise levels."
        )
    return values


def per_image_sigma(sigma: float | Tensor, y: Tensor) -> Tensor:
    """``sigma`` as a float64 vector ``(n,)`` on the device of ``y``."""
    try:
        value = torch.as_tensor(sigma, dtype=torch.float64, device=y.device)
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(
            f"sigma={sigma!r} is not allowed: give a number > 0, or a tensor of one for each image."
        ) from None
    if value.ndim == 0:
        value = value.expand(y.shape[0])
    if value.shape != (y.shape[0],):
        raise UsageError(
            f"sigma has shape {tuple(value.shape)}: give one number, or one for each of {y.shape[0]} images."
        )
    if y.shape[0] and not bool((torch.isfinite(value) & (value > 0) & (value <= _MOST_SIGMA)).all()):
        check_sigmas(value.detach().cpu().numpy())  # it says which; torch.func has no numbers to show it of good ones
    return value


def per_pixel(values: PerImage, like: Tensor) -> Tensor:
    """One number an image, ``(n,)``, as ``(n, 1, 1, 1)`` in the dtype of ``like``: the same for all of its pixels."""
    return values.to(like.dtype).reshape(-1, 1, 1, 1)
