"""The reference curve of ``disks``: mean posterior variances over frozen images, from a stored table or on demand."""

import pandas as pd
import torch
from torch import Tensor

from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.images import FloatArray
from gahb_bench.core.memory import cached
from gahb_bench.families.disks.grid import grid
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.posterior import TOLERANCE, solve
from gahb_bench.tables import store
from gahb_bench.tables.sampled import at_levels, local_exponent

RULE = 1  # raised when the quadrature changes what it computes: forgets what was kept
TABLE_IMAGES, IMAGES = 2048, 256  # images a noise level: of the stored curves, and of what is computed on demand
SEED = 1  # frozen images are those of split val, seed 1: no run evaluates or tunes on them (runs default to seed 0)
_CHUNK = 128


@cached(256)
def compute(family: Disks, sigma: float, images: int = IMAGES) -> pd.DataFrame:
    """Mean posterior variance over the first frozen images, per pixel, and how surely it is known: rows of the store.

    excess_mean, excess_max: estimated relative excess of the oracle's squared error, over the images.
    uncertified: images whose excess may be more than the certificate allows (they are counted in the mean).
    exponent: local, of a quarter of the images.
    """
    variance, error = _variances(family, sigma, images)
    quantities = {
        "mse": (float(variance.mean()), float(variance.std() / images**0.5)),
        "excess_mean": float(error.mean()),
        "excess_max": float(error.max()),
        "uncertified": float((~(error <= TOLERANCE)).sum()),
        "exponent": local_exponent(lambda level: float(_variances(family, level, images // 4)[0].mean()), sigma),
    }
    return store.make_rows(
        family.spec, sigma, quantities, images=images, seed=SEED, rule=RULE, provenance="mean posterior variance"
    )


def _variances(family: Disks, sigma: float, images: int) -> tuple[Tensor, Tensor]:
    """Posterior variance per pixel of the first frozen images, and its estimated relative error, ``(images,)``."""
    variances, errors = [], []
    for start in range(0, images, _CHUNK):
        batch = family.sample(range(start, min(start + _CHUNK, images)), seed=SEED, split="val")
        y = add_noise(batch, sigma).double().flatten(1)
        found = solve(family, y, torch.full((len(y),), sigma, dtype=torch.float64))
        variances.append(found.variance / y.shape[1])
        errors.append(found.error)
    return torch.cat(variances), torch.cat(errors)


def levels(family: Disks, sigmas: FloatArray) -> pd.DataFrame:
    """The reference, one row a noise level: from the store, or computed and kept; columns as of `compute`."""
    return at_levels(family.spec, sigmas, lambda sigma: compute(family, sigma), rule=RULE, keep=True)


def prior_variance(family: Disks) -> float:
    """Prior variance per pixel, the MMSE at infinite noise.

    N^-2 sum_p Var(x_p),   E x_p = E b + E(f - b) E m_p,   E x_p^2 = E b^2 + 2 E b(f - b) E m_p + E(f - b)^2 E m_p^2
    """
    rule = grid(family, torch.device("cpu"), 2)
    weights = rule.log_weight.exp()
    m, mm = rule.gather(weights).sum((0, 1)).numpy(), rule.gather_squares(weights)[0].numpy()
    low, high = family.bounds[3:].T
    first, second = (low + high) / 2, (low**2 + low * high + high**2) / 3
    (f, b), (ff, bb) = first, second
    mean = b + (f - b) * m
    square = bb + 2 * (f * b - bb) * m + (ff - 2 * f * b + bb) * mm
    return float((square - mean**2).mean())
