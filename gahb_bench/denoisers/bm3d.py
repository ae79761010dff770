"""Block matching and 3-D filtering, if the user has installed it."""

import importlib
from types import ModuleType
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from gahb_bench.core.denoiser import Denoiser, Differentiation
from gahb_bench.core.errors import MissingPackageError
from gahb_bench.core.images import Images
from gahb_bench.denoisers.per_image import Image, map_images


class Bm3d(Denoiser):
    """Block matching and 3-D collaborative filtering, by its authors' package `bm3d`, which is not free software.

        x_hat = bm3d.bm3d(y, sigma, profile)

    Nothing is tuned: the package chooses everything from sigma and its profile, whose thresholds its authors chose for
    photographs. The channels of an image are denoised one by one.

    Raises
    ------
    MissingPackageError
        If the package `bm3d` is not installed.

    References
    ----------
    K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, "Image denoising by sparse 3-D transform-domain collaborative
    filtering", IEEE TIP 2007, doi:10.1109/TIP.2007.901238.
    """

    name: ClassVar = "bm3d"
    knows: ClassVar = "nothing"
    source: ClassVar = "Dabov, Foi, Katkovnik & Egiazarian 2007; package bm3d (non-commercial licence)"
    looks: ClassVar = {"": ("rust", "diamond")}

    profile: Literal["np", "lc", "high", "vn", "refilter"] = Field("np", description="profile of the package")

    @model_validator(mode="after")
    def _installed(self) -> "Bm3d":
        _package()
        return self

    @property
    def derivative(self) -> Differentiation:
        """Another program computes it."""
        return "difference"

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        return map_images(self._denoise, y, sigma, torch.zeros_like(sigma))

    def _denoise(self, image: Image, sigma: float, _: float) -> Image:
        denoise = _package().bm3d
        return np.stack([np.asarray(denoise(channel, sigma, profile=self.profile)) for channel in image])


def _package() -> ModuleType:
    try:
        return importlib.import_module("bm3d")
    except ImportError as error:
        raise MissingPackageError(
            "bm3d needs the package 'bm3d', which is not installed. Its licence (Tampere University) allows "
            "non-commercial use only, so it is neither shipped nor installed with gahb_bench: if the licence suits "
            "you, pip install bm3d."
        ) from error
