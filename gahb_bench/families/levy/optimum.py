"""What is best for ``levy``: messages on a lattice, or linear algebra where the jumps are Gaussian."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.gaussian import Gaussian, diagonalised
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation, VarianceParts
from gahb_bench.families.levy.check import quadrature_checks, walk_checks
from gahb_bench.families.levy.law import Levy
from gahb_bench.families.levy.oracles import Linear, Mmse
from gahb_bench.tables.sampled import mean_posterior_variance, sampled_simulation

_IMAGES = 128  # of the reference computed on demand


class LevyOptimum(Optimum[Levy]):
    """What is best for ``levy``: messages on a lattice, or linear algebra where the jumps are Gaussian."""

    oracles = (Mmse, Linear)

    def reference(self, sigmas: FloatArray) -> Reference:
        """The MMSE: in closed form for Gaussian jumps, else the mean posterior variance over fixed signals.

            gauss:  mmse(s) = 1/N sum_k l_k s^2 / (l_k + s^2),   l_k the eigenvalues of the covariance v min(i, j)

        Stored levels are read where there are any; elsewhere 128 signals are sampled.
        """
        if self.family.jumps == "gauss":
            gains = self._spectrum / (self._spectrum + sigmas[:, None] ** 2)
            exponent = 2 * (gains**2).sum(axis=1) / gains.sum(axis=1)
            note = "Closed form: the risk of the Wiener filter, which is the posterior mean of Gaussian jumps."
            return Reference.exact(sigmas, sigmas**2 * gains.mean(axis=1), exponent, note=note)
        sampled = mean_posterior_variance(self.family, sigmas, [_IMAGES] * len(sigmas))
        return Reference(
            kind="exact",
            sigma=sigmas,
            mse=sampled.mse,
            lower=sampled.mse,
            upper=sampled.mse,
            standard_error=sampled.standard_error,
            exponent=sampled.exponent,
            note="Mean posterior variance over fixed signals, of messages on a lattice that are exact to 1e-5 of it.",
        )

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        return ["mmse", "wiener"] if self.family.jumps != "gauss" and self.family.finite_variance else ["mmse"]

    def information(self, sigmas: FloatArray) -> FloatArray | None:
        """I(x; y) in nats: ``1/2 sum_k log(1 + l_k / s^2)`` for Gaussian jumps; it is not known for others."""
        if self.family.jumps != "gauss":
            return None
        return 0.5 * np.log1p(self._spectrum / sigmas[:, None] ** 2).sum(axis=1)

    def gaussian(self) -> Gaussian | None:
        """Mean 0, covariance v min(i, j), and nothing more where the jumps are Gaussian; None without a variance."""
        if not self.family.finite_variance:
            return None
        covariance = torch.from_numpy(self._covariance)
        return diagonalised(covariance.new_zeros(self.family.shape), covariance, exact=self.family.jumps == "gauss")

    @property
    def samples(self) -> VarianceParts | None:
        """The posterior variance of each sample; None for Gaussian jumps, of which the mean is known."""
        if self.family.jumps == "gauss":
            return None
        oracle = Mmse().bind(self.family)

        def sampled(y: Images, sigma: Tensor) -> Tensor:
            return oracle.walk(y, sigma).variance

        return VarianceParts(sampled, lambda _: 0.0)

    @property
    def simulation(self) -> Simulation | None:
        """Posterior variances of more signals than are used on demand."""
        return None if self.family.jumps == "gauss" else sampled_simulation(self.family)

    def checks(self) -> list[Check]:
        """The oracle against dense algebra, and messages against quadrature over the jumps of a short signal."""
        law = self.family.law
        return walk_checks(law) if law.kind == "gauss" else quadrature_checks(law)

    @property
    def _covariance(self) -> FloatArray:
        time = np.arange(1.0, self.family.size + 1)
        return self.family.law.variance * np.minimum(time[:, None], time)

    @cached_property
    def _spectrum(self) -> FloatArray:
        return np.linalg.eigvalsh(self._covariance)
