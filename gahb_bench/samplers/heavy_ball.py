"""Momentum: the probability flow along a running mean of its slopes."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class HeavyBall(Sampler):
    """Probability flow by Euler's method with Polyak's momentum, of order 1.

        e = (y - D(y, sigma)) / sigma,   v <- (1 - beta) v + beta e,   y <- y + (lower - sigma) v,   v = e at first

    It is stable at larger steps than Euler's method, and less accurate at small ones: the mean lags behind the slope.
    beta = 1 is `euler`; beta > 1 extrapolates. One evaluation a step.

    References
    ----------
    S. Wizadwongsa, W. Chinchuthakun, P. Khungurn, A. Raj, S. Suwajanakorn, "Diffusion sampling with momentum for
    mitigating divergence artifacts", ICLR 2024, arXiv:2307.11118; B. T. Polyak, "Some methods of speeding up the
    convergence of iteration methods", USSR Comput. Math. Math. Phys. 1964, doi:10.1016/0041-5553(64)90137-5.
    """

    name: ClassVar = "heavy-ball"
    source: ClassVar = "Wizadwongsa et al. 2024, arXiv:2307.11118"
    order: ClassVar = 1

    beta: float = Field(0.8, gt=0, lt=2, description="weight of the newest slope in the mean")

    def evaluations(self, levels: FloatArray) -> int:
        return len(levels) - 1

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, mean = start.images, None
        for sigma, lower in pairwise(levels):
            slope = (y - evaluate(y, sigma)) / sigma
            mean = slope if mean is None else (1 - self.beta) * mean + self.beta * slope
            y = y + (lower - sigma) * mean
        return y
