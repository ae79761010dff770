"""Oracles of ``calpha-contours``."""

import hashlib
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.denoiser import D, Denoiser, Differentiation
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images, per_image_sigma, per_pixel
from gahb_bench.core.posterior import InformedOracle, OracleOf, Posterior
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.mcmc import ContourSampler, Draws
from gahb_bench.families.calpha_contours.model import contour_model, given_contour
from gahb_bench.families.calpha_contours.particles import by_particles, tempered
from gahb_bench.transforms.straightening import Straightening
from gahb_bench.transforms.wavelets import WaveletTransform

_TILE = 8  # images solved at once


class Genie(InformedOracle, OracleOf[CalphaContours]):
    """Posterior mean given the contour: the image is Gaussian once its contour is known.

        x_hat = 1/2 + k + (1-m) C (1-m) u + m C m u,   ((1-m) C (1-m) + m C m + sigma^2) u = y - 1/2 - k
        k = -contrast/2 + contrast m,   C the covariance of a background

    by conjugate gradients to a relative residual of 1e-6, checked afresh at the end.

    Optimality
    ----------
    Knows the contour. Its MSE is at most the MMSE. Vacuous for ``background=constant``, where it is 0.

    Raises
    ------
    NotConvergedError
        If the residual is not reached within ``iterations``: the MSE would then not be a bound.
    """

    name: ClassVar = "genie"
    looks: ClassVar = {"": ("crimson", "triangle-down")}
    knows: ClassVar = "latents"
    source: ClassVar = "Papandreou & Yuille 2010, NIPS (the linear system)"

    iterations: int = Field(2000, gt=0, description="most conjugate-gradient iterations, about 150 are used")

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        _refuse_paper(family)
        return bound

    @property
    def derivative(self) -> Differentiation:
        """Affine in y; the iterations that solve for it are not differentiated."""
        return "difference"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        batch = self.batch_of(y)
        model = contour_model(self.law, y.device)
        mask, _ = model.mask(batch.latents["contour"])
        parts = [
            given_contour(model, mask[i : i + _TILE], centred, sigma[i : i + _TILE], self.iterations)
            for i, centred in _tiles(y)
        ]
        return 0.5 + torch.cat(parts)[:, None] if parts else y


class ContourPosteriorMean(Denoiser, OracleOf[CalphaContours]):
    """Posterior mean by simulation, from the data alone.

    With constant backgrounds and a noise of at least 0.3 contrasts, by tempered particles (see `Particles`). Elsewhere
    the average over the last two thirds of Markov chains (see `ContourSampler`), which start from tempered particles
    or, with less noise, from a coarse random-walk contour that is annealed in the noise level. Random numbers are keyed
    by the bytes of y and by sigma, so the same y always has the same estimate.

    Optimality
    ----------
    Knows the law. Its MSE is at least the MMSE. That of the particles exceeds it by less than 0.1 % in the mean over
    images (by up to 0.3 % on one where modes compete), and `sweeps` and `chains` play no part in it; that of the chains
    by about 1/(2 sweeps chains / 3) of it times the correlation time of a sweep: 3 % as it stands. Seconds an image
    with Gaussian backgrounds.

    References
    ----------
    R. M. Neal, "MCMC using Hamiltonian dynamics", Handbook of MCMC 2011, arXiv:1206.1901; P. Del Moral, A. Doucet,
    A. Jasra, "Sequential Monte Carlo samplers", J. R. Stat. Soc. B 2006, doi:10.1111/j.1467-9868.2006.00553.x.
    """

    name: ClassVar = "posterior-mean"
    looks: ClassVar = {"": ("ink", "diamond")}
    knows: ClassVar = "law"
    source: ClassVar = "Neal 2011, arXiv:1206.1901"

    sweeps: int = Field(30, ge=3, description="sweeps of each chain; the first third is not used")
    chains: int = Field(4, ge=1, description="independent chains an image")

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        _refuse_paper(family)
        return bound

    @property
    def derivative(self) -> Differentiation:
        """None: its random numbers are other ones for every y."""
        return "none"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        return self._moments(y, sigma).mean

    def posterior(self, y: Images, sigma: float | Tensor) -> Posterior:
        """Estimates of the posterior mean ``(n, c, h, w)`` and of the per-pixel posterior variance ``(n,)``."""
        moments = self._moments(y, per_image_sigma(sigma, y))
        return Posterior(moments.mean.to(y.dtype), moments.variance.to(y.dtype))

    def _moments(self, y: Images, sigma: Tensor) -> Posterior:
        family = self.law
        family.check_images(y)
        mean = torch.empty(y.shape, dtype=torch.float64, device=y.device)
        variance = torch.empty(len(y), dtype=torch.float64, device=y.device)
        model = contour_model(family, y.device)
        for i, level in enumerate(sigma.tolist()):  # one image at a time: its neighbours cannot change its last bits
            centred = y[i].double() - 0.5
            draws = Draws(self._streams(centred, level), y.device)
            if by_particles(model, level):
                mean[i], variance[i] = tempered(model, centred[0], level, draws.streams[0]).moments()
            else:
                sampler = ContourSampler(model, centred, level, draws)
                mean[i], variance[i : i + 1] = sampler.average(self.sweeps, self.chains)
        return Posterior(0.5 + mean, variance)

    def _streams(self, image: Tensor, sigma: float) -> Iterator[np.random.Generator]:
        """The generators of the chains of one image, keyed by what the denoiser sees."""
        seen = hashlib.sha256(image.cpu().numpy().tobytes()).hexdigest()
        return rng.generators("posterior-mean", self.family.spec, repr(sigma), seen, indices=range(self.chains))


