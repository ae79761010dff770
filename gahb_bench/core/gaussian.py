"""Gaussian laws of images, by a basis in which the covariance is diagonal."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gahb_bench.core.images import Images


@dataclass(frozen=True, eq=False)
class Gaussian:
    """A mean and a covariance: images are ``synthesise(a)``, the coefficients a independent, of these variances.

    variances : (c, h, w) float64, >= 0
    analyse : images (n, c, h, w) to coefficients of the same shape: less the mean, in an orthonormal basis
    synthesise : back
    exact : whether a law has this mean and covariance and is Gaussian; else there is more to it than these
    """

    variances: Tensor
    analyse: Callable[[Images], Images]
    synthesise: Callable[[Images], Images]
    exact: bool = False

    def flow(self, y: Images, sigma: float, lower: float) -> Images:
        """Noisy images at ``sigma`` carried to ``lower`` by the probability flow, in closed form, float64.

        a_k <- sqrt((variance_k + lower^2) / (variance_k + sigma^2)) a_k
        """
        variances = self.variances.to(y.device)
        ratio = ((variances + lower**2) / (variances + sigma**2)).sqrt()
        return self.synthesise(ratio * self.analyse(y.double()))


def stationary(mean: float | Tensor, spectrum: Tensor, *, exact: bool = False) -> Gaussian:
    """The Gaussian of a stationary periodic field, channels uncorrelated: its modes are those of the Hartley transform.

    The transform, real part less imaginary part of the orthonormal Fourier transform, is real, orthonormal and its own
    inverse, and it makes the same covariances diagonal.

    Parameters
    ----------
    mean : float, or Tensor that can be subtracted from images
    spectrum : Tensor, shape (c, h, w)
        Eigenvalues of the covariance, in the order of ``fft2``, the same at k and -k.
    """
    return Gaussian(
        spectrum.double(), lambda y: hartley(y.double() - mean), lambda a: mean + hartley(a.double()), exact
    )


def hartley(x: Tensor) -> Tensor:
    """Orthonormal Hartley transform over the last two axes."""
    transformed = torch.fft.fft2(x, norm="ortho")
    return transformed.real - transformed.imag


def diagonalised(mean: Tensor, covariance: Tensor, *, exact: bool = False) -> Gaussian:
    """The Gaussian of a mean ``(c, h, w)`` and a covariance ``(d, d)`` over its flattened pixels."""
    variances, vectors = torch.linalg.eigh(covariance.double())

    def analyse(y: Images) -> Images:
        return ((y.double() - mean).flatten(1) @ vectors).reshape(y.shape)

    def synthesise(a: Images) -> Images:
        return mean + (a.double().flatten(1) @ vectors.mT).reshape(a.shape)

    return Gaussian(variances.clamp_min(0).reshape(mean.shape), analyse, synthesise, exact)
