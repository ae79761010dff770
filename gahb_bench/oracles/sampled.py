"""The MMSE as a mean posterior variance: the reference of laws whose optimum is exact but has no closed-form risk."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from gahb_bench import catalog
from gahb_bench.data import data_file
from gahb_bench.families.base import Family
from gahb_bench.noise import scale_noise, unit_noise
from gahb_bench.types import FloatArray, Images

Variances = Callable[[Images, Tensor], Tensor]
"""Posterior variances of any pixels or blocks of pixels, ``(n, anything)``, whose mean is the posterior variance."""

SEED = 2_147_483_647  # images of split "val" that nothing else uses
_STEP = 0.05  # of log sigma, for the slope


@dataclass(frozen=True)
class Sampled:
    """Mean posterior variance at each noise level, its standard error, its slope, and how many variances carry it.

    ``effective`` is ``(sum v)^2 / sum v^2`` over all variances v: a mean carried by a few has an unreliable error.
    """

    mse: FloatArray
    standard_error: FloatArray
    exponent: FloatArray
    effective: FloatArray


def mean_posterior_variance(family: Family, sigmas: FloatArray, variances: Variances, images: int) -> Sampled:
    """Mean posterior variance over fixed images with fixed noise (split ``val``, a seed of its own).

        mse(s) = 1/n sum_i Var(x | y_i) per pixel,    exponent = log(mse(s e^h) / mse(s e^-h)) / 2h,   h = 0.05

    The standard error is over images. It is several times below that of a mean squared error, and the slope compares
    the same images and noise. Deterministic; kept in memory; taken from the stored table ``reference/sampled.json``
    where that has this family and noise level (made by the same function with more images).
    """
    rows = []
    for sigma in sigmas:
        row = stored(family.spec, float(sigma))
        rows.append(row if row is not None else _measure(family.spec, float(sigma), variances, images))
    return Sampled(*np.array(rows, dtype=np.float64).reshape(len(sigmas), 4).T)


def stored(spec: str, sigma: float) -> tuple[float, float, float, float] | None:
    """The row of the stored table for a family and noise level: mse, standard error, exponent, effective number."""
    for row in _table().get(spec, {"rows": []})["rows"]:
        if abs(row[0] / sigma - 1) < 1e-9:
            return row[1], row[2], row[3], row[4]
    return None


@cache
def _table() -> dict[str, dict[str, list[list[float]]]]:
    return json.loads(data_file("reference", "sampled.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=4096)
def _measure(spec: str, sigma: float, variances: Variances, images: int) -> tuple[float, float, float, float]:
    batch = catalog.family(spec).sample(range(images), seed=SEED, split="val")
    x, z = batch.images.double(), unit_noise(batch).double()

    def measured(level: float) -> np.ndarray:
        values = variances(scale_noise(x, z, level), torch.full((images,), level, dtype=torch.float64))
        return values.reshape(images, -1).numpy()

    values = measured(sigma)
    each = values.mean(axis=1)
    low, high = (float(measured(sigma * float(np.exp(step))).mean()) for step in (-_STEP, _STEP))
    squares = float((values**2).sum())
    return (
        float(each.mean()),
        float(each.std(ddof=1) / np.sqrt(images)),
        float(np.log(high / low) / (2 * _STEP)) if low > 0 else float("nan"),
        float(values.sum()) ** 2 / squares if squares > 0 else 0.0,
    )
