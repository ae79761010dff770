"""What every sampler offers: images from a denoiser, by lowering the noise level step by step."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.images import FloatArray, Images, check_sigmas
from gahb_bench.core.plugin import Plugin

Observer = Callable[[Tensor | None, Tensor, Images], object]


@runtime_checkable
class Noise(Protocol):
    """White noise of unit variance, like given images: of those at the positions ``which`` of a start, or all."""

    def __call__(self, like: Images, which: Tensor | None = None) -> Images: ...


@dataclass(frozen=True)
class Start:
    """Noisy images ``(n, c, h, w)`` to start from, and their address, on which all noise that is added depends."""

    images: Images
    seed: int
    indices: tuple[int, ...]

    def noise(self) -> Noise:
        """The noise that is to be added: at each call the next of each image's own stream."""
        streams = list(rng.generators("sampling", self.seed, indices=self.indices))

        def draw(like: Images, which: Tensor | None = None) -> Images:
            chosen = streams if which is None else [streams[place] for place in which.tolist()]
            drawn = np.stack([stream.standard_normal(tuple(like.shape[1:])) for stream in chosen])
            return torch.from_numpy(drawn).to(like)

        return draw


@dataclass(frozen=True)
class Sampled:
    """Images ``(n, c, h, w)``, and how often the denoiser was evaluated for each, ``(n,)``."""

    images: Images
    evaluations: Tensor


class Evaluate:
    """The denoiser of a sampler, which counts its evaluations, image by image, and shows each to an observer."""

    def __init__(self, denoiser: Callable[..., Any], count: int, observe: Observer | None = None) -> None:
        self._denoiser, self._observe = denoiser, observe
        self.evaluations = torch.zeros(count, dtype=torch.long)

    def __call__(self, y: Images, sigma: float | Tensor, which: Tensor | None = None) -> Images:
        """``D(y, sigma)``, of the images at the positions ``which``; of all where that is None."""
        levels = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).expand(len(y))
        x_hat = self._denoiser(y, levels)
        if x_hat.shape != y.shape:
            raise DenoiserError(f"the denoiser made {tuple(x_hat.shape)} from images {tuple(y.shape)}.")
        self.evaluations[slice(None) if which is None else which.cpu()] += 1
        if self._observe is not None:
            self._observe(which, levels, x_hat)
        return x_hat


class Sampler(Plugin):
    """A way from noise to images. A subclass states its parameters, its budget of `evaluations`, and `run`.

    order : of convergence to the probability flow, in the largest step; None where noise is added, or it is not known
    linear : whether images at the end are a linear map of start and noise, mode by mode, if the denoiser is one
    adaptive : whether it chooses its steps itself, and uses of the levels only the first and the last, which is > 0
    """

    kind: ClassVar = "samplers"
    order: ClassVar[int | None] = None
    linear: ClassVar[bool] = True
    adaptive: ClassVar[bool] = False

    @abstractmethod
    def evaluations(self, levels: FloatArray) -> int:
        """How often it evaluates the denoiser for each image, at most; the levels are checked."""

    @abstractmethod
    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        """The images at the last level; everything is checked, and no gradient is kept."""

    def __call__(
        self, denoiser: Callable[..., Any], start: Start, levels: object, observe: Observer | None = None
    ) -> Sampled:
        """Sample.

        Parameters
        ----------
        denoiser : Denoiser, network, or callable ``(y, sigma) -> x_hat``, with ``sigma`` of shape (n,)
        start : Start
            Images with noise of the first level.
        levels : sequence of floats
            Noise levels, falling; only the last may be 0.
        observe : callable
            Shown each evaluation: the positions of the images in the start (None for all), their sigma and estimates.

        Returns
        -------
        Sampled
            In the dtype and on the device of the start. Image ``i`` depends on the denoiser, the levels, image ``i`` of
            the start and its address alone; it is NaN if it did not come down to the last level within the budget.

        Raises
        ------
        UsageError
            If the levels do not fall, or there are fewer than two.
        DenoiserError
            If the denoiser changes the shape of images.
        """
        checked = check_falling(levels)
        evaluate = Evaluate(denoiser, len(start.images), observe)
        with torch.no_grad():
            images = self.run(evaluate, start, checked)
        return Sampled(images, evaluate.evaluations)


def check_falling(levels: object) -> FloatArray:
    """Levels to sample by, as a float64 vector.

    Raises
    ------
    UsageError
        If they do not fall, there are fewer than two, or another than the last is not > 0.
    """
    try:
        values = np.array(np.asarray(levels), dtype=np.float64)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) < 0).all():
        raise UsageError(f"{levels!r} are no levels to sample by: give at least two noise levels, falling.")
    check_sigmas(values[:-1])
    if values[-1] != 0:
        check_sigmas(values[-1:])
    return values
