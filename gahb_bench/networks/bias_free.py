"""What the bias-free networks of the research code share: their batch norm and their initial weights."""

import torch
from torch import Tensor, nn

from gahb_bench.core.network import Float32Conv2d, Padding

_MOMENTUM = 0.1
_EPSILON = 1e-5
_INITIAL_SD, _INITIAL_MOST = 2 / 9 / 64, 0.025  # of the gammas


class BiasFreeBatchNorm(nn.Module):
    """Batch norm without a mean and without a shift, so that ``f(a x) = a f(x)`` in evaluation.

        training    f(x) = gammas x / s,  s = sqrt(var(x) + 1e-5) over images and pixels (divided by n, not n - 1),
                    running_sd <- 0.9 running_sd + 0.1 s;  the gradient flows through s
        evaluation  f(x) = gammas x / running_sd

    It starts with ``running_sd = 1`` and gammas drawn from N(0, (2/9/64)^2), clamped to +-0.025.
    """

    running_sd: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_sd", torch.ones(1, width, 1, 1))
        self.gammas = nn.Parameter((torch.randn(1, width, 1, 1) * _INITIAL_SD).clamp_(-_INITIAL_MOST, _INITIAL_MOST))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x / self.running_sd * self.gammas
        sd = torch.sqrt(x.var(dim=(0, 2, 3), keepdim=True, unbiased=False) + _EPSILON)
        with torch.no_grad():
            self.running_sd.mul_(1 - _MOMENTUM).add_(sd, alpha=_MOMENTUM)
        if x.dtype != self.gammas.dtype:  # where autocast is on: leave it as it comes
            return x * (self.gammas / sd).to(x.dtype)
        return x / sd * self.gammas


def convolution(inputs: int, outputs: int, kernel: int, padding: Padding, *, outer: bool = False) -> nn.Conv2d:
    """A convolution without bias that keeps the size (odd kernels); outer: the first or the last of a network."""
    kind = Float32Conv2d if outer else nn.Conv2d
    return kind(inputs, outputs, kernel, padding=kernel // 2, padding_mode=padding, bias=False)


def initialize(module: nn.Module) -> None:
    """Kaiming's normal weights (fan in, gain of a ReLU) in every convolution; gammas stay as they are."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, a=0, mode="fan_in")


def check_odd(kernel: int) -> int:
    """Refuse an even kernel: it has no middle pixel, so the image would not keep its size."""
    if kernel % 2 == 0:
        raise ValueError("it should be odd, so that the convolution has a middle pixel")
    return kernel
