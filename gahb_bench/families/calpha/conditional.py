"""The exact posterior of ``calpha`` images given any linear measurement."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.conditional import Conditional, Conditioned, Streams, normal
from gahb_bench.core.errors import UsageError
from gahb_bench.core.operator import Measurement
from gahb_bench.families.calpha.law import Calpha
from gahb_bench.families.stationary import fields


class CalphaConditional(Conditional[Calpha]):
    """A Gaussian field: see `gahb_bench.families.stationary`. Error: rounding.

    Masks and `downsample` take a dense factorisation, of the measured numbers' covariance, for each noise level.
    """

    operators: ClassVar = ("mask", "blur", "fourier", "downsample")

    def condition(self, measured: Measurement) -> Conditioned:
        law = self.family
        if law.law != "gaussian":
            raise UsageError(f"{law.spec}: the posterior is not known: only that of law=gaussian is.")
        field = fields(np.full((1, law.size, law.size), law.mean), law.spectrum[None], measured)[0]

        def draw(k: int, streams: Streams) -> Tensor:
            y = measured.y
            white, noise = (
                normal(k, streams, shape, y).flatten(0, 1) for shape in (measured.shape, tuple(y.shape[1:]))
            )
            which = torch.arange(len(y), device=y.device).repeat(k)
            return field.perturb(white, noise, which).unflatten(0, (k, -1))

        return Conditioned(field.mean, field.pixel_variance, field.log_evidence, draw)
