"""The best linear denoiser that can be made from training images: the Wiener filter of an estimated covariance."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core import memory
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.gaussian import Gaussian, diagonalised
from gahb_bench.core.images import Images
from gahb_bench.core.memory import cached
from gahb_bench.denoisers.training_set import TrainingSet, fitted, training_images

W = TypeVar("W", bound="WienerData")

Shrinkage = Literal["none", "identity", "stationary"]


class WienerData(TrainingSet):
    """Wiener filter made from the mean and covariance of ``n`` training images: linear, and needs no law.

        x_hat = m + C (C + sigma^2 I)^-1 (y - m),    C = (1 - delta) S + delta T

    ``stationary=true``: m is a constant and S, diagonal in the Fourier basis, the mean periodogram of the images, each
    channel by itself (the variance of the constant mode, which one image does not show, is for n = 1 that of the lowest
    frequencies). ``stationary=false``: m is the mean image and S the sample covariance of all channels together
    (divided by n). T is the part of S that the shrinkage keeps: ``identity`` its mean variance times I, ``stationary``
    its average over all shifts of the periodic image, channels taken to be uncorrelated; ``none`` has delta = 0,
    ``auto`` is none if stationary, else stationary. Since T = P S is an orthogonal projection, E|C - Cov|^2 is least
    for delta = E|(S - T) - E(S - T)|^2 / E|S - T|^2, which is estimated from the same images as Ledoit & Wolf do.

    Optimality
    ----------
    Knows ``n`` training images. As n grows it tends to the best linear denoiser (of those that commute with shifts,
    if ``stationary=true``); its MSE is an upper bound on the MMSE. With ``stationary=false,shrinkage=none`` it is the
    posterior mean under the Gaussian of the images' mean and covariance: the Gaussian score (Wang & Vastola, TMLR 2024,
    arXiv:2412.09726).

    References
    ----------
    O. Ledoit, M. Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate
    Anal. 2004, doi:10.1016/S0047-259X(03)00096-4.
    """

    name: ClassVar = "wiener-data"
    source: ClassVar = "Wiener 1949; Ledoit & Wolf 2004"
    looks: ClassVar = {"": ("blue", "triangle-up")}

    stationary: bool = Field(True, description="whether the covariance is taken to be invariant under shifts")
    shrinkage: Literal["auto", "none", "identity", "stationary"] = Field("auto", description="target of the shrinkage")

    def bind(self: W, family: Family) -> W:
        """The same for a family; refused, before anything is drawn, where memory does not hold its covariance.

        A law without a variance is refused too.
        """
        if not family.finite_variance:
            raise UsageError(
                f"{family.spec}: its images have no variance, so there is no covariance to estimate from them. "
                "Choose a law that has one, or another denoiser."
            )
        if not self.stationary:
            needed = memory.of_covariance(self.n, family.shape)
            what = f"the covariance of {self.n} images of {family.spec}"
            memory.check_fits(needed, what, "choose fewer or smaller images, or stationary=true")
        return super().bind(family)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        family = self.family
        family.check_images(y)
        made = model(family, self.n, self.split, self.seed, self.stationary, self._target, str(y.device))
        x_hat = torch.empty_like(y, dtype=torch.float64)
        for level in sigma.unique():
            chosen = sigma == level
            x_hat[chosen] = made.wiener(y[chosen].double(), float(level))
        return x_hat

    @property
    def _target(self) -> Shrinkage:
        if self.shrinkage == "auto":
            return "none" if self.stationary else "stationary"
        return self.shrinkage


@dataclass
class CovarianceModel:
    """A mean and the covariance ``C = F* diag(spectrum) F + A'A``, F the orthonormal Fourier transform.

    mean : (c, h, w) or (c, 1, 1)
    spectrum : (c, h, w // 2 + 1), the part that is diagonal in the Fourier basis
    factor : A, (r, c, h, w), r may be 0
    delta : the weight of the shrinkage target
    """

    mean: Tensor
    spectrum: Tensor
    factor: Tensor
    delta: float

    def wiener(self, y: Images, sigma: float) -> Images:
        """``m + C (C + sigma^2)^-1 (y - m) = y - sigma^2 (C + sigma^2)^-1 (y - m)``, the inverse by Woodbury.

        (D + A'A)^-1 u = D^-1/2 (v - B'(I + B B')^-1 B v),   v = D^-1/2 u,   B = A D^-1/2,   D = F* spectrum F + sigma^2
        """
        u = y - self.mean
        if len(self.factor) == 0:
            return self.mean + self._filter(u, self.spectrum / (self.spectrum + sigma**2))
        root = (self.spectrum + sigma**2).rsqrt()
        v = self._filter(u, root)
        solved = self._solved
        if solved is None or solved[0] != sigma:
            B = self._filter(self.factor, root).flatten(1)
            inner = B @ B.mT
            inner.diagonal().add_(1)
            solved = self._solved = (sigma, B, torch.linalg.cholesky(inner))
        _, B, cholesky = solved
        w = torch.cholesky_solve(B @ v.flatten(1).mT, cholesky)
        return y - sigma**2 * self._filter(v - (w.mT @ B).reshape(v.shape), root)

    def covariance(self) -> Tensor:
        """C as a matrix over flattened pixels, ``(d, d)``, where it is not stationary."""
        shape = self.factor.shape[1:]
        units = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
        A = self.factor.flatten(1)
        return self._filter(units, self.spectrum).flatten(1) + A.mT @ A

    def _filter(self, x: Images, gain: Tensor) -> Images:
        return torch.fft.irfft2(torch.fft.rfft2(x) * gain, s=x.shape[-2:])

    def __post_init__(self) -> None:
        # What the last noise level needed; kept because a run asks for the same level batch after batch.
        self._solved: tuple[float, Tensor, Tensor] | None = None


@cached(2)
def gaussian_part(family: Family, n: int) -> Gaussian:
    """The Gaussian of a law's mean and covariance: in closed form, or else of ``n`` training images, shrunk."""
    known = family.optimum.gaussian()
    if known is not None:
        return known
    needed = memory.of_covariance(max(n, math.prod(family.shape)), family.shape)
    memory.check_fits(needed, f"the covariance of {n} images of {family.spec}", "choose smaller images")
    made = model(family, n, "train", 0, False, "stationary", "cpu")
    return diagonalised(made.mean, made.covariance())


@fitted(32)  # more than a run has variants, which take turns: one that was forgotten draws its images anew each time
def model(
    family: Family, n: int, split: str, seed: int, stationary: bool, target: Shrinkage, device: str
) -> CovarianceModel:
    """The mean and the shrunk covariance of the first ``n`` training images."""

    def images() -> Iterator[Tensor]:
        return training_images(family, n, split, seed, device)

    mean = torch.stack([x.sum(dim=0) for x in images()]).sum(dim=0) / n
    if stationary:
        mean = mean.mean(dim=(1, 2), keepdim=True)
    centred = (x - mean for x in images())
    return _stationary(mean, centred, n, target) if stationary else _full(mean, centred, n, target)


def _stationary(mean: Tensor, images: Iterator[Tensor], n: int, target: Shrinkage) -> CovarianceModel:
    """The mean periodogram, shrunk towards its mean over frequencies. Target ``stationary`` is all of it."""
    total = squares = fourth = torch.zeros((), dtype=mean.dtype, device=mean.device)
    for x in images:
        power = torch.fft.fft2(x, norm="ortho").abs().square()
        total, squares = total + power.sum(dim=0), squares + power.square().sum()
        fourth = fourth + power.mean(dim=(1, 2, 3)).square().sum() * power[0].numel()
    spectrum = total / n
    level, delta = spectrum.mean(), 0.0
    if target == "identity":
        variance = (squares - n * spectrum.square().sum() - fourth + n * level**2 * spectrum.numel()) / n**2
        delta = _weight(variance, (spectrum - level).square().sum())
    if n > 1:
        spectrum[:, 0, 0] *= n / (n - 1)  # the mean was taken from the same images
    elif spectrum[0].numel() > 1:
        spectrum[:, 0, 0] = torch.cat([spectrum[:, 0, 1:2], spectrum[:, 1:2, 0]], dim=1).mean(dim=1)
    shrunk = (1 - delta) * spectrum + delta * level
    return CovarianceModel(mean, shrunk[..., : shrunk.shape[-1] // 2 + 1], mean.new_empty((0,)), delta)


def _full(mean: Tensor, images: Iterator[Tensor], n: int, target: Shrinkage) -> CovarianceModel:
    """The sample covariance, shrunk towards a target that is diagonal in the Fourier basis."""
    pixels, shape = mean.numel(), mean.shape
    held: list[Tensor] = []
    covariance = mean.new_zeros((pixels, pixels)) if n > pixels else None
    periodogram, fourth, target_fourth = mean.new_zeros(shape), mean.new_zeros(()), mean.new_zeros(())
    for x in images:
        flat, power = x.flatten(1), torch.fft.fft2(x, norm="ortho").abs().square()
        periodogram += power.sum(dim=0) / n
        energy = flat.square().sum(dim=1)
        fourth += energy.square().sum()
        target_fourth += energy.square().sum() / pixels if target == "identity" else power.square().sum()
        if covariance is None:
            held.append(flat)
        else:
            covariance += flat.mT @ flat / n
    factor = torch.cat(held) / n**0.5 if covariance is None else _root(covariance)
    spectrum = torch.full_like(periodogram, float(periodogram.mean())) if target == "identity" else periodogram
    delta = 0.0
    if target != "none":
        energy, kept = (factor @ factor.mT).square().sum(), spectrum.square().sum()  # |S|^2 and |T|^2
        variance = (fourth - n * energy - target_fourth + n * kept) / n**2
        delta = _weight(variance, energy - kept)
    half = spectrum[..., : shape[-1] // 2 + 1]
    return CovarianceModel(mean, delta * half, (1 - delta) ** 0.5 * factor.reshape(-1, *shape), delta)


def _weight(variance: Tensor, distance: Tensor) -> float:
    """``variance / distance``, between 0 and 1; 0 where the target is all there is."""
    return float((variance / distance).clamp(0, 1)) if float(distance) > 0 else 0.0


def _root(covariance: Tensor) -> Tensor:
    """A with ``A'A`` the covariance, null directions left out."""
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    kept = eigenvalues > 1e-14 * eigenvalues[-1]
    return (vectors[:, kept] * eigenvalues[kept].sqrt()).mT
