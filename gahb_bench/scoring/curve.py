"""Curves: mean MSE over images, its interval, and the distance to the optimum in dB."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.scoring.intervals import mean_interval, ratio_interval

COLUMNS = [
    "family",
    "denoiser",
    "knows",
    "sigma",
    "images",
    "mse",
    "mse_low",
    "mse_high",
    "psnr_db",
    "reference_kind",
    "reference_mse",
    "reference_low",
    "reference_high",
    "regret_db",
    "regret_db_low",
    "regret_db_high",
    "regret_kind",
    "excess",
    "excess_low",
    "excess_high",
    "exponent",
    "status",
]
VANISHING = 1e-6  # of sigma^2, and of the contrast of black and white: below it an optimum is as good as zero
HONEST = ("law", "training set", "nothing")  # what those know whose estimate depends on y alone
COLUMNS_OF_SCORES = ("family", "denoiser", "knows", "sigma", "image", "mse", "excess", "status")  # that are needed
_REGRET = ("regret_db", "regret_db_low", "regret_db_high")
_BROKEN = 5.0  # standard errors by which E[mse - mse* - excess] = 0 may be missed; beyond, the identity is broken


def curves(table: pd.DataFrame, references: Mapping[str, Reference]) -> pd.DataFrame:
    """Curves from per-image scores: one row per family, denoiser and noise level; see `gahb_bench.curves`.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of scores.parquet, of one seed and split.
    references : by family, each known at the noise levels of its rows

    Raises
    ------
    UsageError
        If one denoiser has two scores for one image at one noise level.
    """
    check_table(table, COLUMNS_OF_SCORES)
    with np.errstate(divide="ignore", invalid="ignore"):  # an optimum that makes no error at all has no regret in dB
        parts = [
            _family_curves(str(family), rows, references[str(family)])
            for family, rows in table.groupby("family", sort=False)
        ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def check_columns(table: Any, columns: Iterable[str]) -> None:
    """Refuse what is no table, or lacks a column.

    Raises
    ------
    UsageError
        Naming what is lacking.
    """
    if not isinstance(table, pd.DataFrame):
        raise UsageError(f"a table of scores is a pandas.DataFrame, the rows of gb.score, not {type(table).__name__}.")
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        raise UsageError(f"not a table of scores: it has no column {', '.join(lacking)}. Give the rows of gb.score.")


def check_table(table: Any, columns: Iterable[str]) -> None:
    """Refuse what does not hold scores, in these columns at least: each image once, named, with numbers that may be.

    Raises
    ------
    UsageError
        Naming what is wrong.
    """
    check_columns(table, columns)
    for name in ("family", "denoiser", "sigma", "image"):
        if table[name].isna().any():
            raise UsageError(f"not a table of scores: a row names no {name}. Give the rows of gb.score.")
    numbers = [name for name in ("sigma", "mse", "excess", "seconds") if name in table.columns]
    wrong = [name for name in numbers if not pd.api.types.is_numeric_dtype(table[name])]
    if wrong:
        raise UsageError(
            f"not a table of scores: {', '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} not all numbers. Give the "
            "rows of gb.score."
        )
    if table.duplicated(["family", "denoiser", "sigma", "image"]).any():
        raise UsageError(
            "the table holds two scores of one denoiser on one image at one noise level: take the runs (seed, split) "
            "apart, or drop the duplicates."
        )
    if (table["mse"] < 0).any():
        raise UsageError("the table holds a negative mean squared error: it is damaged, or not a table of scores.")


@dataclass(frozen=True)
class _Grids:
    """One denoiser's errors, noise levels by images: MSE, and excess over the optimum; NaN where there is none."""

    mse: pd.DataFrame
    excess: pd.DataFrame


