"""Oracles of ``markov-contours``."""

from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.images import Images, PerImage
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.families.markov_contours.messages import (
    ContourPosterior,
    forward_backward,
    functional_variance,
    log_evidence,
)


class Mmse(PosteriorMean, OracleOf[MarkovContours]):
    """Exact posterior mean by forward-backward over the columns.

        P(y_j | c_j = p)  proportional to  exp( (<y_j, t_p> - |t_p|^2 / 2) / sigma^2 )
        x_hat_j = sum_p P(c_j = p | y) t_p

    t_p a column of the image with the contour at p.

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE of the discretised law, which is the law the images are drawn from. Error:
    rounding (float64, messages rescaled at every column).

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77, 1989, doi:10.1109/5.18626, section III.
    """

    name: ClassVar = "mmse"
    aliases: ClassVar = ("forward-backward",)
    knows: ClassVar = "law"
    source: ClassVar = "Rabiner 1989, doi:10.1109/5.18626"

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        posterior = self.contour(y, sigma)
        return Posterior(posterior.mean[:, None], posterior.variance)

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        return log_evidence(self.law.chain, profiles_of(self.law, y.device), y[:, 0], sigma)

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        """Posterior variance of ``<v, x>``, ``(n,)``, without a derivative: moments of it go along the columns."""
        profiles, y = profiles_of(self.law, y.device), y[:, 0].double()
        marginals = forward_backward(self.law.chain, profiles, y, sigma).marginals
        return functional_variance(self.law.chain, profiles, y, sigma, v[:, 0].double(), marginals)

    def contour(self, y: Images, sigma: Tensor) -> ContourPosterior:
        """The posterior of the contour: the law of its position in each column, and what follows for the image."""
        return forward_backward(self.law.chain, profiles_of(self.law, y.device), y[:, 0].double(), sigma)


def profiles_of(law: MarkovContours, device: torch.device) -> Tensor:
    """Columns of the image for each position, ``(positions, N)``."""
    return torch.from_numpy(0.5 + law.contrast * (law.profiles - 0.5)).to(device)