class Straightened(InformedOracle, OracleOf[CalphaContours]):
    """Ideal weights in wavelets that follow the contour: the geometry-adaptive harmonic basis.

        theta = Straightening(contour)(x - 1/2),   x_hat = 1/2 + inverse( g * coefficients of (y - 1/2) )
        wiener:      g = theta^2 / (theta^2 + sigma^2)
        projector:   g = 1 where |theta| > sigma, else 0

    Optimality
    ----------
    Knows the contour and the image: an ideal, not a bound. Within ``wiener`` the weights are the best of all diagonal
    ones in this basis, within ``projector`` the best of those that keep or kill.

    References
    ----------
    D. Donoho, I. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 81, 1994,
    doi:10.1093/biomet/81.3.425; G. Peyre, S. Mallat 2008, doi:10.1002/cpa.20242.
    """

    name: ClassVar = "straightened"
    looks: ClassVar = {"": ("plum", "triangle-down")}
    knows: ClassVar = "image"
    source: ClassVar = "Peyre & Mallat 2008, doi:10.1002/cpa.20242"

    rule: Literal["wiener", "projector"] = Field("wiener", description="ideal weights, or keep-or-kill")
    wavelet: str = Field("sym4", description="orthogonal wavelet")
    levels: int = Field(4, ge=1, description="wavelet levels; the image side is divisible by 2^levels")
    shift: Literal["fourier", "integer"] = Field("fourier", description="fractions of a pixel, or whole pixels")

    @property
    def needs_family(self) -> bool:
        return True

    def bind(self, family: Family) -> "Straightened":
        bound = super().bind(family)
        _refuse_paper(family)
        side = bound.law.size
        WaveletTransform(self.wavelet, self.levels, side, side)
        return bound

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        batch = self.batch_of(y)
        transform = self.transform(batch.latents["contour"])
        theta = transform.forward(batch.images.double() - 0.5)
        noisy = transform.forward(y.double() - 0.5)
        variance = per_pixel(sigma, theta) ** 2
        power = theta.square()
        gain = power / (power + variance) if self.rule == "wiener" else (power > variance).to(theta.dtype)
        return 0.5 + transform.inverse(gain * noisy)

    def transform(self, contour: Tensor) -> Straightening:
        """The basis of images with these contours, ``(n, N)``."""
        side = self.law.size
        return Straightening(contour, WaveletTransform(self.wavelet, self.levels, side, side), self.shift)


def _refuse_paper(family: Family) -> None:
    if isinstance(family, CalphaContours) and family.law == "paper":
        raise UsageError(f"{family.spec}: no optimum is known for the paper's construction; use law=gaussian.")


def _tiles(y: Images) -> list[tuple[int, Tensor]]:
    return [(i, y[i : i + _TILE, 0].double() - 0.5) for i in range(0, len(y), _TILE)]
