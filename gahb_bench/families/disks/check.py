"""Posterior means and variances of disk images by brute force: what the oracle of ``disks`` is compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.images import Images
from gahb_bench.families.disks.law import Disks, render

DRAWS = 200_000
_DRAWN = 10_000  # at once


@dataclass(frozen=True)
class Sampled:
    """Posterior moments by weighting draws, with their sampling errors.

    mean, error : posterior means, and the expected squared error of each, summed over pixels
    variance, along : posterior variances summed over pixels, and those of ``<v, x>``; rows: value, standard error
    """

    mean: Images
    error: Tensor
    variance: Tensor
    along: Tensor


def importance_sampling(
    family: Disks, noisy: Sequence[Images], centers: Sequence[Images], v: Images, sigmas: Sequence[float]
) -> Iterator[Sampled]:
    """Posterior moments by weighting draws from the prior, level by level.

    Variances are taken about given centers, E|x - c|^2 - |E x - c|^2, which may be any images; near the mean, nothing
    cancels.
    """
    low, high = family.bounds.T
    stream = rng.generator("importance sampling", family.spec)
    flat = [images.flatten(1).numpy() for images in (*noisy, *centers)]
    levels = [_Weighted(*each, v.flatten(1).numpy()) for each in zip(flat, flat[len(noisy) :], sigmas, strict=False)]
    for _ in range(DRAWS // _DRAWN):
        theta = low + stream.random((_DRAWN, 5)) * (high - low)
        x = render(theta, family.size, family.edge).reshape(_DRAWN, -1)
        for level in levels:
            level.add(x)
    for y, level in zip(noisy, levels, strict=True):
        mean, error = level.mean()
        tensors = (torch.from_numpy(value) for value in (error, level.variance(), level.along()))
        yield Sampled(torch.from_numpy(mean).reshape(y.shape), *tensors)


class _Weighted:
    """Running sums of images weighted by their likelihood, scaled so that the largest weight so far is 1."""

    def __init__(self, y: np.ndarray, center: np.ndarray, sigma: float, v: np.ndarray) -> None:
        self.y, self.center, self.sigma, self.v = y, center, sigma, v
        self.top = np.full(len(y), -np.inf)
        self.sums = np.zeros((3, len(y)))  # of w, w^2, w^2 |x|^2
        self.images = np.zeros((2, *y.shape))  # of w x, w^2 x
        self.draws: list[np.ndarray] = []  # of each draw: log w, |x - center|^2, <v, x - center>

    def add(self, x: np.ndarray) -> None:
        energy = (x**2).sum(1)
        log_weight = (self.y @ x.T - 0.5 * energy) / self.sigma**2
        top = np.maximum(self.top, log_weight.max(1))
        shrink, w = np.exp(self.top - top), np.exp(log_weight - top[:, None])
        self.top = top
        self.sums = self.sums * np.stack([shrink, shrink**2, shrink**2])
        self.sums += np.stack([w.sum(1), (w**2).sum(1), w**2 @ energy])
        self.images = self.images * np.stack([shrink, shrink**2])[:, :, None] + np.stack([w, w**2]) @ x
        distance = energy - 2 * self.center @ x.T + (self.center**2).sum(1)[:, None]
        inner = self.v @ x.T - (self.v * self.center).sum(1)[:, None]
        self.draws.append(np.stack([log_weight, distance, inner]))

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """The weighted mean, and ``sum w^2 |x - mean|^2 / (sum w)^2``."""
        mean = self.images[0] / self.sums[0][:, None]
        spread = self.sums[2] - 2 * (self.images[1] * mean).sum(1) + self.sums[1] * (mean**2).sum(1)
        return mean, spread / self.sums[0] ** 2

    def variance(self) -> np.ndarray:
        """The variance summed over pixels, and its standard error, ``(2, n)``."""
        log_weight, distance, _ = np.concatenate(self.draws, axis=2)
        return self._mean_of(log_weight, distance, ((self.mean()[0] - self.center) ** 2).sum(1))

    def along(self) -> np.ndarray:
        """The variance of ``<v, x>``, and its standard error, ``(2, n)``."""
        log_weight, _, inner = np.concatenate(self.draws, axis=2)
        return self._mean_of(log_weight, inner**2, (self.v * (self.mean()[0] - self.center)).sum(1) ** 2)

    def _mean_of(self, log_weight: np.ndarray, values: np.ndarray, less: np.ndarray) -> np.ndarray:
        """The weighted mean of values, less what their center is off, and the standard error of that mean."""
        w = np.exp(log_weight - self.top[:, None])
        w /= w.sum(1, keepdims=True)
        mean = (w * values).sum(1)
        return np.stack([mean - less, np.sqrt((w**2 * (values - mean[:, None]) ** 2).sum(1))])
