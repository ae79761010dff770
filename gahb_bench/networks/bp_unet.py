"""`bp-unet`: belief propagation on a tree of pixels, unrolled, with learned rules. Matched to ``hierarchy``."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gahb_bench.core.images import per_pixel
from gahb_bench.core.network import Network, in_float32

_LEAST = 1e-30  # added to a message before its logarithm, where its largest term is 1


class BpUnet(Network):
    """Sum-product up and down a tree of 2 x 2 branching over the pixels: a U-Net whose layers are messages.

        leaf:   e(b) = -(y - x_b)^2 / (2 sigma^2),  x_b the intensity of symbol b
        up:     u_p(r) = log sum_b W_l[p, r, b] exp e_p(b),   e(a) = log sum_r V_l[a, r] exp sum_p u_p(a, r)
        down:   the same rules with what the parent believes without the child p
        x_hat = sum_b P(b) x_b

    Each parent a is written by one of ``productions`` rules r, each rule writes four children p independently: with
    one production this is ``rules=independent`` of the law, with as many as the grammar has it holds ``rules=grammar``.
    The encoder goes up, the decoder down, the skips are what came up. All probabilities are learned, from noisy pairs
    alone; the intensities are equally spaced in [0, 1]. Channels are denoised one by one.

    References
    ----------
    S. Mei, "U-Nets as belief propagation: efficient classification, denoising, and diffusion in generative
    hierarchical models", 2024, arXiv:2404.18444, section 3.
    """

    name: ClassVar = "bp-unet"
    source: ClassVar = "Mei 2024, arXiv:2404.18444"
    facts: ClassVar = {"small": (5_136, None)}
    learning_rate: ClassVar = 0.2

    symbols: int = Field(16, ge=2, le=256, description="symbols at every level")
    productions: int = Field(1, ge=1, le=256, description="rules that can write the children of a symbol")
    depth: int = Field(0, ge=0, le=12, description="levels of the tree; 0: as often as the sides can be halved")

    @property
    def divisor(self) -> int:
        return 2**self.depth

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        del mean, std
        self.check_shape(shape)
        halvings = math.gcd(shape[1], shape[2])
        depth = self.depth or (halvings & -halvings).bit_length() - 1
        return _Tree(depth, self.symbols, self.productions)


class _Tree(nn.Module):
    intensities: Tensor

    def __init__(self, depth: int, symbols: int, productions: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.randn(depth, 4, symbols * productions, symbols))
        self.choices = nn.Parameter(torch.zeros(depth, symbols, productions)) if productions > 1 else None
        self.root = nn.Parameter(torch.zeros(symbols))
        self.register_buffer("intensities", torch.linspace(0, 1, symbols), persistent=False)

    @in_float32
    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        distance = (y[..., None] - self.intensities) / per_pixel(sigma, y)[..., None]
        logs = -0.5 * distance.square().flatten(0, 1)  # (n c, h, w, b)
        skips = []
        for level in reversed(range(len(self.transitions))):
            logs, skip = self._up(level, logs)
            skips.append(skip)
        law = (logs + self.root).softmax(dim=-1)
        for level, skip in zip(range(len(self.transitions)), reversed(skips), strict=True):
            law = self._down(level, law, *skip)
        return (law @ self.intensities).view_as(y)

    def _up(self, level: int, logs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Log evidence ``(n, h, w, a)`` of the parents from that of the children, and what the way down needs."""
        grouped = _by_parent(logs)
        largest = grouped.amax(dim=-1, keepdim=True).detach()
        evidence = (grouped - largest).exp()
        likelihood = torch.einsum("nhwpb,pcb->nhwpc", evidence, self._rules(level)) + _LEAST  # c = (a, r)
        joint = (likelihood.log() + largest).sum(dim=3).unflatten(-1, (len(self.root), -1))
        if self.choices is not None:
            joint = joint + self.choices[level].log_softmax(dim=-1)
        return joint.logsumexp(dim=-1), (evidence, likelihood, joint.softmax(dim=-1))

    def _down(self, level: int, law: Tensor, evidence: Tensor, likelihood: Tensor, chosen: Tensor) -> Tensor:
        """The law of each child ``(n, 2h, 2w, b)`` given all pixels, from that of the parents ``(n, h, w, a)``."""
        rule = (law[..., None] * chosen).flatten(-2)[..., None, :]  # P(a, r | y)
        return _by_child(evidence * torch.einsum("nhwpc,pcb->nhwpb", rule / likelihood, self._rules(level)))

    def _rules(self, level: int) -> Tensor:
        """P(child at p is b | its parent a is written by r), ``(4, a r, b)``."""
        return self.transitions[level].softmax(dim=-1)


def _by_parent(child: Tensor) -> Tensor:
    """``(n, 2h, 2w, b)`` as ``(n, h, w, 4, b)``: the four children of each parent together."""
    return child.unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).transpose(2, 3).flatten(3, 4)


def _by_child(grouped: Tensor) -> Tensor:
    """The inverse of `_by_parent`."""
    return grouped.unflatten(3, (2, 2)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
