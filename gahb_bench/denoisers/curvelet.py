"""Thresholding of curvelet coefficients, decimated or translation invariant."""

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor
from torch.nn.functional import pad

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images, per_pixel
from gahb_bench.denoisers.tunable import Tunable
from gahb_bench.transforms.curvelets import CurveletFrame, multiple, package

_COARSEST = 8  # the automatic number of scales leaves a coarse band of at least this side


class Curvelet(Tunable):
    """Hard thresholding of curvelet coefficients by their modulus.

        x_hat = T* ( c 1{|c| > threshold sigma n_j} ),    c = T y

    T is the uniform discrete curvelet frame with parabolic scaling, n_j the root mean square modulus of the
    coefficients of band j for white noise of variance 1, known exactly from the windows. The coarse band is kept.
    ``shifts=all`` thresholds the frame without decimation: the average over all shifts, as translation invariant
    wavelets. Images are periodic; sides that the frame does not divide are padded by reflection. The channels
    of an image are denoised one by one. Without a tuned table ``threshold = 2.5 + min(sigma, 1)``, about what tuning
    finds on `calpha`.

    References
    ----------
    J.-L. Starck, E. Candes, D. Donoho, "The curvelet transform for image denoising", IEEE TIP 2002,
    doi:10.1109/TIP.2002.1014998 (thresholding by bands); T. T. Nguyen, H. Chauris, "Uniform discrete curvelet
    transform", IEEE TSP 2010, doi:10.1109/TSP.2010.2047666 (the frame).
    """

    name: ClassVar = "curvelet"
    knows: ClassVar = "nothing"
    source: ClassVar = "Starck, Candes & Donoho 2002; Nguyen & Chauris 2010"
    looks: ClassVar = {"": ("plum", "diamond")}
    tuned: ClassVar = "threshold"
    search: ClassVar = (0.01, 30.0)

    threshold: float = Field(0.0, ge=0, description="in units of each band's noise level; 0: tuned")
    shifts: Literal["all", "none"] = Field("all", description="all: translation invariant; none: decimated")
    scales: int = Field(0, ge=0, description="number of scales, at least 2; 0: as many as leave a coarse side >= 8")
    wedges: int = Field(3, ge=3, multiple_of=3, description="wedges a direction at the coarsest scale, a multiple of 3")

    @field_validator("scales")
    @classmethod
    def _two_scales(cls, scales: int) -> int:
        if scales == 1:
            raise ValueError("give at least 2 scales (0: automatic)")
        return scales

    @model_validator(mode="after")
    def _installed(self) -> "Curvelet":
        package()
        return self

    def rule(self, sigma: Tensor) -> Tensor:
        return 2.5 + sigma.clamp(max=1)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        h, w = y.shape[-2:]
        scales = self.scales or automatic_scales(h, w)
        step = multiple(scales, self.wedges)
        padding = (0, -w % step, 0, -h % step)
        if padding[1] >= w or padding[3] >= h:
            raise UsageError(f"curvelet: images of {h}x{w} are too small for {scales} scales of {self.wedges} wedges.")
        padded = pad(y, padding, mode="reflect") if any(padding) else y
        frame = CurveletFrame(padded.shape[-2], padded.shape[-1], scales, self.wedges)
        levels = per_pixel(sigma * self.setting(sigma), y)
        shrink = _shrink_all_shifts if self.shifts == "all" else _shrink_decimated
        return shrink(frame, padded, levels)[..., :h, :w]


def automatic_scales(height: int, width: int) -> int:
    """The most scales that leave a coarse band of side at least 8, and at least 2."""
    return max(int(math.log2(max(min(height, width) / _COARSEST, 1))) + 2, 2)


def _shrink_decimated(frame: CurveletFrame, y: Images, threshold: Tensor) -> Images:
    coefficients, noise = frame.forward(y), frame.noise_levels().tolist()
    kept = [c * (c.abs() > threshold * level) for c, level in zip(coefficients[1:], noise[1:], strict=True)]
    return frame.inverse([coefficients[0], *kept])


def _shrink_all_shifts(frame: CurveletFrame, y: Images, threshold: Tensor) -> Images:
    """One band at a time, so that memory does not grow with the redundancy."""
    spectrum = torch.fft.fft2(y)
    total = torch.zeros_like(spectrum)
    for band, (window, _) in enumerate(frame.bands(y)):
        if band == 0:
            total += window.square() * spectrum
            continue
        c = torch.fft.ifft2(window * spectrum)
        total += window * torch.fft.fft2(c * (c.abs() > threshold * window.square().mean().sqrt()))
    return torch.fft.ifft2(total).real
