"""The stochastic sampler of Karras et al.: Heun's method, with noise added before each step."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start

_MOST = 2**0.5 - 1  # of gamma: more noise than is there already is never added


class EdmSde(Sampler):
    """Heun's method with churn: before each of N steps noise is added, and the step begins from there.

        gamma = min(churn / N, sqrt 2 - 1) where low <= sigma <= high, else 0,   s = (1 + gamma) sigma
        y <- y + sqrt(s^2 - sigma^2) inflation z,   then Heun's step of the probability flow from s

    The noise makes up for errors of earlier steps, and adds some of its own. Two evaluations a step; one in a step to
    sigma = 0. With ``churn=0`` it is `heun`.

    References
    ----------
    T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models",
    NeurIPS 2022, arXiv:2206.00364, algorithm 2; S_churn, S_tmin, S_tmax as there for ImageNet-64 (table 5). S_noise is
    there 1.003, which makes up for networks that remove too much.
    """

    name: ClassVar = "edm-sde"
    source: ClassVar = "Karras et al. 2022, arXiv:2206.00364"

    churn: float = Field(40.0, ge=0, le=1e6, description="S_churn: how much noise is added in all")
    low: float = Field(0.05, ge=0, description="S_tmin: noise level below which none is added")
    high: float = Field(50.0, gt=0, description="S_tmax: noise level above which none is added")
    inflation: float = Field(1.0, gt=0, le=2, description="S_noise: standard deviation of z")

    def evaluations(self, levels: FloatArray) -> int:
        return 2 * (len(levels) - 1) - int(levels[-1] == 0)

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, noise = start.images, start.noise()
        for sigma, lower in pairwise(levels):
            gamma = min(self.churn / (len(levels) - 1), _MOST) if self.low <= sigma <= self.high else 0.0
            s = (1 + gamma) * sigma
            if gamma > 0:
                y = y + (s**2 - sigma**2) ** 0.5 * self.inflation * noise(y)
            slope = (y - evaluate(y, s)) / s
            reached = y + (lower - s) * slope
            if lower > 0:
                slope = (slope + (reached - evaluate(reached, lower)) / lower) / 2
            y = y + (lower - s) * slope
        return y
