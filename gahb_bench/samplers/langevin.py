"""Annealed Langevin dynamics."""

from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class Langevin(Sampler):
    """Annealed Langevin dynamics: at each level some steps that leave the noisy law as it is, then the next level.

        y <- y + h (D(y, sigma) - y) + sqrt(2 h) sigma z

    a step of size h sigma^2 along the gradient of log p_sigma, (D - y) / sigma^2 (Miyasawa). A mode of variance lambda
    forgets a share h sigma^2 / (lambda + sigma^2) a step, so that coarse ones are slow; and what a mode of noise alone
    tends to is too large by 1 / (1 - h / 2). If the last level is 0, the last step is y <- D(y, sigma). ``steps``
    evaluations a level, and one for the step to 0.

    References
    ----------
    Y. Song, S. Ermon, "Generative modeling by estimating gradients of the data distribution", NeurIPS 2019,
    arXiv:1907.05600, algorithm 1; the last step as in Y. Song, S. Ermon, NeurIPS 2020, arXiv:2006.09011.
    """

    name: ClassVar = "langevin"
    source: ClassVar = "Song & Ermon 2019, arXiv:1907.05600"

    h: float = Field(0.5, gt=0, lt=2, description="step size, in units of sigma^2; the research code has 0.2")
    steps: int = Field(1, ge=1, description="steps at each noise level; the research code has 100")

    def evaluations(self, levels: FloatArray) -> int:
        zero = int(levels[-1] == 0)
        return self.steps * (len(levels) - zero) + zero

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, noise = start.images, start.noise()
        positive = levels[levels > 0]
        for sigma in positive:
            for _ in range(self.steps):
                y = y + self.h * (evaluate(y, sigma) - y) + (2 * self.h) ** 0.5 * sigma * noise(y)
        return y if levels[-1] > 0 else evaluate(y, positive[-1])
