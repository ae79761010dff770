"""The operator that measures some frequencies of an image."""

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.channels.diagonal import Diagonal, squared_frequency
from gahb_bench.core import rng
from gahb_bench.core.images import Images
from gahb_bench.core.operator import Shape


class Fourier(Diagonal):
    """Some frequencies of an image, the others zero: A is the orthogonal projection on them, norm 1.

        A = F^-1 diag(M) F,   M(f) = M(-f) in {0, 1}
        pattern=random   pairs f, -f drawn without replacement
        pattern=lowest   those of least |f|, ties broken by a draw

    round(keep h w) numbers are measured, or one less (a pair counts two), the mean intensity f = 0 always among them.
    What is measured stands as the image that has these frequencies alone, with noise on them alone. A draw depends on
    ``key`` and the size of the images: a set that keeps more contains one that keeps less.

    Examples
    --------
    >>> Fourier(keep=0.25).count((1, 8, 8))
    tensor([15])
    """

    name: ClassVar = "fourier"
    source: ClassVar = "definition"

    pattern: Literal["random", "lowest"] = Field("random", description="which frequencies")
    keep: float = Field(0.25, gt=0, le=1, description="share of the frequencies that are measured")
    key: int = Field(0, ge=0, description="which draw of the frequencies")

    def frequencies(self, height: int, width: int) -> Tensor:
        index = np.arange(height * width).reshape(height, width)
        mirror = np.roll(index[::-1, ::-1], (1, 1), axis=(0, 1)).ravel()
        pair = np.minimum(index.ravel(), mirror)  # a number of the pair f, -f
        stream = rng.generator("fourier", height, width, self.key)
        order = stream.permutation(height * width)[pair].astype(float)
        if self.pattern == "lowest":
            order = order / order.size + np.round(squared_frequency(height, width).numpy().ravel() * 1e9)
        order[0] = -1.0  # the mean
        ranks = np.lexsort((pair, order))
        alone = mirror[ranks] == ranks
        sizes = np.arange(1, len(ranks) + 1)
        closed = alone | (pair[ranks] == np.append(-1, pair[ranks][:-1]))  # a pair is complete at its second member
        most = int(sizes[closed & (sizes <= max(round(self.keep * len(ranks)), 1))].max())
        shown = np.zeros(height * width)
        shown[ranks[:most]] = 1
        return torch.from_numpy(shown.reshape(height, width))

    def count(self, shape: Shape) -> Tensor:
        return (shape[0] * self.frequencies(*shape[1:]).sum()).long()[None]

    def restrict(self, r: Images) -> Images:
        return self.apply(r)
