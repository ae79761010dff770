"""DPM-Solver++(2M): the probability flow by a multistep method in the logarithm of the noise level."""

from itertools import pairwise
from typing import ClassVar

import numpy as np

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class Dpm2m(Sampler):
    """Probability flow by DPM-Solver++(2M), of order 2: the estimate is extrapolated from the step before.

        h = log(sigma / lower),   r = h_before / h
        x_hat = D + (D - D_before) / (2 r),   y <- (lower / sigma) y + (1 - lower / sigma) x_hat

    x_hat is the estimate at the middle of the step, where estimates are linear in log sigma; a step along an estimate
    that stays is exact. The first step, which has none before it, and a step to sigma = 0 take D itself. One evaluation
    a step.

    References
    ----------
    C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu, "DPM-Solver++: fast solver for guided sampling of diffusion
    probabilistic models", 2022, arXiv:2211.01095, algorithm 2, with alpha = 1.
    """

    name: ClassVar = "dpm2m"
    source: ClassVar = "Lu et al. 2022, arXiv:2211.01095"
    order: ClassVar = 2

    def evaluations(self, levels: FloatArray) -> int:
        return len(levels) - 1

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, before, h_before = start.images, None, 0.0
        for sigma, lower in pairwise(levels):
            estimate = x_hat = evaluate(y, sigma)
            h = np.log(sigma / lower) if lower > 0 else np.inf
            if before is not None and lower > 0:
                x_hat = estimate + h / (2 * h_before) * (estimate - before)
            y = lower / sigma * y + (1 - lower / sigma) * x_hat
            before, h_before = estimate, h
        return y
