"""Plug and play: an estimate by alternating a denoiser and a proximal point."""

from typing import ClassVar

import torch
from pydantic import Field

from gahb_bench.core.images import Images
from gahb_bench.core.inverse import Denoise, Task, WeightedMethod


class Pnp(WeightedMethod):
    """Half-quadratic splitting: one estimate of each image, and no sample of the posterior.

        x = argmin_x |y - A x|^2 / s^2 + weight |x - z|^2 / sigma^2,    z <- D(x, sigma)

    with sigma falling, evenly in its logarithm, from ``high`` times the images' spread to s, and z at first
    `Task.guess`. Given everything (A = I), ``steps=1`` with a small weight is the plain denoiser, ``D(y, s)``. One
    evaluation a step, no derivative.

    References
    ----------
    S. V. Venkatakrishnan, C. A. Bouman, B. Wohlberg, "Plug-and-play priors for model based reconstruction", GlobalSIP
    2013, doi:10.1109/GlobalSIP.2013.6737048; K. Zhang, Y. Li, W. Zuo, L. Zhang, L. Van Gool, R. Timofte,
    "Plug-and-play image restoration with deep denoiser prior", IEEE TPAMI 2022, arXiv:2008.13751.
    """

    name: ClassVar = "pnp"
    source: ClassVar = "Zhang et al. 2022, arXiv:2008.13751"
    published: ClassVar = 0.23
    point: ClassVar = True

    weight: float = Field(
        0.0, ge=0, le=1e6, description="lambda: of the denoiser against the measurement; 0: tuned, or published"
    )
    high: float = Field(2.0, gt=0, le=1e6, description="first noise level, in units of the images' spread")
    steps: int = Field(24, ge=1, le=100_000, description="number of noise levels")

    def run(self, denoise: Denoise, task: Task) -> Images:
        z = task.guess()
        high = (self.high * task.spread / task.sigma).clamp(min=1)
        for share in torch.linspace(1, 0, self.steps).tolist() if self.steps > 1 else [0.0]:
            sigma = task.sigma * high**share
            z = denoise(task.proximal(z, sigma**2 / self.setting), sigma)
        return z
