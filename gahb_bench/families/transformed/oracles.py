"""Oracles of transformed laws: those of the inner law, conjugated by the map."""

from typing import Any, ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Denoiser, Differentiation, Facts
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Directions, Images, Knows, PerImage
from gahb_bench.core.memory import cached
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.families.transformed.law import Transformed

D = TypeVar("D", bound=Denoiser)


class Mmse(PosteriorMean, OracleOf[Transformed]):
    """Exact posterior mean: that of the inner law, conjugated by the map.

        x_hat = forward( E[x_i | inverse(y)] )

    There is nothing to draw beside it (`inferred` is None): outlines and pixels of the inner images, which the inner
    oracle infers, are not those of these images.

    Optimality
    ----------
    Knows the law: the inner law and the map. Its MSE is the MMSE, the same as that of the inner law. Error: that of
    the inner oracle. Exists where the inner law has an exact `mmse`.

    References
    ----------
    Elementary: white Gaussian noise is invariant under orthogonal maps.
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"
    source: ClassVar = "definition"

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        bound.inner  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]  refuses an inner law without one
        return bound

    @property
    def inner(self) -> PosteriorMean:
        """The posterior mean of the inner law."""
        made = _oracle(self.law.inner, "mmse")
        if not isinstance(made, PosteriorMean):
            raise UsageError(f"{self.law.spec}: no exact posterior mean of the inner family is known.")
        return made

    @property
    def accuracy(self) -> float:
        """That of the inner oracle."""
        return self.inner.accuracy

    @property
    def smooth(self) -> bool:
        """As the inner oracle is."""
        return self.inner.smooth

    @property
    def own_facts(self) -> Facts:
        return self.inner.facts

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        law = self.law
        inner = self.inner.moments(law.inverse(y), sigma.repeat_interleave(law.copies))
        return Posterior(law.forward(inner.mean), inner.variance.reshape(-1, law.copies).mean(dim=1))

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """That of the inner images together: an orthogonal map changes no volume."""
        law = self.law
        inner = self.inner.evidence(law.inverse(y), sigma.repeat_interleave(law.copies))
        return inner.reshape(-1, law.copies).sum(dim=1)

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        law, (n, k) = self.law, v.shape[:2]
        flat = v.flatten(0, 1)
        inner = (law.inverse(flat) - law.inverse(torch.zeros_like(flat))).unflatten(0, (n, k, law.copies))
        inner = inner.transpose(1, 2).flatten(0, 1)  # an inner image after the other: (n copies, k, c, h, w)
        levels = sigma.repeat_interleave(law.copies)
        product = self.inner.apply_covariance(law.inverse(y), levels, inner)
        product = product.unflatten(0, (n, law.copies)).transpose(1, 2).flatten(0, 2)
        return (law.forward(product) - law.forward(torch.zeros_like(product))).reshape(v.shape)


class Inner(Denoiser, OracleOf[Transformed]):
    """An oracle of the inner law, conjugated by the map.

        x_hat = forward( D(inverse(y), sigma) ),   D the inner oracle

    Optimality
    ----------
    That of the inner oracle, which must know the law: one that knows the image would have to be given the inner one.
    Of the inner `mmse` it is this law's `mmse`, and attains the reference as that does.
    """

    name: ClassVar = "inner"
    looks: ClassVar = {"": ("ink", "square")}
    knows: ClassVar[Knows] = "law"
    source: ClassVar = "definition"

    oracle: str = Field("mmse", description="spec of an oracle of the inner family that knows the law")

    def bind(self: D, family: Family) -> D:
        bound = super().bind(family)
        bound.inner  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]  refuses what the inner law has not
        return bound

    @property
    def inner(self) -> Denoiser:
        """The oracle of the inner law."""
        made = _oracle(self.law.inner, self.oracle)
        if made.knows != "law":
            raise UsageError(
                f"oracle={self.oracle} is not allowed: it knows the {made.knows}; give an oracle that knows the law, "
                "like mmse."
            )
        return made

    @property
    def own_facts(self) -> Facts:
        return self.inner.facts

    @property
    def derivative(self) -> Differentiation:
        """As the inner oracle's, which can only be differentiated through the map."""
        return "autograd" if self.inner.derivative == "exact" else self.inner.derivative

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        law = self.law
        return law.forward(self.inner(law.inverse(y), sigma.repeat_interleave(law.copies)))


@cached(16)
def _oracle(law: Family, spec: str) -> Denoiser:
    """An oracle of a law, made once.

    Raises
    ------
    UsageError
        If the law has no oracle of this name.
    """
    return oracle_class(law, spec).from_parameters(dict(specs.parse(spec).parameters)).bind(law)


def oracle_class(law: Family, spec: str) -> type[Any]:
    """The class of an oracle of a law.

    Raises
    ------
    UsageError
        If the law has no oracle of this name.
    """
    name = specs.parse(spec).name
    found = law.optimum.oracle(name)
    if found is None:
        raise registry.unknown_plugin("oracles", name, [oracle.name for oracle in law.optimum.oracles])
    return found
