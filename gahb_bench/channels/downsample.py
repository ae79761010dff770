"""The operator that makes images smaller."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core.images import Images
from gahb_bench.core.operator import Measured, Operator, Shape, refuse_shape, variances


class Downsample(Operator):
    """Means of blocks of factor x factor pixels: a detector of larger pixels. A A' = I / factor^2, norm 1/factor.

        (A x)_q = factor^-2 sum of x_p over the pixels p of block q,   ``(n, c, h, w) -> (n, c, h/factor, w/factor)``

    Examples
    --------
    >>> Downsample(factor=2).apply(torch.ones(1, 1, 4, 4)).shape
    torch.Size([1, 1, 2, 2])
    """

    name: ClassVar = "downsample"
    source: ClassVar = "definition"

    factor: int = Field(2, ge=1, description="side of a block, pixels; it divides the image's sides")

    def check_shape(self, shape: Shape) -> None:
        if any(side % self.factor for side in shape[1:]):
            raise refuse_shape(self, shape, f"factor={self.factor} should divide their sides")

    def measured_shape(self, shape: Shape) -> Shape:
        c, h, w = shape
        return (c, h // self.factor, w // self.factor)

    def apply(self, x: Images) -> Measured:
        return torch.nn.functional.avg_pool2d(x, self.factor)

    def adjoint(self, r: Measured) -> Images:
        return self.pseudoinverse(r) / self.factor**2

    def pseudoinverse(self, r: Measured) -> Images:
        return r.repeat_interleave(self.factor, dim=2).repeat_interleave(self.factor, dim=3)

    def solve(self, r: Measured, noise_variance: float | Tensor, prior_variance: float | Tensor) -> Measured:
        return r / (variances(prior_variance, r) / self.factor**2 + variances(noise_variance, r))
