"""Pseudoinverse-guided diffusion."""

from functools import partial
from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import Images
from gahb_bench.core.inverse import Denoise, Task, WeightedMethod, lowered


class Pigdm(WeightedMethod):
    """Sampling with the conditional score, the posterior of the clean image taken for Gaussian and white.

        p(x_0 | x) ~ N(x_hat, v I),   v = sigma^2 spread^2 / (sigma^2 + spread^2)
        grad log p(y | x) ~ J' A' (v A A' + s^2 I)^-1 (y - A x_hat)
        x_hat_y = x_hat + weight sigma^2 grad log p(y | x),   then a step towards x_hat_y

    The paper's approximation and score. Its algorithm adds the guidance to each step with a weight of its own, v; here
    the guided score takes the place of the score, so that with ``weight=1`` the method is exact, in small steps, for
    white Gaussian laws of standard deviation ``spread``. Two evaluations a step: the estimate, and the product with J'.

    References
    ----------
    J. Song, A. Vahdat, M. Mardani, J. Kautz, "Pseudoinverse-guided diffusion models for inverse problems", ICLR 2023
    (openreview.net/forum?id=9_gsMA8MRKQ), for noisy measurements.
    """

    name: ClassVar = "pigdm"
    source: ClassVar = "Song, Vahdat, Mardani & Kautz 2023"
    published: ClassVar = 1.0

    weight: float = Field(0.0, ge=0, le=1e6, description="of the guidance; 0: tuned, or published")
    churn: float = Field(1.0, ge=0, le=1, description="eta: 0 for deterministic steps, 1 for ancestral ones")
    steps: int = Field(100, ge=2, le=100_000, description="number of noise levels")

    def run(self, denoise: Denoise, task: Task) -> Images:
        levels = task.levels(self.steps)
        x = task.start(levels[0])
        for sigma, lower in pairwise(levels):
            x_hat, gradient = denoise.pull(x, sigma, partial(_uphill, task, task.uncertainty(sigma)))
            x = lowered(x, x_hat + self.setting * sigma**2 * gradient, sigma, lower, self.churn, task.noise)
        return x


def _uphill(task: Task, variance: float, x_hat: Images) -> Images:
    operator = task.measured.operator
    return operator.adjoint(operator.solve(task.misfit(x_hat), task.sigma**2, variance))
