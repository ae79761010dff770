"""Operators that are diagonal in Fourier: the convolutions of periodic images."""

from abc import abstractmethod

import torch
from torch import Tensor

from gahb_bench.core.images import Images
from gahb_bench.core.memory import cached
from gahb_bench.core.operator import Operator, variances

RANK = 1e-6  # a transfer below this is taken as zero by the pseudoinverse


class Diagonal(Operator):
    """``A = F^-1 diag(h) F`` with a real, even transfer function h: symmetric, so that it is its own adjoint."""

    @abstractmethod
    def frequencies(self, height: int, width: int) -> Tensor:
        """The transfer function h, float64 ``(height, width)`` in the order of ``fft2``; it is made once."""

    def transfer(self, like: Images) -> Tensor:
        """The transfer function h for such images, ``(h, w)`` in their type."""
        return _made(self, *like.shape[2:]).to(like)

    def apply(self, x: Images) -> Images:
        return _filter(x, self.transfer(x))

    def adjoint(self, r: Images) -> Images:
        return self.apply(r)

    def pseudoinverse(self, r: Images) -> Images:
        h = self.transfer(r)
        return _filter(r, torch.where(h > RANK, 1 / h.clamp(min=RANK), 0.0))

    def solve(self, r: Images, noise_variance: float | Tensor, prior_variance: float | Tensor) -> Images:
        h = self.transfer(r)
        return _filter(self.restrict(r), 1 / (variances(prior_variance, r) * h**2 + variances(noise_variance, r)))


def _filter(x: Images, response: Tensor) -> Images:
    half = response[..., : x.shape[-1] // 2 + 1]
    return torch.fft.irfft2(torch.fft.rfft2(x) * half, s=x.shape[-2:])


@cached(16)
def _made(operator: Diagonal, height: int, width: int) -> Tensor:
    return operator.frequencies(height, width)


def squared_frequency(height: int, width: int) -> Tensor:
    """``|f|^2`` in (cycles a pixel)^2, float64 ``(h, w)`` in the order of ``fft2``."""
    down, right = (torch.fft.fftfreq(side, dtype=torch.float64) for side in (height, width))
    return down[:, None] ** 2 + right**2
