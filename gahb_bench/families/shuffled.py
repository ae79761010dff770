"""Images of another family with their pixels in a fixed random order: the same law, without geometry."""

from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.images import Images
from gahb_bench.families.transformed.law import Transformed


class Shuffled(Transformed):
    """Images of another family, their pixels in a fixed random order.

        x[p] = inner image[ pi(p) ],   pi a permutation of the h w pixels, drawn once (see ``key``), the same for all

    Everything that is known of the inner family is known here: the optimum is the inner optimum conjugated by pi, and
    its risk is the same. What is lost is geometry: neighbours, scales and edges. This law tests inductive bias: what
    a method loses here, against its regret on the inner family, is what its assumption of locality earns, in dB.

    Latents: those of the inner family.

    References
    ----------
    C. Zhang, S. Bengio, M. Hardt, B. Recht, O. Vinyals, "Understanding deep learning requires rethinking
    generalization", ICLR 2017, arXiv:1611.03530, section 2 (one permutation of the pixels for all images).

    Examples
    --------
    >>> Shuffled(of="calpha:alpha=1,size=16").spec
    'shuffled:of=(calpha:alpha=1,size=16)'
    """

    name: ClassVar = "shuffled"
    source: ClassVar = "Zhang et al. 2017, arXiv:1611.03530"
    variants: ClassVar = ("shuffled:of=(calpha:size=32)", "shuffled:of=disks")
    reason: ClassVar = "a permutation changes no risk"

    key: int = Field(0, ge=0, description="which permutation")

    @cached_property
    def permutation(self) -> NDArray[np.int64]:
        """pi, ``(h w,)``: pixel p (row by row) shows pixel pi[p] of the inner image."""
        _, height, width = self.shape
        return rng.generator("shuffled", height, width, self.key).permutation(height * width)

    def forward(self, images: Images) -> Tensor:
        return self._reorder(images, self.permutation)

    def inverse(self, images: Images) -> Tensor:
        return self._reorder(images, np.argsort(self.permutation))

    def _reorder(self, images: Images, order: NDArray[np.int64]) -> Tensor:
        self.check_images(images)
        return images.flatten(-2)[..., torch.from_numpy(order).to(images.device)].reshape(images.shape)
