"""`shrinkage`: each wavelet coefficient shrunk by a learned function of itself and sigma. Matched to ``besov``."""

from typing import ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from gahb_bench.core.images import per_pixel
from gahb_bench.core.network import Network, in_float32
from gahb_bench.transforms.wavelets import WaveletTransform, check_orthogonal

_HIDDEN = 24


class Shrinkage(Network):
    """An orthonormal wavelet transform, and a perceptron a level that multiplies each coefficient.

        w = W (y - m),   x_hat = m + W^-1( w / (1 + exp(-2 f_j(u))) ),
        u = log(1 + w^2/sigma^2), log(sigma/t), log(w^2/t^2 + 1e-8)

    with one ``f_j`` for all details of level j, one for the scaling coefficients. Any even rule of shrinkage that is
    the same all over a level is of this form: the optimum of independent wavelet coefficients is. The rules, and the
    mean m, are learned. m and t start as the mean and the standard deviation of a pixel.

    References
    ----------
    D. L. Donoho, I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994,
    doi:10.1093/biomet/81.3.425; Y. Hel-Or, D. Shaked, "A discriminative approach for wavelet denoising", IEEE TIP
    2008, doi:10.1109/TIP.2008.917204 (learned rules).
    """

    name: ClassVar = "shrinkage"
    source: ClassVar = "Donoho & Johnstone 1994, doi:10.1093/biomet/81.3.425; Hel-Or & Shaked 2008"
    facts: ClassVar = {"small": (2_885, None)}
    learning_rate: ClassVar = 0.01

    wavelet: str = Field("sym8", description="any orthogonal wavelet of PyWavelets")
    levels: int = Field(3, ge=1, le=12, description="wavelet levels; both sides are divisible by 2^levels")

    _orthogonal = field_validator("wavelet")(check_orthogonal)

    @property
    def divisor(self) -> int:
        return 2**self.levels

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        self.check_shape(shape)
        return _Shrinkage(WaveletTransform(self.wavelet, self.levels, *shape[1:]), mean, std)


class _Shrinkage(nn.Module):
    level: Tensor

    def __init__(self, transform: WaveletTransform, mean: float, std: float) -> None:
        super().__init__()
        self.transform, self.std = transform, std
        self.mean = nn.Parameter(torch.tensor(mean))
        self.rules = nn.ModuleList(_perceptron() for _ in range(transform.levels + 1))
        level = torch.full((transform.height, transform.width), transform.levels)
        for band in transform.subbands():
            level[band.rows, band.columns] = band.level - 1
        self.register_buffer("level", level.flatten(), persistent=False)

    @in_float32
    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        s = per_pixel(sigma, y)
        w = self.transform.forward(y - self.mean)
        seen = torch.stack(
            [
                torch.log1p((w / s).square()),
                (s / self.std).log().expand_as(w),
                ((w / self.std).square() + 1e-8).log(),
            ],
            dim=-1,
        ).flatten(2, 3)
        gain = torch.zeros_like(w).flatten(2)
        for level, rule in enumerate(self.rules):
            at = (self.level == level).nonzero().flatten()
            gain = gain.index_copy(2, at, (2 * rule(seen[:, :, at]).squeeze(-1)).sigmoid())
        return self.mean + self.transform.inverse(w * gain.view_as(w))


def _perceptron() -> nn.Module:
    layers = nn.Linear(3, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.SiLU(), nn.Linear(_HIDDEN, 1)
    return nn.Sequential(*layers)
