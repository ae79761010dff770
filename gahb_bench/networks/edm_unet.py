"""`edm-unet`: a small U-Net told of sigma, with the preconditioning of EDM."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gahb_bench.core.network import Float32Conv2d, Network, Padding
from gahb_bench.networks.preconditioning import NoiseWaves, Preconditioned


class EdmUnet(Network):
    """A sigma-conditional U-Net with EDM preconditioning.

        D(y, s) = m + c_skip (y - m) + c_out F(c_in (y - m), log(s) / 4)
        c_skip = t^2 / (s^2 + t^2),  c_out = s t / sqrt(s^2 + t^2),  c_in = 1 / sqrt(s^2 + t^2)

    with m, t the mean and standard deviation of a pixel under the law. F has residual blocks (group norm, SiLU, 3x3
    convolution, twice) whose second norm is scaled and shifted by functions of sigma; the image is halved by 2x2
    convolutions of stride 2, so that features know their place in the dyadic grid. The last convolution of each block
    and of F starts at zero: an untrained network is the best multiple of y - m.

    References
    ----------
    T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models",
    NeurIPS 2022, arXiv:2206.00364, table 1 and equation 7.
    """

    name: ClassVar = "edm-unet"
    source: ClassVar = "Karras et al. 2022, arXiv:2206.00364"
    presets: ClassVar = {"small": {}, "paper": {"width": 64, "levels": 4, "blocks": 2}}
    facts: ClassVar = {"small": (227_689, None), "paper": (4_402_241, None)}

    width: int = Field(24, ge=4, le=512, multiple_of=4, description="channels at full size; twice that below")
    levels: int = Field(3, ge=1, le=8, description="sizes of the image, each half the one before")
    blocks: int = Field(1, ge=1, le=8, description="residual blocks at each size, on the way down and up")
    padding: Padding = Field("circular", description="what lies beyond the border")

    @property
    def divisor(self) -> int:
        return 2 ** (self.levels - 1)

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        self.check_shape(shape)
        return Preconditioned(_Unet(shape[0], self.width, self.levels, self.blocks, self.padding), mean, std)


class _Unet(nn.Module):
    """F: image and noise condition to image."""

    def __init__(self, channels: int, width: int, levels: int, blocks: int, padding: Padding) -> None:
        super().__init__()
        widths = [width] + [2 * width] * (levels - 1)
        condition = 2 * width
        self.embed = nn.Sequential(NoiseWaves(condition), nn.Linear(condition, condition), nn.SiLU())
        self.first = _conv(channels, width, padding, outer=True)
        self.down = nn.ModuleList()
        self.up = nn.ModuleList()
        for level, wide in enumerate(widths):
            halve = nn.Conv2d(widths[level - 1], wide, 2, stride=2) if level else nn.Identity()
            stage = [_Block(wide, wide, condition, padding) for _ in range(blocks)]
            self.down.append(nn.ModuleList([halve, *stage]))
        for level in reversed(range(levels - 1)):
            wide = widths[level]
            double = nn.ConvTranspose2d(widths[level + 1], wide, 2, stride=2)
            joined = [_Block(2 * wide if block == 0 else wide, wide, condition, padding) for block in range(blocks)]
            self.up.append(nn.ModuleList([double, *joined]))
        self.last = nn.Sequential(_norm(width), nn.SiLU(), _zero(_conv(width, channels, padding, outer=True)))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        condition = self.embed(noise)
        x = self.first(x)
        kept = []
        for halve, *stage in self.down:  # pyright: ignore[reportGeneralTypeIssues]
            x = halve(x)
            for block in stage:
                x = block(x, condition)
            kept.append(x)
        for (double, *stage), skipped in zip(self.up, kept[-2::-1], strict=True):  # pyright: ignore[reportGeneralTypeIssues]
            x = torch.cat([double(x), skipped], dim=1)
            for block in stage:
                x = block(x, condition)
        return self.last(x)


class _Block(nn.Module):
    """Residual block, the second norm scaled and shifted by the condition."""

    def __init__(self, inside: int, outside: int, condition: int, padding: Padding) -> None:
        super().__init__()
        self.first = nn.Sequential(_norm(inside), nn.SiLU(), _conv(inside, outside, padding))
        self.norm = _norm(outside)
        self.modulate = nn.Linear(condition, 2 * outside)
        self.second = _zero(_conv(outside, outside, padding))
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulate(condition)[:, :, None, None].chunk(2, dim=1)
        h = self.norm(self.first(x)) * (1 + scale) + shift
        return self.skip(x) + self.second(nn.functional.silu(h))


def _conv(inside: int, outside: int, padding: Padding, *, outer: bool = False) -> nn.Conv2d:
    return (Float32Conv2d if outer else nn.Conv2d)(inside, outside, 3, padding=1, padding_mode=padding)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(1, channels // 8) if channels % 8 == 0 else channels // 4, channels)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
