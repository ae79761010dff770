"""The MMSE as a mean posterior variance: the reference of laws whose optimum is exact but has no closed-form risk."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.family import Family
from gahb_bench.core.files import data_file
from gahb_bench.core.images import FloatArray
from gahb_bench.core.memory import remembered

SEED = 2_147_483_647  # images of split "val" that nothing else uses
_STEP = 0.05  # of log sigma, for the slope


@dataclass(frozen=True)
class Sampled:
    """Mean posterior variance at each noise level, its standard error, its slope, and how many variances carry it.

    ``effective`` is ``(sum v)^2 / sum v^2`` over the sampled variances v: a mean carried by few has a false error.
    """

    mse: FloatArray
    standard_error: FloatArray
    exponent: FloatArray
    effective: FloatArray


def mean_posterior_variance(family: Family, sigmas: FloatArray, images: Sequence[int]) -> Sampled:
    """Mean posterior variance over fixed images with fixed noise (split ``val``, a seed of its own).

        mse(s) = known(s) + 1/n sum_i sampled(y_i, s),    exponent = log(mse(s e^h) / mse(s e^-h)) / 2h,   h = 0.05

    The variances are the optimum's `samples`. The standard error is over images. It is several times below that of a
    mean squared error, and the slope compares the same images and noise. Deterministic; kept in memory; or taken from
    the stored table ``reference/sampled.json`` where that has this family and noise level (made by the same function
    with more images).
    """
    rows = []
    for sigma, count in zip(sigmas, images, strict=True):
        row = stored(family.spec, float(sigma))
        rows.append(row if row is not None else measure(family, float(sigma), count))
    return Sampled(*np.array(rows, dtype=np.float64).reshape(len(sigmas), 4).T)


def stored(spec: str, sigma: float) -> tuple[float, float, float, float] | None:
    """The row of the stored table for a family and noise level: mse, standard error, exponent, effective number."""
    for row in _table().get(spec, []):
        if abs(row["sigma"] / sigma - 1) < 1e-9:
            exponent = math.nan if row["exponent"] is None else row["exponent"]
            return row["mse"], row["standard_error"], exponent, row["effective"]
    return None


@cache
def _table() -> dict[str, list[dict[str, float]]]:
    return json.loads(data_file("reference", "sampled.json").read_text(encoding="utf-8"))


@remembered(4096)
def measure(family: Family, sigma: float, images: int) -> tuple[float, float, float, float]:
    """One row: mse, standard error, exponent and effective number."""
    parts = family.optimum.samples
    assert parts is not None, f"{family.spec} has no posterior variances to sample"
    batch = family.sample(range(images), seed=SEED, split="val")
    x, z = batch.images.double(), unit_noise(batch).double()

    def measured(level: float) -> np.ndarray:
        values = parts.sampled(scale_noise(x, z, level), torch.full((images,), level, dtype=torch.float64))
        return values.reshape(images, -1).numpy()

    def total(level: float) -> float:
        return parts.known(level) + float(measured(level).mean())

    values = measured(sigma)
    each = values.mean(axis=1)
    low, high = total(sigma * math.exp(-_STEP)), total(sigma * math.exp(_STEP))
    squares = float((values**2).sum())
    return (
        parts.known(sigma) + float(each.mean()),
        float(each.std(ddof=1) / np.sqrt(images)),
        math.log(high / low) / (2 * _STEP) if low > 0 else math.nan,
        float(values.sum()) ** 2 / squares if squares > 0 else 0.0,
    )
