"""Thresholding of the cosine transform of overlapping patches."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core.images import Images, per_pixel
from gahb_bench.denoisers.tunable import Tunable
from gahb_bench.transforms.dct import average_patches


class Dct(Tunable):
    """Hard thresholding of the orthonormal DCT of every ``patch x patch`` patch, and the average of what overlaps.

        x_hat = sum_P a_P R_P' C^-1( w 1{|w| > threshold sigma or w constant mode} ) / sum_P a_P R_P' 1,    w = C R_P y

    over all patches P of the periodic image, R_P y the patch, C the DCT. ``weights=uniform``: a_P = 1;
    ``weights=sparse``: a_P = 1 / (number of coefficients kept), so that patches where little noise is left count
    more. The channels of an image are denoised one by one. Without a tuned table ``threshold = 3``.

    References
    ----------
    G. Yu, G. Sapiro, "DCT image denoising: a simple and effective image denoising algorithm", IPOL 2011,
    doi:10.5201/ipol.2011.ys-dct; O. Guleryuz, "Weighted overcomplete denoising", Asilomar 2003,
    doi:10.1109/ACSSC.2003.1292295 (sparse weights).

    Examples
    --------
    >>> y = torch.rand(1, 1, 16, 16, dtype=torch.float64)
    >>> bool(torch.allclose(Dct(threshold=1e-9)(y, 0.1), y))
    True
    """

    name: ClassVar = "dct"
    knows: ClassVar = "nothing"
    source: ClassVar = "Yu & Sapiro 2011; Guleryuz 2003"
    looks: ClassVar = {"": ("ochre", "square")}
    tuned: ClassVar = "threshold"
    search: ClassVar = (0.01, 30.0)

    threshold: float = Field(0.0, ge=0, description="in units of sigma; 0: tuned")
    patch: int = Field(16, ge=1, description="side of the patches, pixels; the image's side where that is smaller")
    weights: Literal["sparse", "uniform"] = Field("sparse", description="weights of the patches in the average")

    def rule(self, sigma: Tensor) -> Tensor:
        return 3 + 0 * sigma

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        scale = per_pixel(sigma, y)
        threshold = self.setting(sigma).to(y.dtype)
        if len(y) and bool((threshold == threshold[0]).all()):
            return scale * self._shrink(y / scale, float(threshold[0]))
        each = [self._shrink(image[None] / s, float(t)) for image, s, t in zip(y, scale, threshold, strict=True)]
        return scale * torch.cat(each) if each else y.clone()

    def _shrink(self, y: Images, threshold: float) -> Images:
        def shrink(w: Tensor) -> tuple[Tensor, Tensor]:
            keep = w.abs() > threshold
            keep[:, 0] = True
            weights = 1 / keep.sum(dim=1, keepdim=True) if self.weights == "sparse" else torch.ones_like(w[:, :1])
            return w * keep, weights.to(w.dtype)

        return average_patches(y, (min(self.patch, y.shape[-2]), min(self.patch, y.shape[-1])), shrink)
