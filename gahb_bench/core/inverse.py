"""What every method of an inverse problem offers: posterior samples from a denoiser, an operator and a measurement."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.conditional import Streams, normal
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import DenoiserError, UsageError, printable
from gahb_bench.core.images import Images, per_image_sigma, per_pixel
from gahb_bench.core.operator import Measured, Measurement
from gahb_bench.core.plugin import Plugin
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.core.spec import format_spec

W = TypeVar("W", bound="WeightedMethod")

_VALUES_AT_ONCE = 2**20  # pixels that are denoised at once


class Denoise:
    """The denoiser of a method, which counts its evaluations for each of ``n`` images; a derivative counts as one more.

    Noisy images come as ``(k n, c, h, w)``, k for each image. An estimate that is not finite is a `DenoiserError`.
    """

    def __init__(self, denoiser: Denoiser, count: int) -> None:
        self._denoiser, self._count = denoiser, count
        self.evaluations = 0

    def __call__(self, x: Images, sigma: float | Tensor) -> Images:
        """``D(x, sigma)``."""
        levels = per_image_sigma(sigma, x)
        self._counted(x)
        return self._estimate(x, levels)

    def pull(self, x: Images, sigma: float | Tensor, direction: Callable[[Images], Images]) -> tuple[Images, Images]:
        """``x_hat = D(x, sigma)`` and ``J' u``, J its derivative in x and ``u = direction(x_hat)``.

        For an exact posterior mean it is ``Cov(x_0|x) u / sigma^2``, in closed form.

        Raises
        ------
        UsageError
            If it has no derivative from the left.
        DenoiserError
            If it should have one by automatic differentiation, and has not.
        """
        how, levels = self._denoiser.derivative, per_image_sigma(sigma, x)
        if how in ("none", "difference"):
            raise UsageError(
                f"{self._denoiser.spec} has no derivative J' u that this method needs: choose a method that needs none "
                "(diffpir, red-diff, pnp, ensemble), or a network or an exact denoiser."
            )
        self._counted(x)
        self._counted(x)
        if isinstance(self._denoiser, PosteriorMean):
            x_hat = self._estimate(x, levels)
            u = direction(x_hat)
            pulled = [
                self._denoiser.covariance(noisy, level, part)
                for (noisy, level), part in zip(self._parts(x, levels), u.split(self._size(x)), strict=True)
            ]
            return x_hat, torch.cat(pulled) / per_pixel(levels, x) ** 2
        return self._by_autograd(x, levels, direction)

    def _by_autograd(self, x: Images, sigma: Tensor, direction: Callable[[Images], Images]) -> tuple[Images, Images]:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            x_hat = self._denoiser(leaf, sigma)
            if not x_hat.requires_grad:
                raise DenoiserError(
                    f"{self._denoiser.spec} cannot be differentiated automatically: it leaves torch, or detaches."
                )
            u = direction(x_hat.detach())
            try:
                (pulled,) = torch.autograd.grad(x_hat, leaf, u)
            except RuntimeError as error:
                raise DenoiserError(
                    f"{self._denoiser.spec} cannot be differentiated automatically: {printable(error)}"
                ) from error
        self._refuse_lost(x_hat, sigma)
        return x_hat.detach(), pulled

    def _estimate(self, x: Images, levels: Tensor) -> Images:
        found = torch.cat([self._denoiser(*part) for part in self._parts(x, levels)])
        self._refuse_lost(found, levels)
        return found

    def _refuse_lost(self, x_hat: Images, levels: Tensor) -> None:
        """Refuse estimates that are not finite: nothing can go on from there."""
        lost = ~x_hat.isfinite().flatten(1).all(dim=1)
        if bool(lost.any()):
            reason = self._denoiser.facts.nan_reason
            raise DenoiserError(
                f"{self._denoiser.spec} gives no finite estimate of {int(lost.sum())} of the {len(x_hat)} noisy images "
                f"that it was asked for, at sigma={float(levels[lost][0]):.3g}" + (f": {reason}." if reason else ".")
            )

    def _counted(self, x: Images) -> None:
        self.evaluations += len(x) // max(self._count, 1)

    def _size(self, x: Images) -> int:
        return max(1, _VALUES_AT_ONCE // max(x[0].numel(), 1)) if len(x) else 1

    def _parts(self, x: Images, sigma: Tensor) -> list[tuple[Images, Tensor]]:
        size = self._size(x)
        return list(zip(x.split(size), sigma.split(size), strict=True))


@dataclass(frozen=True)
class Task:
    """What is to be found: images given a measurement, by falling noise levels.

    measured : what was measured of n images
    levels : of so many steps, the noise levels, falling, the last 0
    centre, spread : of images of which nothing is known, 1/2 and 1/2 where they lie in [0, 1]
    streams : random numbers, one stream for each of the n images
    """

    measured: Measurement
    levels: Callable[[int], list[float]]
    centre: float
    spread: float
    streams: Streams = field(repr=False)

    @property
    def sigma(self) -> Tensor:
        """Standard deviation of the measurement's noise, ``(n,)``."""
        return self.measured.sigma

    def misfit(self, x: Images) -> Measured:
        """``y - A x`` on what was measured."""
        return self.measured.operator.restrict(self.measured.y - self.measured.operator.apply(x))

    def proximal(self, x: Images, variance: float | Tensor) -> Images:
        """``argmin_z |y - A z|^2 / s^2 + |z - x|^2 / variance``, s the noise of the measurement.

        The mean of a Gaussian prior ``N(x, variance I)`` given the measurement.
        """
        operator = self.measured.operator
        weighed = operator.solve(self.misfit(x), self.sigma**2, variance)
        return x + per_pixel(per_image_sigma(variance, x), x) * operator.adjoint(weighed)

    def uncertainty(self, sigma: float) -> float:
        """Posterior variance of a pixel given it with noise, were it ``N(centre, spread^2)``."""
        return sigma**2 * self.spread**2 / (sigma**2 + self.spread**2)

    def noise(self, like: Images) -> Images:
        """White noise of unit variance, the next of each image's stream."""
        return normal(1, self.streams, tuple(like.shape[1:]), like)[0]

    def guess(self) -> Images:
        """Where a method that makes an estimate begins: the mean, given y, of images ``N(centre, spread^2 I)``.

        It is a pseudoinverse of A that stays in the range of images, where A^+ y is noise without bound, as after a
        blur.
        """
        y = self.measured.y
        return self.proximal(y.new_full((len(y), *self.measured.shape), self.centre), self.spread**2)

    def start(self, sigma: float) -> Images:
        """``centre + sigma z``."""
        y = self.measured.y
        return self.centre + sigma * self.noise(y.new_empty(len(y), *self.measured.shape))


