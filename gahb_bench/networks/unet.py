"""The bias-free U-Net of the research code of Kadkhodaie, Guth, Simoncelli & Mallat: blind, it estimates the noise."""

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from gahb_bench.core.errors import UsageError
from gahb_bench.core.network import Network, Padding, Residual
from gahb_bench.networks.bias_free import BiasFreeBatchNorm, check_odd, convolution, initialize


class UNet(Network):
    """Bias-free U-Net of the paper: ``D(y) = y - net(y)``, blind to sigma, with ``D(a y) = a D(y)`` in evaluation.

    ``blocks`` times: convolutions, then 2 x 2 average pooling, twice as many channels each time; convolutions in the
    middle; and back by transposed convolutions, the encoder's output put beside. Names, shapes, arithmetic and initial
    weights are those of the research code, which pads with zeros; ``padding=circular`` is ours.

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, "Generalization in diffusion models arises from
    geometry-adaptive harmonic representations", ICLR 2024, arXiv:2310.02557.
    """

    name: ClassVar = "unet"
    source: ClassVar = "Kadkhodaie, Guth, Simoncelli & Mallat 2024, research code; after Mohan et al. 2020"
    presets: ClassVar = {"small": {}, "paper": {"width": 64, "blocks": 3}}
    facts: ClassVar = {"small": (257_184, 44), "paper": (7_659_264, 100)}

    width: int = Field(24, ge=1, le=8192, description="channels of the first block")
    blocks: int = Field(2, ge=1, le=10, description="how often the image is halved")
    convolutions: int = Field(2, ge=2, le=100, description="convolutions in each block")
    kernel: int = Field(3, ge=1, le=99, description="side of a convolution's kernel, odd, pixels")
    padding: Padding = Field("zeros", description="zeros or circular")

    _odd = field_validator("kernel")(check_odd)

    @property
    def divisor(self) -> int:
        return 2**self.blocks

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        del mean, std
        self.check_shape(shape)
        sizes = Sizes(shape[0], self.width, self.blocks, self.kernel, *[self.convolutions] * 3)
        return Residual(UNetModule(sizes, self.padding))


class Sizes(NamedTuple):
    """What makes a U-Net of the research code: channels of the image, sizes, convolutions in each kind of block."""

    channels: int
    width: int
    blocks: int
    kernel: int
    encoder: int
    middle: int
    decoder: int

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Sizes":
        """Read from the names and shapes of a state dict.

        Raises
        ------
        UsageError
            If a block is missing.
        """
        blocks = len({name.split(".")[1] for name in tensors if name.startswith("encoder.")})
        first = tensors.get("encoder.0.0.weight")
        counts = [
            sum(name.startswith(block) and name.endswith(".weight") for name in tensors)
            for block in ("encoder.0.", "mid_block.", "decoder.0.")
        ]
        if first is None or first.ndim != 4 or 0 in counts:
            raise UsageError(
                "these are not the tensors of the U-Net of the research code, which has encoder.0.0.weight, "
                f"mid_block, decoder and upsample; there are {', '.join(sorted(tensors)[:3]) or 'none'}."
            )
        return cls(first.shape[1], first.shape[0], blocks, first.shape[2], *counts)

    @property
    def receptive_field(self) -> int:
        """Side of the largest square of pixels of y that one pixel of the estimate depends on.

        One pixel's interval is followed backwards: a convolution adds kernel // 2 on both sides, the transposed
        convolution halves it, pooling doubles it. It depends on where the pixel lies in its 2^blocks cell.
        """
        sides = []
        for low in range(2**self.blocks):
            high, reach = low, self.kernel // 2
            for _ in range(self.blocks):
                low, high = (low - self.decoder * reach) // 2, (high + self.decoder * reach) // 2
            low, high = low - self.middle * reach, high + self.middle * reach
            for _ in range(self.blocks):
                low, high = 2 * low - self.encoder * reach, 2 * high + 1 + self.encoder * reach
            sides.append(high - low + 1)
        return max(sides)


class UNetModule(nn.Module):
    """The raw network ``y -> noise``, its tensors named and shaped as in the research code."""

    def __init__(self, sizes: Sizes, padding: Padding = "zeros") -> None:
        super().__init__()
        self.sizes = sizes
        widths = [sizes.width * 2**block for block in range(sizes.blocks + 1)]
        self.encoder, self.decoder, self.upsample = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()

        def layers(inputs: int, outputs: int, count: int) -> list[nn.Module]:
            parts: list[nn.Module] = []
            for place in range(count):
                outer = inputs == sizes.channels and not place
                parts.append(convolution(outputs if place else inputs, outputs, sizes.kernel, padding, outer=outer))
                parts += [BiasFreeBatchNorm(outputs), nn.ReLU(inplace=True)]
            return parts

        for block in range(sizes.blocks):
            parts = layers(widths[block - 1] if block else sizes.channels, widths[block], sizes.encoder)
            if block == 0:
                del parts[1]  # no batch norm after the first convolution
            self.encoder[str(block)] = nn.Sequential(*parts)
        self.mid_block = nn.Sequential(*layers(widths[-2], widths[-1], sizes.middle))
        for block in reversed(range(sizes.blocks)):
            self.upsample[str(block)] = nn.ConvTranspose2d(widths[block + 1], widths[block], 2, stride=2, bias=False)
            parts = layers(2 * widths[block], widths[block], sizes.decoder - (block == 0))
            if block == 0:
                parts.append(convolution(widths[0], sizes.channels, sizes.kernel, padding, outer=True))
            self.decoder[str(block)] = nn.Sequential(*parts)
        initialize(self)

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return self.sizes.channels

    @property
    def receptive_field(self) -> int:
        """Side of the square of pixels that one pixel of the estimate depends on."""
        return self.sizes.receptive_field

    def forward(self, y: Tensor) -> Tensor:
        x, kept = y, []
        for block in range(self.sizes.blocks):
            kept.append(self.encoder[str(block)](x))
            x = nn.functional.avg_pool2d(kept[-1], 2)
        x = self.mid_block(x)
        for block in reversed(range(self.sizes.blocks)):
            x = torch.cat([self.upsample[str(block)](x), kept[block]], dim=1)
            x = self.decoder[str(block)](x)
        return x
