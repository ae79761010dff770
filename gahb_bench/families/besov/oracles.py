"""Oracles of ``besov``."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.images import Directions, Images, PerImage, per_pixel
from gahb_bench.core.posterior import InformedOracle, OracleOf, Posterior, PosteriorMean
from gahb_bench.families.besov.law import Besov


class Mmse(PosteriorMean, OracleOf[Besov]):
    """Exact posterior mean of sparse wavelet images: each wavelet coefficient shrunk by its own rule.

        w = W (y - mean),   x_hat = mean + W^-1( P(b=1|w) k w ),   k = t^2 / (t^2 + sigma^2)
        P(b=1|w) = 1 / (1 + (1 - pi)/pi sqrt(1 + t^2/sigma^2) exp(-k w^2 / (2 sigma^2)))

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE: no denoiser that sees only y and sigma is below it. Error: rounding.

    References
    ----------
    F. Abramovich, T. Sapatinas, B. W. Silverman, JRSS B 1998, doi:10.1111/1467-9868.00151, section 3.
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"
    source: ClassVar = "Abramovich et al. 1998, doi:10.1111/1467-9868.00151"

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        law = self.law
        mean, variance = self._coefficients(y, sigma)
        return Posterior(law.mean + law.transform.inverse(mean), variance.mean(dim=(1, 2, 3)))

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        transform, (_, variance) = self.law.transform, self._coefficients(y, sigma)
        return transform.inverse(variance[:, None] * transform.forward(v))

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """Of independent coefficients: ``sum log[ pi N(w; 0, t^2 + sigma^2) + (1 - pi) N(w; 0, sigma^2) ]``."""
        pi, t = _coefficient_law(self.law, y.device)
        w, s = self.law.transform.forward(y - self.law.mean), per_pixel(sigma, y)
        active, idle = torch.log(pi) + _log_normal(w, torch.hypot(t, s)), torch.log1p(-pi) + _log_normal(w, s)
        return torch.logaddexp(active, idle).sum(dim=(1, 2, 3))

    def _coefficients(self, y: Images, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Posterior mean and variance of each coefficient."""
        law = self.law
        pi, t = _coefficient_law(law, y.device)
        return shrink(law.transform.forward(y.double() - law.mean), pi, t, per_pixel(sigma, t))


class Genie(InformedOracle, OracleOf[Besov]):
    """Told which coefficients are active: the posterior mean given y and the activities, linear shrinkage.

        x_hat = mean + W^-1( b k W(y - mean) ),   k = t^2 / (t^2 + sigma^2)

    Optimality
    ----------
    Knows the latents: its risk ``N^-2 sum pi k sigma^2`` is a lower bound on the MMSE. What the optimum loses on it is
    the price of not knowing where the image lives.

    References
    ----------
    S. Mallat, "A Wavelet Tour of Signal Processing", 3rd ed. 2009, section 11.2.2 (oracles that know the support).
    """

    name: ClassVar = "genie"
    looks: ClassVar = {"": ("crimson", "triangle-down")}
    knows: ClassVar = "latents"
    source: ClassVar = "Mallat 2009, section 11.2"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        law = self.law
        law.check_images(y)
        active = self.batch_of(y).latents["active"][:, None]
        _, t = _coefficient_law(law, y.device)
        gain = t**2 / (t**2 + per_pixel(sigma, t) ** 2)
        return law.mean + law.transform.inverse(active * gain * law.transform.forward(y.double() - law.mean))


def shrink(w: Tensor, pi: Tensor, t: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean and variance of ``d = b e`` from ``w = d + sigma z``: ``V = P k sigma^2 + P (1 - P) k^2 w^2``."""
    ratio = (t / sigma) ** 2
    k = t**2 / (t**2 + sigma**2)
    odds = torch.log(pi) - torch.log1p(-pi) - torch.log1p(ratio) / 2 + k * (w / sigma) ** 2 / 2  # infinite at pi = 1
    p, q = torch.sigmoid(odds), torch.sigmoid(-odds)
    return p * k * w, p * (k * sigma**2 + q * (k * w) ** 2)


def _log_normal(w: Tensor, deviation: Tensor) -> Tensor:
    return -((w / deviation) ** 2) / 2 - torch.log(deviation) - math.log(2 * math.pi) / 2


def _coefficient_law(law: Besov, device: torch.device) -> tuple[Tensor, Tensor]:
    density, deviation = law.coefficient_law
    return torch.from_numpy(density).to(device), torch.from_numpy(deviation).to(device)
