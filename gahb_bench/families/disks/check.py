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
    """Posterior means by weighting draws, posterior variances of ``<v, x>``, and the errors of both.

    error : expected squared error of each mean, summed over pixels
    along_error : standard error of each variance
    """

    mean: Images
    error: Tensor
    along: Tensor
    along_error: Tensor


def importance_sampling(
    family: Disks, noisy: Sequence[Images], v: Images, sigmas: Sequence[float]
) -> Iterator[Sampled]:
    """Posterior means, and variances along directions, by weighting draws from the prior; level by level."""
    low, high = family.bounds.T
    stream = rng.generator("importance sampling", family.spec)
    flat = v.flatten(1).numpy()
    levels = [_Weighted(y.flatten(1).numpy(), sigma) for y, sigma in zip(noisy, sigmas, strict=True)]
    inner = []
    for _ in range(DRAWS // _DRAWN):
        theta = low + stream.random((_DRAWN, 5)) * (high - low)
        x = render(theta, family.size, family.edge).reshape(_DRAWN, -1)
        inner.append(flat @ x.T)
        for level in levels:
            level.add(x)
    along = np.concatenate(inner, axis=1)
    for y, level in zip(noisy, levels, strict=True):
        mean, error = level.mean()
        variance, its_error = level.variance(along)
        tensors = (torch.from_numpy(value) for value in (error, variance, its_error))
        yield Sampled(torch.from_numpy(mean).reshape(y.shape), *tensors)


class _Weighted:
    """Running sums of images weighted by their likelihood, scaled so that the largest weight so far is 1."""

    def __init__(self, y: np.ndarray, sigma: float) -> None:
        self.y, self.sigma = y, sigma
        self.top = np.full(len(y), -np.inf)
        self.sums = np.zeros((3, len(y)))  # of w, w^2, w^2 |x|^2
        self.images = np.zeros((2, *y.shape))  # of w x, w^2 x
        self.logs: list[np.ndarray] = []  # log w of each draw

    def add(self, x: np.ndarray) -> None:
        energy = (x**2).sum(1)
        log_weight = (self.y @ x.T - 0.5 * energy) / self.sigma**2
        top = np.maximum(self.top, log_weight.max(1))
        shrink, w = np.exp(self.top - top), np.exp(log_weight - top[:, None])
        self.top = top
        self.sums = self.sums * np.stack([shrink, shrink**2, shrink**2])
        self.sums += np.stack([w.sum(1), (w**2).sum(1), w**2 @ energy])
        self.images = self.images * np.stack([shrink, shrink**2])[:, :, None] + np.stack([w, w**2]) @ x
        self.logs.append(log_weight)

    def mean(self) -> tuple[np.ndarray, np.ndarray]:
        """The weighted mean, and ``sum w^2 |x - mean|^2 / (sum w)^2``."""
        mean = self.images[0] / self.sums[0][:, None]
        spread = self.sums[2] - 2 * (self.images[1] * mean).sum(1) + self.sums[1] * (mean**2).sum(1)
        return mean, spread / self.sums[0] ** 2

    def variance(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weighted variance of values of the draws, ``(n, draws)``, and its standard error, by linearisation."""
        w = np.exp(np.concatenate(self.logs, axis=1) - self.top[:, None])
        w /= w.sum(1, keepdims=True)
        square = (values - (w * values).sum(1, keepdims=True)) ** 2
        variance = (w * square).sum(1)
        return variance, np.sqrt((w**2 * (square - variance[:, None]) ** 2).sum(1))