def _family_curves(family: str, table: pd.DataFrame, known: Reference) -> pd.DataFrame:
    sigmas = np.sort(table["sigma"].unique())
    reference = known.at(sigmas)
    grids = {str(name): _grids(rows, sigmas) for name, rows in table.groupby("denoiser", sort=False)}
    knows = table.drop_duplicates("denoiser").set_index("denoiser")["knows"]
    best = [name for name in reference.attained_by if name in grids and knows[name] == "law"]
    attained = grids[best[0]].mse if best else None
    rows = []
    for name, grid in grids.items():
        scored = table[table["denoiser"] == name]["sigma"].unique()
        curve = _curve(grid, attained, reference, str(knows[name]))
        curve.insert(0, "family", family)
        curve.insert(1, "denoiser", name)
        curve.insert(2, "knows", knows[name])
        curve = curve[curve["sigma"].isin(scored)]
        slopes = local_exponent(curve["sigma"].to_numpy(), curve["mse"].to_numpy())
        rows.append(curve.assign(exponent=slopes))
    return pd.concat(rows, ignore_index=True)[COLUMNS]


def _grids(rows: pd.DataFrame, sigmas: NDArray) -> _Grids:
    """Noise levels by images (rows sorted by noise level); NaN where an image failed or was not scored."""
    good = rows["status"] == "ok"
    rows = rows.assign(mse=rows["mse"].where(good), excess=rows["excess"].where(good).astype(np.float64))
    mse, excess = (
        rows.pivot_table(index="sigma", columns="image", values=name, dropna=False).reindex(sigmas)
        for name in ("mse", "excess")
    )
    return _Grids(mse, excess.reindex(columns=mse.columns))


def _curve(grids: _Grids, attained: pd.DataFrame | None, reference: Reference, knows: str) -> pd.DataFrame:
    values = grids.mse.to_numpy(dtype=np.float64)
    whole = np.isfinite(values).all(axis=1)
    mse, low, high = _means(values, whole)
    best = _on_the_same_images(attained, grids.mse)
    direct = _is_direct(grids, best, reference, knows)
    excess = _means(grids.excess.to_numpy(dtype=np.float64), direct)
    regret, kind = _regret(values, whole, (mse, low, high), best, reference)
    margin = 2 * np.nan_to_num(reference.standard_error)
    for end, distance, optimum in zip(regret, excess, (0, margin, -margin), strict=True):
        end[direct] = _decibel(1 + distance[direct] / (reference.mse + optimum)[direct])
    kind[direct] = "direct"
    known = ~vanishes(reference.mse, reference.sigma) & ~np.isnan(reference.mse) & whole
    return pd.DataFrame(
        {
            "sigma": reference.sigma,
            "images": np.isfinite(values).sum(axis=1),
            "mse": mse,
            "mse_low": low,
            "mse_high": high,
            "psnr_db": -_decibel(mse),
            "reference_kind": reference.kind,
            "reference_mse": reference.mse,
            "reference_low": reference.lower,
            "reference_high": reference.upper,
            **{name: np.where(known, end, np.nan) for name, end in zip(_REGRET, regret, strict=True)},
            "regret_kind": np.where(known & np.isfinite(regret[0]), kind, ""),
            **dict(zip(("excess", "excess_low", "excess_high"), excess, strict=True)),
            "status": np.where(whole, "ok", "failed"),
        }
    )


def _means(values: NDArray, whole: NDArray[np.bool_]) -> tuple[NDArray, NDArray, NDArray]:
    """Means over images at the noise levels where all are known, with 95 % intervals."""
    mean, low, high = (np.full(len(values), np.nan) for _ in range(3))
    mean[whole] = values[whole].mean(axis=1)
    low[whole], high[whole] = mean_interval(values[whole])
    return mean, low, high


def _on_the_same_images(attained: pd.DataFrame | None, mse: pd.DataFrame) -> NDArray | None:
    """Errors of the denoiser that attains the reference, if it was scored on these images."""
    if attained is None or list(attained.columns) != list(mse.columns):
        return None
    return attained.to_numpy(dtype=np.float64)


