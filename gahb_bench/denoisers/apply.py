"""How a network is applied to a batch: channels that it was not made for, and memory."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gahb_bench.core.errors import DenoiserError
from gahb_bench.core.images import Images

_PIXELS_AT_ONCE = 2**17  # bounds the memory of a network's features


def by_channel(network: Callable[..., Any], made_for: int | None, y: Images, *sigma: Tensor, name: str) -> Any:
    """``network(y, *sigma)``; a network made for one channel is applied to each channel of an image alone.

    Parameters
    ----------
    network : called with images ``(n, c, h, w)`` and noise levels ``(n,)``; it returns images of the same shape
    made_for : the number of channels that it takes; None: it takes any
    name : what it is called in the error

    Raises
    ------
    DenoiserError
        If it was made for several channels, and the images have another number.
    """
    channels = y.shape[1]
    if made_for in (None, channels):
        return network(y, *sigma)
    if made_for != 1:
        raise DenoiserError(f"{name} takes images of {made_for} channels, not {channels}.")
    alone = y.flatten(0, 1).unsqueeze(1)
    return network(alone, *(levels.repeat_interleave(channels) for levels in sigma)).reshape(y.shape)


def in_parts(network: Callable[..., Tensor], y: Images, *sigma: Tensor) -> Images:
    """``network(y, *sigma)``, a few images at a time."""
    size = max(1, _PIXELS_AT_ONCE // y[0].numel())
    parts = zip(*(values.split(size) for values in (y, *sigma)), strict=True)
    return torch.cat([network(*part) for part in parts])
