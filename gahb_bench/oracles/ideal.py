"""Ideal shrinkage in a fixed orthonormal basis: weights chosen by looking at the clean image."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.denoisers.wavelet import automatic_levels
from gahb_bench.oracles.base import InformedOracle
from gahb_bench.transforms.wavelets import WaveletTransform
from gahb_bench.types import Images


class Ideal(InformedOracle):
    """Ideal diagonal estimate in an orthonormal basis, with weights from the clean image's own coefficients.

        x_hat = B^-1( a_m (B y)_m ),
        projector   a_m = 1 if |(B x)_m|^2 > sigma^2 else 0         risk  sum min(|(B x)_m|^2, sigma^2)
        wiener      a_m = |(B x)_m|^2 / (|(B x)_m|^2 + sigma^2)      risk  sum sigma^2 a_m

    Optimality
    ----------
    Knows the image: each is the best estimate of its kind (projection, diagonal weight) in its basis for this image.
    It says how well the basis fits the image. It is an ideal, not a bound on the MMSE.

    References
    ----------
    S. Mallat, "A Wavelet Tour of Signal Processing", 3rd ed. 2009, section 11.2.2 (oracle attenuation and projection).
    """

    name: ClassVar = "ideal"
    knows: ClassVar = "image"
    source: ClassVar = "Mallat 2009, section 11.2"

    basis: Literal["fourier", "wavelet"] = Field("wavelet", description="orthonormal basis")
    rule: Literal["projector", "wiener"] = Field("projector", description="weights 0 or 1, or between")
    wavelet: str = Field("sym8", description="any orthogonal wavelet of PyWavelets, for basis=wavelet")

    def model_post_init(self, context: object) -> None:
        del context
        WaveletTransform(self.wavelet, 0, 1, 1)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        x = self.told(y).images.to(y.dtype)
        scale = sigma.to(y.dtype).reshape(-1, 1, 1, 1)
        if self.basis == "fourier":
            weights = self._weights(torch.fft.rfft2(x, norm="ortho").abs().square(), scale)
            return torch.fft.irfft2(weights * torch.fft.rfft2(y, norm="ortho"), s=y.shape[-2:], norm="ortho")
        h, w = y.shape[-2:]
        transform = WaveletTransform(self.wavelet, _divisible_levels(h, w), h, w)
        weights = self._weights(transform.forward(x).square(), scale)
        return transform.inverse(weights * transform.forward(y))

    def _weights(self, energy: Tensor, sigma: Tensor) -> Tensor:
        variance = sigma.square()
        return (energy > variance).to(sigma.dtype) if self.rule == "projector" else energy / (energy + variance)


def _divisible_levels(height: int, width: int) -> int:
    """The most wavelet levels an orthonormal transform of this size has (none if a side is odd)."""
    levels = automatic_levels(height, width)
    while height % 2**levels or width % 2**levels:
        levels -= 1
    return levels
