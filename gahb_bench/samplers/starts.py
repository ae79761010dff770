"""What a sampler starts from: noise, or noisy images of the law."""

from collections.abc import Iterable

import numpy as np
import torch

from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core import rng
from gahb_bench.core.images import Batch
from gahb_bench.core.sampler import Start

MEAN = 0.5  # of images that nothing is known of


def gaussian(
    shape: tuple[int, int, int], indices: Iterable[int], sigma: float, seed: int = 0, mean: float = MEAN
) -> Start:
    """``mean + sigma z``, float32 ``(n, c, h, w)``; z depends on the seed and the index alone, not on sigma."""
    chosen = tuple(indices)
    streams = rng.generators("sampling start", seed, indices=chosen)
    z = np.array([stream.standard_normal(shape, dtype=np.float32) for stream in streams]).reshape(-1, *shape)
    return Start(mean + sigma * torch.from_numpy(z), seed, chosen)


def exact(batch: Batch, sigma: float) -> Start:
    """Noisy images of the law: what a perfect sampler would have at this level."""
    return Start(add_noise(batch, sigma), batch.seed, batch.indices)
