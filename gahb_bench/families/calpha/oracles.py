"""Oracles of ``calpha``."""

from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.denoiser import D, Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Directions, Images, PerImage, per_pixel
from gahb_bench.core.memory import cached
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.families.calpha.law import Calpha


class Wiener(Denoiser, OracleOf[Calpha]):
    """Wiener filter: the best linear denoiser of a stationary law.

        x_hat = mean + F^-1( g_k F(y - mean)_k ),   g_k = lambda_k / (lambda_k + sigma^2)

    Optimality
    ----------
    Knows the law. For ``law=gaussian`` it is the posterior mean (the same as `mmse`), for ``law=uniform`` the best
    linear denoiser only. Error: rounding.

    References
    ----------
    N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", MIT Press 1949.
    """

    name: ClassVar = "wiener"
    looks: ClassVar = {"": ("ink", "square")}
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.law.check_images(y)
        return self.filtered(y.double(), self.gain(sigma, y.device))

    def filtered(self, y: Images, gain: Tensor) -> Images:
        """The estimate, from the gain of each image."""
        law = self.law
        spectrum = torch.fft.rfft2(y - law.mean)
        return law.mean + torch.fft.irfft2(spectrum * gain[..., : law.size // 2 + 1], s=(law.size, law.size))

    def gain(self, sigma: Tensor, device: torch.device) -> Tensor:
        """g_k for each image, ``(n, 1, N, N)``."""
        spectrum = _spectrum(self.law).to(device)
        return spectrum / (spectrum + per_pixel(sigma, spectrum) ** 2)


class Mmse(Wiener, PosteriorMean):
    """Exact posterior mean of the Gaussian law: the Wiener filter.

        x_hat = mean + F^-1( g_k F(y - mean)_k ),   g_k = lambda_k / (lambda_k + sigma^2)

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE: no denoiser that sees only y and sigma is below it. Error: rounding.
    Refuses ``law=uniform``, where the Wiener filter is not the posterior mean: ask for `wiener` there.
    """

    name: ClassVar = "mmse"
    looks: ClassVar = {"": ("ink", "circle")}
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949"

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        _refuse_uniform(family)
        return bound

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        return PosteriorMean.estimate(self, y, sigma)

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        gain = self.gain(sigma, y.device)
        return Posterior(self.filtered(y, gain), sigma**2 * gain.mean(dim=(1, 2, 3)))

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        size = self.law.size
        gain = self.gain(sigma, y.device)[:, None, ..., : size // 2 + 1]
        return sigma[:, None, None, None, None] ** 2 * torch.fft.irfft2(gain * torch.fft.rfft2(v), s=(size, size))

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """Gaussian: ``-1/2 sum_k [ |F(y - mean)_k|^2 / (lambda_k + sigma^2) + log 2 pi (lambda_k + sigma^2) ]``."""
        total = _spectrum(self.law).to(y.device) + per_pixel(sigma, y) ** 2
        power = torch.fft.fft2(y - self.law.mean, norm="ortho").abs().square()
        return -(power / total + torch.log(2 * torch.pi * total)).sum(dim=(1, 2, 3)) / 2


def _refuse_uniform(law: Family) -> None:
    if isinstance(law, Calpha) and law.law == "uniform":
        raise UsageError(f"{law.spec}: the posterior is not known, only the best linear denoiser: 'wiener'.")


@cached(8)
def _spectrum(law: Calpha) -> Tensor:
    return torch.from_numpy(law.spectrum)[None, None]
