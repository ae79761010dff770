"""The reference curve of ``disks``: mean posterior variances over frozen images, from a stored table or on demand."""

import csv
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.files import data_file
from gahb_bench.core.images import FloatArray
from gahb_bench.families.disks.grid import grid
from gahb_bench.families.disks.law import Disks
from gahb_bench.families.disks.posterior import TOLERANCE, solve

TABLE = ("reference", "disks.csv")
TABLE_IMAGES, IMAGES = 2048, 256  # images a noise level: of the stored table, and of what is computed on demand
# Frozen images are those of split val, seed 1: no run evaluates or tunes on them (runs default to seed 0).
_RULES = 1  # raised when the quadrature changes what it computes: forgets what was kept
_CHUNK = 128


@dataclass(frozen=True)
class Level:
    """The mean posterior variance of a family at one noise level, per pixel, and how surely it is known.

    excess_mean, excess_max: estimated relative excess of the oracle's squared error, over the images.
    uncertified: images whose excess may be more than the certificate allows (they are counted in the mean).
    """

    sigma: float
    images: int
    mse: float
    standard_error: float
    excess_mean: float
    excess_max: float
    uncertified: int


def compute(family: Disks, sigma: float, images: int) -> Level:
    """Mean posterior variance over the first frozen images."""
    variances, errors = [], []
    for start in range(0, images, _CHUNK):
        batch = family.sample(range(start, min(start + _CHUNK, images)), seed=1, split="val")
        y = add_noise(batch, sigma).double().flatten(1)
        found = solve(family, y, torch.full((len(y),), sigma, dtype=torch.float64))
        variances.append(found.variance / y.shape[1])
        errors.append(found.error)
    variance, error = torch.cat(variances), torch.cat(errors)
    return Level(
        sigma=sigma,
        images=images,
        mse=float(variance.mean()),
        standard_error=float(variance.std() / images**0.5),
        excess_mean=float(error.mean()),
        excess_max=float(error.max()),
        uncertified=int((~(error <= TOLERANCE)).sum()),
    )


def level(family: Disks, sigma: float) -> Level:
    """From the stored table, between its levels by a spline; else what was computed before; else computed and kept."""
    tabulated = {**Disks.from_parameters({}).parameters, "size": family.size}
    stored = table().get(family.size, ()) if family.parameters == tabulated else ()
    if stored and stored[0].sigma * (1 - 1e-9) <= sigma <= stored[-1].sigma * (1 + 1e-9):
        return between(stored, sigma)
    kept = _kept(family, sigma)
    if kept.is_file():
        return Level(**json.loads(kept.read_text(encoding="utf-8")))
    made = compute(family, sigma, IMAGES)
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(asdict(made)), encoding="utf-8")
    partial.replace(kept)
    return made


def between(stored: tuple[Level, ...], sigma: float) -> Level:
    """A level by the cubic spline of log(mse / sigma^2) in log sigma; a stored level itself where there is one.

    The spline's error is taken as 1/15 of its distance to the spline through every other level (it falls with the
    fourth power of the spacing), and is added in quadrature to the standard error of the nearest level.
    """
    places = np.log([level.sigma for level in stored])
    nearest = stored[int(np.abs(places - np.log(sigma)).argmin())]
    if abs(nearest.sigma / sigma - 1) < 1e-9:
        return nearest
    values = np.log([level.mse / level.sigma**2 for level in stored])
    every_other = sorted({*range(0, len(stored), 2), len(stored) - 1})
    fine = float(CubicSpline(places, values)(np.log(sigma)))
    coarse = float(CubicSpline(places[every_other], values[every_other])(np.log(sigma)))
    relative = np.hypot(nearest.standard_error / nearest.mse, (fine - coarse) / 15)
    mse = float(np.exp(fine) * sigma**2)
    return replace(nearest, sigma=sigma, mse=mse, standard_error=float(mse * relative))


@cache
def table() -> dict[int, tuple[Level, ...]]:
    """The stored levels by image side."""
    levels: dict[int, list[Level]] = {}
    with data_file(*TABLE).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            size = int(row.pop("size"))
            whole = {"images", "uncertified"}
            values = {key: int(value) if key in whole else float(value) for key, value in row.items()}
            levels.setdefault(size, []).append(Level(**values))  # type: ignore[arg-type]
    return {size: tuple(sorted(rows, key=lambda level: level.sigma)) for size, rows in levels.items()}


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


def exponents(sigmas: FloatArray, mse: FloatArray) -> FloatArray:
    """Local exponents d log mse / d log sigma by differences in the curve; NaN where there is only one level."""
    distinct, where, back = np.unique(sigmas, return_index=True, return_inverse=True)
    if len(distinct) < 2:
        return np.full(len(sigmas), np.nan)
    edge_order = 1 if len(distinct) == 2 else 2
    return np.asarray(np.gradient(np.log(mse[where]), np.log(distinct), edge_order=edge_order))[back]


def _kept(family: Disks, sigma: float) -> Path:
    """Where a level computed on demand is kept: under ``$GAHB_BENCH_CACHE``, or the user's cache folder."""
    address = json.dumps(["disks", _RULES, family.spec, repr(float(sigma)), IMAGES])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("GAHB_BENCH_CACHE") or Path(home) / "gahb_bench") / "reference"
    return folder / (hashlib.sha256(address.encode()).hexdigest()[:24] + ".json")
