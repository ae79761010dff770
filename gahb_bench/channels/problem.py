"""An inverse problem: images of a law, measured by a linear operator with noise, and their exact posterior."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core import registry
from gahb_bench.core.conditional import Conditional, Conditioned, ExactPosterior
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, per_image_sigma, per_pixel
from gahb_bench.core.operator import Measurement, Operator


@dataclass(frozen=True)
class Problem:
    """Images of a law, of which ``y = A x + sigma z`` is measured.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> family = gb.family("calpha:size=16")
    >>> problem = gb.problem("mask:keep=0.5", family=family)
    >>> measured = problem.measure(family.sample(range(3)), sigma=0.1)
    >>> measured.y.shape, measured.mask.shape
    (torch.Size([3, 1, 16, 16]), torch.Size([1, 1, 16, 16]))
    >>> posterior = problem.exact(measured)
    >>> posterior.mean.shape, posterior.variance.shape, posterior.sample(5, seed=0).shape
    (torch.Size([3, 1, 16, 16]), torch.Size([3]), torch.Size([5, 3, 1, 16, 16]))
    """

    operator: Operator
    family: Family

    def __post_init__(self) -> None:
        self.operator.check_shape(self.family.shape)

    @property
    def spec(self) -> str:
        """The operator's canonical spec."""
        return self.operator.spec

    def measure(self, batch: Batch, sigma: float | Tensor) -> Measurement:
        """What is measured of images: ``y = A x + sigma z``, the noise on what is measured only.

        The noise of an image is the one that `gahb_bench.add_noise` adds to it: it depends on the image's address and
        not on the batch, the level or the operator, so that measurements are paired; more pixels of an image are the
        same numbers and some beside them.

        Parameters
        ----------
        batch : Batch
            Clean images of the family.
        sigma : float or Tensor of shape (n,)
            Standard deviation of the noise in image units, > 0.

        Raises
        ------
        UsageError
            If these are no images of the family's shape, or sigma is not positive and finite.
        """
        if not isinstance(batch, Batch):
            raise UsageError(f"measure takes a Batch, family.sample(...), not {type(batch).__name__}.")
        self.family.check_images(batch.images)
        x = batch.images
        levels = per_image_sigma(sigma, x)
        exact = self.operator.apply(x.double())
        z = unit_noise(batch, self.operator.measured_shape(self.family.shape)).to(exact)
        y = exact + per_pixel(levels, exact) * self.operator.restrict(z)
        return Measurement(y.to(x.dtype), levels, self.operator, self.family.shape, batch.indices)

    def exact(self, measured: Measurement) -> ExactPosterior:
        """The exact posterior of the images: mean, variance, samples, evidence.

        Everything is computed in float64 and returned in the type of ``measured.y``.

        Raises
        ------
        UsageError
            If the law's posterior is not known for this operator (the message says for which pairs it is), or this is
            no measurement of such images.
        """
        law = self.conditional
        self.check(measured)
        if not len(measured):
            nothing = measured.y.new_empty(0, *self.family.shape)
            found = Conditioned(nothing, nothing, measured.sigma, lambda k, _: nothing.expand(k, *nothing.shape))
            return ExactPosterior.of(found, measured, self.family.spec)
        return ExactPosterior.of(law.condition(measured.to(torch.float64)), measured, self.family.spec)

    def check(self, measured: Measurement) -> None:
        """Refuse what was not measured of such images by this operator.

        Raises
        ------
        UsageError
        """
        if not isinstance(measured, Measurement):
            raise UsageError(f"this takes what problem.measure(batch, sigma) returns, not {type(measured).__name__}.")
        shape = self.operator.measured_shape(self.family.shape)
        if measured.shape != self.family.shape or tuple(measured.y.shape[1:]) != shape:
            raise UsageError(
                f"{self.spec} measures {shape} of an image {self.family.shape} of {self.family.spec}, but what is "
                f"given are {tuple(measured.y.shape[1:])} of an image {measured.shape}: measure images of this family."
            )
        if measured.operator.name != self.operator.name:
            raise UsageError(
                f"that was measured by {measured.operator.spec}, and this problem's operator is {self.spec}."
            )
        if not bool(torch.isfinite(measured.y).all()):
            raise UsageError("the measurement holds NaN or infinity: give finite numbers.")

    @cached_property
    def conditional(self) -> Conditional:
        """How the law is conditioned on what this operator measures.

        Raises
        ------
        UsageError
            If that is not known; the message says for which laws and operators it is.
        """
        known = self.family.conditioning
        if known is None or self.operator.name not in known.operators:
            raise UsageError(
                f"the exact posterior of {self.family.spec} given {self.spec} is not known. It is known for {_pairs()}."
            )
        return known


def _pairs() -> str:
    """The laws of the catalogue whose exact posterior is known, and for which operators."""
    found = []
    for entry in registry.importable(registry.entries("families")):
        known = entry.load().stated("conditional")
        if known is not None:
            found.append(f"{entry.name} ({', '.join(known.operators)})")
    return "; ".join(found)
