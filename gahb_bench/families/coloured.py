"""Colour images: three channels that are an orthogonal mix of independent images of another family."""

from typing import ClassVar

import torch
from pydantic import model_validator
from torch import Tensor

from gahb_bench.core.images import Images
from gahb_bench.families.transformed.law import Transformed


class Coloured(Transformed):
    """Colour images whose opponent channels are independent images of a grey family.

        (R, G, B) = 1/2 + Q' (x_1 - 1/2, x_2 - 1/2, x_3 - 1/2),   x_i independent inner images

        Q = [ (1, 1, 1)/sqrt(3),  (1, -1, 0)/sqrt(2),  (1, 1, -2)/sqrt(6) ]   luminance, red-green, yellow-blue

    Q is orthogonal, so the optimum is that of the inner family in each opponent channel, and its risk per pixel and
    channel is the same. A method that treats channels alone loses what their dependence is worth: nothing where the
    inner law is Gaussian (they are then independent), something elsewhere.

    Latents: those of the inner family, with an axis of length 3 after the first.

    References
    ----------
    G. Buchsbaum, A. Gottschalk, "Trichromacy, opponent colours coding and optimum colour information transmission in
    the retina", Proc. R. Soc. Lond. B 220, 1983, doi:10.1098/rspb.1983.0090 (opponent channels as decorrelation).

    Examples
    --------
    >>> Coloured(of="disks:size=16").sample(range(2)).images.shape
    torch.Size([2, 3, 16, 16])
    """

    name: ClassVar = "coloured"
    source: ClassVar = "Buchsbaum & Gottschalk 1983, doi:10.1098/rspb.1983.0090"
    variants: ClassVar = ("coloured:of=(disks:size=32)",)
    copies: ClassVar = 3

    @model_validator(mode="after")
    def _grey(self) -> "Coloured":
        channels = self.inner.shape[0]
        if channels != 1:
            raise ValueError(
                f"of={self.of} is not allowed: its images have {channels} channels, and colour images are made of "
                "images of one channel"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        return (3, *self.inner.shape[1:])

    def forward(self, images: Images) -> Tensor:
        self.inner.check_images(images)
        return _mix(images.unflatten(0, (-1, 3))[:, :, 0], _opponent(images).T)

    def inverse(self, images: Images) -> Tensor:
        self.check_images(images)
        return _mix(images, _opponent(images)).flatten(0, 1).unsqueeze(1)


def _mix(channels: Images, weights: Tensor) -> Tensor:
    """``1/2 + weights (channels - 1/2)``, each image by itself, so that its bits cannot depend on its neighbours."""
    centred = channels - 0.5
    mixed = [row[0] * centred[:, 0] + row[1] * centred[:, 1] + row[2] * centred[:, 2] for row in weights]
    return 0.5 + torch.stack(mixed, dim=1)


def _opponent(like: Tensor) -> Tensor:
    """Q, ``(opponent channel, colour)``."""
    rows = torch.tensor([[1, 1, 1], [1, -1, 0], [1, 1, -2]], dtype=like.dtype, device=like.device)
    return rows / rows.norm(dim=1, keepdim=True)
