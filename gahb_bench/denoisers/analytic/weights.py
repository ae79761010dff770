"""Means of training images under weights that depend on the noisy image: exact, in bounded memory."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

LogWeights = Callable[[Tensor, Tensor, Tensor], Tensor]
NUMBERS_AT_ONCE = 2**19  # logarithms of weights; more no longer fit into the processor's cache


def gaussian(y: Tensor, sigma: Tensor, x: Tensor, about: Tensor) -> Tensor:
    """``-|y - x|^2 / (2 sigma^2)`` up to what depends on y and ``about`` alone, ``(n, k, 1, 1, 1)``.

    ``about`` : a number near the images, the same for all of them, which keeps the products small
    """
    flat = (x - about).flatten(1)
    products = (y - about).flatten(1) @ flat.mT
    return ((products - flat.square().sum(dim=1) / 2) / sigma[:, None].square())[:, :, None, None, None]


def weighted_mean(
    log_weights: LogWeights,
    y: Tensor,
    sigma: Tensor,
    images: Iterable[Tensor],
    each: int = 1,
    value: Callable[[Tensor], Tensor] = lambda x: x,
) -> Tensor:
    """``sum_i w_i value(x_i) / sum_i w_i`` for each noisy image, over all training images, which come in parts.

    Parameters
    ----------
    log_weights
        From noisy images ``(n, c, h, w)``, their noise levels ``(n,)`` and training images ``(k, c, h, w)`` to the
        logarithms of w, ``(n, k, c, h, w)``, up to a constant for each pixel; the last three axes are 1 where the
        weight is the same along them.
    images : parts of the training images
    each : how many numbers are computed for the weights of one pair of a noisy and a training image
    value : what of the training images the mean is of

    Returns
    -------
    Tensor (n, c, h, w), or as ``value`` has it.
    """
    pairs = max(1, NUMBERS_AT_ONCE // each)  # that are weighted at once
    rows = max(1, min(len(y), math.isqrt(pairs)))
    means = [_RunningMean() for _ in range(0, len(y), rows)]
    for part in images:
        for x in part.split(max(1, pairs // rows)):
            values = value(x)
            for mean, noisy, level in zip(means, y.split(rows), sigma.split(rows), strict=True):
                mean.add(log_weights(noisy, level, x), values)
    return torch.cat([mean.value for mean in means])


class _RunningMean:
    """A weighted mean whose terms come in parts; weights are held relative to the largest so far."""

    def __init__(self) -> None:
        self._held: tuple[Tensor, Tensor, Tensor] | None = None  # the largest, sum w, sum w v

    def add(self, log_weights: Tensor, values: Tensor) -> None:
        top = log_weights.detach().amax(dim=1)
        if self._held is not None:
            top = torch.maximum(top, self._held[0])
        weights = (log_weights - top[:, None]).exp()
        total, weighted = weights.sum(dim=1), torch.einsum("nkchw,kchw->nchw", weights, values)
        if self._held is not None:
            before, total_before, weighted_before = self._held
            kept = (before - top).exp()
            total, weighted = total + kept * total_before, weighted + kept * weighted_before
        self._held = (top, total, weighted)

    @property
    def value(self) -> Tensor:
        assert self._held is not None, "a training set has an image"
        return self._held[2] / self._held[1]
