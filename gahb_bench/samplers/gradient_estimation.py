"""Gradient estimation: the probability flow by Euler's method, its slope extrapolated from the step before."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class GradientEstimation(Sampler):
    """Probability flow by Euler's method along a slope that combines the last two, of order 1.

        e = (y - D(y, sigma)) / sigma,   y <- y + (lower - sigma) (gamma e + (1 - gamma) e_before)

    The estimate of noise e, seen as the gradient of the squared distance to the images, changes little from step to
    step; with gamma > 1 its error is reduced. The paper's is 2. On evenly spaced levels gamma = 1.5 is the method of
    Adams and Bashforth, of order 2, and gamma = 1 is `euler`. One evaluation a step.

    References
    ----------
    F. Permenter, C. Yuan, "Interpreting and improving diffusion models from an optimization perspective", ICML 2024,
    arXiv:2306.04848, section 5.
    """

    name: ClassVar = "gradient-estimation"
    source: ClassVar = "Permenter & Yuan 2024, arXiv:2306.04848"
    order: ClassVar = 1

    gamma: float = Field(2.0, ge=0, le=10, description="weight of the newest slope; the one before has 1 - gamma")

    def evaluations(self, levels: FloatArray) -> int:
        return len(levels) - 1

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, before = start.images, None
        for sigma, lower in pairwise(levels):
            slope = (y - evaluate(y, sigma)) / sigma
            before = slope if before is None else before
            y = y + (lower - sigma) * (self.gamma * slope + (1 - self.gamma) * before)
            before = slope
        return y
