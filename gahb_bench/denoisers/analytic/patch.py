"""What the denoisers have in common that compare noisy patches with training patches."""

from abc import abstractmethod
from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor
from torch.nn import functional

from gahb_bench.core.images import Images
from gahb_bench.core.memory import cached
from gahb_bench.denoisers.training_set import TrainingSet
from gahb_bench.denoisers.tunable import Tunable


class PatchDenoiser(TrainingSet, Tunable):
    """Each pixel from the ``patch x patch`` noisy pixels around it, all channels together, the image taken as periodic.

    A patch at least as high (wide) as the image is all of its rows (columns), each once. ``patch=0`` is calibrated on
    validation images for each noise level: small for little noise, large for much. Without a table it is
    ``1 + 15 sigma^(3/4)``, about what that finds on `calpha` and `disks`.
    """

    tuned: ClassVar = "patch"
    search: ClassVar = (1.0, 129.0)

    patch: int = Field(0, ge=0, description="side of the patches, pixels, odd; 0: calibrated for each noise level")

    @field_validator("patch")
    @classmethod
    def _odd(cls, patch: int) -> int:
        if patch > 0 and patch % 2 == 0:
            raise ValueError(f"a patch has a pixel at its centre, so its side is odd ({patch - 1} or {patch + 1})")
        return patch

    def nearest(self, value: float) -> float:
        """The odd side next to a number, not larger than what covers the image."""
        covers = max(self.family.shape[1:]) // 2 * 2 + 1
        return float(min(int(value) // 2 * 2 + 1, covers))

    def rule(self, sigma: Tensor) -> Tensor:
        return 1 + 15 * sigma**0.75

    def setting(self, sigma: Tensor) -> Tensor:
        sides = [self.nearest(float(value)) for value in super().setting(sigma)]
        return torch.tensor(sides, dtype=torch.float64, device=sigma.device)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.family.check_images(y)
        sides = self.setting(sigma)
        x_hat = torch.empty_like(y, dtype=torch.float64)
        for side in sides.unique():
            chosen = sides == side
            x_hat[chosen] = self.from_patches(y[chosen].double(), sigma[chosen], int(side))
        return x_hat

    @abstractmethod
    def from_patches(self, y: Images, sigma: Tensor, side: int) -> Images:
        """The estimate with patches of one size."""


def patches(x: Tensor, side: int) -> Tensor:
    """The patches around all pixels of periodic images, ``(k h w, c, p, q)``: p = side, or h if that is less.

    Pixel ``(p // 2, q // 2)`` of a patch is the one that it lies around.
    """
    channels, height, width = x.shape[1:]
    p, q = min(side, height), min(side, width)
    wrapped = functional.pad(x, (q // 2, (q - 1) // 2, p // 2, (p - 1) // 2), mode="circular")
    unfolded = functional.unfold(wrapped, (p, q))  # (k, c p q, h w)
    return unfolded.mT.reshape(-1, channels, p, q)


def box_sum(x: Tensor, side: int) -> Tensor:
    """Sums over the patch around each pixel of periodic images ``(..., h, w)``, patches as in `patches`."""
    rows, columns = (_window(side, length).to(x) for length in x.shape[-2:])
    return rows @ x @ columns.mT


@cached(64)
def _window(side: int, length: int) -> Tensor:
    """Which places of a periodic line lie within the window around each: 0 or 1, ``(length, length)``."""
    width = min(side, length)
    offset = torch.arange(length) - torch.arange(length)[:, None]
    return ((offset + width // 2) % length < width).double()
