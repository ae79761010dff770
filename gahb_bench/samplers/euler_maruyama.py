"""The reverse stochastic differential equation, by the method of Euler and Maruyama."""

from itertools import pairwise
from typing import ClassVar

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class EulerMaruyama(Sampler):
    """Reverse stochastic differential equation of y = x + sigma z (variance exploding), by Euler and Maruyama.

        y <- y + (sigma^2 - lower^2) / sigma^2 (D(y, sigma) - y) + sqrt(sigma^2 - lower^2) z

    where (D - y) / sigma^2 is the gradient of log p_sigma (Miyasawa), and the clock is the variance of the noise. A
    step to sigma = 0 adds none, and ends at D. One evaluation a step.

    References
    ----------
    Y. Song, J. Sohl-Dickstein, D. P. Kingma, A. Kumar, S. Ermon, B. Poole, "Score-based generative modeling through
    stochastic differential equations", ICLR 2021, arXiv:2011.13456 (reverse diffusion sampler of the VE SDE).
    """

    name: ClassVar = "euler-maruyama"
    source: ClassVar = "Song et al. 2021, arXiv:2011.13456"

    def evaluations(self, levels: FloatArray) -> int:
        return len(levels) - 1

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, noise = start.images, start.noise()
        for sigma, lower in pairwise(levels):
            removed = sigma**2 - lower**2
            y = y + removed / sigma**2 * (evaluate(y, sigma) - y)
            if lower > 0:
                y = y + removed**0.5 * noise(y)
        return y
