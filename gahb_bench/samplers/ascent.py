"""The stochastic ascent of the log-density that a blind denoiser knows."""

from typing import ClassVar

import torch
from pydantic import Field

from gahb_bench.core.images import FloatArray, Images, per_pixel
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class Ascent(Sampler):
    """Stochastic ascent for blind denoisers, which find the noise level themselves: from noise, by its own residual.

        f = D(y) - y,    s = |f| / sqrt(values),    y <- y + h f + gamma z
        gamma^2 = ((1 - beta h)^2 - (1 - h)^2) s^2

    f is sigma^2 times the gradient of log p_sigma at y, whatever sigma is (Miyasawa), and s estimates the noise of y. A
    step leaves ``(1 - h)^2 s^2`` of its variance and adds ``gamma^2``: the noise falls by ``1 - beta h``, and with
    beta = 1 nothing is added. Of the levels only the first, sigma_0, and the last, sigma_L, are used: an image is
    finished as soon as s <= sigma_L, and is then D(y). A denoiser told sigma is told s of the step before.

    References
    ----------
    Z. Kadkhodaie, E. P. Simoncelli, "Stochastic solutions for linear inverse problems using the prior implicit in a
    denoiser", NeurIPS 2021, arXiv:2007.13640; fixed h as in Kadkhodaie et al. 2024, arXiv:2310.02557.
    """

    name: ClassVar = "ascent"
    source: ClassVar = "Kadkhodaie & Simoncelli 2021, arXiv:2007.13640"
    linear: ClassVar = False  # the noise that it adds follows |f|
    adaptive: ClassVar = True

    h: float = Field(0.05, gt=0, lt=1, description="step size; the research code has 0.01")
    beta: float = Field(0.5, gt=0, le=1, description="1 adds no noise, less adds more; the research code has 0.01")
    most: int = Field(2000, ge=1, description="evaluations, after which an image that is not finished is NaN")

    def evaluations(self, levels: FloatArray) -> int:
        del levels
        return self.most

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, noise = start.images, start.noise()
        done = torch.full_like(y, torch.nan)
        told = y.new_full((len(y),), float(levels[0]))
        going = torch.arange(len(y), device=y.device)
        added = ((1 - self.beta * self.h) ** 2 - (1 - self.h) ** 2) ** 0.5
        for _ in range(self.most):
            f = evaluate(y, told, going) - y
            s = f.flatten(1).square().mean(dim=1).sqrt()
            finished = s <= levels[-1]
            done[going[finished]] = (y + f)[finished]
            more = ~finished
            going, y, f, told = going[more], y[more], f[more], s[more]
            if len(going) == 0:
                break
            y = y + self.h * f + added * per_pixel(told, y) * noise(y, going)
        return done
