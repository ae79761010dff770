"""Oracles of ``disks``."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core.denoiser import Denoiser, Differentiation, Facts
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Directions, Images, PerImage, per_image_sigma
from gahb_bench.core.posterior import Inferred, InformedOracle, OracleOf, Posterior, PosteriorMean
from gahb_bench.families.disks.grid import grid
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.manifold import SMALLEST_SIGMA, manifold
from gahb_bench.families.disks.posterior import TOLERANCE, solve
from gahb_bench.families.disks.projection import project
from gahb_bench.families.disks.quadrature import Likelihood, Moments, Request


@dataclass(frozen=True)
class CertifiedPosterior:
    """Posterior mean ``(n, 1, N, N)`` and variance per pixel ``(n,)``, and how far the mean may be from exact.

    error : bound on the relative excess ``|mean - E[x|y]|^2 / (N^2 variance)`` of each image, ``(n,)``.
    failed : whether the bound is more than the certificate allows, ``(n,)``; the mean is then the best that was found.
    """

    mean: Images
    variance: PerImage
    error: PerImage
    failed: Tensor


class Mmse(PosteriorMean, OracleOf[Disks]):
    """Exact posterior mean of the disk, by quadrature whose error is known image by image.

        x_hat = int x(theta) p(theta|y) d theta,   p(theta|y) ~ exp(-|y - x(theta)|^2 / 2 sigma^2) on the prior's box

    The intensities f and b are integrated in closed form or by Gauss-Legendre; centre and radius by body-centred
    lattices, over the whole prior by FFT where the posterior is wide, in whitened coordinates where it is narrow.

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE up to the quadrature's error: `certified` returns, for each image, a bound on the
    relative excess. Images whose bound exceeds 2e-3 get NaN here, never an estimate that nobody vouches for. The
    average excess is far less: measured at most 4e-5 of the MMSE at any noise level (N = 64). The variance of a single
    image is right within 2 %, mostly within 0.3 %, and their mean within 0.1 %.

    References
    ----------
    J. Conway, N. Sloane, "Sphere Packings, Lattices and Groups", chapter 4 (body-centred lattices).
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"

    @property
    def accuracy(self) -> float:
        return 0.02

    @property
    def smooth(self) -> bool:
        """No: it jumps by up to 0.02 posterior deviations where an image goes from one rule to another."""
        return False

    @property
    def own_facts(self) -> Facts:
        return Facts(nan_reason="the quadrature's error bound exceeds what the certificate allows")

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        found = self._solve(y, sigma)
        failed = ~(found.error <= TOLERANCE)
        mean = found.mean.masked_fill(failed[:, None], torch.nan).reshape(y.shape)
        return Posterior(mean, (found.variance / self._pixels).masked_fill(failed, torch.nan))

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        found = self._solve(y, sigma, Request(along=v.flatten(2)))
        failed = ~(found.error <= TOLERANCE)
        return found.along.masked_fill(failed[:, None, None], torch.nan).reshape(v.shape)

    def certified(self, y: Images, sigma: float | Tensor) -> CertifiedPosterior:
        """The posterior with its error, float64; images whose certificate fails are marked, not hidden."""
        found = self._solve(y.double(), per_image_sigma(sigma, y))
        failed = ~(found.error <= TOLERANCE)
        return CertifiedPosterior(found.mean.reshape(y.shape), found.variance / self._pixels, found.error, failed)

    def inferred(self, y: Images, sigma: float | Tensor) -> Inferred:
        return Inferred(self.outline(y, sigma), self.variance_map(y, sigma).clamp(min=0).sqrt())

    def variance_map(self, y: Images, sigma: float | Tensor) -> Images:
        """Posterior variance of each pixel, ``(n, 1, N, N)``, in the dtype of ``y``."""
        found = self._solve(y.double(), per_image_sigma(sigma, y), Request(variance_map=True))
        return found.variance_map.reshape(y.shape).to(y.dtype)

    def outline(self, y: Images, sigma: float | Tensor) -> Tensor:
        """The circle to draw over a noisy image, ``(n, 65, 2)`` in (row, column): posterior mean centre and radius."""
        found = self._solve(y.double(), per_image_sigma(sigma, y)).geometry
        angle = torch.linspace(0, 2 * torch.pi, 65, dtype=found.dtype, device=found.device)
        around = torch.stack([angle.sin(), angle.cos()], dim=-1)
        return (found[:, None, :2] + found[:, None, 2:3] * around).to(y.dtype)

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """``log E_prior exp(-|y - x|^2 / 2 s^2) - N^2/2 log(2 pi s^2)``; NaN where the certificate fails."""
        found = self._solve(y, sigma)
        energy = y.square().sum(dim=(1, 2, 3)) / sigma**2 + self._pixels * torch.log(2 * torch.pi * sigma**2)
        return (found.log_evidence - energy / 2).masked_fill(~(found.error <= TOLERANCE), torch.nan)

    def _solve(self, y: Images, sigma: Tensor, request: Request | None = None) -> Moments:
        family = self.law
        family.check_images(y)
        _check(y, sigma)
        return solve(family, y.flatten(1), sigma, request)

    @property
    def _pixels(self) -> int:
        return self.law.size**2


