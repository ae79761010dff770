"""What is best for Gaussian mixtures: a Wiener filter for each component, weighted by its responsibility."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from gahb_bench import catalog
from gahb_bench.errors import UsageError
from gahb_bench.families.gmm import Gmm
from gahb_bench.noise import scale_noise, unit_noise
from gahb_bench.oracles.base import PosteriorMean
from gahb_bench.oracles.gmm_bound import between_bound
from gahb_bench.oracles.gmm_dense import dense_posterior, tiny_mixtures
from gahb_bench.oracles.gmm_points import point_risk
from gahb_bench.oracles.sampled import Parts, mean_posterior_variance
from gahb_bench.types import Check, FloatArray, Images, PerImage, Posterior, Reference, per_image_sigma

_IMAGES = 256  # of the reference computed on demand
_NEGLIGIBLE_SHARE = 1e-9  # a variance between components below this share of that within is not worth sampling
_FEW = 30.0  # effective number of images below which their mean is not to be trusted
_TILE = 2**26  # bytes of the largest intermediate array
_NEGLIGIBLE = 1e-40  # a component of this responsibility changes nothing in double precision


def reference(family: Gmm, sigmas: FloatArray) -> Reference:
    """The MMSE: for points by quadrature (relative error below 1e-11), for fields as a mean posterior variance.

        mmse = sum_k weight_k tr(sigma^2 W_k) / pixels + E[ sum_k r_k |m_k - x_hat|^2 ] / pixels

    The first term, the risk if the components were told, is in closed form because ``E[r_k] = weight_k``; the second,
    what not knowing the component costs, is a mean over fixed images, with its standard error. Where fewer than 30
    images carry that mean, the error reaches up to an upper bound in closed form (`between_bound`): it is still tiny
    wherever the components are well apart.
    """
    if family.variant == "points":
        mse, exponent, _ = point_risk(family, sigmas)
        note = "Quadrature: the two pixels are independent mixtures on the line."
        return Reference.exact(sigmas, mse, exponent, note=note)
    within = np.array([_within(family, float(sigma)) for sigma in sigmas])
    bound = between_bound(family, sigmas)
    images = [_IMAGES if matters else 2 for matters in bound > _NEGLIGIBLE_SHARE * within]
    sampled = mean_posterior_variance(family, sigmas, parts(family.spec), images)
    reach = np.where(sampled.effective < _FEW, bound - (sampled.mse - within), 0.0)
    return Reference(
        kind="exact",
        sigma=sigmas,
        mse=sampled.mse,
        lower=sampled.mse,
        upper=sampled.mse,
        standard_error=np.maximum(sampled.standard_error, reach),
        exponent=sampled.exponent,
        asymptotic_exponent=2 * family.alpha / (family.alpha + 1),
        note="Closed form given the component, plus the variance between components as a mean over fixed images.",
    )


def defaults(family: Gmm) -> list[str]:
    """The oracles a run shows unless told otherwise."""
    del family
    return ["mmse"]


def outside_modes(family: Gmm, images: Images, level: float = 0.99, tolerance: float = 0.0) -> Tensor:
    """Which images lie outside the credible region of every component: mode interpolation, bool ``(n,)``.

        min_k  (x - mu_k)' (C_k + tolerance^2 I)^{-1} (x - mu_k)  >  quantile of chi^2(pixels) at `level`

    Apply it to estimates or samples. Images of the law are outside with probability at most ``1 - level``. Textures
    have directions of tiny variance, along which any method errs: ``tolerance`` forgives white errors of that standard
    deviation.

    References
    ----------
    S. K. Aithal et al., NeurIPS 2024, arXiv:2406.09358, section 4 (mode interpolation).
    """
    if not 0 < level < 1:
        raise UsageError(f"level={level:g} is not allowed: a credible region has a probability between 0 and 1.")
    family.check_images(images)
    sigma = torch.full((len(images),), tolerance, dtype=torch.float64, device=images.device)
    nearest = [
        tile.distance.amin(dim=1) for _, tile in Mmse.from_parameters({}).bind(family)._tiles(images.double(), sigma)
    ]
    radius = float(scipy.stats.chi2.ppf(level, np.prod(family.shape)))
    return torch.cat(nearest) > radius


def independent_route(family: Gmm) -> list[Check]:
    """The oracle against dense matrices on tiny mixtures of the same kind (identity 6)."""
    checks = []
    for tiny in tiny_mixtures(family):
        oracle = Mmse.from_parameters({}).bind(tiny)
        batch = tiny.sample(range(4), split="val")
        z = unit_noise(batch).double()
        for sigma in (0.02, 0.3):
            y, v = scale_noise(batch.images.double(), z, sigma), z.flip(0)
            exact = dense_posterior(tiny, y, sigma, v)
            posterior = oracle.posterior(y, sigma)
            along = oracle.variance_along(y, torch.full((4,), sigma, dtype=torch.float64), v)
            pairs = {
                "mean": (posterior.mean, exact.mean),
                "variance": (posterior.variance, exact.variance),
                "variance along v": (along, exact.variance_along),
                "responsibilities": (oracle.responsibilities(y, sigma), exact.responsibilities),
            }
            for name, (found, expected) in pairs.items():
                error = float((found - expected).abs().max() / expected.abs().max())
                checks.append(Check(f"6  {name} = dense linear algebra, {tiny.spec}, sigma={sigma:g}", error, 1e-9))
    return checks


@dataclass(frozen=True)
class _Tile:
    """What one tile of images needs, in the orthonormal half spectrum; k is axis 1."""

    spectrum: Tensor  # F y, (n, h, w')
    distance: Tensor  # (y - mu_k)' (C_k + s^2)^{-1} (y - mu_k), (n, K)
    responsibilities: Tensor  # (n, K)


class Mmse(PosteriorMean):
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
        mean, own, between = self._split(y, sigma)
        return Posterior(mean, own + between)

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        law = _gmm(self.family)
        bins, spectra = _bins(law, y.device), _spectra(law, y.device)
        variance = torch.empty_like(sigma)
        for cut, tile in self._tiles(y.double(), sigma):
            along = torch.fft.rfft2(v[cut, 0].double(), norm="ortho")
            s2 = sigma[cut, None, None, None] ** 2
            within = s2 * spectra / (spectra + s2)
            own = (within * (bins * _square(along)).unsqueeze(1)).sum(dim=(2, 3))
            gain, means = spectra / (spectra + s2), _means(law, y.device)
            each = means + gain * (tile.spectrum.unsqueeze(1) - means)
            inner = (bins * (along.conj().unsqueeze(1) * each).real).sum(dim=(2, 3))
            r = tile.responsibilities
            spread = inner - (r * inner).sum(dim=1, keepdim=True)
            variance[cut] = (r * (own + spread**2)).sum(dim=1)
        return variance

    def responsibilities(self, y: Images, sigma: float | Tensor) -> Tensor:
        """Posterior probability of each component, ``(n, K)`` float64."""
        self.family.check_images(y)
        tiles = self._tiles(y.double(), per_image_sigma(sigma, y))
        return torch.cat([tile.responsibilities for _, tile in tiles])

    def latent_posterior(self, y: Images, sigma: float | Tensor) -> dict[str, Tensor]:
        """Posterior law of each latent: ``component``, ``(n, K)``."""
        return {"component": self.responsibilities(y, sigma)}

    def _split(self, y: Images, sigma: Tensor) -> tuple[Images, PerImage, PerImage]:
        """Posterior mean, and per-pixel variance within the components and between them."""
        mean, own, between = torch.empty_like(y), torch.zeros_like(sigma), torch.zeros_like(sigma)
        bins, pixels = _bins(self.family, y.device), y[0:1].numel()
        for cut, tile in self._tiles(y, sigma):
            estimates = list(self._estimates(tile, sigma[cut]))
            mixed = sum((r[:, None, None] * m for r, _, m in estimates), torch.zeros_like(tile.spectrum))
            for r, trace, m in estimates:
                own[cut] += r * trace / pixels
                between[cut] += r * (bins * _square(m - mixed)).sum(dim=(1, 2)) / pixels
            mean[cut, 0] = torch.fft.irfft2(mixed, s=y.shape[-2:], norm="ortho")
        return mean, own, between

    def _estimates(self, tile: _Tile, sigma: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """For each component that matters: r_k, tr(sigma^2 W_k) and the spectrum of m_k."""
        law, device = _gmm(self.family), sigma.device
        bins, s2 = _bins(law, device), sigma[:, None, None] ** 2
        for k, (spectrum, mean) in enumerate(zip(_spectra(law, device), _means(law, device), strict=True)):
            r = tile.responsibilities[:, k]
            if bool((r > _NEGLIGIBLE).any()):
                gain = spectrum / (spectrum + s2)
                yield r, (bins * s2 * gain).sum(dim=(1, 2)), mean + gain * (tile.spectrum - mean)

    def _tiles(self, y: Images, sigma: Tensor) -> Iterator[tuple[slice, _Tile]]:
        """Responsibilities, a few images at a time, so that memory is bounded."""
        law = _gmm(self.family)
        bins, spectra, means = _bins(law, y.device), _spectra(law, y.device), _means(law, y.device)
        prior = torch.from_numpy(law.weights).log().to(y.device)
        step = max(_TILE // (16 * means.numel()), 1)
        for start in range(0, len(y), step):
            cut = slice(start, start + step)
            spectrum = torch.fft.rfft2(y[cut, 0], norm="ortho")
            total = spectra + sigma[cut, None, None, None] ** 2
            distance = (bins * _square(spectrum.unsqueeze(1) - means) / total).sum(dim=(2, 3))
            volume = (bins * total.log()).sum(dim=(2, 3))
            yield cut, _Tile(spectrum, distance, (prior - distance / 2 - volume / 2).softmax(dim=1))


def _square(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def _gmm(family: object) -> Gmm:
    if not isinstance(family, Gmm):
        raise UsageError(f"this is an oracle of 'gmm', not of {family}.")
    return family


def _bins(family: object, device: torch.device) -> Tensor:
    """How often each column of a half spectrum stands in the whole one, ``(w',)``."""
    width = _gmm(family).shape[-1]
    bins = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    bins[0] = 1.0
    if width % 2 == 0:
        bins[-1] = 1.0
    return bins


def _spectra(law: Gmm, device: torch.device) -> Tensor:
    return torch.from_numpy(law.spectra[..., : law.shape[-1] // 2 + 1]).to(device)


def _means(law: Gmm, device: torch.device) -> Tensor:
    return _mean_spectra(law.spec, device)


@lru_cache(maxsize=8)
def _mean_spectra(spec: str, device: torch.device) -> Tensor:
    return torch.fft.rfft2(torch.from_numpy(_gmm(catalog.family(spec)).means), norm="ortho").to(device)


def _within(law: Gmm, sigma: float) -> float:
    """Risk per pixel if the components were told, ``sum_k weight_k tr(sigma^2 W_k) / pixels``."""
    return float(law.weights @ (sigma**2 * law.spectra / (law.spectra + sigma**2)).mean(axis=(1, 2)))


@lru_cache(maxsize=64)
def parts(spec: str) -> Parts:
    """The posterior variance in the part within the components, known, and that between them, to be sampled."""
    law = _gmm(catalog.family(spec))
    oracle = Mmse.from_parameters({}).bind(law)
    return Parts(sampled=lambda y, sigma: oracle._split(y, sigma)[2], known=lambda sigma: _within(law, sigma))
