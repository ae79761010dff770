"""Levenberg-Marquardt-Langevin: Euler's method along a slope that a damped, rank-one Hessian has turned."""

from itertools import pairwise
from typing import ClassVar

from pydantic import Field

from gahb_bench.core.images import FloatArray, Images, PerImage, per_pixel
from gahb_bench.core.sampler import Evaluate, Sampler, Start


class LevenbergMarquardtLangevin(Sampler):
    """Probability flow by Euler's method along the slope after a damped, rank-one Newton step, of order 1.

        e = (y - D(y, sigma)) / sigma,   m = (1 - kappa) e + kappa e_before
        u = (m m' + damping |m|^2 I)^-1 e,   up to a factor,   = e - m (m'e) / ((1 + damping) |m|^2)
        y <- y + (lower - sigma) |e| u / |u|

    m m', damped as Levenberg and Marquardt do, stands for the Hessian of -log p_sigma, and the length of the slope is
    kept. For small steps u is along e + (kappa / damping) (e - e_before), but for the part along e itself: it is then
    `gradient-estimation` with gamma = 1 + kappa / damping, at constant length. With ``kappa=0``, which the
    published scripts have unless told otherwise, it is `euler`. The length is that of the whole image, so that modes do
    not go their ways alone. One evaluation a step; no noise is added.

    References
    ----------
    F. Wang, H. Yin, L. Qian et al., "Unleashing high-quality image generation in diffusion sampling using second-order
    Levenberg-Marquardt-Langevin", ICCV 2025, arXiv:2505.24222. There the damping is a number lambda beside |m|^2, which
    is near the number of pixels.
    """

    name: ClassVar = "levenberg-marquardt-langevin"
    aliases: ClassVar = ("lml",)
    source: ClassVar = "Wang et al. 2025, arXiv:2505.24222"
    order: ClassVar = 1
    linear: ClassVar = False

    damping: float = Field(0.5, gt=0, le=1e6, description="lambda, in units of |m|^2")
    kappa: float = Field(0.5, ge=0, le=1, description="weight of the slope before in m")

    def evaluations(self, levels: FloatArray) -> int:
        return len(levels) - 1

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        y, before = start.images, None
        for sigma, lower in pairwise(levels):
            slope = (y - evaluate(y, sigma)) / sigma
            m = slope if before is None else (1 - self.kappa) * slope + self.kappa * before
            along = _inner(m, slope) / ((1 + self.damping) * _inner(m, m)).clamp_min(_TINY)
            turned = slope - per_pixel(along, y) * m
            kept = (_inner(slope, slope) / _inner(turned, turned).clamp_min(_TINY)).sqrt()
            y = y + (lower - sigma) * per_pixel(kept, y) * turned
            before = slope
        return y


_TINY = 1e-300  # where there is no slope at all, nothing is turned


def _inner(a: Images, b: Images) -> PerImage:
    """Inner products of images, ``(n,)`` float64."""
    return (a.double() * b.double()).flatten(1).sum(dim=1)
