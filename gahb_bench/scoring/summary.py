"""One row per family and denoiser: its regret over all noise levels, its exponent, its size and its speed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.scoring.bits import UNKNOWN, Bits, excess_bits
from gahb_bench.scoring.exponent import fit
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
    for (family, denoiser), curve in curves.groupby(["family", "denoiser"], sort=False):
        mine = scores[scores["family"] == family]
        own = mine[mine["denoiser"] == denoiser]
        reference = references[str(family)]
        best = attaining(curves[curves["family"] == family], reference)
        levels, images = curve["sigma"].to_numpy(), np.unique(mine["image"]).tolist()
        paired = None if best is None else image_errors(mine, best, levels, images)
        errors = image_errors(mine, str(denoiser), levels, images)
        excess = image_errors(mine, str(denoiser), levels, images, "excess")
        regret = regret_over_levels(curve, errors, paired, reference, excess)
        known = curve.dropna(subset=["regret_db"])
        worst = known.loc[known["regret_db"].idxmax()] if len(known) else None
        exponent = _exponent(own, reference)
        bits = bits_of(curve, own)
        seconds = float(own["seconds"].mean())
        rows.append(
            {
                "family": family,
                "denoiser": denoiser,
                "knows": curve["knows"].iloc[0],
                "levels": len(known),
                "mean_regret_db": regret.value,
                "mean_regret_db_low": regret.low,
                "mean_regret_db_high": regret.high,
                "worst_regret_db": np.nan if worst is None else worst["regret_db"],
                "worst_regret_db_low": np.nan if worst is None else worst["regret_db_low"],
                "worst_regret_db_high": np.nan if worst is None else worst["regret_db_high"],
                "worst_sigma": np.nan if worst is None else worst["sigma"],
                **exponent,
                "excess_bits": bits.value,
                "excess_bits_low": bits.low,
                "excess_bits_high": bits.high,
                "fitted": fitted.get((str(family), str(denoiser))),
                "images_per_second": 1 / seconds if seconds > 0 else np.nan,
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"fitted": "Int64"})


def attaining(curves: pd.DataFrame, reference: Reference) -> str | None:
    """The denoiser that attains the reference, of those with numbers that know the law; None if there is none."""
    good = curves[(curves["knows"] == "law") & (curves["status"] == "ok") & np.isfinite(curves["mse"])]
    return next((name for name in reference.attained_by if (good["denoiser"] == name).any()), None)


def image_errors(
    scores: pd.DataFrame, denoiser: str, sigmas: Iterable[float], images: Iterable[int], measure: str = "mse"
) -> FloatArray:
    """Per-image MSE, or ``excess``, of one denoiser on one family ``(levels, images)``; NaN where there is none."""
    rows = scores[(scores["denoiser"] == denoiser) & (scores["status"] == "ok")]
    table = rows.pivot(index="sigma", columns="image", values=measure)
    return table.reindex(index=list(sigmas), columns=list(images)).to_numpy(dtype=np.float64)


def bits_of(curve: pd.DataFrame, scores: pd.DataFrame) -> Bits:
    """What one denoiser loses on one family, in bits a pixel; unknown unless its regret is direct at every level.

    Parameters
    ----------
    curve, scores : its rows of curves.csv and scores.parquet
    """
    if not len(curve) or not (curve["excess"].notna() & (curve["status"] == "ok")).all():
        return UNKNOWN
    grid = scores.pivot(index="sigma", columns="image", values="excess").sort_index()
    return excess_bits(grid.index.to_numpy(dtype=np.float64), grid.to_numpy(dtype=np.float64))


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


def _exponent(scores: pd.DataFrame, reference: Reference) -> dict[str, float]:
    try:
        found = fit(scores, reference, *FIT_RANGE)
    except UsageError:
        return {"exponent": np.nan, "exponent_error": np.nan, "reference_exponent": np.nan}
    return {
        "exponent": found.value,
        "exponent_error": found.standard_error,
        "reference_exponent": found.reference,
    }
