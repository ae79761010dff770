"""What is best for ``calpha``: the Wiener filter, and the best filter of a bounded receptive field, in closed form."""

import numpy as np
import torch

from gahb_bench.core.gaussian import Gaussian, stationary
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Check, Optimum, Reference
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.calpha.local import LocalMmse
from gahb_bench.families.calpha.oracles import Mmse, Wiener

_ROUTES = ("Fourier transforms", "dense linear algebra")


class CalphaOptimum(Optimum[Calpha]):
    """What is best for ``calpha``: the Wiener filter, and the best filter of a bounded receptive field."""

    oracles = (Mmse, Wiener, LocalMmse)
    attained_by = ("mmse", "wiener")

    def reference(self, sigmas: FloatArray) -> Reference:
        """Closed-form risk of the Wiener filter, and its local exponent at finite N.

            mmse(s) = N^-2 sum_k lambda_k s^2 / (lambda_k + s^2)
            d log mmse / d log s = 2 sum_k g_k^2 / sum_k g_k,   g_k = lambda_k / (lambda_k + s^2)

        It is the MMSE for ``law=gaussian``, and the least risk of linear denoisers for ``law=uniform``.
        """
        family = self.family
        spectrum = family.spectrum.ravel()
        gains = spectrum / (spectrum + sigmas[:, None] ** 2)
        mse = sigmas**2 * gains.mean(axis=1)
        exponent = 2 * (gains**2).sum(axis=1) / gains.sum(axis=1)
        gaussian = family.law == "gaussian"
        return Reference.exact(
            sigmas,
            mse,
            exponent,
            asymptotic_exponent=2 * family.alpha / (family.alpha + 1),
            kind="exact" if gaussian else "linear",
            note=(
                "Closed form: the risk of the Wiener filter, which is the posterior mean of this Gaussian law."
                if gaussian
                else "Closed form: the risk of the Wiener filter, the best linear denoiser; the MMSE is at most this."
            ),
        )

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        family = self.family
        return ["mmse", "local-mmse"] if family.law == "gaussian" else ["wiener"]

    def gaussian(self) -> Gaussian:
        """It is the law itself for ``law=gaussian``."""
        law = self.family
        return stationary(law.mean, torch.from_numpy(law.spectrum)[None], exact=law.law == "gaussian")

    def information(self, sigmas: FloatArray) -> FloatArray | None:
        """I(x; y) in nats: ``1/2 sum_k log(1 + lambda_k / s^2)`` for the Gaussian law; it is not known for another."""
        family = self.family
        if family.law != "gaussian":
            return None
        return 0.5 * np.log1p(family.spectrum.ravel() / sigmas[:, None] ** 2).sum(axis=1)

    def checks(self) -> list[Check]:
        """The oracle against dense linear algebra on 8 x 8 images of the same law (identity 6).

        The covariance matrix is built from its definition, ``C(p, q) = N^-2 sum_k lambda_k cos(2 pi k (p - q) / N)``,
        and the posterior from ``mean + C (C + s^2 I)^{-1} (y - mean)`` and ``C - C (C + s^2 I)^{-1} C``.
        """
        family = self.family
        tiny = Calpha.from_parameters({**family.parameters, "size": 8})
        oracle = Wiener().bind(tiny)
        place = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), axis=-1).reshape(-1, 2)
        phase = 2 * np.pi / 8 * (place[:, None] - place[None, :])
        k = np.fft.fftfreq(8, 1 / 8)
        power = tiny.spectrum
        covariance = sum(
            power[a, b] * np.cos(k[a] * phase[..., 0] + k[b] * phase[..., 1]) for a in range(8) for b in range(8)
        )
        covariance = np.asarray(covariance) / 64
        y = tiny.sample(range(4), split="val").images.double()
        checks = []
        for sigma in (0.04 * tiny.std, 1.2 * tiny.std):
            gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(64))
            dense = tiny.mean + (y.reshape(4, 64).numpy() - tiny.mean) @ gain.T
            variance = np.trace(covariance - gain @ covariance) / 64
            values = {
                "linear estimate": (oracle(y, sigma).reshape(4, 64).numpy() - dense) / tiny.std,
                "reference": tiny.reference(sigma).mse / variance - 1,
            }
            if family.law == "gaussian":
                posterior = Mmse().bind(tiny).posterior(y, sigma)
                values["mean"] = (posterior.mean.reshape(4, 64).numpy() - dense) / tiny.std
                values["variance"] = posterior.variance.numpy() / variance - 1
            for name, differences in values.items():
                identity = f"6  {name} = dense linear algebra, N=8, sigma={sigma:g}"
                checks.append(Check(identity, float(np.abs(differences).max()), 1e-9, routes=_ROUTES))
        return checks
