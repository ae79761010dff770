"""What every family of images offers."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from gahb_bench import catalog, rng
from gahb_bench.errors import UsageError
from gahb_bench.plugin import Plugin
from gahb_bench.types import Batch, Reference, check_sigmas


class Family(Plugin):
    """A law of images, known exactly. A subclass states its parameters, its `shape`, and how to `draw`."""

    def __eq__(self, other: object) -> bool:
        """Families are equal when their laws are; what they have cached plays no part."""
        return isinstance(other, Family) and type(self) is type(other) and self.parameters == other.parameters

    def __hash__(self) -> int:
        return hash(self.spec)

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Shape ``(c, h, w)`` of one image."""

    @abstractmethod
    def draw(
        self, streams: Iterator[np.random.Generator], count: int
    ) -> tuple[NDArray[np.floating], dict[str, NDArray]]:
        """Images ``(count, c, h, w)`` and their latents, image ``i`` from the ``i``-th stream alone."""

    def sample(
        self, indices: Iterable[int], seed: int = 0, split: str = "test", device: str | torch.device = "cpu"
    ) -> Batch:
        """Images by index: image ``i`` depends only on (spec, seed, split, i), however the batch is cut or ordered.

        Parameters
        ----------
        indices : iterable of int, each >= 0
        seed : int >= 0
        split : one of ``train``, ``train-a``, ``train-b``, ``val``, ``test``
            Disjoint streams of images.

        Returns
        -------
        Batch
            Images float32 ``(n, c, h, w)``, and latents.

        Raises
        ------
        UsageError
            For an unknown split, a negative index or seed.
        """
        rng.check_split(split)
        rng.check_seed(seed)
        chosen = tuple(int(index) for index in indices)
        streams = rng.generators("images", self.spec, int(seed), split, indices=chosen)
        images, latents = self.draw(streams, len(chosen))
        return Batch(
            images=torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)),
            latents={name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in latents.items()},
            family=self.spec,
            seed=int(seed),
            split=split,
            indices=chosen,
        ).to(device)

    def reference(self, sigmas: object) -> Reference:
        """The least possible MSE per pixel at each noise level, and how surely it is known.

        Computed by ``reference(family, sigmas)`` of the file in ``oracles/`` named like the family.

        Raises
        ------
        UsageError
            If a noise level is not positive and finite.
        """
        levels = check_sigmas(sigmas)
        module = catalog.oracle_module(self.name)
        if module is None:
            return Reference.none(levels, f"No optimum is known for {self.spec}.")
        return module.reference(self, levels)

    def check_images(self, y: torch.Tensor) -> None:
        """Refuse images that cannot be of this family."""
        if y.ndim != 4 or tuple(y.shape[1:]) != self.shape:
            raise UsageError(
                f"{self.spec} has images of shape (n, c, h, w) = (n, {str(self.shape)[1:-1]}), "
                f"but the images given have shape {tuple(y.shape)}."
            )
