"""What every sampler offers: images from a denoiser, by lowering the noise level step by step."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.images import FloatArray, Images, check_sigmas
from gahb_bench.core.plugin import Plugin

_STEEPNESS = 7.0  # rho of Karras et al. 2022: how much more of the steps are at low noise levels


@dataclass(frozen=True)
class Start:
    """Noisy images ``(n, c, h, w)`` to start from, and their address, on which all noise that is added depends."""

    images: Images
    seed: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Sampled:
    """Images ``(n, c, h, w)``, and how often the denoiser was evaluated for each, ``(n,)``."""

    images: Images
    evaluations: Tensor


class Evaluate:
    """The denoiser of a sampler, which counts its evaluations, image by image."""

    def __init__(self, denoiser: Callable[..., Any], count: int) -> None:
        self._denoiser = denoiser
        self.evaluations = torch.zeros(count, dtype=torch.long)

    def __call__(self, y: Images, sigma: float | Tensor, which: Tensor | None = None) -> Images:
        """``D(y, sigma)``, of the images at the positions ``which``; of all where that is None."""
        levels = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).expand(len(y))
        x_hat = self._denoiser(y, levels)
        if x_hat.shape != y.shape:
            raise DenoiserError(f"the denoiser made {tuple(x_hat.shape)} from images {tuple(y.shape)}.")
        self.evaluations[slice(None) if which is None else which.cpu()] += 1
        return x_hat


class Sampler(Plugin):
    """A way from noise to images. A subclass states its parameters, its budget of `evaluations`, and `run`."""

    kind: ClassVar = "samplers"

    @abstractmethod
    def evaluations(self, levels: FloatArray) -> int:
        """How often it evaluates the denoiser for each image, at most; the levels are checked."""

    @abstractmethod
    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        """The images at the last level; everything is checked, and no gradient is kept."""

    def __call__(self, denoiser: Callable[..., Any], start: Start, levels: object) -> Sampled:
        """Sample.

        Parameters
        ----------
        denoiser : Denoiser, network, or callable ``(y, sigma) -> x_hat``, with ``sigma`` of shape (n,)
        start : Start
            Images with noise of the first level.
        levels : sequence of floats
            Noise levels, falling; only the last may be 0.

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
        checked = _check_levels(levels)
        evaluate = Evaluate(denoiser, len(start.images))
        with torch.no_grad():
            images = self.run(evaluate, start, checked)
        return Sampled(images, evaluate.evaluations)


def falling_levels(high: float, low: float, steps: int, *, zero: bool = True) -> FloatArray:
    """Noise levels from ``high`` to ``low`` in so many steps, evenly spaced in the seventh root, as Karras et al. do.

    With ``zero`` the last of the steps is the one from ``low`` to 0.

    Raises
    ------
    UsageError
        Unless high > low > 0 and there is a step between them.
    """
    check_sigmas([high, low])
    between = steps - zero
    if high <= low or between < 1:
        raise UsageError(f"no {steps} steps lead from sigma={high:g} to {low:g}: give high > low, and more steps.")
    levels = np.linspace(high ** (1 / _STEEPNESS), low ** (1 / _STEEPNESS), between + 1) ** _STEEPNESS
    levels[[0, -1]] = high, low
    return np.append(levels, 0.0) if zero else levels


def draw_noise(streams: list[np.random.Generator], like: Images) -> Images:
    """White noise of unit variance, the next of each image's own stream."""
    drawn = np.stack([stream.standard_normal(tuple(like.shape[1:])) for stream in streams])
    return torch.from_numpy(drawn).to(like)


def streams_of(start: Start) -> list[np.random.Generator]:
    """The streams of the noise that a sampler adds, one an image."""
    return list(rng.generators("sampling", start.seed, indices=start.indices))


def _check_levels(levels: object) -> FloatArray:
    values = np.array(levels, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2 or not (np.diff(values) < 0).all():
        raise UsageError(f"{levels!r} are no levels to sample by: give at least two noise levels, falling.")
    check_sigmas(values[:-1])
    if values[-1] != 0:
        check_sigmas(values[-1:])
    return values
