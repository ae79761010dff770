"""The best estimate of a stationary field from a patch: the mathematics of ``local-mmse``.

Let P be the p x p patch around a pixel q of a stationary periodic field with covariance R(u) = Cov(x_0, x_u), and
C = (R(i - j)) for i, j in P. With y = x + s z, the best estimate of x_q - mean from y_P - mean is a'(y_P - mean),

    a = (C + s^2 I)^-1 c,   c = Cov(x_P, x_q) = C e_q,   risk = R(0) - c'(C + s^2 I)^-1 c.

Because q lies in P, with the eigenpairs (l, phi_l) of C this is

    a = sum_l  l / (l + s^2)  phi_l(q) phi_l,      risk = s^2 a_q = s^2 sum_l phi_l(q)^2 l / (l + s^2),

the form of the Wiener risk with the eigenvectors of the patch in the place of the Fourier modes, and free of
cancellation. Where R has the eight symmetries of the square, so have P, c and a: only the eigenvectors that are
invariant under them do not vanish at q, and the problem shrinks from p^2 to about p^2 / 8 unknowns.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from gahb_bench.core.denoiser import D, Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray, Images, check_sigmas
from gahb_bench.core.memory import cached
from gahb_bench.core.posterior import OracleOf
from gahb_bench.families.calpha.law import Calpha

_CHUNK = 2**22  # numbers held at a time while the reduced covariance is built


@dataclass(frozen=True)
class PatchModes:
    """The symmetric eigenvectors of the covariance of a patch, all that matters at its centre.

    eigenvalues : (m,), >= 0
    vectors : (m, m), column l is phi_l in the orthonormal basis of orbits (orbit 0 is the centre)
    orbit : (p, p), the orbit of each pixel of the patch
    orbit_size : (m,)
    """

    eigenvalues: NDArray[np.float64]
    vectors: NDArray[np.float64]
    orbit: NDArray[np.intp]
    orbit_size: NDArray[np.intp]

    def risk(self, sigmas: FloatArray) -> NDArray[np.float64]:
        """``s^2 sum_l phi_l(q)^2 l / (l + s^2)`` at each noise level."""
        return sigmas**2 * (self._gains(sigmas) @ self.vectors[0] ** 2)

    def exponent(self, sigmas: FloatArray) -> NDArray[np.float64]:
        """``d log risk / d log s = 2 sum_l phi_l(q)^2 g_l^2 / sum_l phi_l(q)^2 g_l``, ``g_l = l / (l + s^2)``."""
        gains, weights = self._gains(sigmas), self.vectors[0] ** 2
        return 2 * (gains**2 @ weights) / (gains @ weights)

    def kernel(self, sigma: float) -> NDArray[np.float64]:
        """The weights a of the best estimate, ``(p, p)``: ``sum_l l / (l + s^2) phi_l(q) phi_l``."""
        weights = self.vectors @ (self._gains(np.array([sigma]))[0] * self.vectors[0])
        return (weights / np.sqrt(self.orbit_size))[self.orbit]

    def _gains(self, sigmas: FloatArray) -> NDArray[np.float64]:
        return self.eigenvalues / (self.eigenvalues + sigmas[:, None] ** 2)


def patch_modes(covariance: NDArray[np.float64], patch: int) -> PatchModes:
    """Modes of the ``patch x patch`` patch of a stationary periodic field.

    Parameters
    ----------
    covariance : array (N, N)
        R(u) = Cov(x_0, x_u), invariant under reflections and exchange of the axes.
    patch : int
        Odd, at most N.
    """
    radius, size = patch // 2, len(covariance)
    offsets = np.arange(-radius, radius + 1)
    far = np.maximum(np.abs(offsets)[:, None], np.abs(offsets)[None, :])
    near = np.minimum(np.abs(offsets)[:, None], np.abs(offsets)[None, :])
    orbit = far * (far + 1) // 2 + near  # orbits are the pairs near <= far, and 0 is the centre
    orbit_size = np.bincount(orbit.ravel())
    count = len(orbit_size)
    members = np.argsort(orbit.ravel(), kind="stable")
    starts = np.concatenate([[0], np.cumsum(orbit_size)[:-1]])
    rows, columns = offsets[members // patch], offsets[members % patch]  # every pixel, orbit by orbit
    reduced = np.empty((count, count))
    step = max(1, _CHUNK // patch**2)
    for first in range(0, count, step):
        chosen = starts[first : first + step]  # one pixel stands for its orbit: the sum over the other is the same
        values = covariance[
            (rows[:, None] - rows[None, chosen]) % size, (columns[:, None] - columns[None, chosen]) % size
        ]
        reduced[:, first : first + step] = np.add.reduceat(values, starts, axis=0)
    reduced *= np.sqrt(orbit_size[None, :] / orbit_size[:, None])
    eigenvalues, vectors = np.linalg.eigh((reduced + reduced.T) / 2)
    return PatchModes(np.maximum(eigenvalues, 0.0), vectors, orbit, orbit_size)


class LocalMmse(Denoiser, OracleOf[Calpha]):
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
    by symmetry is derived in `gahb_bench.families.calpha.law.local`.

    Examples
    --------
    >>> law = Calpha(size=16)
    >>> small, large = (LocalMmse(patch=p).bind(law).risk([0.1])[0] for p in (3, 9))
    >>> bool(small > large > law.reference([0.1]).mse[0])
    True
    """

    name: ClassVar = "local-mmse"
    looks: ClassVar = {"": ("plum", "circle")}
    knows: ClassVar = "law"
    source: ClassVar = "Wiener 1949, on a patch"

    patch: int = Field(7, ge=1, description="side of the receptive field, pixels, odd")

    @field_validator("patch")
    @classmethod
    def _odd(cls, patch: int) -> int:
        if patch % 2 == 0:
            raise ValueError(f"a patch has a pixel at its centre, so its side is odd ({patch - 1} or {patch + 1})")
        return patch

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        if isinstance(family, Calpha) and family.law == "uniform":
            raise UsageError(
                f"{family.spec}: only the best linear estimate is known, not E[x | patch]; use law=gaussian."
            )
        return bound

    def risk(self, sigmas: object) -> FloatArray:
        """The exact MSE per pixel at each noise level."""
        return local_mmse_risk(self.law, self.patch, check_sigmas(sigmas))

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        law = self.law
        law.check_images(y)
        levels, which = sigma.unique(return_inverse=True)
        filters = [_local_gain(law, self.patch, float(level)) for level in levels]
        gains = torch.stack(filters).to(y.device)[which]
        spectrum = torch.fft.rfft2(y.double() - law.mean) * gains[:, None, :, : law.size // 2 + 1]
        return law.mean + torch.fft.irfft2(spectrum, s=(law.size, law.size))


def local_mmse_risk(family: Calpha, patch: int, sigmas: FloatArray) -> FloatArray:
    """Closed-form risk of `local-mmse`: ``sigma^2 sum_l phi_l(q)^2 l / (l + sigma^2)`` over the modes of the patch.

    Equal to the MMSE if the patch covers the image (``patch >= size``).
    """
    if patch >= family.size:
        return family.reference(sigmas).mse
    return _patch_modes(family, patch).risk(sigmas)


@cached(64)
def _local_gain(law: Calpha, patch: int, sigma: float) -> Tensor:
    """Transfer function ``(N, N)`` of the filter, real because the filter is even."""
    if patch >= law.size:
        return torch.from_numpy(law.spectrum / (law.spectrum + sigma**2))
    size, radius = law.size, patch // 2
    kernel = np.zeros((size, size))
    kernel[:patch, :patch] = _patch_modes(law, patch).kernel(sigma)
    return torch.from_numpy(np.fft.fft2(np.roll(kernel, (-radius, -radius), (0, 1))).real.copy())


@cached(4)
def _patch_modes(law: Calpha, patch: int) -> PatchModes:
    return patch_modes(np.fft.ifft2(law.spectrum).real, patch)
