"""`dit`: a small diffusion transformer, which mixes all patches of an image at every layer."""

import math
from typing import ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gahb_bench.core.network import Float32Conv2d, Float32Linear, Network
from gahb_bench.networks.preconditioning import NoiseWaves, Preconditioned


class Dit(Network):
    """A transformer on patches, told of sigma, with the preconditioning of EDM.

    Each ``patch`` x ``patch`` square of pixels is one token, at a place told by cosines and sines. ``depth`` layers of
    attention between all tokens and a perceptron on each, both scaled, shifted and gated by functions of sigma that
    all layers share but for an offset of their own. Its last layer starts at zero: untrained, it is the best multiple
    of y - m, as ``edm-unet`` is. No convolution: it must learn that neighbours matter.

    References
    ----------
    W. Peebles, S. Xie, "Scalable diffusion models with transformers", ICCV 2023, arXiv:2212.09748; J. Chen et al.,
    "PixArt-alpha", ICLR 2024, arXiv:2310.00426, section 2.3 (one modulation for all layers).
    """

    name: ClassVar = "dit"
    source: ClassVar = "Peebles & Xie 2023, arXiv:2212.09748; Chen et al. 2024, arXiv:2310.00426"
    presets: ClassVar = {"small": {}, "paper": {"width": 384, "depth": 12, "heads": 6}}
    facts: ClassVar = {"small": (332_048, None), "paper": (22_351_120, None)}

    width: int = Field(64, ge=8, le=2048, multiple_of=8, description="features of a token")
    depth: int = Field(6, ge=1, le=64, description="layers")
    heads: int = Field(4, ge=1, le=64, description="attention heads; they divide the width")
    patch: int = Field(4, ge=1, le=32, description="side of a token's square, pixels")

    @model_validator(mode="after")
    def _heads_divide(self) -> "Dit":
        if self.width % self.heads:
            raise ValueError(f"width={self.width} is not divisible by heads={self.heads}")
        return self

    @property
    def divisor(self) -> int:
        return self.patch

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        self.check_shape(shape)
        return Preconditioned(_Transformer(shape[0], self.width, self.depth, self.heads, self.patch), mean, std)


class _Transformer(nn.Module):
    """F: image and noise condition to image."""

    def __init__(self, channels: int, width: int, depth: int, heads: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.first = Float32Conv2d(channels, width, patch, stride=patch)
        self.embed = nn.Sequential(NoiseWaves(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 6 * width))
        self.layers = nn.ModuleList(_Layer(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.last = Float32Linear(width, channels * patch**2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        rows, columns = x.shape[-2] // self.patch, x.shape[-1] // self.patch
        tokens = self.first(x).flatten(2).mT
        tokens = tokens + _places(rows, columns, tokens.shape[-1]).to(tokens)
        condition = self.embed(noise)[:, None]
        for layer in self.layers:
            tokens = layer(tokens, condition)
        return nn.functional.fold(self.last(self.norm(tokens)).mT, x.shape[-2:], self.patch, stride=self.patch)


class _Layer(nn.Module):
    """Attention, then a perceptron on each token; both added to what comes in, gated from zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.offset = nn.Parameter(torch.zeros(6 * width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attend, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        scale, shift, gate, scale2, shift2, gate2 = (condition + self.offset).chunk(6, dim=-1)
        tokens = tokens + gate * self._attention(self.norm(tokens) * (1 + scale) + shift)
        return tokens + gate2 * self.perceptron(self.norm(tokens) * (1 + scale2) + shift2)

    def _attention(self, tokens: Tensor) -> Tensor:
        """Written out: PyTorch's fused attention has no forward derivative on processors."""
        query, key, value = self.attend(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
        return self.join((weights @ value).movedim(1, 2).flatten(2))


def _places(rows: int, columns: int, width: int) -> Tensor:
    """The places of tokens, ``(rows columns, width)``: cosines and sines of row and column."""
    rates = torch.logspace(0, -2, width // 4)
    row, column = (torch.arange(count)[:, None] * rates for count in (rows, columns))
    waves = [torch.cat([part.cos(), part.sin()], dim=1) for part in (row, column)]
    down, across = waves[0].repeat_interleave(columns, dim=0), waves[1].repeat(rows, 1)
    return torch.cat([down, across], dim=1)
