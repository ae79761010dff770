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

import numpy as np
from numpy.typing import NDArray

from gahb_bench.types import FloatArray

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
