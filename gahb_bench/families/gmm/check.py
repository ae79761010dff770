"""The posterior of tiny Gaussian mixtures by dense matrices, without Fourier transforms: an independent route.

C_k(p, q) = N^-1 sum_f lambda_k(f) cos(2 pi f (p - q)),   S_k = C_k + sigma^2 I
r_k ~ weight_k N(y; mu_k, S_k),   m_k = mu_k + C_k S_k^{-1} (y - mu_k),   V_k = C_k - C_k S_k^{-1} C_k
mean = sum r_k m_k,   covariance = sum r_k (V_k + m_k m_k') - mean mean'
"""

from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from torch import Tensor

from gahb_bench.core.images import FloatArray, Images, PerImage
from gahb_bench.families.gmm.law import Gmm


@dataclass(frozen=True)
class Dense:
    """Posterior mean, per-pixel variance, Cov(x|y) v, responsibilities ``(n, K)``."""

    mean: Images
    variance: PerImage
    covariance: Images
    responsibilities: Tensor


def tiny_mixtures(family: Gmm) -> list[Gmm]:
    """Mixtures of the family's variant, of 6 x 6 (and odd 5 x 5) pixels, or of two; components that overlap."""
    if family.variant == "points":
        return [Gmm.from_parameters({**family.parameters, "within": within}) for within in (family.within, 0.15)]
    if family.variant == "scales":
        base = {**family.parameters, "components": 3, "within": 0.1, "between": 0.3}
        return [Gmm.from_parameters({**base, "size": size}) for size in (6, 5)]
    base = {**family.parameters, "components": 4, "between": 0.05, "within": 0.1}
    return [Gmm.from_parameters({**base, "size": size, "anisotropy": a}) for size, a in ((6, 2.0), (5, 1.3))]


def dense_posterior(family: Gmm, y: Images, sigma: float, v: Images) -> Dense:
    """The posterior of each image of ``y`` from the matrices of the law."""
    _, height, width = family.shape
    pixels = height * width
    covariances = [_covariance(spectrum) for spectrum in family.spectra]
    totals = [covariance + sigma**2 * np.eye(pixels) for covariance in covariances]
    means = family.means.reshape(-1, pixels)
    flat, directions = y.reshape(-1, pixels).numpy(), v.reshape(-1, pixels).numpy()
    logs = np.log(family.weights) + np.stack(
        [scipy.stats.multivariate_normal(mu, total).logpdf(flat) for mu, total in zip(means, totals, strict=True)],
        axis=-1,
    )
    r = np.exp(logs - logs.max(axis=1, keepdims=True))
    r /= r.sum(axis=1, keepdims=True)
    gains = [c @ np.linalg.inv(total) for c, total in zip(covariances, totals, strict=True)]
    each = np.stack([mu + (flat - mu) @ gain.T for mu, gain in zip(means, gains, strict=True)], axis=1)
    own = np.stack([c - gain @ c for c, gain in zip(covariances, gains, strict=True)])
    mean = np.einsum("nk,nkp->np", r, each)
    away = each - mean[:, None]
    covariance = np.einsum("nk,kpq->npq", r, own) + np.einsum("nk,nkp,nkq->npq", r, away, away)
    variance = np.trace(covariance, axis1=1, axis2=2) / pixels
    product = np.einsum("npq,nq->np", covariance, directions).reshape(-1, 1, height, width)
    tensors = [torch.from_numpy(np.asarray(a)) for a in (mean.reshape(product.shape), variance, product, r)]
    return Dense(*tensors)


def _covariance(spectrum: FloatArray) -> FloatArray:
    height, width = spectrum.shape
    rows, columns = np.divmod(np.arange(height * width), width)
    frequency = np.stack([rows / height, columns / width], axis=-1)
    place = np.stack([rows, columns], axis=-1)
    phase = 2 * np.pi * np.einsum("fi,pi->fp", frequency, place)
    cosines, sines = np.cos(phase), np.sin(phase)
    weighted = spectrum.reshape(-1, 1) / (height * width)
    return cosines.T @ (weighted * cosines) + sines.T @ (weighted * sines)