def _is_direct(grids: _Grids, best: NDArray | None, reference: Reference, knows: str) -> NDArray[np.bool_]:
    """At which noise levels the excess over the exact posterior mean is the regret.

    It is where the estimate depends on y alone: E[mse - mse*] is then E[excess], image by image up to a term of mean
    zero. Where that term is not zero beyond chance, the denoiser has seen more than y (or the optimum is wrong), and
    the difference of errors, which shows it, is the regret.
    """
    excess = grids.excess.to_numpy(dtype=np.float64)
    direct = np.isfinite(excess).all(axis=1) & np.isfinite(grids.mse.to_numpy(dtype=np.float64)).all(axis=1)
    if knows not in HONEST:
        return np.zeros_like(direct)
    direct &= reference.known
    if best is not None and excess.shape[1] > 2:
        cross = grids.mse.to_numpy(dtype=np.float64) - best - excess
        error = cross.std(axis=1, ddof=1) / np.sqrt(cross.shape[1])
        direct &= ~(np.abs(cross.mean(axis=1)) > _BROKEN * error + 1e-9 * reference.mse)
    return direct


def _regret(
    values: NDArray,
    whole: NDArray[np.bool_],
    measured: tuple[NDArray, NDArray, NDArray],
    best: NDArray | None,
    reference: Reference,
) -> tuple[tuple[NDArray, NDArray, NDArray], NDArray]:
    """Regret in dB and its interval from mean squared errors, and its kind: paired where possible."""
    mse, low, high = measured
    margin = 2 * np.nan_to_num(reference.standard_error)
    regret = _decibel(mse / reference.mse)
    regret_low = _decibel(low / (reference.upper + margin))
    regret_high = _decibel(high / np.maximum(reference.lower - margin, np.finfo(float).tiny))
    kind = np.where(reference.bracketed, "bracket", "reference").astype(object)
    if best is not None:
        paired = whole & np.isfinite(best).all(axis=1)
        regret[paired] = _decibel(values[paired].mean(axis=1) / best[paired].mean(axis=1))
        ends = ratio_interval(values[paired], best[paired])
        regret_low[paired], regret_high[paired] = _decibel(ends[0]), _decibel(ends[1])
        kind[paired] = "paired"
    return (regret, regret_low, regret_high), kind


def vanishes(mse: FloatArray, sigma: FloatArray) -> NDArray[np.bool_]:
    """Where an optimum is as good as zero (of a law of finitely many images): no distance in dB to it is stated.

    It is held against ``min(sigma^2, 1)``: under much noise it is the variance of the images, not of the noise.
    """
    return mse < VANISHING * np.minimum(sigma**2, 1.0)


def is_settled(reference: Reference) -> NDArray[np.bool_]:
    """At which noise levels the optimum is known, or so small that no distance in dB to it is stated."""
    return reference.known | vanishes(reference.mse, reference.sigma)


def below_optimum(curves: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows of curves are impossible: of something that sees only y, and below what is possible beyond chance.

    Below by twice the way to the high end of the interval, about four standard errors, so that a denoiser at the
    optimum is not accused over many noise levels and few images; of a bracket, the high end is against its lower end.
    """
    blind = curves["knows"].isin(["nothing", "training set"]) & curves["reference_kind"].isin(["exact", "bracket"])
    below = 2 * curves["regret_db_high"] - curves["regret_db"] < 0
    zero = (curves["mse"] == 0) & curves["regret_db"].notna()
    return (blind & (below | zero)).to_numpy()


def local_exponent(sigma: NDArray, mse: NDArray) -> NDArray:
    """Local slope d log mse / d log sigma by central differences; NaN beside a missing value."""
    if len(sigma) < 2:
        return np.full(len(sigma), np.nan)
    return np.gradient(np.log(mse), np.log(sigma))


def _decibel(ratio: NDArray) -> NDArray:
    return 10 * np.log10(ratio)
