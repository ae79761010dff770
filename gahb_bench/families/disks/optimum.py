"""What is best for ``disks``: the posterior mean by certified quadrature, least squares, and the tangent plane."""

import numpy as np
import pandas as pd
from torch import Tensor

from gahb_bench.channels import gaussian as noise
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation
from gahb_bench.families.disks import reference as disks_reference
from gahb_bench.families.disks.check import DRAWS, importance_sampling
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.oracles import Mmse, Projection, Tangent

_CHECKED = 6  # images, at the noise levels
_CHECK_LEVELS = (0.3, 1.0, 2.0)
_ROUTES = ("certified quadrature", "importance sampling from the prior")


class DisksOptimum(Optimum[Disks]):
    """What is best for ``disks``: the posterior mean by certified quadrature, least squares, and the tangent plane."""

    oracles = (Mmse, Projection, Tangent)

    def reference(self, sigmas: FloatArray) -> Reference:
        """Mean posterior variance over frozen images, with its standard error; closed forms at both ends as curves.

            mmse(s) = E Var(x|y) / N^2 -> d s^2 / N^2 (s -> 0),  -> prior variance (s -> infinity)

        Stored for sizes 32, 64 and 80 (d = 5, edge 1, 2,048 images a level, a spline between the levels); other
        parameters and noise levels beyond are computed on demand from 256 images a level and kept in the user's home.
        """
        family = self.family
        levels = disks_reference.levels(family, sigmas)
        mse = levels["mse"].to_numpy()
        few, many = int(levels["images"].min()), int(levels["images"].max())
        return Reference(
            kind="exact",
            sigma=sigmas,
            mse=mse,
            lower=mse,
            upper=mse,
            standard_error=levels["mse_se"].to_numpy(),
            exponent=levels["exponent"].to_numpy(),
            asymptotic_exponent=2.0,
            note=(
                f"Mean posterior variance over {few if few == many else f'{few} to {many}'} images a level, by "
                f"quadrature; its relative error by the quadrature is about "
                f"{levels['excess_mean'].max():.0e}, and {levels['uncertified'].sum():.0f} images were not certified."
            ),
            curves={
                "d sigma^2": small_noise_mse(family, sigmas),
                "prior variance": np.full(len(sigmas), prior(family)),
            },
        )

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        return ["mmse", "projection", "tangent"]

    @property
    def simulation(self) -> Simulation:
        """Certified posterior variances of as many images as the stored curves have."""
        rule, images = disks_reference.RULE, disks_reference.TABLE_IMAGES

        def measure(sigma: float, count: int, _: object) -> pd.DataFrame:
            return disks_reference.compute(self.family, sigma, count)

        return Simulation(self.family.spec, "levels", rule, images, measure)

    def checks(self) -> list[Check]:
        """Mean, variance and covariance against brute-force importance sampling from the prior, at N = 16.

            x_hat = sum_i w_i x_i / sum_i w_i,   w_i = exp(-|y - x_i|^2 / 2 s^2),   x_i from the prior

        No sufficient statistic, transform or grid is shared with the oracle. Of means the value is the squared distance
        of the two in units of the posterior variance, the tolerance six times what the sampling accounts for, plus the
        certificate. Of variances, of the image and along random directions, it is the mean relative difference, images
        weighted by how well they are sampled; the tolerance is 4.5 standard errors of the sampling plus 0.5 %. The
        latter take the place of a derivative of the estimate, which its jumps spoil.
        """
        family = self.family
        small = family.model_copy(update={"size": 16, "edge": min(family.edge, 2.0)})
        oracle = Mmse.from_parameters({}).bind(small)
        batch = small.sample(range(_CHECKED), seed=0, split="val")
        noisy = [noise.add_noise(batch, sigma).double() for sigma in _CHECK_LEVELS]
        v = noise.unit_noise(batch).double().flip(0)
        found = [oracle.certified(y, sigma) for y, sigma in zip(noisy, _CHECK_LEVELS, strict=True)]
        sampled = importance_sampling(small, noisy, [each.mean for each in found], v, _CHECK_LEVELS)
        detail = f"{small.spec}, {len(batch)} images, {DRAWS:,} draws"
        checks = []
        for sigma, y, ours, theirs in zip(_CHECK_LEVELS, noisy, found, sampled, strict=True):
            posterior = oracle.posterior(y, sigma)
            variance = posterior.variance * y[0].numel()
            off = ((theirs.mean - posterior.mean) ** 2).sum((1, 2, 3)) / variance
            allowed = 6 * theirs.error / variance + ours.error
            along = (v * oracle.covariance(y, sigma, v)).sum((1, 2, 3))
            for name, (value, tolerance) in {
                "mean": (float(off.mean()), float(allowed.mean())),
                "variance": _relative(variance, *theirs.variance),
                "Var(<v,x>|y)": _relative(along, *theirs.along),
            }.items():
                identity = f"6  {name} = importance sampling, sigma={sigma:g}"
                checks.append(Check(identity, value, tolerance, detail, _ROUTES))
        return checks


def _relative(found: Tensor, sampled: Tensor, error: Tensor) -> tuple[float, float]:
    """Mean relative difference from sampled values, weighted by their precision, and its tolerance."""
    precision = (sampled / error).square()
    difference = float((precision * (found / sampled - 1)).sum() / precision.sum())
    return difference, 4.5 * float(precision.sum() ** -0.5) + 0.005


def small_noise_mse(family: Disks, sigmas: FloatArray) -> FloatArray:
    """The MMSE per pixel as sigma -> 0, the risk of the projection on the tangent plane: ``d s^2 / N^2``."""
    return family.dimension * sigmas**2 / family.size**2


def prior(family: Disks) -> float:
    """The MMSE per pixel as sigma -> infinity: the prior variance."""
    return disks_reference.prior_variance(family)
