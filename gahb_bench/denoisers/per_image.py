"""Runs a library's one-image function over a batch, in threads, in order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gahb_bench.core.images import Images

Image = NDArray[np.float64]


def map_images(denoise: Callable[[Image, float, float], Image], y: Images, sigma: Tensor, setting: Tensor) -> Images:
    """``denoise(image, sigma, setting)`` for each image ``(c, h, w)``, float64, on the processor.

    As many threads as torch uses (``OMP_NUM_THREADS`` or `torch.set_num_threads`). Every image is computed alone, so
    the result depends neither on the number of threads nor on how the batch is cut.
    """
    images = y.detach().double().cpu().numpy()
    jobs = (list(images), sigma.tolist(), setting.tolist())
    workers = min(torch.get_num_threads(), len(images))
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            done = list(pool.map(denoise, *jobs))
    else:
        done = [denoise(*job) for job in zip(*jobs, strict=True)]
    stacked = np.stack(done) if done else np.empty(images.shape)
    return torch.from_numpy(stacked.reshape(images.shape)).to(y.device)