class Projection(Denoiser, OracleOf[Disks]):
    """Least squares on the manifold: the maximum-likelihood disk.

        x_hat = x(theta_hat),   theta_hat = argmin |y - x(theta)|^2 over the prior's box

    by correlation with a lattice of disks, then Levenberg-Marquardt from the best few nodes.

    Optimality
    ----------
    Knows the law's images and the box of the prior, and makes no use of how likely each image is. Asymptotically
    optimal as sigma -> 0, where its summed squared error is d sigma^2; above the MMSE otherwise (by 2 dB at sigma = 1).
    """

    name: ClassVar = "projection"
    looks: ClassVar = {"": ("indigo", "triangle-down")}
    aliases: ClassVar = ("ml",)
    knows: ClassVar = "law"

    candidates: int = Field(4, ge=1, description="nodes of the lattice that are refined, at most")

    @property
    def derivative(self) -> Differentiation:
        """A search that is not differentiated."""
        return "difference"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        model = manifold(self.law, y.device)
        return model.render(self.fit(y, sigma)).reshape(y.shape)

    def fit(self, y: Images, sigma: float | Tensor) -> Tensor:
        """The fitted (row, column, r, f, b), float64 ``(n, 5)``."""
        family = self.law
        family.check_images(y)
        levels = per_image_sigma(sigma, y)
        _check(y, levels)
        flat = y.double().flatten(1)
        coarse = grid(family, y.device, 0)
        tiles = torch.arange(len(y), device=y.device).split(8)
        fits = [
            project(coarse, part, s, Likelihood.of(coarse.model, coarse, part, s), self.candidates, 8.0, 1e-8).theta
            for part, s in ((flat[i], levels[i]) for i in tiles)
        ]
        return torch.cat(fits) if fits else flat.new_zeros(0, 5)


class Tangent(InformedOracle, OracleOf[Disks]):
    """Orthogonal projection on the tangent plane of the manifold at the true image.

        x_hat = x + J' (J J')^+ J (y - x),   J = dx/dtheta at the true theta

    Optimality
    ----------
    Knows the latents. Its risk is exactly rank(J) sigma^2 summed over pixels, which is d sigma^2 unless f = b: what
    unconstrained estimation of d parameters costs. The MMSE approaches it as sigma -> 0; it is not a bound on it.
    """

    name: ClassVar = "tangent"
    looks: ClassVar = {"": ("crimson", "diamond")}
    knows: ClassVar = "latents"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        del sigma
        latents = self.batch_of(y).latents
        columns = [latents["center"], *(latents[name][:, None] for name in ("radius", "foreground", "background"))]
        theta = torch.cat(columns, dim=1).to(y.device, torch.float64)
        x, J = manifold(self.law, y.device).tangent(theta)
        J = J / torch.linalg.vector_norm(J, dim=2, keepdim=True).clamp(min=1e-12)
        inner = J @ (y.double().flatten(1) - x)[:, :, None]
        coefficients = torch.linalg.pinv(J @ J.mT, rtol=1e-9, hermitian=True) @ inner
        return (x + (J.mT @ coefficients)[:, :, 0]).reshape(y.shape)


def _check(y: Images, sigma: Tensor) -> None:
    """Refuse what float64 cannot weigh."""
    if len(sigma) and float(sigma.min()) < SMALLEST_SIGMA:
        raise UsageError(
            f"sigma={float(sigma.min()):g} is too small for the oracles of 'disks', whose exponents |y|^2 / 2 sigma^2 "
            f"would have no digits left: give sigma >= {SMALLEST_SIGMA:g}."
        )
    if not bool(torch.isfinite(y).all()):
        raise UsageError("the noisy images hold NaN or infinity: give finite images.")
