"""How much a denoiser loses on each image, and on which it loses most."""

import numpy as np

from gahb_bench.core.images import FloatArray


def image_losses(errors: FloatArray, paired: FloatArray | None, stated: FloatArray) -> FloatArray:
    """Error of each image in dB: above the optimum's on that image, else above the reference, else above its own mean.

    Parameters
    ----------
    errors : array, shape (levels, images)
        Per-image MSE of a denoiser, NaN where there is none.
    paired : array, shape (levels, images), optional
        That of the denoiser which attains the reference, where there is one.
    stated : array, shape (levels,)
        The MSE of the reference, NaN where it is not known.
    """
    base = np.broadcast_to(stated[:, None], errors.shape)
    base = np.where(np.isfinite(base), base, errors.mean(axis=1, keepdims=True))
    if paired is not None:
        base = np.where(np.isfinite(paired).all(axis=1, keepdims=True), paired, base)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(errors / base)


def worst_images(losses: FloatArray, count: int) -> list[tuple[int, float]]:
    """The images that lose most at one noise level: position and dB, the worst first.

    >>> import numpy as np
    >>> worst_images(np.array([0.0, 3.0, np.nan, 1.0]), 2)
    [(1, 3.0), (3, 1.0)]
    """
    order = np.argsort(-losses, kind="stable")
    return [(int(image), float(losses[image])) for image in order[:count] if np.isfinite(losses[image])]
