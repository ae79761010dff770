"""Posterior means of disk images by brute force: what the oracle of ``disks`` is compared with."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.images import Images
from gahb_bench.families.disks.law import Disks, render

DRAWS = 200_000
_DRAWN = 10_000  # at once


def importance_sampling(
    family: Disks, noisy: Sequence[Images], sigmas: Sequence[float]
) -> Iterator[tuple[Images, Tensor]]:
    """Posterior means by weighting draws from the prior, and their expected squared errors ``(n,)``, level by level."""
    low, high = family.bounds.T
    stream = rng.generator("importance sampling", family.spec)
    levels = [_Weighted(y.flatten(1).numpy(), sigma) for y, sigma in zip(noisy, sigmas, strict=True)]
    for _ in range(DRAWS // _DRAWN):
        theta = low + stream.random((_DRAWN, 5)) * (high - low)
        x = render(theta, family.size, family.edge).reshape(_DRAWN, -1)
        for level in levels:
            level.add(x)
    for y, level in zip(noisy, levels, strict=True):
        mean, error = level.result()
        yield torch.from_numpy(mean).reshape(y.shape), torch.from_numpy(error)


class _Weighted:
    """Running sums of images weighted by their likelihood, scaled so that the largest weight so far is 1."""

    def __init__(self, y: np.ndarray, sigma: float) -> None:
        self.y, self.sigma = y, sigma
        self.top = np.full(len(y), -np.inf)
        self.sums = np.zeros((3, len(y)))  # of w, w^2, w^2 |x|^2
        self.images = np.zeros((2, *y.shape))  # of w x, w^2 x

    def add(self, x: np.ndarray) -> None:
        energy = (x**2).sum(1)
        log_weight = (self.y @ x.T - 0.5 * energy) / self.sigma**2
        top = np.maximum(self.top, log_weight.max(1))
        shrink, w = np.exp(self.top - top), np.exp(log_weight - top[:, None])
        self.top = top
        self.sums = self.sums * np.stack([shrink, shrink**2, shrink**2])
        self.sums += np.stack([w.sum(1), (w**2).sum(1), w**2 @ energy])
        self.images = self.images * np.stack([shrink, shrink**2])[:, :, None] + np.stack([w, w**2]) @ x

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """The weighted mean, and ``sum w^2 |x - mean|^2 / (sum w)^2``."""
        mean = self.images[0] / self.sums[0][:, None]
        spread = self.sums[2] - 2 * (self.images[1] * mean).sum(1) + self.sums[1] * (mean**2).sum(1)
        return mean, spread / self.sums[0] ** 2
