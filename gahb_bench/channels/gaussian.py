"""The only place where noise is added: ``y = x + sigma z``."""

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Batch, Images, per_image_sigma, per_pixel


def unit_noise(batch: Batch, shape: tuple[int, int, int] | None = None) -> Images:
    """White Gaussian noise of unit variance, float32 ``(n, c, h, w)``, one draw an image; or of another ``shape``.

    The draw of an image depends only on its address (family, seed, split, index), so the same draw serves every
    noise level and every denoiser, and differences between them are paired.
    """
    z = np.empty((len(batch), *(shape or batch.images.shape[1:])), dtype=np.float32)
    streams = rng.generators("noise", batch.family, batch.seed, batch.split, indices=batch.indices)
    for out, stream in zip(z, streams, strict=True):
        stream.standard_normal(dtype=np.float32, out=out)
    return torch.from_numpy(z).to(batch.images.device)


def add_noise(batch: Batch, sigma: float | Tensor) -> Images:
    """Noisy images ``y = x + sigma z``, shape ``(n, c, h, w)``, in the dtype of the images.

    Parameters
    ----------
    batch : Batch
        Clean images.
    sigma : float or Tensor of shape (n,)
        Standard deviation of the noise in image units, > 0.

    Raises
    ------
    UsageError
        If sigma is not positive and finite, or has another shape.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> batch = gb.family("calpha:size=16").sample(range(100))
    >>> z = (add_noise(batch, 0.2) - batch.images) / 0.2
    >>> round(float(z.std()), 1)
    1.0
    """
    if not isinstance(batch, Batch):
        raise UsageError(
            f"add_noise takes a Batch, family.sample(...), each of whose images has noise of its own, not "
            f"{type(batch).__name__}."
        )
    return scale_noise(batch.images, unit_noise(batch), sigma)


def scale_noise(x: Images, z: Images, sigma: float | Tensor) -> Images:
    """``x + sigma z`` with a unit noise drawn before (for many noise levels on the same images)."""
    return x + per_pixel(per_image_sigma(sigma, x), x) * z
