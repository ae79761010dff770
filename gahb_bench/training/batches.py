"""The batch of each training step: images, noise, noise levels, weights. All depend on settings and step alone."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.channels.gaussian import scale_noise
from gahb_bench.core import rng
from gahb_bench.core.images import Batch, FloatArray, Images, PerImage
from gahb_bench.training.settings import Settings

_FIRST_IMAGES = 1024
_WEIGHT_LEVELS = 13  # noise levels at which the optimum is asked for; between them it is interpolated
_LEAST_MMSE = 1e-3  # of sigma^2: a vanishing optimum, which no network follows, would drown the other levels


@dataclass(frozen=True)
class Step:
    """Clean images ``x`` and noisy ``y`` (n, c, h, w), noise levels and weights in the loss (n,); all float32."""

    x: Images
    y: Images
    sigma: PerImage
    weight: PerImage

    def to(self, device: str) -> "Step":
        """The same on another device."""
        return Step(*(value.to(device, non_blocking=True) for value in (self.x, self.y, self.sigma, self.weight)))


class Batches:
    """The batches of one process out of several: a contiguous share of each global batch.

    Every draw has an address of its own (see `gahb_bench.core.rng`), so a training that was stopped goes on with the
    very numbers it would have had, and any number of processes sees the same global batches.
    """

    def __init__(self, settings: Settings, std: float, rank: int = 0, processes: int = 1) -> None:
        self._settings, self._law = settings, settings.law
        self._levels, self._mmse = _optimum(settings, std)
        share = settings.batch // processes
        self._mine = slice(rank * share, (rank + 1) * share)
        self._set: Batch | None = None
        if settings.images is not None:
            self._set = self._law.sample(range(settings.images), settings.seed, settings.split)
        self._pool = ThreadPoolExecutor(max_workers=1)  # the next batch is made while this one is used
        self._ahead: tuple[int, Future[Step]] | None = None

    def __call__(self, step: int) -> Step:
        """The share of the global batch of a step, counted from 0."""
        ahead = self._ahead
        made = ahead[1].result() if ahead is not None and ahead[0] == step else self._make(step)
        more = step + 1 < self._settings.steps
        self._ahead = (step + 1, self._pool.submit(self._make, step + 1)) if more else None
        return made

    def close(self) -> None:
        """End the thread that makes batches ahead."""
        self._pool.shutdown()

    def _make(self, step: int) -> Step:
        settings = self._settings
        places = list(range(step * settings.batch, (step + 1) * settings.batch))[self._mine]
        x = self._images(places)
        z = np.empty(tuple(x.shape), dtype=np.float32)
        streams = rng.generators("training noise", settings.family, *settings.stream, indices=places)
        for out, stream in zip(z, streams, strict=True):
            stream.standard_normal(dtype=np.float32, out=out)
        levels = self._sigmas(step)[self._mine]
        mmse = np.exp(np.interp(np.log(levels), np.log(self._levels), np.log(self._mmse)))
        sigma, weight = (torch.from_numpy(values.astype(np.float32)) for values in (levels, 1 / mmse))
        return Step(x, scale_noise(x, torch.from_numpy(z), sigma), sigma, weight)

    def _images(self, places: list[int]) -> Tensor:
        if self._set is None:
            return self._law.sample(places, self._settings.seed, self._settings.split).images
        count = len(self._set)
        orders = {epoch: self._order(epoch, count) for epoch in {place // count for place in places}}
        return self._set.images[[int(orders[place // count][place % count]) for place in places]]

    def _order(self, epoch: int, count: int) -> np.ndarray:
        """The order in which a finite set is gone through, a new one each time."""
        settings = self._settings
        return rng.generator("training order", settings.family, *settings.stream, index=epoch).permutation(count)

    def _sigmas(self, step: int) -> FloatArray:
        """One noise level from each of ``batch`` equal parts of the range in log sigma, in random order."""
        settings = self._settings
        stream = rng.generator("training sigma", settings.family, *settings.stream, index=step)
        parts = (stream.permutation(settings.batch) + stream.random(settings.batch)) / settings.batch
        low, high = np.log(settings.sigma_low), np.log(settings.sigma_high)
        return np.exp(low + (high - low) * parts)


def _optimum(settings: Settings, std: float) -> tuple[FloatArray, FloatArray]:
    """Noise levels over the range, and the optimum there, at least a fixed part of sigma^2.

    Where it is unknown, that of a white Gaussian law.
    """
    ends = settings.sigma_low, settings.sigma_high
    sigma = np.geomspace(*ends, _WEIGHT_LEVELS) if ends[0] < ends[1] else np.array(ends[:1])
    mmse = settings.law.reference(sigma).mse
    mmse = mmse if np.isfinite(mmse).all() else sigma**2 * std**2 / (sigma**2 + std**2)
    return sigma, np.maximum(mmse, _LEAST_MMSE * sigma**2)


def first_images(settings: Settings) -> Images:
    """What a network is told of before its first step: the first training images, at most 1,024."""
    count = _FIRST_IMAGES if settings.images is None else min(settings.images, _FIRST_IMAGES)
    return settings.law.sample(range(count), settings.seed, settings.split).images
