"""Laws made of another law by an orthogonal map: all that is known of the inner law is known of them."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, model_validator
from torch import Tensor

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Denoiser, Differentiation, Facts
from gahb_bench.core.digest import join_digests
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import Directions, FloatArray, Images, Knows, PerImage
from gahb_bench.core.memory import cached
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation, VarianceParts
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean, posterior_mean
from gahb_bench.core.statistics import Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.calpha.law import Calpha

D = TypeVar("D", bound=Denoiser)
T = TypeVar("T", bound="Transformed")


class TransformedOptimum(Optimum["Transformed"]):
    """The inner optimum, conjugated by the map; everything that is known of it is delegated.

    Its oracles are `mmse` where the inner law has an exact one, and `inner` for any other oracle that knows the law.

    White Gaussian noise has the same law in every orthonormal basis, so no risk, exponent or information per image of
    the inner law changes.
    """

    def __init__(self, family: "Transformed") -> None:
        super().__init__(family)
        inner = family.inner.optimum
        exact = inner.oracle("mmse")
        self.oracles = (Mmse, Inner) if exact is not None and issubclass(exact, PosteriorMean) else (Inner,)
        inner_too = tuple(self._here(name) for name in inner.attained_by)
        self.attained_by = (*inner_too, Inner.name) if "mmse" in inner_too else inner_too

    def reference(self, sigmas: FloatArray) -> Reference:
        inner = self.family.inner
        known = inner.optimum.reference(sigmas)
        return replace(known, note=f"That of {inner.spec}, as {self.family.reason}. {known.note}")

    def defaults(self) -> list[str]:
        """The inner law's default `mmse`; where there is none, its default oracles that know the law."""
        inner = self.family.inner
        known = [spec for spec in inner.optimum.defaults() if _oracle_class(inner, spec).knows == "law"]
        return ["mmse"] if "mmse" in known else [self._here(spec) for spec in known]

    def information(self, sigmas: FloatArray) -> FloatArray | None:
        inner = self.family.inner.optimum.information(sigmas)
        return None if inner is None else self.family.copies * inner

    def gaussian(self) -> Gaussian | None:
        """The inner one, its modes carried along by the map."""
        inner, law = self.family.inner.optimum.gaussian(), self.family
        if inner is None:
            return None

        def analyse(y: Images) -> Images:
            return inner.analyse(law.inverse(y)).reshape(y.shape)

        def synthesise(a: Images) -> Images:
            return law.forward(inner.synthesise(a.reshape(-1, *law.inner.shape)))

        variances = inner.variances.expand(law.copies, *law.inner.shape).reshape(law.shape)
        return Gaussian(variances, analyse, synthesise, inner.exact)

    @property
    def samples(self) -> VarianceParts | None:
        inner, law = self.family.inner.optimum.samples, self.family
        if inner is None:
            return None

        def sampled(y: Images, sigma: Tensor) -> Tensor:
            return inner.sampled(law.inverse(y), sigma.repeat_interleave(law.copies)).reshape(len(y), -1)

        return VarianceParts(sampled, inner.known)

    @property
    def simulation(self) -> Simulation | None:
        return self.family.inner.optimum.simulation

    def checks(self) -> list[Check]:
        """The conjugated Wiener filter against dense matrices of tiny images (identity 6).

        The covariance of the images is built from the forward map of single inner pixels and the inner covariance's
        definition; nothing is inverted but the dense matrix, and no transform is used. This shows the map to be right,
        for any inner law; there is no check where this law has no posterior mean.
        """
        if posterior_mean(self.family) is None:
            return []
        tiny = self.family.with_inner("calpha:size=8")
        units = torch.eye(64 * tiny.copies, dtype=torch.float64).reshape(-1, tiny.copies, 1, 8, 8).flatten(0, 1)
        zero = tiny.forward(torch.zeros(tiny.copies, 1, 8, 8, dtype=torch.float64))
        linear = (tiny.forward(units) - zero).flatten(1).numpy()  # a row an inner pixel
        mean = tiny.forward(torch.full((tiny.copies, 1, 8, 8), 0.5, dtype=torch.float64)).flatten().numpy()
        place = np.stack(np.divmod(np.arange(64), 8), axis=-1)
        phase = 2 * np.pi / 8 * np.einsum("fi,pqi->fpq", place, place[:, None] - place[None, :])
        inner = np.einsum("f,fpq->pq", Calpha.from_parameters({"size": 8}).spectrum.ravel(), np.cos(phase)) / 64
        covariance = linear.T @ np.kron(np.eye(tiny.copies), inner) @ linear
        batch = tiny.sample(range(4), split="val")
        checks = []
        for sigma in (0.01, 0.3):
            y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
            gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(len(covariance)))
            dense = mean + (y.flatten(1).numpy() - mean) @ gain.T
            found = Mmse().bind(tiny)(y, sigma).flatten(1).numpy()
            error = float(np.abs(found - dense).max())
            name = f"6  mean = dense linear algebra, {tiny.spec}, sigma={sigma:g}"
            checks.append(Check(name, error, 1e-10, routes=("conjugation by the map", "dense linear algebra")))
        return checks

    def _here(self, spec: str) -> str:
        """What an oracle of the inner law is called as an oracle of this one; `inner` of `mmse` is `mmse` too."""
        return "mmse" if spec == "mmse" else specs.format_spec("inner", {"oracle": spec})


class TransformedStatistics(SampleStatistics["Transformed"]):
    """The inner law's own statistics, of the inner images: white noise through the map is white noise."""

    def describe(self, seen: Seen) -> Described:
        inverse = self.family.inverse
        return self.family.inner.sample_statistics.describe(
            Seen(inverse(seen.clean), inverse(seen.noisy), seen.tolerance)
        )

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        copies = self.family.copies
        inner = TwoSamples(copies * tests.samples, copies * tests.exact, tests.seed)
        return self.family.inner.sample_statistics.compare(samples, exact, inner)


class Transformed(Family):
    """Images made of images of another law by a fixed orthogonal map (and a constant).

        x = forward(x_1, ..., x_m),   x_i independent images of the inner law,   y = x + sigma z

    A subclass states the map and its inverse, how many inner images make one (``copies``), and the reason why nothing
    changes, for the note of the reference. The optimum follows: see `TransformedOptimum`.
    """

    best: ClassVar = TransformedOptimum
    statistics: ClassVar = TransformedStatistics
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
    return _oracle_class(law, spec).from_parameters(dict(specs.parse(spec).parameters)).bind(law)


def _oracle_class(law: Family, spec: str) -> type[Any]:
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
