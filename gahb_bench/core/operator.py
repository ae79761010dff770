"""What every linear operator of an inverse problem offers, ``y = A x + sigma z``, and what a measurement holds."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images, PerImage, per_image_sigma, per_pixel
from gahb_bench.core.plugin import Plugin

Shape = tuple[int, int, int]
Measured = Float[Tensor, "n c k l"]  # what is measured of images, of another size or not


class Operator(Plugin):
    """A linear map A of images, fixed: a subclass states its parameters, what it does and how it is solved.

    Images ``x`` are ``(n, c, h, w)``, what is measured of them, ``r``, is ``(n, c, h', w')``, on any device and of any
    floating-point type, which is kept; all four maps are differentiable. What is not measured of an array of that
    shape (a hidden pixel) is zero there, and `restrict` makes it so.
    """

    kind: ClassVar = "operators"

    @abstractmethod
    def apply(self, x: Images) -> Measured:
        """``A x``."""

    @abstractmethod
    def adjoint(self, r: Measured) -> Images:
        """``A' r``: ``<A x, r> = <x, A' r>``."""

    @abstractmethod
    def pseudoinverse(self, r: Measured) -> Images:
        """``A^+ r``, the least image among those for which ``|A x - r|`` is least."""

    @abstractmethod
    def solve(self, r: Measured, noise_variance: float | Tensor, prior_variance: float | Tensor) -> Measured:
        """``(prior_variance A A' + noise_variance I)^{-1} r``, each variance one number > 0 or one an image, ``(n,)``.

        On what is measured: the rest of ``r`` is taken for zero, and so it stays.
        """

    def check_shape(self, shape: Shape) -> None:
        """Refuse images ``(c, h, w)`` that it cannot be applied to.

        Raises
        ------
        UsageError
        """
        del shape

    def measured_shape(self, shape: Shape) -> Shape:
        """Shape ``(c, h', w')`` of what is measured of an image ``(c, h, w)``."""
        return shape

    def restrict(self, r: Measured) -> Measured:
        """``A A^+ r`` where A hides a part altogether: the orthogonal projection on what is measured."""
        return r

    def count(self, shape: Shape) -> Tensor:
        """How many numbers are measured of an image, int64 ``(1,)``, or ``(n,)`` where that differs between images."""
        c, h, w = self.measured_shape(shape)
        return torch.tensor([c * h * w])

    def transfer(self, like: Images) -> Tensor | None:
        """Its real transfer function ``(h, w)``, in the order of ``fft2``, if it is diagonal in Fourier; else None."""
        del like
        return None

    def mask(self, like: Images) -> Tensor | None:
        """Which pixels it measures, ``(1 or n, c, h, w)`` of ones and zeros, where it does no more; else None."""
        del like
        return None

    def select(self, positions: list[int]) -> "Operator":
        """The same for some of the images; another object only where it differs between images."""
        del positions
        return self


@dataclass(frozen=True)
class Measurement:
    """What was measured of ``n`` images: ``y = A x + sigma z``.

    y : ``(n, c, h', w')``; zero where nothing was measured, so that a mask's has the shape of the images
    sigma : standard deviation of the noise, image units, float64 ``(n,)``
    operator : A
    shape : ``(c, h, w)`` of the images
    indices : numbers of the images, on which the samples of a posterior depend, and on nothing else of the batch
    """

    y: Measured
    sigma: PerImage
    operator: Operator
    shape: Shape
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.y)

    @property
    def mask(self) -> Tensor | None:
        """Which pixels were measured, ``(1 or n, c, h, w)`` of ones and zeros; None unless the operator is a mask."""
        return self.operator.mask(self.y)

    def select(self, positions: list[int] | range) -> "Measurement":
        """That of the images at these positions (0-based, within this measurement)."""
        chosen = list(positions)
        indices = tuple(self.indices[position] for position in chosen)
        return Measurement(self.y[chosen], self.sigma[chosen], self.operator.select(chosen), self.shape, indices)

    def to(self, kind: str | torch.device | torch.dtype) -> "Measurement":
        """The same on another device, or with y of another floating-point type."""
        y = self.y.to(kind)
        return replace(self, y=y, sigma=self.sigma.to(y.device))


def variances(values: float | Tensor, like: Measured) -> Tensor:
    """One variance, or one an image, so that it multiplies images like these.

    Raises
    ------
    UsageError
        If one is not positive and finite, or their number is not that of the images.
    """
    return per_pixel(per_image_sigma(values, like), like)


def refuse_shape(operator: Operator, shape: Shape, reason: str) -> UsageError:
    """The error for images that an operator cannot be applied to."""
    return UsageError(f"{operator.spec} cannot measure images of shape {shape}: {reason}.")
