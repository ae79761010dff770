"""Total variation denoising, by scikit-image."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field
from skimage.restoration import denoise_tv_bregman, denoise_tv_chambolle
from torch import Tensor

from gahb_bench.core.denoiser import Differentiation
from gahb_bench.core.images import Images
from gahb_bench.denoisers.per_image import Image, map_images
from gahb_bench.denoisers.tunable import Tunable


class Tv(Tunable):
    """Total variation (Rudin, Osher & Fatemi), by scikit-image's Chambolle or split-Bregman iteration.

        x_hat ~ argmin_u  |u - y|^2 / 2 + weight sigma TV(u),   TV(u) = sum_p |grad u|_p,  forward differences

    Chambolle's iteration stops when the energy falls by less than ``tolerance`` of its first value in one step. With
    scikit-image's tolerance, the default here, that is long before the minimiser, and stopping early is itself a
    smoothing: tuned weights belong to the tolerance they were tuned with. ``tolerance=1e-9,iterations=20000`` is
    the minimiser. Split-Bregman stops when the root mean square step is below ``tolerance`` sigma; scikit-image's
    isotropic shrinkage is not the proximal map of the norm, so its limit is near that minimiser but not equal to it.

    Boundaries are free (reflecting), not periodic; the channels of an image are denoised one by one. Without a tuned
    table ``weight = 3 + 5 sigma^2``, about what tuning finds on `calpha`.

    References
    ----------
    L. Rudin, S. Osher, E. Fatemi, "Nonlinear total variation based noise removal algorithms", Physica D 1992,
    doi:10.1016/0167-2789(92)90242-F; A. Chambolle, "An algorithm for total variation minimization and applications",
    J. Math. Imaging Vis. 2004, doi:10.1023/B:JMIV.0000011325.36760.1e; T. Goldstein, S. Osher, "The split Bregman
    method for L1-regularized problems", SIAM J. Imaging Sci. 2009, doi:10.1137/080725891.
    """

    name: ClassVar = "tv"
    knows: ClassVar = "nothing"
    source: ClassVar = "Rudin, Osher & Fatemi 1992; scikit-image"
    by_default: ClassVar = ("tv",)
    looks: ClassVar = {"": ("green", "diamond")}
    tuned: ClassVar = "weight"
    search: ClassVar = (0.01, 100.0)

    weight: float = Field(0.0, ge=0, description="weight of the total variation, in units of sigma; 0: tuned")
    solver: Literal["chambolle", "bregman"] = Field("chambolle", description="iteration that is used")
    tolerance: float = Field(2e-4, gt=0, description="when the iteration stops")
    iterations: int = Field(200, ge=1, description="the iteration stops here at the latest")

    @property
    def derivative(self) -> Differentiation:
        """By differences for ``solver=bregman``; Chambolle's iteration stops sooner or later as y moves: it jumps."""
        return "difference" if self.solver == "bregman" else "none"

    def rule(self, sigma: Tensor) -> Tensor:
        return 3 + 5 * sigma**2

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        return map_images(self._denoise, y, sigma, self.setting(sigma))

    def _denoise(self, image: Image, sigma: float, weight: float) -> Image:
        if self.solver == "chambolle":
            return denoise_tv_chambolle(
                image, weight=weight * sigma, eps=self.tolerance, max_num_iter=self.iterations, channel_axis=0
            )
        channels = [
            denoise_tv_bregman(
                channel, weight=1 / (weight * sigma), eps=self.tolerance * sigma, max_num_iter=self.iterations
            )
            for channel in image
        ]
        return np.stack(channels).reshape(image.shape)
