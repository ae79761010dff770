"""Wavelet thresholding, orthonormal or translation invariant, with the classical threshold rules."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images, per_pixel
from gahb_bench.transforms.wavelets import WaveletTransform, check_orthogonal, extend

_COARSEST = 4  # the automatic number of levels leaves a coarse block of at least this side

# A rule shrinks coefficients in units of sigma: (blocks, size) -> (blocks, size), one threshold a block.
# `pixels` is the number of pixels of the image.
Rule = Callable[[Tensor, int], Tensor]


class Wavelet(Denoiser):
    """Thresholding of orthonormal wavelet coefficients ``w = W y``, with one of four rules.

        hard    w where |w| > t, else 0,         t = sigma sqrt(2 log(number of pixels))
        soft    sign(w) max(|w| - t, 0),         same t
        sure    soft, with t the minimiser of Stein's unbiased risk estimate a block (sqrt(2 log d) if sparse)
        bayes   soft, with t = sigma^2 / sqrt(max(mean(w^2) - sigma^2, 0)) a block

    A block is the details of one level and orientation. Coarse coefficients are kept. ``shifts=n`` averages the
    estimates over the n x n cyclic shifts by 0 .. n-1 pixels; ``shifts=all`` is the exact average over every shift.
    Sides that are not divisible by ``2 ** levels`` are extended by blended reflections
    (`gahb_bench.transforms.wavelets.extend`). The channels of an image are denoised one by one.

    References
    ----------
    D. Donoho, I. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika 1994,
    doi:10.1093/biomet/81.3.425 (universal threshold); "Adapting to unknown smoothness via wavelet shrinkage", JASA
    1995, doi:10.1080/01621459.1995.10476626, sections 2.3-2.4 (SURE); S. G. Chang, B. Yu, M. Vetterli, "Adaptive
    wavelet thresholding", IEEE TIP 2000, doi:10.1109/83.862633, eq. 13 (Bayes); R. Coifman, D. Donoho,
    "Translation-invariant de-noising", 1995, doi:10.1007/978-1-4612-2544-7_9 (shifts).
    """

    name: ClassVar = "wavelet"
    knows: ClassVar = "nothing"
    source: ClassVar = "Donoho & Johnstone 1994, 1995; Chang et al. 2000; Coifman & Donoho 1995"
    by_default: ClassVar = ("wavelet", "wavelet:shifts=all", "wavelet:rule=bayes,shifts=all")
    looks: ClassVar = {
        "": ("blue", "square"),
        "rule=soft": ("periwinkle", "square"),
        "rule=sure": ("teal", "square"),
        "rule=bayes": ("indigo", "square"),
    }

    rule: Literal["hard", "soft", "sure", "bayes"] = Field("hard", description="threshold rule")
    wavelet: str = Field("sym8", description="any orthogonal wavelet of PyWavelets")
    shifts: int | Literal["all"] = Field(0, description="0: orthonormal; n: average over n x n shifts; all: over all")
    levels: int = Field(0, ge=0, description="0: as many as leave a coarse block of side >= 4")

    _orthogonal = field_validator("wavelet")(check_orthogonal)

    @field_validator("shifts")
    @classmethod
    def _not_negative(cls, shifts: int | str) -> int | str:
        if isinstance(shifts, int) and shifts < 0:
            raise ValueError("it should be 0, a number >= 1, or all")
        return shifts

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        h, w = y.shape[-2:]
        levels = self.levels or automatic_levels(h, w)
        step = 2**levels
        if -h % step >= h or -w % step >= w:
            raise UsageError(
                f"wavelet: levels={levels} is too many for images of {h}x{w}: 2^levels must not exceed a side."
            )
        scale = per_pixel(sigma, y)
        padded = extend(y / scale, step) if levels else y / scale
        transform = WaveletTransform(self.wavelet, levels, *padded.shape[-2:])
        return scale * self._shrink(padded, transform, pixels=h * w)[..., :h, :w]

    def _shrink(self, y: Images, transform: WaveletTransform, pixels: int) -> Images:
        rule = RULES[self.rule]
        if self.shifts == "all":
            return _shrink_all_shifts(y, transform, rule, pixels)
        if self.shifts <= 1:
            return _shrink_once(y, transform, rule, pixels)
        moves = [(-p, -q) for p in range(self.shifts) for q in range(self.shifts)]
        total = torch.zeros_like(y)
        for p, q in moves:
            shifted = _shrink_once(y.roll((p, q), (-2, -1)), transform, rule, pixels)
            total = total + shifted.roll((-p, -q), (-2, -1))
        return total / len(moves)


def automatic_levels(height: int, width: int) -> int:
    """The most levels that leave a coarse block of side at least 4."""
    return max(int(math.log2(min(height, width) / _COARSEST)), 0)


def _shrink_once(y: Images, transform: WaveletTransform, rule: Rule, pixels: int) -> Images:
    coefficients = transform.forward(y)
    if rule in _POINTWISE:
        h, w = transform.height >> transform.levels, transform.width >> transform.levels
        shrunk = rule(coefficients, pixels)
        shrunk[..., :h, :w] = coefficients[..., :h, :w]
        return transform.inverse(shrunk)
    for band in transform.subbands():
        block = coefficients[..., band.rows, band.columns]
        coefficients[..., band.rows, band.columns] = rule(block.flatten(-2), pixels).reshape(block.shape)
    return transform.inverse(coefficients)


def _shrink_all_shifts(y: Images, transform: WaveletTransform, rule: Rule, pixels: int) -> Images:
    """Every shift at once: at level j the shifts fall into 4^j phases, each a block of its own."""
    coarse, details = transform.forward_all_shifts(y)
    shrunk = []
    for level, detail in enumerate(details, start=1):
        step = 2**level
        h, w = detail.shape[-2:]
        phases = detail.unflatten(-1, (w // step, step)).unflatten(-3, (h // step, step))
        phases = phases.movedim((-3, -1), (-4, -3))
        kept = rule(phases.flatten(-2), pixels).reshape(phases.shape)
        shrunk.append(kept.movedim((-4, -3), (-3, -1)).flatten(-4, -3).flatten(-2))
    return transform.inverse_all_shifts(coarse, shrunk)


def _universal(size: int) -> float:
    return math.sqrt(2 * math.log(size)) if size > 1 else 0.0


def _soft(w: Tensor, threshold: Tensor | float) -> Tensor:
    return w.sign() * (w.abs() - threshold).clamp(min=0)


def _hard_rule(w: Tensor, pixels: int) -> Tensor:
    return torch.where(w.abs() > _universal(pixels), w, torch.zeros_like(w))


def _soft_rule(w: Tensor, pixels: int) -> Tensor:
    return _soft(w, _universal(pixels))


def _sure_rule(w: Tensor, pixels: int) -> Tensor:
    """SureShrink: minimise ``SURE(t) = d - 2 #{|w| <= t} + sum min(w^2, t^2)`` over t <= sqrt(2 log d)."""
    del pixels
    d = w.shape[-1]
    universal = _universal(d)
    squares = w.square().sort(dim=-1).values
    kept = torch.arange(1, d + 1, device=w.device, dtype=w.dtype)
    risk = d - 2 * kept + squares.cumsum(-1) + (d - kept) * squares
    risk = risk.masked_fill(squares > universal**2, math.inf)
    best, position = risk.min(dim=-1, keepdim=True)
    threshold = squares.gather(-1, position).sqrt()
    threshold = torch.where(best < d, threshold, torch.zeros_like(threshold))  # SURE(0) = d
    sparse = (w.square() - 1).mean(dim=-1, keepdim=True) <= math.log2(d) ** 1.5 / math.sqrt(d) if d > 1 else best < d
    return _soft(w, torch.where(sparse, torch.full_like(threshold, universal), threshold))


def _bayes_rule(w: Tensor, pixels: int) -> Tensor:
    del pixels
    signal = (w.square().mean(dim=-1, keepdim=True) - 1).clamp(min=0)
    return _soft(w, torch.where(signal > 0, signal.clamp(min=1e-30).rsqrt(), torch.full_like(signal, math.inf)))


RULES: dict[str, Rule] = {"hard": _hard_rule, "soft": _soft_rule, "sure": _sure_rule, "bayes": _bayes_rule}
_POINTWISE = (_hard_rule, _soft_rule)  # the same threshold in every block: all blocks at once
