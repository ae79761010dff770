"""Plug-and-play restoration along a diffusion."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import Images
from gahb_bench.core.inverse import Denoise, Task, WeightedMethod


class DiffPir(WeightedMethod):
    """At each noise level an estimate, its proximal point, and a step towards that with part of the noise renewed.

        x_hat_y = argmin_z |y - A z|^2 / s^2 + weight |z - D(x, sigma)|^2 / sigma^2
        x <- x_hat_y + lower (sqrt(1 - churn) (x - x_hat_y) / sigma + sqrt(churn) z)

    One evaluation a step, no derivative.

    References
    ----------
    Y. Zhu, K. Zhang, J. Liang, J. Cao, B. Wen, R. Timofte, L. Van Gool, "Denoising diffusion models for plug-and-play
    image restoration", CVPR workshops 2023, arXiv:2305.08995.
    """

    name: ClassVar = "diffpir"
    source: ClassVar = "Zhu et al. 2023, arXiv:2305.08995"
    published: ClassVar = 1.0

    weight: float = Field(
        0.0, ge=0, le=1e6, description="lambda: of the estimate against the measurement; 0: tuned, or published"
    )
    churn: float = Field(1.0, ge=0, le=1, description="zeta: share of the noise that is renewed at each step")
    steps: int = Field(100, ge=2, le=100_000, description="number of noise levels")

    def run(self, denoise: Denoise, task: Task) -> Images:
        levels = task.levels(self.steps)
        x = task.start(levels[0])
        for sigma, lower in pairwise(levels):
            x_hat = task.proximal(denoise(x, sigma), sigma**2 / self.setting)
            kept = (1 - self.churn) ** 0.5 / sigma * (x - x_hat)
            x = x_hat + lower * (kept + self.churn**0.5 * task.noise(x)) if lower > 0 else x_hat
        return x
