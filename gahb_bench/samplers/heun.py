"""Heun's method on the probability flow."""

from itertools import pairwise
from typing import ClassVar

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class Heun(Sampler):
    """Probability flow by Heun's method, of order 2: the mean of the slopes at both ends of a step.

        dy/dsigma = (y - D(y, sigma)) / sigma

    Two evaluations a step; one in a step to sigma = 0, where the second slope is not defined: that step is Euler's.

    References
    ----------
    T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models",
    NeurIPS 2022, arXiv:2206.00364, algorithm 1.
    """

    name: ClassVar = "heun"
    source: ClassVar = "Karras et al. 2022, arXiv:2206.00364"
    order: ClassVar = 2

    def evaluations(self, levels: FloatArray) -> int:
        return 2 * (len(levels) - 1) - int(levels[-1] == 0)

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y = start.images
        for sigma, lower in pairwise(levels):
            slope = (y - evaluate(y, sigma)) / sigma
            reached = y + (lower - sigma) * slope
            if lower > 0:
                slope = (slope + (reached - evaluate(reached, lower)) / lower) / 2
            y = y + (lower - sigma) * slope
        return y
