"""`linear`: one matrix, which training must bring to the Wiener filter."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from gahb_bench.core.errors import UsageError
from gahb_bench.core.network import Network, in_float32

_MOST_PIXELS = 4096  # a matrix of 4096^2 entries: 67 MB in float32


class Linear(Network):
    """One learned matrix A: at each noise level the linear denoiser that is best for the covariance C = A A'.

        D(y, s) = m + C (C + s^2 I)^-1 (y - m)

    Linear in y at every sigma. Where the law is Gaussian with mean m, the best C is the law's covariance and D is the
    Wiener filter, the optimum; otherwise D becomes the best linear denoiser of this form. It knows nothing of
    stationarity: that its matrix is diagonal in Fourier is learned. A starts as a multiple of the identity.
    """

    name: ClassVar = "linear"
    source: ClassVar = "Wiener filter; see gahb_bench/families/calpha/oracles.py"
    facts: ClassVar = {"small": (16_777_216, None)}

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        pixels = math.prod(shape)
        if pixels > _MOST_PIXELS:
            raise UsageError(
                f"linear holds a matrix of pixels x pixels, at most {_MOST_PIXELS} x {_MOST_PIXELS}: images of "
                f"{pixels} pixels are too large; use size=64 or less."
            )
        return _Shrinkage(pixels, mean, std)


class _Shrinkage(nn.Module):
    def __init__(self, pixels: int, mean: float, std: float) -> None:
        super().__init__()
        self.mean = mean
        self.root = nn.Parameter(std * torch.eye(pixels))

    @in_float32  # C + s^2 I rounded to bfloat16 is not positive
    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        centred = (y - self.mean).flatten(1)
        if bool((sigma == sigma[:1]).all()):
            moved = centred @ self.matrix(sigma[:1])[0]
        else:
            variance = sigma.to(centred.dtype).square()[:, None]
            moved = centred - variance * self.solve(centred, variance)
        return self.mean + moved.view_as(y)

    def solve(self, right: Tensor, variance: Tensor) -> Tensor:
        """Rows ``(C + variance I)^-1 right``, ``(n, pixels)``, at variances ``(n, 1)``, by one factorisation for all.

        The singular vectors are taken as constants: where singular values are equal, as at the start, their derivative
        is infinite. The derivative goes through one step of iterative refinement instead, where it is that of the
        inverse exactly, -(C + s^2 I)^-1 dC (C + s^2 I)^-1.
        """
        basis, scales, _ = torch.linalg.svd(self.root.detach())
        gains = 1 / (scales.square() + variance)

        def inverse(rows: Tensor) -> Tensor:
            return ((rows @ basis) * gains) @ basis.T

        first = inverse(right)
        return first - inverse(first @ self.root @ self.root.T + variance * first - right)

    def matrix(self, sigma: Tensor) -> Tensor:
        """The matrices ``(n, pixels, pixels)`` of the map at noise levels ``(n,)``, symmetric."""
        covariance = self.root @ self.root.T
        eye = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        variance = sigma.to(covariance.dtype).square()[:, None, None]
        factor = torch.linalg.cholesky(covariance + variance * eye)
        return eye - variance * torch.cholesky_inverse(factor)
