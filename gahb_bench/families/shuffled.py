"""Images of another family with their pixels in a fixed random order: the same law, without geometry."""

from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gahb_bench import catalog, rng
from gahb_bench.families.base import Family
from gahb_bench.types import Images


class Shuffled(Family):
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

    of: str = Field("calpha", description="spec of the inner family, in parentheses if it has parameters")
    key: int = Field(0, ge=0, description="which permutation")

    @field_validator("of")
    @classmethod
    def _canonical(cls, spec: str) -> str:
        return catalog.family(spec).spec

    @cached_property
    def inner(self) -> Family:
        """The family whose pixels are shuffled."""
        return catalog.family(self.of)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.inner.shape

    @cached_property
    def permutation(self) -> NDArray[np.int64]:
        """pi, ``(h w,)``: pixel p (row by row) shows pixel pi[p] of the inner image."""
        _, height, width = self.shape
        return rng.generator("shuffled", height, width, self.key).permutation(height * width)

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        images, latents = self.inner.draw(streams, count)
        return images.reshape(count, self.shape[0], -1)[..., self.permutation].reshape(images.shape), latents

    def shuffle(self, images: Images) -> Images:
        """Images of the inner family as images of this one."""
        return self._reorder(images, self.permutation)

    def unshuffle(self, images: Images) -> Images:
        """Images of this family as images of the inner one."""
        return self._reorder(images, np.argsort(self.permutation))

    def _reorder(self, images: Images, order: NDArray[np.int64]) -> Images:
        self.check_images(images)
        return images.flatten(-2)[..., torch.from_numpy(order).to(images.device)].reshape(images.shape)
