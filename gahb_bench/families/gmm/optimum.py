"""What is best for Gaussian mixtures: a Wiener filter for each component, weighted by its responsibility."""

import math
from functools import cached_property

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import memory
from gahb_bench.core.errors import UsageError
from gahb_bench.core.gaussian import Gaussian, diagonalised, hartley
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation, VarianceParts
from gahb_bench.families.gmm.bound import between_bound
from gahb_bench.families.gmm.check import dense_posterior, tiny_mixtures
from gahb_bench.families.gmm.law import Gmm
from gahb_bench.families.gmm.oracles import Mmse
from gahb_bench.families.gmm.points import point_risk
from gahb_bench.families.gmm.scales import scale_risk
from gahb_bench.tables.sampled import mean_posterior_variance, sampled_simulation

_IMAGES = 256  # of the reference computed on demand
_NEGLIGIBLE_SHARE = 1e-9  # a variance between components below this share of that within is not worth sampling
_QUADRATURES = {
    "points": (point_risk, "Quadrature: the two pixels are independent mixtures on the line."),
    "scales": (scale_risk, "Quadrature over the distance to the mean, on which alone the posterior depends."),
}
_FEW = 30.0  # effective number of images below which their mean is not to be trusted


class GmmOptimum(Optimum[Gmm]):
    """What is best for Gaussian mixtures: a Wiener filter for each component, weighted by its responsibility."""

    oracles = (Mmse,)

    def reference(self, sigmas: FloatArray) -> Reference:
        """The MMSE: for fields as a mean posterior variance, for others by quadrature (relative error below 1e-9).

            mmse = sum_k weight_k tr(sigma^2 W_k) / pixels + E[ sum_k r_k |m_k - x_hat|^2 ] / pixels

        The first term, the risk if the components were told, is in closed form because ``E[r_k] = weight_k``; the
        second, what not knowing the component costs, is a mean over fixed images, with its standard error. Where fewer
        than 30 images carry that mean, the error reaches up to an upper bound in closed form (`between_bound`): it is
        still tiny wherever the components are well apart.
        """
        family = self.family
        if family.variant in _QUADRATURES:
            risk, note = _QUADRATURES[family.variant]
            mse, exponent, _ = risk(family, sigmas)
            return Reference.exact(sigmas, mse, exponent, note=note)
        within = np.array([_within(family, float(sigma)) for sigma in sigmas])
        bound = between_bound(family, sigmas)
        images = [_IMAGES if matters else 2 for matters in bound > _NEGLIGIBLE_SHARE * within]
        sampled = mean_posterior_variance(family, sigmas, images)
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

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        return ["mmse"]

    def information(self, sigmas: FloatArray) -> FloatArray | None:
        """I(x; y) in nats, by the quadrature of the reference where there is one."""
        if self.family.variant not in _QUADRATURES:
            return None
        return _QUADRATURES[self.family.variant][0](self.family, sigmas)[2]

    def gaussian(self) -> Gaussian:
        """Mean ``sum_k w_k mu_k``, covariance ``sum_k w_k (C_k + (mu_k - mean)(mu_k - mean)')``, as a matrix."""
        law = self.family
        pixels = math.prod(law.shape)
        what = f"the covariance of {law.spec}"
        memory.check_fits(memory.of_covariance(pixels, law.shape), what, "choose a smaller size")
        weights, means = torch.from_numpy(law.weights), torch.from_numpy(law.means)[:, None]
        mean = torch.einsum("k,kchw->chw", weights, means)
        spectrum = torch.einsum("k,khw->hw", weights, torch.from_numpy(law.spectra))
        units = torch.eye(pixels, dtype=torch.float64).reshape(-1, *law.shape)
        within = hartley(spectrum * hartley(units)).flatten(1)
        away = (means - mean).flatten(1)
        return diagonalised(mean, within + away.mT @ (weights[:, None] * away))

    @property
    def samples(self) -> VarianceParts:
        """The posterior variance in the part within the components, known, and that between them, to be sampled."""
        oracle = self._mmse
        return VarianceParts(
            sampled=lambda y, sigma: oracle.split_variance(y, sigma)[2],
            known=lambda sigma: _within(self.family, sigma),
        )

    @property
    def simulation(self) -> Simulation | None:
        """Posterior variances of more images than are used on demand."""
        if self.family.variant in _QUADRATURES:
            return None
        return sampled_simulation(self.family)

    @cached_property
    def _mmse(self) -> Mmse:
        return Mmse().bind(self.family)

    def checks(self) -> list[Check]:
        """The oracle against dense matrices on tiny mixtures of the same kind (identity 6)."""
        family = self.family
        checks = []
        for tiny in tiny_mixtures(family):
            oracle = Mmse.from_parameters({}).bind(tiny)
            batch = tiny.sample(range(4), split="val")
            z = unit_noise(batch).double()
            for sigma in (0.02, 0.3):
                y, v = scale_noise(batch.images.double(), z, sigma), z.flip(0)
                exact = dense_posterior(tiny, y, sigma, v)
                posterior = oracle.posterior(y, sigma)
                pairs = {
                    "mean": (posterior.mean, exact.mean),
                    "variance": (posterior.variance, exact.variance),
                    "covariance times v": (oracle.covariance(y, sigma, v), exact.covariance),
                    "responsibilities": (oracle.responsibilities(y, sigma), exact.responsibilities),
                }
                for name, (found, expected) in pairs.items():
                    error = float((found - expected).abs().max() / expected.abs().max())
                    identity = f"6  {name} = dense linear algebra, {tiny.spec}, sigma={sigma:g}"
                    checks.append(Check(identity, error, 1e-9, routes=("Fourier transforms", "dense linear algebra")))
        return checks


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
        tile.distance.amin(dim=1) for _, tile in Mmse.from_parameters({}).bind(family).tiles(images.double(), sigma)
    ]
    radius = float(scipy.stats.chi2.ppf(level, np.prod(family.shape)))
    return torch.cat(nearest) > radius


def _within(law: Gmm, sigma: float) -> float:
    """Risk per pixel if the components were told, ``sum_k weight_k tr(sigma^2 W_k) / pixels``."""
    return float(law.weights @ (sigma**2 * law.spectra / (law.spectra + sigma**2)).mean(axis=(1, 2)))
