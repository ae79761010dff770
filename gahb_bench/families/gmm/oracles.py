"""Oracles of ``gmm``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.images import Directions, Images, PerImage, per_image_sigma
from gahb_bench.core.memory import cached
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.families.gmm.law import Gmm

_TILE = 2**26  # bytes of the largest intermediate array
_NEGLIGIBLE = 1e-40  # a component of this responsibility changes nothing in double precision


@dataclass(frozen=True)
class Tile:
    """What one tile of images needs, in the orthonormal half spectrum; k is axis 1."""

    spectrum: Tensor  # F y, (n, h, w')
    distance: Tensor  # (y - mu_k)' (C_k + s^2)^{-1} (y - mu_k), (n, K)
    log_joint: Tensor  # log weight_k N(y; mu_k, C_k + s^2) but for (2 pi)^(-pixels/2), (n, K)

    @property
    def responsibilities(self) -> Tensor:
        """Posterior probability of each component, ``(n, K)``."""
        return self.log_joint.softmax(dim=1)


class Mmse(PosteriorMean, OracleOf[Gmm]):
    """Exact posterior mean of a Gaussian mixture: Wiener filters weighted by responsibilities.

        x_hat = sum_k r_k [ mu_k + W_k (y - mu_k) ],   W_k = C_k (C_k + sigma^2 I)^{-1}
        r_k ~ weight_k |C_k + sigma^2 I|^{-1/2} exp( -(y - mu_k)' (C_k + sigma^2 I)^{-1} (y - mu_k) / 2 )

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE: no denoiser that sees only y and sigma is below it. Error: rounding. The
    posterior variance is ``sum_k r_k (tr sigma^2 W_k + |m_k - x_hat|^2)`` with ``m_k`` the estimate of component k.

    References
    ----------
    S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, sections 10.5 and 11.4.
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"
    source: ClassVar = "Kay 1993"

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        mean, own, between = self.split_variance(y, sigma)
        return Posterior(mean, own + between)

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        product, bins = torch.empty_like(v), _bins(self.law, y.device)
        for cut, tile in self.tiles(y, sigma):
            along, s2 = torch.fft.rfft2(v[cut, :, 0], norm="ortho"), sigma[cut, None, None, None] ** 2
            estimates = list(self._estimates(tile, sigma[cut]))
            mixed = sum((r[:, None, None] * m for r, _, m in estimates), torch.zeros_like(tile.spectrum))
            total = torch.zeros_like(along)
            for r, gain, m in estimates:
                off = (m - mixed)[:, None]
                inner = (bins * (off.conj() * along).real).sum(dim=(2, 3), keepdim=True)
                total += r[:, None, None, None] * (s2 * gain[:, None] * along + inner * off)
            product[cut, :, 0] = torch.fft.irfft2(total, s=y.shape[-2:], norm="ortho")
        return product

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """Of the mixture: ``log sum_k weight_k N(y; mu_k, C_k + sigma^2 I)``."""
        constant = y[0].numel() / 2 * math.log(2 * math.pi)
        return torch.cat([tile.log_joint.logsumexp(dim=1) - constant for _, tile in self.tiles(y, sigma)])

    def responsibilities(self, y: Images, sigma: float | Tensor) -> Tensor:
        """Posterior probability of each component, ``(n, K)`` float64."""
        self.family.check_images(y)
        tiles = self.tiles(y.double(), per_image_sigma(sigma, y))
        return torch.cat([tile.responsibilities for _, tile in tiles])

    def latent_posterior(self, y: Images, sigma: float | Tensor) -> dict[str, Tensor]:
        """Posterior law of each latent: ``component``, ``(n, K)``."""
        return {"component": self.responsibilities(y, sigma)}

    def split_variance(self, y: Images, sigma: Tensor) -> tuple[Images, PerImage, PerImage]:
        """Posterior mean, and per-pixel variance within the components and between them."""
        mean, own, between = torch.empty_like(y), torch.zeros_like(sigma), torch.zeros_like(sigma)
        bins, pixels = _bins(self.law, y.device), y[0:1].numel()
        for cut, tile in self.tiles(y, sigma):
            estimates = list(self._estimates(tile, sigma[cut]))
            mixed = sum((r[:, None, None] * m for r, _, m in estimates), torch.zeros_like(tile.spectrum))
            for r, gain, m in estimates:
                own[cut] += r * sigma[cut] ** 2 * (bins * gain).sum(dim=(1, 2)) / pixels
                between[cut] += r * (bins * _square(m - mixed)).sum(dim=(1, 2)) / pixels
            mean[cut, 0] = torch.fft.irfft2(mixed, s=y.shape[-2:], norm="ortho")
        return mean, own, between

    def _estimates(self, tile: Tile, sigma: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each component that matters: r_k, the gain W_k and the spectrum of m_k."""
        law, device = self.law, sigma.device
        s2 = sigma[:, None, None] ** 2
        responsibilities = tile.responsibilities
        for k, (spectrum, mean) in enumerate(zip(_spectra(law, device), _means(law, device), strict=True)):
            r = responsibilities[:, k]
            if bool((r > _NEGLIGIBLE).any()):
                gain = spectrum / (spectrum + s2)
                yield r, gain, mean + gain * (tile.spectrum - mean)

    def tiles(self, y: Images, sigma: Tensor) -> Iterator[tuple[slice, Tile]]:
        """Responsibilities, a few images at a time, so that memory is bounded."""
        law = self.law
        bins, spectra, means = _bins(law, y.device), _spectra(law, y.device), _means(law, y.device)
        prior = torch.from_numpy(law.weights).log().to(y.device)
        step = max(_TILE // (16 * means.numel()), 1)
        for start in range(0, len(y), step):
            cut = slice(start, start + step)
            spectrum = torch.fft.rfft2(y[cut, 0], norm="ortho")
            total = spectra + sigma[cut, None, None, None] ** 2
            distance = (bins * _square(spectrum.unsqueeze(1) - means) / total).sum(dim=(2, 3))
            volume = (bins * total.log()).sum(dim=(2, 3))
            yield cut, Tile(spectrum, distance, prior - distance / 2 - volume / 2)


def _square(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _bins(law: Gmm, device: torch.device) -> Tensor:
    """How often each column of a half spectrum stands in the whole one, ``(w',)``."""
    width = law.shape[-1]
    bins = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    bins[0] = 1.0
    if width % 2 == 0:
        bins[-1] = 1.0
    return bins


def _spectra(law: Gmm, device: torch.device) -> Tensor:
    return torch.from_numpy(law.spectra[..., : law.shape[-1] // 2 + 1]).to(device)


def _means(law: Gmm, device: torch.device) -> Tensor:
    return _mean_spectra(law, device)


@cached(8)
def _mean_spectra(law: Gmm, device: torch.device) -> Tensor:
    return torch.fft.rfft2(torch.from_numpy(law.means), norm="ortho").to(device)
