"""Stationary periodic Gaussian fields given a linear measurement: what `calpha` and each component of `gmm` are.

    x = mu + F^-1 sqrt(lambda) F w,   y = A x + s z,   S = A C A' + s^2 I,   C = F^-1 diag(lambda) F
    E[x|y] = mu + G (y - A mu),   G = C A' S^{-1},   Cov(x|y) = C - G A C
    log p(y) = -1/2 ( (y - A mu)' S^{-1} (y - A mu) + log |S| + M log 2 pi ),   M numbers measured
    a sample: x' + G (y - y'),   x' from the prior, y' = A x' + s z'

Where A is diagonal in Fourier, so is all of it. Otherwise S is a dense matrix, factorised once for all images that
share the operator and the noise level.

References
----------
Y. Hoffman, E. Ribak, "Constrained realizations of Gaussian fields", ApJ Letters 380, 1991, doi:10.1086/186160.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from gahb_bench.core import memory
from gahb_bench.core.images import FloatArray, Images, PerImage, per_pixel
from gahb_bench.core.operator import Measured, Measurement


class Field(ABC):
    """A Gaussian field given a measurement of n images of it, each with its own noise level; float64.

    prior_mean, spectrum : mu ``(h, w)`` and lambda ``(h, w)``, the latter in the order of ``fft2``
    """

    def __init__(self, prior_mean: Tensor, spectrum: Tensor, measured: Measurement) -> None:
        self.prior_mean, self.spectrum, self.measured = prior_mean.to(measured.y), spectrum.to(measured.y), measured
        images = self.prior_mean.expand(len(measured), *measured.shape)
        self.residual = measured.y - measured.operator.apply(images)

    @cached_property
    def mean(self) -> Images:
        """Posterior mean, ``(n, 1, h, w)``."""
        return self.prior_mean + self.gain(self.residual, self._all)

    @property
    def _all(self) -> Tensor:
        return torch.arange(len(self.measured), device=self.residual.device)

    @property
    @abstractmethod
    def pixel_variance(self) -> Images:
        """Posterior variance of each pixel, ``(n, 1, h, w)``."""

    @property
    @abstractmethod
    def log_evidence(self) -> PerImage:
        """``log p(y)``, ``(n,)``."""

    @abstractmethod
    def gain(self, r: Measured, which: Tensor) -> Images:
        """``G r`` for residuals of the images at the positions ``which``, ``(t,)``."""

    def _density(self, terms: Tensor, which: Tensor) -> PerImage:
        """``log p(y)`` of the images ``which``, from terms that sum to ``r' S^{-1} r + log |S|``.

        Where A hides a part of the space that S acts on, r is zero there and S is s^2: that part is no measurement.
        """
        terms, noise = terms.flatten(1), self.measured.sigma[which] ** 2
        count = self.measured.operator.count(self.measured.shape).to(noise).expand(len(self.measured))[which]
        return -0.5 * (terms.sum(1) - (terms.shape[1] - count) * noise.log() + count * math.log(2 * math.pi))

    def perturb(self, white: Images, noise: Measured, which: Tensor) -> Images:
        """Posterior samples of the images ``which``, ``(t, 1, h, w)``, from white noise of images and measurements."""
        own = self.measured.select(which.tolist())
        x = self.prior_mean + torch.fft.ifft2(self.spectrum.sqrt() * torch.fft.fft2(white)).real
        y = own.operator.apply(x) + per_pixel(own.sigma, x) * own.operator.restrict(noise)
        return x + self.gain(own.y - y, which)


class FourierField(Field):
    """With an operator that is diagonal in Fourier, of transfer function h.

    G = lambda h / (h^2 lambda + s^2),   variance = pixels^-1 sum lambda s^2 / (h^2 lambda + s^2)
    """

    def __init__(self, prior_mean: Tensor, spectrum: Tensor, measured: Measurement, transfer: Tensor) -> None:
        super().__init__(prior_mean, spectrum, measured)
        self.transfer = transfer
        self.noise = per_pixel(measured.sigma, transfer) ** 2  # (n, 1, 1, 1)
        self.total = transfer**2 * self.spectrum + self.noise  # (n, 1, h, w)

    @property
    def pixel_variance(self) -> Images:
        variance = (self.spectrum * self.noise / self.total).mean(dim=(1, 2, 3), keepdim=True)
        return variance.expand(-1, *self.measured.shape)

    @property
    def log_evidence(self) -> PerImage:
        power = torch.fft.fft2(self.residual, norm="ortho").abs() ** 2
        return self._density(power / self.total + self.total.log(), self._all)

    def gain(self, r: Measured, which: Tensor) -> Images:
        response = self.transfer * self.spectrum / self.total[which]
        return torch.fft.ifft2(response * torch.fft.fft2(r)).real


class DenseField(Field):
    """With any operator: S is factorised for each group of images that share it, S = L L', and W = L^{-1} A C is kept.

    G r = W' L^{-1} r,   variance = diag(C) - sum of squares of the columns of W
    """

    @cached_property
    def _factors(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """For each group: its positions, which numbers are measured, L ``(M, M)`` and A C ``(M, pixels)``."""
        c, h, w = self.measured.shape
        covariance = dense_covariance(self.spectrum).reshape(-1, c, h, w)
        found = []
        for positions, one in groups(self.measured):
            measured = torch.ones_like(one.y) if one.mask is None else one.mask
            shown = measured.flatten().nonzero()[:, 0]
            across = one.operator.apply(covariance).flatten(1)[:, shown].T.contiguous()
            total = one.operator.apply(across.reshape(-1, c, h, w)).flatten(1)[:, shown]
            total.diagonal().add_(one.sigma[0] ** 2)
            found.append((positions, shown, torch.linalg.cholesky(total), across))
        return found

    @cached_property
    def _whitened(self) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """The same with W ``(M, pixels)`` in place of A C."""
        return [
            (positions, shown, root, torch.linalg.solve_triangular(root, across, upper=False))
            for positions, shown, root, across in self._factors
        ]

    @property
    def pixel_variance(self) -> Images:
        prior = self.spectrum.mean()
        out = self.residual.new_empty(len(self.measured), *self.measured.shape)
        for positions, _, _, white in self._whitened:
            out[positions] = (prior - white.square().sum(0)).clamp(min=0).reshape(self.measured.shape)
        return out

    @property
    def log_evidence(self) -> PerImage:
        out = torch.empty_like(self.measured.sigma)
        for positions, shown, root, _ in self._factors:
            r = torch.linalg.solve_triangular(root, self.residual[positions].flatten(1)[:, shown].T, upper=False)
            out[positions] = self._density(r.T.square() + 2 * root.diagonal().log(), positions)
        return out

    def gain(self, r: Measured, which: Tensor) -> Images:
        out = r.new_empty(len(which), *self.measured.shape)
        for positions, shown, root, white in self._whitened:
            here = torch.isin(which, positions)
            solved = torch.linalg.solve_triangular(root, r[here].flatten(1)[:, shown].T, upper=False)
            out[here] = (solved.T @ white).reshape(-1, *self.measured.shape)
        return out


def fields(means: FloatArray, spectra: FloatArray, measured: Measurement) -> list[Field]:
    """Gaussian fields, means and spectra ``(K, h, w)``, each given the same measurement.

    Raises
    ------
    UsageError
        If their dense matrices do not fit in memory.
    """
    laws = [(torch.from_numpy(mean), torch.from_numpy(power)) for mean, power in zip(means, spectra, strict=True)]
    transfer = measured.operator.transfer(measured.y)
    if transfer is not None:
        return [FourierField(mean, power, measured, transfer) for mean, power in laws]
    pixels, count = math.prod(measured.shape), int(measured.operator.count(measured.shape).max())
    kinds = sum(1 for _ in groups(measured))
    what = f"the dense covariances of {pixels} pixels given {count} numbers measured by {measured.operator.spec}"
    needed = memory.of_conditioning(pixels, count, kinds * len(laws))
    memory.check_fits(needed, what, "choose smaller images, or one mask and one noise level for all of them")
    return [DenseField(mean, power, measured) for mean, power in laws]


def groups(measured: Measurement) -> Iterator[tuple[Tensor, Measurement]]:
    """Images that share the operator and the noise level: their positions, and the measurement of the first."""
    mask = measured.mask
    same = measured.sigma[:, None]
    if mask is not None and len(mask) > 1:
        same = torch.cat([same, mask.flatten(1)], dim=1)
    _, group = torch.unique(same, dim=0, return_inverse=True)
    for number in group.unique().tolist():
        positions = (group == number).nonzero()[:, 0]
        yield positions, measured.select([int(positions[0])])


def dense_covariance(spectrum: Tensor) -> Tensor:
    """``C(p, q) = pixels^-1 sum_k lambda_k cos(2 pi k (p - q) / N)``, ``(pixels, pixels)``."""
    h, w = spectrum.shape
    by_lag = torch.fft.ifft2(spectrum).real
    down, right = (torch.arange(side, device=spectrum.device) for side in (h, w))
    down, right = (down[:, None] - down) % h, (right[:, None] - right) % w
    return by_lag[down[:, None, :, None], right[None, :, None, :]].reshape(h * w, h * w)
