"""How much a denoiser loses on each image, and on which it loses most."""

import numpy as np
from numpy.typing import NDArray

from gahb_bench.core.images import FloatArray


def image_losses(
    errors: FloatArray,
    paired: FloatArray | None,
    stated: FloatArray,
    excess: FloatArray,
    direct: NDArray[np.bool_],
) -> FloatArray:
    """What each image loses, in dB.

    Where the regret is direct it is 10 log10(1 + excess / mmse): how far the estimate is from the exact posterior mean
    of the same noisy image. Elsewhere it is the image's error: above the optimum's on that image, else above the
    reference, else above the denoiser's own mean.

    Parameters
    ----------
    errors : array, shape (levels, images)
        Per-image MSE of a denoiser, NaN where there is none.
    paired : array, shape (levels, images), optional
        That of the denoiser which attains the reference, where there is one.
    stated : array, shape (levels,)
        The MSE of the reference, NaN where it is not known.
    excess : array, shape (levels, images)
        Per-image excess over the exact optimum.
    direct : array, shape (levels,)
        At which noise levels the regret is direct.
    """
    base = np.broadcast_to(stated[:, None], errors.shape)
    base = np.where(np.isfinite(base), base, errors.mean(axis=1, keepdims=True))
    if paired is not None:
        base = np.where(np.isfinite(paired).all(axis=1, keepdims=True), paired, base)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(np.where(direct[:, None], 1 + excess / stated[:, None], errors / base))


def worst_images(losses: FloatArray, count: int) -> list[tuple[int, float]]:
    """The images that lose most at one noise level: position and dB, the worst first.

    >>> import numpy as np
    >>> worst_images(np.array([0.0, 3.0, np.nan, 1.0]), 2)
    [(1, 3.0), (3, 1.0)]
    """
    order = np.argsort(-losses, kind="stable")
    return [(int(image), float(losses[image])) for image in order[:count] if np.isfinite(losses[image])]
