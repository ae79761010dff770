"""What is best for ``calpha``: the Wiener filter, in closed form."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.denoisers.base import D
from gahb_bench.errors import UsageError
from gahb_bench.families.base import Family
from gahb_bench.families.calpha import Calpha, power_spectrum
from gahb_bench.oracles.base import PosteriorMean
from gahb_bench.types import Check, FloatArray, Images, PerImage, Posterior, Reference


def reference(family: Calpha, sigmas: FloatArray) -> Reference:
    """Closed-form risk of the Wiener filter, and its local exponent at finite N.

        mmse(s) = N^-2 sum_k lambda_k s^2 / (lambda_k + s^2)
        d log mmse / d log s = 2 sum_k g_k^2 / sum_k g_k,   g_k = lambda_k / (lambda_k + s^2)

    It is the MMSE for ``law=gaussian``, and the least risk of linear denoisers for ``law=uniform``.
    """
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


def defaults(family: Calpha) -> list[str]:
    """The oracles a run shows unless told otherwise."""
    return ["mmse" if family.law == "gaussian" else "wiener"]


def mutual_information(family: Calpha, sigmas: FloatArray) -> FloatArray:
    """I(x; y) in nats: ``1/2 sum_k log(1 + lambda_k / s^2)`` (Gaussian law)."""
    return 0.5 * np.log1p(family.spectrum.ravel() / sigmas[:, None] ** 2).sum(axis=1)


class Wiener(PosteriorMean):
    """Wiener filter: the best linear denoiser of a stationary law.

        x_hat = mean + F^-1( g_k F(y - mean)_k ),   g_k = lambda_k / (lambda_k + sigma^2)

    Optimality
    ----------
    Knows the law. Exact posterior mean for ``law=gaussian`` (then the same as `mmse`), error: rounding. For
    ``law=uniform`` it is the best linear denoiser only, and has no `posterior`.

    References
    ----------
    N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", MIT Press 1949.
    """

    name: ClassVar = "wiener"
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949"

    @property
    def _law(self) -> Calpha:
        family = self.family
        if not isinstance(family, Calpha):
            raise UsageError(f"{self.name} here is the oracle of 'calpha', not of {family.spec!r}.")
        return family

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        law = self._law
        gain = self._gain(sigma, y.device)
        spectrum = torch.fft.rfft2(y - law.mean)
        half = gain[..., : law.size // 2 + 1]
        mean = law.mean + torch.fft.irfft2(spectrum * half, s=(law.size, law.size))
        return Posterior(mean, sigma**2 * gain.mean(dim=(1, 2, 3)))

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        _refuse_uniform(self._law)
        spectrum = torch.fft.fft2(v.double(), norm="ortho")
        return sigma**2 * (self._gain(sigma, y.device) * spectrum.abs() ** 2).sum(dim=(1, 2, 3))

    def posterior(self, y: Images, sigma: float | Tensor) -> Posterior:
        _refuse_uniform(self._law)
        return super().posterior(y, sigma)

    def _gain(self, sigma: Tensor, device: torch.device) -> Tensor:
        """g_k for each image, ``(n, 1, N, N)``."""
        law = self._law
        spectrum = _spectrum(law.size, law.alpha, law.std).to(device)
        return spectrum / (spectrum + sigma.reshape(-1, 1, 1, 1) ** 2)


class Mmse(Wiener):
    """Exact posterior mean of the Gaussian law: the Wiener filter.

        x_hat = mean + F^-1( g_k F(y - mean)_k ),   g_k = lambda_k / (lambda_k + sigma^2)

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE: no denoiser that sees only y and sigma is below it. Error: rounding.
    Refuses ``law=uniform``, where the Wiener filter is not the posterior mean: ask for `wiener` there.
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949"

    def bind(self: D, family: Family) -> D:
        if isinstance(family, Calpha):
            _refuse_uniform(family)
        return super().bind(family)


def _refuse_uniform(law: Calpha) -> None:
    if law.law == "uniform":
        raise UsageError(f"{law.spec}: the posterior is not known, only the best linear denoiser: 'wiener'.")


@lru_cache(maxsize=8)
def _spectrum(size: int, alpha: float, std: float) -> Tensor:
    return torch.from_numpy(power_spectrum(size, alpha, std, mean_mode=True))[None, None]


def independent_route(family: Calpha) -> list[Check]:
    """The oracle against dense linear algebra on 8 x 8 images of the same law (identity 6).

    The covariance matrix is built from its definition, ``C(p, q) = N^-2 sum_k lambda_k cos(2 pi k (p - q) / N)``,
    and the posterior from ``mean + C (C + s^2 I)^{-1} (y - mean)`` and ``C - C (C + s^2 I)^{-1} C``.
    """
    tiny = Calpha.from_parameters({**family.parameters, "size": 8})
    oracle = Mmse.from_parameters({}).bind(tiny)
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
    for sigma in (0.01, 0.3):
        gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(64))
        dense = tiny.mean + (y.reshape(4, 64).numpy() - tiny.mean) @ gain.T
        variance = np.trace(covariance - gain @ covariance) / 64
        posterior = oracle.posterior(y, sigma)
        error = np.abs(posterior.mean.reshape(4, 64).numpy() - dense).max() / tiny.std
        checks.append(Check(f"6  mean = dense linear algebra, N=8, sigma={sigma:g}", float(error), 1e-10))
        error = float(posterior.variance[0]) / variance - 1
        checks.append(Check(f"6  variance = dense linear algebra, N=8, sigma={sigma:g}", error, 1e-9))
    return checks
