"""Gaussian blur: the naive floor of the classical methods."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core.images import Images, per_pixel
from gahb_bench.denoisers.tunable import Tunable


class GaussianBlur(Tunable):
    """Periodic convolution with a Gaussian of standard deviation ``width`` pixels: the naive floor.

        x_hat = F^-1( exp(-width^2 |omega|^2 / 2) F(y) ),   omega in radians a pixel

    The channels of an image are denoised one by one. Without a tuned table ``width = 5 sigma^(3/8)``, about what tuning
    finds on `calpha`.

    Examples
    --------
    >>> y = torch.rand(1, 1, 8, 8)
    >>> bool(torch.allclose(GaussianBlur(width=100)(y, 0.1), y.mean()))
    True
    """

    name: ClassVar = "gaussian-blur"
    knows: ClassVar = "nothing"
    source: ClassVar = "folklore"
    by_default: ClassVar = ("gaussian-blur",)
    looks: ClassVar = {"": ("periwinkle", "triangle-down")}
    tuned: ClassVar = "width"
    search: ClassVar = (0.01, 40.0)

    width: float = Field(0.0, ge=0, description="standard deviation of the kernel, pixels; 0: tuned")

    def rule(self, sigma: Tensor) -> Tensor:
        return 5 * sigma ** (3 / 8)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        h, w = y.shape[-2:]
        width = per_pixel(self.setting(sigma), y)
        rows = torch.fft.fftfreq(h, device=y.device, dtype=y.dtype)[:, None]
        columns = torch.fft.rfftfreq(w, device=y.device, dtype=y.dtype)[None, :]
        squared = (2 * torch.pi) ** 2 * (rows**2 + columns**2)
        return torch.fft.irfft2(torch.exp(-(width**2) * squared / 2) * torch.fft.rfft2(y), s=(h, w))
