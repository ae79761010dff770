"""What networks that are told sigma share: the preconditioning of EDM, and sigma as features."""

import torch
from torch import Tensor, nn

from gahb_bench.core.images import per_pixel


class Preconditioned(nn.Module):
    """D from a network F of images and noise conditions; everything about scales is here.

        D(y, s) = m + c_skip (y - m) + c_out F(c_in (y - m), log(s) / 4)
        c_skip = t^2 / (s^2 + t^2),  c_out = s t / sqrt(s^2 + t^2),  c_in = 1 / sqrt(s^2 + t^2)

    mean, std : m and t, of a pixel under the law, in image units

    References
    ----------
    T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models",
    NeurIPS 2022, arXiv:2206.00364, table 1 and equation 7.
    """

    def __init__(self, network: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        s = per_pixel(sigma, y)
        total = torch.sqrt(s**2 + self.std**2)
        centred = y - self.mean
        inner = self.network(centred / total, torch.log(s.flatten()) / 4)
        return self.mean + (self.std / total) ** 2 * centred + (s * self.std / total) * inner


class NoiseWaves(nn.Module):
    """A number as cosines and sines of it, at frequencies from 1/4 to 16 in the natural logarithm of sigma."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.logspace(0, 6, size // 2, base=2.0), persistent=False)

    def forward(self, noise: Tensor) -> Tensor:
        angle = noise[:, None] * self.frequencies.to(noise.dtype)  # pyright: ignore[reportOperatorIssue, reportCallIssue]
        return torch.cat([angle.cos(), angle.sin()], dim=1)
