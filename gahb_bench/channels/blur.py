"""The operator that blurs."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.channels.diagonal import Diagonal, squared_frequency


class Blur(Diagonal):
    """Periodic Gaussian blur: norm 1, its singular values are its transfer function.

        A = F^-1 diag(h) F,   h(f) = exp(-2 pi^2 width^2 |f|^2),   f in cycles a pixel

    The Gaussian of standard deviation ``width`` pixels, band-limited to the pixels' frequencies; ``width=0`` is the
    identity. The pseudoinverse takes singular values below 1e-6 as zero; `solve` is exact whatever they are.

    Examples
    --------
    >>> x = torch.rand(1, 1, 8, 8, dtype=torch.float64)
    >>> blurred = Blur(width=1).apply(x)
    >>> bool((blurred.mean() - x.mean()).abs() < 1e-12), bool(blurred.var() < x.var())
    (True, True)
    """

    name: ClassVar = "blur"
    source: ClassVar = "definition"

    width: float = Field(1.5, ge=0, le=1e3, description="standard deviation of the blur, pixels")

    def frequencies(self, height: int, width: int) -> Tensor:
        return torch.exp(-2 * math.pi**2 * self.width**2 * squared_frequency(height, width))
