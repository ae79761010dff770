"""The estimate that does nothing: the noisy image itself."""

from typing import ClassVar

from torch import Tensor

from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.images import Images


class Identity(Denoiser):
    """The noisy image itself: ``x_hat = y``, risk ``sigma^2``. The line every denoiser must beat."""

    name: ClassVar = "identity"
    knows: ClassVar = "nothing"
    source: ClassVar = "definition"
    by_default: ClassVar = ("identity",)
    looks: ClassVar = {"": ("grey", "x")}

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        del sigma
        return y.clone()
