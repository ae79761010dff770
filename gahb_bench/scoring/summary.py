"""One row per family and denoiser: its regret over all noise levels, its exponent, its size and its speed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.scoring.bits import UNKNOWN, Bits, excess_bits
from gahb_bench.scoring.by_image import ByImage, by_image
from gahb_bench.scoring.exponent import Fit, fit
from gahb_bench.scoring.mean_regret import NOTHING, MeanRegret, mean_regret

FIT_RANGE = (0.01, 1.0)  # noise levels over which exponents are fitted
COLUMNS = [
    "family",
    "denoiser",
    "knows",
    "levels",
    "mean_regret_db",
    "mean_regret_db_low",
    "mean_regret_db_high",
    "worst_regret_db",
    "worst_regret_db_low",
    "worst_regret_db_high",
    "worst_sigma",
    "exponent",
    "exponent_error",
    "reference_exponent",
    "excess_bits",
    "excess_bits_low",
    "excess_bits_high",
    "fitted",
    "images_per_second",
]


@dataclass(frozen=True)
class Worst:
    """The largest regret over noise levels, in dB with its interval, and the noise level where it is."""

    value: float
    low: float
    high: float
    sigma: float


@dataclass(frozen=True)
class Summary:
    """What the scores of one denoiser on one family come to, over all noise levels.

    levels : at how many of them it has a regret
    exponent : fitted over `FIT_RANGE`; None where it cannot be, and ``no_exponent`` says why
    seconds : an image, in the mean
    """

    knows: str
    levels: int
    regret: MeanRegret
    worst: Worst | None
    exponent: Fit | None
    no_exponent: str
    bits: Bits
    seconds: float

    @classmethod
    def empty(cls, knows: str) -> "Summary":
        """That of a denoiser without any score."""
        return cls(knows, 0, NOTHING, None, None, "it has no score", UNKNOWN, float("nan"))


def summary(
    scores: pd.DataFrame,
    curves: pd.DataFrame,
    references: Mapping[str, Reference],
    fitted: Mapping[tuple[str, str], int | None],
) -> pd.DataFrame:
    """The rows of summary.csv.

    Parameters
    ----------
    scores, curves : the columns of scores.parquet and curves.csv
    references : by family
    fitted : how many numbers of a denoiser were fitted to images, by family and denoiser; absent where not stated

    Returns
    -------
    pandas.DataFrame
        Mean and worst regret over the noise levels that have one (dB, with 95 % intervals; of a bracket, to its
        middle), the exponent over sigma in [0.01, 1] with its standard error and that of the reference, the number of
        fitted parameters, and images a second.
    """
    rows = []
    for family, mine in curves.groupby("family", sort=False):
        own = scores[scores["family"] == family]
        for denoiser, found in summarise(own, mine, references[str(family)]).items():
            rows.append(_row(str(family), denoiser, found, fitted.get((str(family), denoiser))))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"fitted": "Int64"})


def summarise(scores: pd.DataFrame, curves: pd.DataFrame, reference: Reference) -> dict[str, Summary]:
    """What the scores of each denoiser on one family come to.

    Parameters
    ----------
    scores, curves : its rows of scores.parquet and curves.csv
    """
    grids = by_image(scores)
    best = attaining(curves, reference)
    return {
        str(name): _summary(grids, str(name), best, curve, scores, reference)
        for name, curve in curves.groupby("denoiser", sort=False)
    }


def _summary(
    grids: ByImage, denoiser: str, best: str | None, curve: pd.DataFrame, scores: pd.DataFrame, reference: Reference
) -> Summary:
    levels = curve["sigma"].tolist()
    paired = None if best is None else grids.at(best, "mse", levels)
    excess = grids.at(denoiser, "excess", levels)
    known = curve[np.isfinite(curve["regret_db"])]
    worst = None
    if len(known):
        row = known.loc[known["regret_db"].idxmax()]
        worst = Worst(*(float(row[name]) for name in ("regret_db", "regret_db_low", "regret_db_high", "sigma")))
    own = scores[scores["denoiser"] == denoiser]
    exponent, no_exponent = None, ""
    try:
        exponent = fit(own, reference, *FIT_RANGE)
    except UsageError as error:
        no_exponent = str(error)
    return Summary(
        knows=str(curve["knows"].iloc[0]),
        levels=len(known),
        regret=regret_over_levels(curve, grids.at(denoiser, "mse", levels), paired, reference, excess),
        worst=worst,
        exponent=exponent,
        no_exponent=no_exponent,
        bits=bits_of(curve, excess),
        seconds=float(own["seconds"].mean()),
    )


def _row(family: str, denoiser: str, found: Summary, fitted: int | None) -> dict[str, object]:
    worst, exponent, bits = found.worst or Worst(*[np.nan] * 4), found.exponent, found.bits
    return {
        "family": family,
        "denoiser": denoiser,
        "knows": found.knows,
        "levels": found.levels,
        "mean_regret_db": found.regret.value,
        "mean_regret_db_low": found.regret.low,
        "mean_regret_db_high": found.regret.high,
        "worst_regret_db": worst.value,
        "worst_regret_db_low": worst.low,
        "worst_regret_db_high": worst.high,
        "worst_sigma": worst.sigma,
        "exponent": np.nan if exponent is None else exponent.value,
        "exponent_error": np.nan if exponent is None else exponent.standard_error,
        "reference_exponent": np.nan if exponent is None else exponent.reference,
        "excess_bits": bits.value,
        "excess_bits_low": bits.low,
        "excess_bits_high": bits.high,
        "fitted": fitted,
        "images_per_second": 1 / found.seconds if found.seconds > 0 else np.nan,
    }


def attaining(curves: pd.DataFrame, reference: Reference) -> str | None:
    """The denoiser that attains the reference, of those with numbers that know the law; None if there is none."""
    good = curves[(curves["knows"] == "law") & (curves["status"] == "ok") & np.isfinite(curves["mse"])]
    return next((name for name in reference.attained_by if (good["denoiser"] == name).any()), None)


def bits_of(curve: pd.DataFrame, excess: FloatArray) -> Bits:
    """What one denoiser loses on one family, in bits a pixel; unknown unless its regret is direct at every level.

    Parameters
    ----------
    curve : its rows of curves.csv
    excess : its per-image excess at these levels, ``(levels, images)``
    """
    if not len(curve) or not (curve["excess"].notna() & (curve["status"] == "ok")).all():
        return UNKNOWN
    order = np.argsort(curve["sigma"].to_numpy())
    return excess_bits(curve["sigma"].to_numpy(dtype=np.float64)[order], excess[order])


def regret_over_levels(
    curve: pd.DataFrame, errors: FloatArray, paired: FloatArray | None, reference: Reference, excess: FloatArray
) -> MeanRegret:
    """The mean regret of one denoiser over the noise levels that have one.

    Parameters
    ----------
    curve : its rows of curves.csv, a noise level each
    errors : its per-image MSE at these levels, ``(levels, images)``
    paired : that of the denoiser which attains the reference; None where there is none
    excess : its per-image excess over the exact optimum at these levels; used where its regret is direct
    """
    has = curve["regret_db"].notna().to_numpy() & np.isfinite(curve["regret_db"].to_numpy(dtype=np.float64))
    if not has.any():
        return NOTHING
    rows, values = curve[has], errors[has]
    mean = float(rows["regret_db"].mean())
    if not np.isfinite(values).all() or not (values > 0).all():
        return replace(NOTHING, value=mean)
    stated, lower, upper = (rows[f"reference_{name}"].to_numpy(dtype=np.float64) for name in ("mse", "low", "high"))
    error = np.nan_to_num(reference.at(rows["sigma"].to_numpy(dtype=np.float64)).standard_error)
    best = np.full_like(values, np.nan) if paired is None else paired[has]
    direct = (rows["regret_kind"] == "direct").to_numpy()
    values = np.where(direct[:, None], stated[:, None] + excess[has], values)
    best = np.where(direct[:, None], stated[:, None], best)
    lower = np.maximum(lower - 2 * error, np.finfo(float).tiny)
    found = mean_regret(values, best, stated, lower, upper + 2 * error)
    # What is said of each level and of their mean is the same, also of tables that were changed since.
    return replace(found, value=mean)
