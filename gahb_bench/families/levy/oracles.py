"""Oracles of ``levy``."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.denoiser import D, Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Directions, Images, PerImage
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.families.levy.gaussian import gaussian_posterior, gaussian_samples
from gahb_bench.families.levy.law import Levy
from gahb_bench.families.levy.messages import WalkPosterior, walk_posterior, walk_samples

_AT_ONCE = 16  # signals whose messages are kept for differentiation, at once


class Mmse(PosteriorMean, OracleOf[Levy]):
    """Exact posterior mean of a Levy process, by messages along the signal on a lattice of values.

        P(x_k = x | y)  proportional to  F_k(x) B_k(x),    x_hat_k = sum_x x P(x_k = x | y)

    Gaussian jumps need no lattice: there it is linear algebra.

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE. Error of the lattice (`families/levy/lattice.py`): below 1e-4 sigma in the mean
    and 1e-5 of the variance; with gauss and student jumps, rounding. Noise of more than about 40,000 scales of
    student jumps is refused.

    References
    ----------
    U. Kamilov, P. Pad, A. Amini, M. Unser, "MMSE estimation of sparse Levy processes", IEEE Trans. Signal Process.
    2013, doi:10.1109/TSP.2012.2222394.
    """

    name: ClassVar = "mmse"
    aliases: ClassVar = ("forward-backward",)
    knows: ClassVar = "law"
    source: ClassVar = "Kamilov, Pad, Amini & Unser 2013, doi:10.1109/TSP.2012.2222394"

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        found = self.walk(y, sigma)
        return Posterior(found.mean[:, None, None], found.variance.mean(dim=1))

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        """By differentiation backwards, a few signals at once: it is symmetric, and this is faster than forwards."""
        pulled = [
            torch.func.vjp(lambda noisy, level=level: self.moments(noisy, level).mean, noisy)[1](u)[0]
            for noisy, level, u in zip(
                y.repeat_interleave(v.shape[1], dim=0).split(_AT_ONCE),
                sigma.repeat_interleave(v.shape[1]).split(_AT_ONCE),
                v.flatten(0, 1).split(_AT_ONCE),
                strict=True,
            )
        ]
        return sigma[:, None, None, None, None] ** 2 * torch.cat(pulled).reshape(v.shape)

    def walk(self, y: Images, sigma: Tensor, observed: Tensor | None = None) -> WalkPosterior:
        """Means and variances of the samples, ``(n, N)``, and ``log p(y)``, ``(n,)``, given all or part of y.

        Parameters
        ----------
        y : Tensor, shape (n, 1, 1, N), float64
        sigma : Tensor, shape (n,), float64
        observed : Tensor, shape (n, N) or (1, N), bool
            Which samples were seen; None for all. Beside a sample that was not, those of student jumps are looked for
            within 4,096 lattice steps, some 700 ``min(sigma, scale)``: of a signal that ends unseen, Cauchy jumps leave
            no mean at all, and this is that of what stays so near.
        """
        law = self.law.law
        if law.kind == "gauss":
            return gaussian_posterior(law.variance, y[:, 0, 0], sigma, observed)
        return walk_posterior(law, y[:, 0, 0], sigma, observed)

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        return self.walk(y, sigma).log_evidence

    def samples(
        self, y: Images, sigma: Tensor, count: int, stream: np.random.Generator, observed: Tensor | None = None
    ) -> Tensor:
        """Independent draws from the posterior, ``(count, n, 1, 1, N)``; arguments as of `walk`."""
        law = self.law.law
        if law.kind == "gauss":
            drawn = gaussian_samples(law.variance, y[:, 0, 0], sigma, count, stream, observed)
        else:
            drawn = walk_samples(law, y[:, 0, 0], sigma, count, stream, observed)
        return drawn[:, :, None, None]


class Linear(Denoiser, OracleOf[Levy]):
    """The best linear estimate of a random walk: the Wiener filter, of its covariance ``v min(i, j)``, v = E u^2.

        x_hat = C (C + sigma^2 I)^-1 y

    Optimality
    ----------
    Knows the variance of the jumps. For gauss it is the posterior mean. Where the jumps have none (student, df <= 2)
    no linear estimate has a finite risk below the identity's that this could be, and it is refused.

    References
    ----------
    N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", MIT Press 1949.
    """

    name: ClassVar = "wiener"
    looks: ClassVar = {"": ("ink", "square")}
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949"

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        if isinstance(family, Levy) and not family.finite_variance:
            raise UsageError(
                f"{family.spec}: its jumps have no variance, so it has no Wiener filter. Choose df above 2, or mmse."
            )
        return bound

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.law.check_images(y)
        found = gaussian_posterior(self.law.law.variance, y.double()[:, 0, 0], sigma)
        return found.mean[:, None, None]
