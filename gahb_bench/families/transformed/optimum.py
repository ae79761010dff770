"""What is best for a transformed law: the inner optimum, conjugated by the map."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import spec as specs
from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation, VarianceParts
from gahb_bench.core.posterior import PosteriorMean, posterior_mean
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.transformed.law import Transformed
from gahb_bench.families.transformed.oracles import Inner, Mmse, oracle_class


class TransformedOptimum(Optimum[Transformed]):
    """The inner optimum, conjugated by the map; everything that is known of it is delegated.

    Its oracles are `mmse` where the inner law has an exact one, and `inner` for any other oracle that knows the law.

    White Gaussian noise has the same law in every orthonormal basis, so no risk, exponent or information per image of
    the inner law changes.
    """

    def __init__(self, family: Transformed) -> None:
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
        known = [spec for spec in inner.optimum.defaults() if oracle_class(inner, spec).knows == "law"]
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
