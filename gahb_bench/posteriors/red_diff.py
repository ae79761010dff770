"""Regularisation by denoising diffusion."""

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field

from gahb_bench.core.images import Images
from gahb_bench.core.inverse import Denoise, Task, WeightedMethod


class RedDiff(WeightedMethod):
    """A variational estimate by a single point, one step of Adam at each noise level, from high to low.

        g = A'(A m - y) + weight (m - D(m + sigma z, sigma)),    m <- Adam(m, g)

    The weights of the paper, proportional to sigma, times its gradient are ``weight (m - D)`` at all levels; Adam's
    settings are its authors'. It starts at `Task.guess`, as their pseudoinverse is noise without bound after a blur.
    The Gaussian that the paper fits has no width left, so that a run ends near a mode of the posterior and its samples
    differ by the noise z alone. s, the noise of the measurement, is not used but for the start. One evaluation a step,
    no derivative.

    References
    ----------
    M. Mardani, J. Song, J. Kautz, A. Vahdat, "A variational perspective on solving inverse problems with diffusion
    models", ICLR 2024, arXiv:2305.04391; their code: github.com/NVlabs/RED-diff.
    """

    name: ClassVar = "red-diff"
    source: ClassVar = "Mardani et al. 2024, arXiv:2305.04391"
    published: ClassVar = 0.25

    weight: float = Field(
        0.0, ge=0, le=1e6, description="lambda: of the denoiser against the measurement; 0: tuned, or published"
    )
    rate: float = Field(0.1, gt=0, le=10, description="step of Adam, in units of the images' spread")
    steps: int = Field(200, ge=2, le=100_000, description="number of noise levels")

    def run(self, denoise: Denoise, task: Task) -> Images:
        operator = task.measured.operator
        m = task.guess()
        adam = torch.optim.Adam([m], lr=self.rate * task.spread, betas=(0.9, 0.99))
        for sigma, _ in pairwise(task.levels(self.steps)):
            noisy = m + sigma * task.noise(m)
            m.grad = self.setting * (m - denoise(noisy, sigma)) - operator.adjoint(task.misfit(m))
            adam.step()
        return m