class PosteriorMethod(Plugin):
    """A way from a denoiser to samples of images given a measurement. A subclass states its parameters and `draw`.

    point : whether it makes one estimate of each image, which is no sample
    independent : whether the samples of an image are independent of each other
    """

    kind: ClassVar = "posteriors"
    point: ClassVar[bool] = False
    independent: ClassVar[bool] = True

    @abstractmethod
    def draw(self, denoise: Denoise, task: Callable[[int], Task], k: int) -> Tensor:
        """Draw k samples of each image, ``(k, n, c, h, w)``.

        ``task(r)`` is the task with every image r times, the images in their order and then again, each with a stream
        of its own.
        """


class ChainMethod(PosteriorMethod):
    """A method whose samples are independent runs: a subclass states `run`."""

    @abstractmethod
    def run(self, denoise: Denoise, task: Task) -> Images:
        """One sample of each image of the task, ``(n, c, h, w)``; no gradient is kept."""

    def draw(self, denoise: Denoise, task: Callable[[int], Task], k: int) -> Tensor:
        return self.run(denoise, task(k)).unflatten(0, (k, -1))


class WeightedMethod(ChainMethod):
    """A chain method with a weight, of its guidance or of its denoiser, that is tuned for each problem.

    The weight in use is, in this order: the one given by hand (> 0); the one that was tuned on split ``val``
    (`gahb_bench.sampling.weights`); the published one. A subclass states ``published`` and may describe ``weight``.
    """

    published: ClassVar[float]
    weight: float = Field(0.0, ge=0, le=1e6, description="by hand; 0 for the tuned one, or the published one")

    @property
    def setting(self) -> float:
        """The weight that is used: of `settled` methods it is given."""
        return self.weight or self.published

    @property
    def unweighted_spec(self) -> str:
        """Canonical spec with the weight left out."""
        return format_spec(self.name, {key: value for key, value in self.changed.items() if key != "weight"})

    def weighted(self: W, weight: float) -> W:
        """The same method with a weight, of three digits."""
        return self.model_copy(update={"weight": float(f"{weight:.3g}")})


def repeated(
    measured: Measurement,
    levels: Callable[[int], list[float]],
    centre: float,
    spread: float,
    seed: int,
    family: str,
) -> Callable[[int], Task]:
    """The tasks of a measurement; the stream of run r of an image depends on seed, r and the image's number alone."""

    def task(count: int) -> Task:
        streams: Streams = []
        for number in range(count):
            streams += rng.generators("posterior sampling", family, seed, number, indices=measured.indices)
        positions = list(range(len(measured))) * count
        return Task(measured.select(positions), levels, centre, spread, streams)

    return task


def lowered(
    x: Images, x_hat: Images, sigma: float, lower: float, churn: float, noise: Callable[[Images], Images]
) -> Images:
    """Noisy images carried from ``sigma`` to ``lower`` towards an estimate of the clean ones.

        x_hat + sqrt(lower^2 - c^2) (x - x_hat) / sigma + c z,   c = churn lower sqrt(1 - lower^2 / sigma^2)

    ``churn=0`` is Euler's step of the probability flow (DDIM), ``churn=1`` the ancestral step (DDPM).

    References
    ----------
    J. Song, C. Meng, S. Ermon, ICLR 2021, arXiv:2010.02502, equations 12 and 16.
    """
    c = churn * lower * (1 - lower**2 / sigma**2) ** 0.5
    moved = x_hat + (lower**2 - c**2) ** 0.5 / sigma * (x - x_hat)
    return moved + c * noise(x) if c > 0 else moved
