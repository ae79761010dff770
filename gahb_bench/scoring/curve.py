"""Curves: mean MSE over images, its interval, and the distance to the optimum in dB."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gahb_bench.core.errors import UsageError
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
    "exponent",
    "status",
]
VANISHING = 1e-6  # of sigma^2: below it an optimum (of a law of finitely many images) is as good as zero


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
    if table.duplicated(["family", "denoiser", "sigma", "image"]).any():
        raise UsageError(
            "the table holds two scores of one denoiser on one image at one noise level: make the curves of each run "
            "(seed, split) apart, or drop the duplicates."
        )
    with np.errstate(divide="ignore", invalid="ignore"):  # an optimum that makes no error at all has no regret in dB
        parts = [
            _family_curves(str(family), rows, references[str(family)])
            for family, rows in table.groupby("family", sort=False)
        ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def _family_curves(family: str, table: pd.DataFrame, known: Reference) -> pd.DataFrame:
    sigmas = np.sort(table["sigma"].unique())
    reference = known.at(sigmas)
    grids = {str(name): _grid(rows, sigmas) for name, rows in table.groupby("denoiser", sort=False)}
    knows = table.drop_duplicates("denoiser").set_index("denoiser")["knows"]
    best = [name for name in reference.attained_by if name in grids and knows[name] == "law"]
    attained = grids[best[0]] if best else None
    rows = []
    for name, grid in grids.items():
        scored = table[table["denoiser"] == name]["sigma"].unique()
        curve = _curve(grid, attained, reference)
        curve.insert(0, "family", family)
        curve.insert(1, "denoiser", name)
        curve.insert(2, "knows", knows[name])
        curve = curve[curve["sigma"].isin(scored)]
        slopes = local_exponent(curve["sigma"].to_numpy(), curve["mse"].to_numpy())
        rows.append(curve.assign(exponent=slopes))
    return pd.concat(rows, ignore_index=True)[COLUMNS]


def _grid(rows: pd.DataFrame, sigmas: NDArray) -> pd.DataFrame:
    """Images by noise levels (rows sorted by noise level); NaN where an image failed or was not scored."""
    rows = rows.assign(mse=rows["mse"].where(rows["status"] == "ok"))
    return rows.pivot_table(index="sigma", columns="image", values="mse", dropna=False).reindex(sigmas)


def _curve(grid: pd.DataFrame, attained: pd.DataFrame | None, reference: Reference) -> pd.DataFrame:
    values = grid.to_numpy(dtype=np.float64)
    whole = np.isfinite(values).all(axis=1)
    mse, low, high = (np.full(len(values), np.nan) for _ in range(3))
    mse[whole] = values[whole].mean(axis=1)
    low[whole], high[whole] = mean_interval(values[whole])
    known = reference.mse >= VANISHING * reference.sigma**2
    regrets = _regret(grid, whole, (mse, low, high), attained, reference)
    regret, regret_low, regret_high = (np.where(known, values, np.nan) for values in regrets)
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
            "regret_db": regret,
            "regret_db_low": regret_low,
            "regret_db_high": regret_high,
            "status": np.where(whole, "ok", "failed"),
        }
    )


def _regret(
    grid: pd.DataFrame,
    whole: NDArray[np.bool_],
    measured: tuple[NDArray, NDArray, NDArray],
    attained: pd.DataFrame | None,
    reference: Reference,
) -> tuple[NDArray, NDArray, NDArray]:
    """Regret in dB and its interval: paired where possible, otherwise against the reference."""
    mse, low, high = measured
    margin = 2 * np.nan_to_num(reference.standard_error)
    regret = _decibel(mse / reference.mse)
    regret_low = _decibel(low / (reference.upper + margin))
    regret_high = _decibel(high / np.maximum(reference.lower - margin, np.finfo(float).tiny))
    if attained is None or list(attained.columns) != list(grid.columns):
        return regret, regret_low, regret_high
    best = attained.to_numpy(dtype=np.float64)
    paired = whole & np.isfinite(best).all(axis=1)
    values = grid.to_numpy(dtype=np.float64)[paired]
    regret[paired] = _decibel(values.mean(axis=1) / best[paired].mean(axis=1))
    ends = ratio_interval(values, best[paired])
    regret_low[paired], regret_high[paired] = _decibel(ends[0]), _decibel(ends[1])
    return regret, regret_low, regret_high


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
