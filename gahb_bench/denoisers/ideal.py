"""Ideal shrinkage in a fixed basis, or the best of several: weights chosen by looking at the clean image."""

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from gahb_bench.core.images import Images, per_pixel
from gahb_bench.core.posterior import InformedOracle
from gahb_bench.denoisers.curvelet import automatic_scales
from gahb_bench.denoisers.wavelet import automatic_levels
from gahb_bench.transforms.curvelets import CurveletFrame, multiple, package
from gahb_bench.transforms.dct import dct2, idct2
from gahb_bench.transforms.wavelets import WaveletTransform, check_orthogonal, extend

Analysis = Callable[[Tensor], list[Tensor]]
Synthesis = Callable[[list[Tensor]], Tensor]
_DICTIONARY = ("fourier", "wavelet", "dct")  # the orthonormal bases among which basis=best chooses


class Ideal(InformedOracle):
    """Ideal diagonal estimate in a basis, with weights from the clean image's own coefficients.

        x_hat = B^-1( a_m (B y)_m ),
        projector   a_m = 1 if |(B x)_m|^2 > sigma_m^2 else 0             risk  sum min(|(B x)_m|^2, sigma_m^2)
        wiener      a_m = |(B x)_m|^2 / (|(B x)_m|^2 + sigma_m^2)          risk  sum sigma_m^2 a_m

    In the orthonormal bases sigma_m = sigma; for wavelets, sides that are not divisible by 2^levels are extended as in
    `wavelet`. ``best`` takes for each image, all its channels together, the one of fourier, wavelet and dct with the
    least ideal risk; in the others channels are weighted one by one. ``curvelet`` is a tight frame, not a basis: B^-1
    is its adjoint, sigma_m the noise level of m's band, and the stated risk only an upper bound.

    Optimality
    ----------
    Knows the image: each is the best estimate of its kind (projection, diagonal weight) in its basis for this image;
    in the curvelet frame the weights are only a good choice. It says how well the basis fits the image. It is an
    ideal, not a bound on the MMSE.

    References
    ----------
    S. Mallat, "A Wavelet Tour of Signal Processing", 3rd ed. 2009, section 11.2.2 (oracle attenuation and projection).
    """

    name: ClassVar = "ideal"
    knows: ClassVar = "image"
    source: ClassVar = "Mallat 2009, section 11.2"
    by_default: ClassVar = ("ideal", "ideal:basis=fourier")
    looks: ClassVar = {"": ("ochre", "triangle-up"), "basis=fourier": ("rust", "triangle-up")}

    basis: Literal["fourier", "wavelet", "dct", "curvelet", "best"] = Field("wavelet", description="what is weighted")
    rule: Literal["projector", "wiener"] = Field("projector", description="weights 0 or 1, or between")
    wavelet: str = Field("sym8", description="any orthogonal wavelet of PyWavelets, for basis=wavelet or best")

    _orthogonal = field_validator("wavelet")(check_orthogonal)

    @model_validator(mode="after")
    def _installed(self) -> "Ideal":
        if self.basis == "curvelet":
            package()
        return self

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        x = self.batch_of(y).images.to(y.dtype)
        scale = per_pixel(sigma, y)
        if self.basis == "curvelet":
            frame = _frame(*y.shape[-2:])
            levels = frame.noise_levels().to(device=y.device, dtype=y.dtype)
            return self._weighted(x, y, [scale * level for level in levels], frame.forward, frame.inverse)[0]
        names = _DICTIONARY if self.basis == "best" else (self.basis,)
        tried = [self._weighted(x, y, [scale], *self._transform(name, *y.shape[-2:])) for name in names]
        best = torch.stack([risk for _, risk in tried]).argmin(dim=0)
        return torch.stack([x_hat for x_hat, _ in tried])[best, torch.arange(len(y), device=y.device)]

    def _weighted(
        self, x: Images, y: Images, levels: list[Tensor], forward: Analysis, inverse: Synthesis
    ) -> tuple[Images, Tensor]:
        """The ideal estimate and, for each image, its risk."""
        kept, risk = [], torch.zeros(len(y), device=y.device, dtype=y.dtype)
        for clean, noisy, level in zip(forward(x), forward(y), levels, strict=True):
            energy, variance = clean.abs().square(), level.square()
            if self.rule == "projector":
                weights = (energy > variance).to(y.dtype)
                lost = torch.minimum(energy, variance)
            else:
                weights = energy / (energy + variance)
                lost = variance * weights
            kept.append(weights * noisy)
            risk = risk + lost.sum(dim=(1, 2, 3))
        return inverse(kept), risk

    def _transform(self, name: str, h: int, w: int) -> tuple[Analysis, Synthesis]:
        """An orthonormal basis, as lists of one array of coefficients."""
        if name == "fourier":
            return lambda x: [torch.fft.fft2(x, norm="ortho")], lambda c: torch.fft.ifft2(c[0], norm="ortho").real
        if name == "dct":
            return lambda x: [dct2(x)], lambda c: idct2(c[0])
        step = 2 ** automatic_levels(h, w)
        transform = WaveletTransform(self.wavelet, automatic_levels(h, w), h + -h % step, w + -w % step)
        return lambda x: [transform.forward(extend(x, step))], lambda c: transform.inverse(c[0])[..., :h, :w]


def _frame(height: int, width: int) -> CurveletFrame:
    """The curvelet frame with the most scales that these sides allow."""
    scales = automatic_scales(height, width)
    while scales > 2 and (height % multiple(scales, 3) or width % multiple(scales, 3)):
        scales -= 1
    return CurveletFrame(height, width, scales)
