"""Teleportation: the first steps of another sampler, replaced by the closed form of the law's Gaussian part."""

from dataclasses import replace
from typing import ClassVar, TypeVar

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from gahb_bench.core import registry
from gahb_bench.core import spec as specs
from gahb_bench.core.errors import UsageError
from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.sampler import Evaluate, Sampler, Start

T = TypeVar("T", bound="Teleport")


class Teleport(Sampler):
    """Another sampler whose levels above ``sigma`` are skipped: the probability flow of a Gaussian leads there.

        a_k <- sqrt((lambda_k + s^2) / (lambda_k + sigma_0^2)) a_k,   from the first level sigma_0 to s,

    the highest level that is at most ``sigma``; lambda and a are the variances and coefficients in the modes of the
    Gaussian of the law's mean and covariance. Where noise drowns the law, its score is nearly that of this Gaussian,
    and for a Gaussian law nothing is lost. The skipped levels cost no evaluation.

    Where mean and covariance are not known in closed form, they are those of ``n`` images of split ``train``, the
    covariance shrunk as in ``wiener-data:stationary=false``.

    References
    ----------
    B. Wang, J. J. Vastola, "The unreasonable effectiveness of Gaussian score approximation for diffusion models and its
    applications", TMLR 2024, arXiv:2412.09726 (analytical teleportation).
    """

    name: ClassVar = "teleport"
    source: ClassVar = "Wang & Vastola 2024, arXiv:2412.09726"

    of: str = Field("heun", description="spec of the sampler that goes on, in parentheses if it has parameters")
    sigma: float = Field(1.0, gt=0, le=1e6, description="noise level down to which the Gaussian leads")
    n: int = Field(2000, ge=2, le=1_000_000, description="training images, where the covariance must be estimated")
    _inner: Sampler = PrivateAttr()
    _gaussian: Gaussian | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _make_inner(self: T) -> T:
        try:
            self._inner = registry.make("samplers", self.of)
        except UsageError as error:
            raise ValueError(f"{specs.format_spec('', {'of': self.of})[1:]} is not allowed: {error}") from None
        if self._inner.adaptive or isinstance(self._inner, Teleport):
            raise ValueError(f"of={self.of} is not allowed: give a sampler that goes by levels, like heun")
        object.__setattr__(self, "of", self._inner.spec)  # canonical; the model is frozen
        return self

    @property
    def order(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the sampler that goes on."""
        return self._inner.order

    @property
    def linear(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the sampler that goes on is."""
        return self._inner.linear

    def given(self: T, gaussian: Gaussian) -> T:
        """The same, given the Gaussian of a law's mean and covariance."""
        bound = self.model_copy()
        bound._gaussian = gaussian
        return bound

    def evaluations(self, levels: FloatArray) -> int:
        return self._inner.evaluations(self._below(levels))

    def run(self, evaluate: Evaluate, start: Start, levels: FloatArray) -> Images:
        if self._gaussian is None:
            raise UsageError(f"{self.spec} needs the mean and covariance of a law: name its family.")
        below = self._below(levels)
        y = self._gaussian.flow(start.images, float(levels[0]), float(below[0])).to(start.images)
        return self._inner.run(evaluate, replace(start, images=y), below)

    def _below(self, levels: FloatArray) -> FloatArray:
        below = levels[levels <= self.sigma]
        if len(below) < 2:
            raise UsageError(
                f"{self.spec} leaves no step to {self._inner.spec}: give sigma above the last but one level, "
                f"{np.sort(levels)[1]:g}."
            )
        return below
