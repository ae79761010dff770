"""Euler's method on the probability flow."""

from itertools import pairwise
from typing import ClassVar

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class Euler(Sampler):
    """Probability flow by Euler's method, of order 1 (the deterministic sampler DDIM).

        dy/dsigma = (y - D(y, sigma)) / sigma

    which carries images with noise of one level to images with noise of another, if D is the posterior mean. One
    evaluation a step.

    References
    ----------
    T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models",
    NeurIPS 2022, arXiv:2206.00364; J. Song, C. Meng, S. Ermon, ICLR 2021, arXiv:2010.02502.
    """

    name: ClassVar = "euler"
    aliases: ClassVar = ("ddim",)
    source: ClassVar = "Song et al. 2021, arXiv:2010.02502"
    order: ClassVar = 1

    def evaluations(self, levels: FloatArray) -> int:
        return len(levels) - 1

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y = start.images
        for sigma, lower in pairwise(levels):
            y = y + (lower - sigma) / sigma * (y - evaluate(y, sigma))
        return y
