"""A weighted ensemble: sequential Monte Carlo along the noise levels."""

from collections.abc import Callable
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core.conditional import Streams
from gahb_bench.core.images import Images, per_pixel
from gahb_bench.core.inverse import Denoise, PosteriorMethod, Task, lowered


class Ensemble(PosteriorMethod):
    """Particles carried down the noise levels, led towards the measurement, and weighed so that this cancels.

    With ancestral steps ``p(x' | x) = N(m(x, x_hat), c^2 I)`` to the next level, x_hat = D(x, sigma), x_hat_y its
    proximal point given y, and any positive function G of x at each level, at the last the likelihood,

        x' ~ q = N(m(x, x_hat_y), c^2 I)
        weight *= p(x' | x) G'(x') / (q(x' | x) G(x)),    G(x) = N(y; A x_hat, v A A' + s^2 I)

    The weights start as G, so that their product is ``p(y | x_0)`` times the density of the unguided path over that of
    the guided one: the weighted particles are samples of the posterior as their number grows, under the law that
    ancestral sampling has; that is the law itself as steps get small. v is that of `pigdm`, 0 at the last level, where
    ``x_0 = D(x, sigma)``. The particles of an image are resampled, systematically, where their effective number falls
    below ``resample`` times their number. Samples are drawn from the particles: k of one image share their population.

    One evaluation a step and particle, no derivative.

    References
    ----------
    L. Wu, B. L. Trippe, C. A. Naesseth, D. M. Blei, J. P. Cunningham, "Practical and asymptotically exact conditional
    sampling in diffusion models", NeurIPS 2023, arXiv:2306.17775 (there the proposal has the gradient of G); P. Del
    Moral, A. Doucet, A. Jasra, J. R. Stat. Soc. B 2006, doi:10.1111/j.1467-9868.2006.00553.x.
    """

    name: ClassVar = "ensemble"
    source: ClassVar = "Wu et al. 2023, arXiv:2306.17775"
    independent: ClassVar = False

    particles: int = Field(64, ge=2, le=1_000_000, description="particles of each image")
    resample: float = Field(0.5, gt=0, le=1, description="share of effective particles below which they are resampled")
    steps: int = Field(100, ge=2, le=100_000, description="number of noise levels")

    def draw(self, denoise: Denoise, task: Callable[[int], Task], k: int) -> Tensor:
        every = task(self.particles)
        levels = every.levels(self.steps)[:-1]  # all but 0
        streams = every.streams[: len(every.streams) // self.particles]  # one an image
        n, x = len(streams), every.start(levels[0])
        x_hat = denoise(x, levels[0])
        potential = self._potential(every, x_hat, every.uncertainty(levels[0]))
        log = potential.unflatten(0, (self.particles, n))
        for sigma, lower in pairwise(levels):
            x, x_hat, potential, log = self._resampled(x, x_hat, potential, log, streams)
            led = every.proximal(x_hat, every.uncertainty(sigma))
            z = every.noise(x)
            c = lower * (1 - lower**2 / sigma**2) ** 0.5
            free = lowered(x, x_hat, sigma, lower, 1.0, torch.zeros_like)
            x = lowered(x, led, sigma, lower, 1.0, lambda _, z=z: z)
            change = (z.square() - ((x - free) / c).square()).double().flatten(1).sum(dim=1) / 2
            x_hat = denoise(x, lower)
            last = lower == levels[-1]
            new = self._potential(every, x_hat, None if last else every.uncertainty(lower))
            log = log + (change + new - potential).unflatten(0, (self.particles, n))
            potential = new
        return self._chosen(x_hat.unflatten(0, (self.particles, n)), log, k, streams)

    @staticmethod
    def _potential(task: Task, x_hat: Images, variance: float | None) -> Tensor:
        """The log of G, float64 ``(particles n,)``, up to what is the same for all particles of an image."""
        r = task.misfit(x_hat)
        weighed = r / per_pixel(task.sigma, r) ** 2
        if variance is not None:
            weighed = task.measured.operator.solve(r, task.sigma**2, variance)
        return -(r.double() * weighed.double()).flatten(1).sum(dim=1) / 2

    def _resampled(
        self, x: Images, x_hat: Images, potential: Tensor, log: Tensor, streams: Streams
    ) -> tuple[Images, Images, Tensor, Tensor]:
        """The same, where too few particles count with particles drawn by their weights, all of weight 1."""
        weights = log.softmax(dim=0)
        poor = 1 / weights.square().sum(dim=0) < self.resample * self.particles
        u = _uniform(streams)
        if not bool(poor.any()):
            return x, x_hat, potential, log
        place = torch.arange(self.particles)[:, None].expand(log.shape).clone()
        place[:, poor] = systematic(weights[:, poor], self.particles, u[poor])
        n = log.shape[1]
        rows = (place * n + torch.arange(n)).flatten()
        return x[rows], x_hat[rows], potential[rows], torch.where(poor, torch.zeros_like(log), log)

    @staticmethod
    def _chosen(found: Tensor, log: Tensor, k: int, streams: Streams) -> Tensor:
        """Draw k of the particles of each image by their weights, in random order."""
        place = systematic(log.softmax(dim=0), k, _uniform(streams))
        order = torch.from_numpy(np.stack([stream.permutation(k) for stream in streams], axis=1))
        place = place.gather(0, order)
        return torch.stack([found[row, torch.arange(found.shape[1])] for row in place])


def _uniform(streams: Streams) -> Tensor:
    """A uniform number of each stream, ``(n,)``."""
    return torch.tensor([stream.random() for stream in streams], dtype=torch.float64)


def systematic(weights: Tensor, count: int, u: Tensor) -> Tensor:
    """Systematic resampling: ``count`` places of particles for each image, ``(count, n)``, by weights ``(P, n)``.

    Particle p is taken ``count weight_p`` times, rounded up or down, by one uniform number an image.

    >>> systematic(torch.tensor([[0.5], [0.0], [0.5]]).double(), 4, torch.tensor([0.3]).double()).flatten().tolist()
    [0, 0, 2, 2]
    """
    ends = weights.cumsum(dim=0).T.contiguous()
    points = (torch.arange(count, dtype=torch.float64) + u[:, None]) / count * ends[:, -1:]
    return torch.searchsorted(ends, points.contiguous(), right=True).clamp(max=len(weights) - 1).T
