"""What is best for ``calpha``: the Wiener filter, and the best filter of a bounded receptive field, in closed form."""

from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.denoisers.base import D, Denoiser
from gahb_bench.errors import UsageError
from gahb_bench.families.base import Family
from gahb_bench.families.calpha import Calpha, power_spectrum
from gahb_bench.oracles.base import PosteriorMean
from gahb_bench.oracles.calpha_local import PatchModes, patch_modes
from gahb_bench.types import Check, FloatArray, Images, PerImage, Posterior, Reference, check_sigmas


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
    return ["mmse", "local-mmse"] if family.law == "gaussian" else ["wiener"]


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


class LocalMmse(Denoiser):
    """Best estimate of each pixel from the ``patch x patch`` noisy pixels around it: the optimum of a receptive field.

        x_hat_q = mean + a'(y_P - mean),   a = (C_P + sigma^2 I)^-1 c,   C_P = Cov(x_P),   c = Cov(x_P, x_q)
        risk    = Var(x_q) - c'a = sigma^2 a_q

    One filter for all pixels, since the law is stationary and periodic. A patch at least as large as the image is
    the whole image, and the filter is then the Wiener filter.

    Optimality
    ----------
    Knows the law. E[x_q | y_P] for every pixel q: no denoiser whose output at q depends only on the patch around q is
    below it. Its risk is the closed form `risk`, an upper bound on the MMSE, decreasing in ``patch`` to the MMSE.
    Error: rounding, relative error about 1e-16 max(lambda) / sigma^2. Refuses ``law=uniform``.

    References
    ----------
    N. Wiener, "Extrapolation, Interpolation, and Smoothing of Stationary Time Series", MIT Press 1949; the reduction
    by symmetry is derived in `gahb_bench.oracles.calpha_local`.

    Examples
    --------
    >>> law = Calpha(size=16)
    >>> small, large = (LocalMmse(patch=p).bind(law).risk([0.1])[0] for p in (3, 9))
    >>> bool(small > large > law.reference([0.1]).mse[0])
    True
    """

    name: ClassVar = "local-mmse"
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949, on a patch"

    patch: int = Field(7, ge=1, description="side of the receptive field, pixels, odd")

    def model_post_init(self, context: object) -> None:
        del context
        if self.patch % 2 == 0:
            raise UsageError(
                f"patch={self.patch} is not allowed: a patch has a pixel at its centre, so its side is odd "
                f"({self.patch - 1} or {self.patch + 1})."
            )

    def bind(self: D, family: Family) -> D:
        if not isinstance(family, Calpha):
            raise UsageError(f"{self.name} is the oracle of 'calpha', not of {family.spec!r}.")
        if family.law == "uniform":
            raise UsageError(
                f"{family.spec}: only the best linear estimate is known, not E[x | patch]; use law=gaussian."
            )
        return super().bind(family)

    @property
    def _law(self) -> Calpha:
        family = self.family
        assert isinstance(family, Calpha)  # bind refuses others
        return family

    def risk(self, sigmas: object) -> FloatArray:
        """The exact MSE per pixel at each noise level."""
        return local_mmse_risk(self._law, self.patch, check_sigmas(sigmas))

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        law = self._law
        law.check_images(y)
        levels, which = sigma.unique(return_inverse=True)
        filters = [_local_gain(law.size, law.alpha, law.std, self.patch, float(level)) for level in levels]
        gains = torch.stack(filters).to(y.device)[which]
        spectrum = torch.fft.rfft2(y.double() - law.mean) * gains[:, None, :, : law.size // 2 + 1]
        return law.mean + torch.fft.irfft2(spectrum, s=(law.size, law.size))


def local_mmse_risk(family: Calpha, patch: int, sigmas: FloatArray) -> FloatArray:
    """Closed-form risk of `local-mmse`: ``sigma^2 sum_l phi_l(q)^2 l / (l + sigma^2)`` over the modes of the patch.

    Equal to the MMSE if the patch covers the image (``patch >= size``).
    """
    if patch >= family.size:
        return reference(family, sigmas).mse
    return _patch_modes(family.size, family.alpha, family.std, patch).risk(sigmas)


@lru_cache(maxsize=64)
def _local_gain(size: int, alpha: float, std: float, patch: int, sigma: float) -> Tensor:
    """Transfer function ``(N, N)`` of the filter, real because the filter is even."""
    if patch >= size:
        spectrum = power_spectrum(size, alpha, std, mean_mode=True)
        return torch.from_numpy(spectrum / (spectrum + sigma**2))
    radius = patch // 2
    kernel = np.zeros((size, size))
    kernel[:patch, :patch] = _patch_modes(size, alpha, std, patch).kernel(sigma)
    return torch.from_numpy(np.fft.fft2(np.roll(kernel, (-radius, -radius), (0, 1))).real.copy())


@lru_cache(maxsize=4)
def _patch_modes(size: int, alpha: float, std: float, patch: int) -> PatchModes:
    return patch_modes(np.fft.ifft2(power_spectrum(size, alpha, std, mean_mode=True)).real, patch)


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
    for sigma in (0.04 * tiny.std, 1.2 * tiny.std):
        gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(64))
        dense = tiny.mean + (y.reshape(4, 64).numpy() - tiny.mean) @ gain.T
        variance = np.trace(covariance - gain @ covariance) / 64
        posterior = oracle.posterior(y, sigma)
        error = np.abs(posterior.mean.reshape(4, 64).numpy() - dense).max() / tiny.std
        checks.append(Check(f"6  mean = dense linear algebra, N=8, sigma={sigma:g}", float(error), 1e-10))
        error = float(posterior.variance[0]) / variance - 1
        checks.append(Check(f"6  variance = dense linear algebra, N=8, sigma={sigma:g}", error, 1e-9))
    return checks
