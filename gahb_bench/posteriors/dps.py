"""Diffusion posterior sampling."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field

from gahb_bench.core.images import Images
from gahb_bench.core.inverse import Denoise, Task, WeightedMethod, lowered


class Dps(WeightedMethod):
    """Ancestral sampling, each step followed by one against the gradient of the misfit, through the denoiser.

        r = y - A D(x, sigma),    x <- ancestral step of x to the next level + weight f J' A' r / |r|
        f = 2 spread sqrt(1 + sigma^2 / spread^2) sqrt(1 + lower^2 / spread^2)

    The published step, ``-weight grad |r|^2 / |r|`` in its variables, which shrink as noise grows, and for images in
    [-1, 1]; f is what that is in the units of the images. It takes the likelihood of x for that of its estimate, so
    that it is not exact for any law. Two evaluations a step: the estimate, and the product with J'.

    References
    ----------
    H. Chung, J. Kim, M. T. Mccann, M. L. Klasky, J. C. Ye, "Diffusion posterior sampling for general noisy inverse
    problems", ICLR 2023, arXiv:2209.14687.
    """

    name: ClassVar = "dps"
    source: ClassVar = "Chung et al. 2023, arXiv:2209.14687"
    published: ClassVar = 1.0

    weight: float = Field(
        0.0, ge=0, le=1e6, description="zeta: length of the steps against the misfit; 0: tuned, or published"
    )
    steps: int = Field(100, ge=2, le=100_000, description="number of noise levels")

    def run(self, denoise: Denoise, task: Task) -> Images:
        levels, operator = task.levels(self.steps), task.measured.operator
        x = task.start(levels[0])

        def uphill(x_hat: Images) -> Images:
            r = task.misfit(x_hat)
            length = r.flatten(1).norm(dim=1).clamp(min=torch.finfo(r.dtype).tiny).reshape(-1, 1, 1, 1)
            return operator.adjoint(r / length)

        for sigma, lower in pairwise(levels):
            x_hat, gradient = denoise.pull(x, sigma, uphill)
            f = 2 * task.spread * ((1 + (sigma / task.spread) ** 2) * (1 + (lower / task.spread) ** 2)) ** 0.5
            x = lowered(x, x_hat, sigma, lower, 1.0, task.noise) + self.setting * f * gradient
        return x
