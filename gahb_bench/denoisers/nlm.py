"""Non-local means, by scikit-image."""

from typing import ClassVar

from pydantic import Field, field_validator
from skimage.restoration import denoise_nl_means
from torch import Tensor

from gahb_bench.core.denoiser import Differentiation
from gahb_bench.core.images import Images
from gahb_bench.denoisers.per_image import Image, map_images
from gahb_bench.denoisers.tunable import Tunable


class Nlm(Tunable):
    """Non-local means: each pixel is a mean of pixels whose surroundings look alike (scikit-image, fast variant).

        x_hat_p = sum_q w_pq y_q / sum_q w_pq,    w_pq = exp(-d_pq) if d_pq <= 5 else 0,
        d_pq = max(sum (Y_p - Y_q)^2 - 2 sigma^2 (patch - 1)^2, 0) / (patch h sigma)^2

    over the q within ``distance`` of p along both axes. Y_p is the patch around p without its first row and column,
    (patch - 1)^2 pixels: so scikit-image's integral image has it, which also approximates the exponential. Images are
    extended by reflection. The channels of an image share their weights: d_pq is then the mean over channels. Without
    a tuned table ``h = 0.8``, scikit-image's advice.

    References
    ----------
    A. Buades, B. Coll, J.-M. Morel, "A non-local algorithm for image denoising", CVPR 2005, doi:10.1109/CVPR.2005.38;
    J. Darbon et al., "Fast nonlocal filtering applied to electron cryomicroscopy", ISBI 2008,
    doi:10.1109/ISBI.2008.4541250.
    """

    name: ClassVar = "nlm"
    knows: ClassVar = "nothing"
    source: ClassVar = "Buades, Coll & Morel 2005; scikit-image"
    looks: ClassVar = {"": ("crimson", "square")}
    tuned: ClassVar = "h"
    search: ClassVar = (0.02, 20.0)

    h: float = Field(0.0, ge=0, description="how unlike patches may be, in units of sigma; 0: tuned")
    patch: int = Field(7, ge=1, description="side of the patches that are compared, pixels, odd")
    distance: int = Field(11, ge=1, description="how far a patch is looked for, pixels")

    @field_validator("patch")
    @classmethod
    def _odd(cls, patch: int) -> int:
        if patch % 2 == 0:
            raise ValueError("a patch has a pixel at its centre, so it is odd")
        return patch

    @property
    def derivative(self) -> Differentiation:
        """scikit-image computes it."""
        return "difference"

    def rule(self, sigma: Tensor) -> Tensor:
        return 0.8 + 0 * sigma

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        return map_images(self._denoise, y, sigma, self.setting(sigma))

    def _denoise(self, image: Image, sigma: float, h: float) -> Image:
        single = len(image) == 1  # scikit-image mixes the axes of a single channel if told of its axis
        return denoise_nl_means(
            image[0] if single else image,
            patch_size=self.patch,
            patch_distance=self.distance,
            h=h * sigma,
            sigma=sigma,
            fast_mode=True,
            channel_axis=None if single else 0,
        )
