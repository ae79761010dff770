"""What is best for shuffled images: the inner family's oracles, conjugated by the permutation."""

from dataclasses import replace
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field
from torch import Tensor

from gahb_bench import catalog
from gahb_bench.denoisers.base import Denoiser
from gahb_bench.errors import UsageError
from gahb_bench.families.base import Family
from gahb_bench.families.shuffled import Shuffled
from gahb_bench.noise import scale_noise, unit_noise
from gahb_bench.oracles.base import PosteriorMean
from gahb_bench.types import Check, FloatArray, Images, Knows, PerImage, Posterior, Reference

D = TypeVar("D", bound=Denoiser)


def reference(family: Shuffled, sigmas: FloatArray) -> Reference:
    """The reference of the inner family: white noise is the same in any order of the pixels, so no risk changes."""
    inner = family.inner.reference(sigmas)
    return replace(inner, note=f"That of {family.inner.spec}, as a permutation changes no risk. {inner.note}")


def defaults(family: Shuffled) -> list[str]:
    """The inner family's `mmse`, conjugated; where there is none, its default oracles that know the law."""
    module = catalog.oracle_module(family.inner.name)
    specs = module.defaults(family.inner) if module else []
    known = [spec for spec in specs if catalog.denoiser(spec, family.inner).knows == "law"]
    return ["mmse"] if "mmse" in known else [Inner.from_parameters({"oracle": spec}).spec for spec in known]


def independent_route(family: Shuffled) -> list[Check]:
    """The conjugated Wiener filter against dense matrices of 8 x 8 shuffled images (identity 6).

    The covariance of the shuffled pixels, ``C(p, q) = N^-2 sum_k lambda_k cos(2 pi k (pi(p) - pi(q)) / N)``, is built
    for this permutation entry by entry; nothing is transformed or unshuffled.
    """
    tiny = Shuffled.from_parameters({"of": "calpha:size=8", "key": family.key})
    place = np.stack(np.divmod(tiny.permutation, 8), axis=-1)
    k = np.stack(np.divmod(np.arange(64), 8), axis=-1)
    phase = 2 * np.pi / 8 * np.einsum("fi,pqi->fpq", k, place[:, None] - place[None, :])
    covariance = np.einsum("f,fpq->pq", tiny.inner.spectrum.ravel(), np.cos(phase)) / 64  # pyright: ignore[reportAttributeAccessIssue]
    batch = tiny.sample(range(4), split="val")
    checks = []
    for sigma in (0.01, 0.3):
        y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
        gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(64))
        dense = 0.5 + (y.reshape(4, 64).numpy() - 0.5) @ gain.T
        found = Mmse.from_parameters({}).bind(tiny)(y, sigma).reshape(4, 64).numpy()
        checks.append(
            Check(f"6  mean = dense linear algebra, {tiny.spec}, sigma={sigma:g}", abs(found - dense).max(), 1e-10)
        )
    return checks


class Inner(Denoiser):
    """An oracle of the inner family that knows the law, conjugated by the permutation.

        x_hat = pi( D( pi^-1(y), sigma ) )

    Optimality
    ----------
    Knows the law: the inner law and the permutation. As good here as the inner oracle is there, image by image.

    References
    ----------
    Elementary: white Gaussian noise is invariant under permutations.
    """

    name: ClassVar = "inner"
    knows: ClassVar[Knows] = "law"
    source: ClassVar = "definition"

    oracle: str = Field("mmse", description="spec of an oracle of the inner family that knows the law")

    def bind(self: D, family: Family) -> D:
        _inner_oracle(family, str(self.parameters["oracle"]))  # refuses what the inner family has not
        return super().bind(family)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        law = _shuffled(self.family)
        return law.shuffle(_inner_oracle(law, self.oracle)(law.unshuffle(y), sigma))


class Mmse(PosteriorMean):
    """Exact posterior mean of shuffled images: that of the inner family, conjugated by the permutation.

        x_hat = pi( E[x | pi^-1(y)] )

    Optimality
    ----------
    Knows the law: the inner law and the permutation. Its MSE is the MMSE, the same as that of the inner family.
    Error: that of the inner oracle. Exists where the inner family has an `mmse`.

    References
    ----------
    Elementary: white Gaussian noise is invariant under permutations.
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"
    source: ClassVar = "definition"

    def bind(self: D, family: Family) -> D:
        _inner_mean(family)  # refuses an inner family without one
        return super().bind(family)

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        law = _shuffled(self.family)
        inner = _inner_mean(law).moments(law.unshuffle(y), sigma)
        return Posterior(law.shuffle(inner.mean), inner.variance)

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        law = _shuffled(self.family)
        return _inner_mean(law).variance_along(law.unshuffle(y), sigma, law.unshuffle(v))


def _inner_oracle(family: object, spec: str) -> Denoiser:
    inner = catalog.denoiser(spec, _shuffled(family).inner)
    if inner.knows != "law":
        raise UsageError(
            f"oracle={spec} is not allowed: it knows the {inner.knows}; give an oracle that knows the law, like mmse."
        )
    return inner


def _inner_mean(family: object) -> PosteriorMean:
    inner = _inner_oracle(family, "mmse")
    if not isinstance(inner, PosteriorMean):
        raise UsageError(f"{family}: no exact posterior mean of the inner family is known.")
    return inner


def _shuffled(family: object) -> Shuffled:
    if not isinstance(family, Shuffled):
        raise UsageError(f"this is an oracle of 'shuffled', not of {family}.")
    return family
