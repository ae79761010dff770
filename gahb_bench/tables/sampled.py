"""The MMSE as a mean posterior variance: the reference of laws whose optimum is exact but has no closed-form risk."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray
from gahb_bench.core.memory import cached
from gahb_bench.core.optimum import Simulation
from gahb_bench.tables import store
from gahb_bench.tables.interpolate import between_levels, covers, stored_curve

RULE = 1  # of `measure`: raised when it changes what it computes
SEED = 2_147_483_647  # images of split "val" that nothing else uses
_SIMULATED = 1024  # images a level of what is made to be kept
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
    the stored levels where these have this family and noise level (made by the same function with more images).
    """
    count = dict(zip(sigmas.tolist(), images, strict=True))
    rows = at_levels(family.spec, sigmas, lambda sigma: measure(family, sigma, count[sigma]), rule=RULE)
    columns = ("mse", "mse_se", "exponent", "effective")
    return Sampled(*(rows[column].to_numpy(dtype=np.float64) for column in columns))


def at_levels(
    family: str, sigmas: FloatArray, measure_level: Callable[[float], pd.DataFrame], *, rule: int, keep: bool = False
) -> pd.DataFrame:
    """A sampled reference, one row a noise level: where stored, from the store; elsewhere measured now.

    Each noise level for itself: from the stored curve of the law where that covers it (see `between_levels`; what is
    not interpolated is that of the nearest level), else as stored at this very level, else measured.

    Parameters
    ----------
    family : str
        Spec of the law under which it is stored.
    measure_level : callable
        From a noise level to its rows, as of `gahb_bench.tables.store.make_rows`; one quantity is ``mse``.
    rule : int
        The version of the rule that ``measure_level`` follows.
    keep : bool
        Whether what is measured is kept in the user's store. Not for laws that a user may edit under one name.

    Returns
    -------
    DataFrame
        Columns ``mse``, ``mse_se``, ``images``, ``exponent`` (NaN where neither a curve nor a measurement gives it),
        and the other quantities.
    """
    curve = stored_curve(family, rule=rule)
    inside = np.zeros(len(sigmas), dtype=bool) if curve is None else covers(curve.index.to_numpy(), sigmas)
    parts = []
    if curve is not None and inside.any():
        parts.append(_between(curve, sigmas[inside]).set_index(np.flatnonzero(inside)))
    for place in np.flatnonzero(~inside):
        level = float(sigmas[place])
        rows = _stored_level(family, level, rule)
        if rows is None:
            rows = measure_level(level)
            if keep:
                store.keep("levels", rows)
        parts.append(store.by_level(rows).set_index(np.array([place])))
    table = pd.concat(parts).sort_index()
    return table if "exponent" in table else table.assign(exponent=np.nan)


@cached(4096)
def measure(family: Family, sigma: float, images: int) -> pd.DataFrame:
    """The rows of one noise level: mse with its standard error, exponent and effective number."""
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
    squares = float((values**2).sum())
    quantities = {
        "mse": (parts.known(sigma) + float(each.mean()), float(each.std(ddof=1) / np.sqrt(images))),
        "exponent": local_exponent(total, sigma),
        "effective": float(values.sum()) ** 2 / squares if squares > 0 else 0.0,
    }
    return store.make_rows(
        family.spec, sigma, quantities, images=images, seed=SEED, rule=RULE, provenance="mean posterior variance"
    )


def sampled_simulation(family: Family) -> Simulation:
    """The reference as posterior variances of more images than are used on demand."""
    return Simulation(family.spec, "levels", RULE, _SIMULATED, lambda sigma, images, _: measure(family, sigma, images))


def local_exponent(mse: Callable[[float], float], sigma: float) -> float:
    """Local exponent at one noise level, ``log(mse(s e^h) / mse(s e^-h)) / 2h`` with h = 0.05; NaN where mse is 0."""
    low, high = mse(sigma * math.exp(-_STEP)), mse(sigma * math.exp(_STEP))
    return math.log(high / low) / (2 * _STEP) if low > 0 else math.nan


def _stored_level(family: str, sigma: float, rule: int) -> pd.DataFrame | None:
    """The stored rows of one noise level, the user's own first."""
    for rows in store.find("levels", family, rule=rule):
        found = rows[(rows["sigma"] / sigma - 1).abs() < store.ON_A_LEVEL]
        if len(found):
            return found
    return None


def _between(curve: pd.DataFrame, at: FloatArray) -> pd.DataFrame:
    """A stored curve at noise levels that it covers: what is not interpolated is that of the nearest level."""
    levels = curve.index.to_numpy()
    nearest = np.abs(np.log(levels)[:, None] - np.log(at)).argmin(axis=0)
    mse, error, exponent = between_levels(levels, curve["mse"].to_numpy(), curve["mse_se"].to_numpy(), at)
    return curve.iloc[nearest].assign(mse=mse, mse_se=error, exponent=exponent)
