"""The equivariant local score machine: each pixel from the training patches at all places."""

import math
from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core.images import Images
from gahb_bench.denoisers.analytic.patch import PatchDenoiser, patches
from gahb_bench.denoisers.analytic.weights import NUMBERS_AT_ONCE, gaussian, weighted_mean


class LocalEquivariant(PatchDenoiser):
    """Posterior mean of each pixel given the noisy patch around it, under the training patches at all places.

        x_hat(q) = sum_{i,r} w_{i,r}(q) x_i(r),   w_{i,r}(q) proportional to exp(-|y_P(q) - x_i,P(r)|^2 / (2 sigma^2))

    This is the best that a convolutional network of the receptive field P learns from the ``n`` images: the equivariant
    local score machine. The image is taken as periodic, as for networks with circular padding (with zero padding they
    learn where the border is: section 3.4 there). Each pixel is compared with n h w patches, so the time grows as the
    square of the number of pixels, times n and patch^2 (a patch that covers the image is fast): calibrating it takes
    about a minute at 32 x 32, and much longer beyond, where a patch is better given by hand.

    Optimality
    ----------
    Knows ``n`` training images and that the law is invariant under shifts. Where it is, it tends with n to E[x(q) |
    y_P]; its MSE is an upper bound on the MMSE. A patch that covers the image makes it `empirical` over all shifts of
    the training images; with ``patch=1`` it is the shrinkage of each pixel by itself.

    References
    ----------
    M. Kamb, S. Ganguli, "An analytic theory of creativity in convolutional diffusion models", ICML 2025,
    arXiv:2412.20292, equations (9) and (10); the patch by noise level, section 5.1.
    """

    name: ClassVar = "local-equivariant"
    source: ClassVar = "Kamb & Ganguli 2025, equation (9)"
    looks: ClassVar = {"": ("plum", "triangle-up")}
    tuned_on: ClassVar = 2

    n: int = Field(10, ge=1, le=10_000_000, description="number of training images: the first n of the split")

    def from_patches(self, y: Images, sigma: Tensor, side: int) -> Images:
        shape, about = y.shape[1:], self.level(y.device)
        p, q = (min(side, length) for length in shape[1:])
        log_weights = partial(gaussian, about=about)
        rows = max(1, NUMBERS_AT_ONCE // (math.prod(shape) * p * q))  # images whose patches are held at once

        def training() -> Iterator[Tensor]:
            return (patches(x, side) for part in self.drawn(y.device) for x in part.split(rows))

        if (p, q) == shape[1:]:  # all pixels of an image see the same, shifted
            return weighted_mean(log_weights, y, sigma, training())
        found = []
        for noisy, levels in zip(y.split(rows), sigma.split(rows), strict=True):
            queries, each = patches(noisy, side), levels.repeat_interleave(shape[1] * shape[2])
            centres = weighted_mean(log_weights, queries, each, training(), value=partial(_centre, p=p, q=q))
            found.append(centres.reshape(len(noisy), *shape[1:], shape[0]).permute(0, 3, 1, 2))
        return torch.cat(found)


def _centre(x: Tensor, p: int, q: int) -> Tensor:
    """The middle pixels of patches ``(k, c, p, q)``, ``(k, c, 1, 1)``."""
    return x[:, :, p // 2, q // 2, None, None]
