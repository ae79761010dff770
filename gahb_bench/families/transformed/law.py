"""Laws made of another law by an orthogonal map: all that is known of the inner law is known of them."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor

from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.digest import join_digests
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images

T = TypeVar("T", bound="Transformed")


class Transformed(Family):
    """Images made of images of another law by a fixed orthogonal map (and a constant).

        x = forward(x_1, ..., x_m),   x_i independent images of the inner law,   y = x + sigma z

    A subclass states the map and its inverse, how many inner images make one (``copies``), and the reason why nothing
    changes, for the note of the reference. The optimum follows: see `TransformedOptimum`.
    """

    best: ClassVar = ".optimum:TransformedOptimum"
    statistics: ClassVar = ".statistics:TransformedStatistics"
    copies: ClassVar[int] = 1
    reason: ClassVar[str] = "an orthogonal map changes no risk"

    of: str = Field("calpha", description="spec of the inner family, in parentheses if it has parameters")
    _inner: Family = PrivateAttr()

    @model_validator(mode="after")
    def _make_inner(self: T) -> T:
        try:
            self._inner = registry.make("families", self.of)
        except UsageError as error:
            raise ValueError(f"{specs.format_spec('', {'of': self.of})[1:]} is not allowed: {error}") from None
        object.__setattr__(self, "of", self._inner.spec)  # canonical; the model is frozen
        return self

    @abstractmethod
    def forward(self, images: Images) -> Tensor:
        """Images of this law from those of the inner one, ``(copies n, c, h, w)`` to ``(n, ...)``."""

    @abstractmethod
    def inverse(self, images: Images) -> Tensor:
        """The inner images of images of this law, ``(n, ...)`` to ``(copies n, c, h, w)``."""

    @property
    def inner(self) -> Family:
        """The law that the images are made of."""
        return self._inner

    @property
    def digest(self) -> str:
        """That of this law and of the inner one."""
        return join_digests(super().digest, self.inner.digest)

    def with_inner(self: "Transformed", spec: str) -> "Transformed":
        """The same map of another law."""
        return type(self).from_parameters({**self.parameters, "of": spec})

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.inner.shape

    @property
    def own_units(self) -> bool:
        return self.inner.own_units

    @property
    def moments(self) -> float:
        return self.inner.moments

    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        repeated = (stream for stream in streams for _ in range(self.copies))
        images, latents = self.inner.draw(repeated, self.copies * count)
        made = self.forward(torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32))).numpy()
        if self.copies > 1:
            latents = {name: value.reshape(count, self.copies, *value.shape[1:]) for name, value in latents.items()}
        return made, latents
