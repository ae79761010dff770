"""Is a candidate worse than a baseline? Differences in dB, with intervals that hold for the whole report at once."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.scoring import bits
from gahb_bench.scoring.intervals import LEVEL, ratio_interval
from gahb_bench.scoring.jackknife import mean_difference
from gahb_bench.scoring.matching import Pair, Unmatched, match

MARGIN_DB = 0.1
VERDICTS = ("worse", "better", "inconclusive", "missing", "added", "same")
COLUMNS = [
    "family",
    "denoiser",
    "candidate",
    "band",
    "sigma_low",
    "sigma_high",
    "levels",
    "images",
    "pairing",
    "measure",
    "difference_db",
    "low_db",
    "high_db",
    "difference_bits",
    "low_bits",
    "high_bits",
    "margin_db",
    "verdict",
    "reason",
    "seconds_ratio",
]
BITWISE = "bitwise"  # the reason of a row in which every number is equal
_FEW = 10  # the interval is widened by 1 + _FEW / images


def compare(
    baseline: pd.DataFrame,
    candidate: pd.DataFrame,
    margin: float = MARGIN_DB,
    paired: bool = True,
    mapping: Mapping[str, str] | None = None,
    references: Mapping[str, Reference] | None = None,
) -> pd.DataFrame:
    """Compare the scores of a candidate with those of a baseline: a row and a verdict per denoiser and sigma band.

        D     = mean over the band's noise levels of 10 log10(mean MSE of candidate / mean MSE of baseline)
        ends  = D -+ (t + |g| (2 t^2 + 1) / 6) (1 + 10 / n) s

    with s and g the standard error and the skewness of D by the jackknife over images, jointly for all levels of the
    band; n the images (the fewer of the two where unpaired); and t the quantile of Student's t at 1 - 0.025 / K, with
    K the rows of the table that have an interval (Bonferroni). So all intervals hold at once with 95 %. The second
    term widens them for skewed errors (the first Edgeworth term of Student's t), the last factor for few images, whose
    standard error is itself unsure.

    Verdicts: *worse* if the interval lies wholly above ``margin``, *better* if wholly below ``-margin``, *same* if
    wholly within, or if every number is bitwise equal; otherwise *inconclusive*. A noise level that failed in the
    candidate and not in the baseline makes its bands *worse*. What only the baseline has is *missing*, what only the
    candidate has is *added*. Bands are ``all`` and, where there is more than one level, ``small``, ``middle`` and
    ``large``: thirds of the range of log sigma.

    Parameters
    ----------
    baseline, candidate : pandas.DataFrame
        The columns of scores.parquet, each of one seed and split.
    margin : float
        How many dB do not matter, >= 0.
    paired : bool
        Whether image i is the same image in both (same seed, same split); on the images that both have.
    mapping : dict
        Which denoiser of the candidate stands for one of the baseline, where their names differ.
    references : dict of Reference
        What is known of the optimum, by family: where it is exact and both sides have their excess over it, risks are
        MMSE + excess instead of MSE: the same in the mean, without the luck of the draw.

    Returns
    -------
    pandas.DataFrame
        ``family, denoiser, candidate, band, sigma_low, sigma_high, levels, images, pairing, measure, difference_db,
        low_db, high_db, difference_bits, low_bits, high_bits, margin_db, verdict, reason, seconds_ratio``; the last is
        the ratio of the median seconds an image, ``measure`` is ``excess`` or ``mse``. The bits a pixel are
        `gahb_bench.scoring.bits.difference`, with a 95 % interval of their own: NaN where either side lacks its excess
        over an exact optimum, or a noise level that the other has, or there are fewer than four.

    Raises
    ------
    UsageError
        If a table is not a table of scores or holds two scores of one image, or the margin is not a number >= 0.

    References
    ----------
    P. Hall, The Bootstrap and Edgeworth Expansion, 1992, section 2.6 (Student's t under skewness); R. G. Miller, The
    jackknife: a review, 1974, doi:10.1093/biomet/61.1.1.
    """
    check_margin(margin)
    pairs, unmatched = match(baseline, candidate, mapping or {}, "" if paired else "not the same images", references)
    return judge(measure(pairs, unmatched).assign(margin_db=float(margin)))


def check_margin(margin: float, name: str = "margin") -> None:
    """Refuse a margin that is not a number of dB >= 0."""
    if not (isinstance(margin, Real) and math.isfinite(margin) and margin >= 0):
        given = f"{margin:g}" if isinstance(margin, Real) else repr(margin)
        raise UsageError(f"{name}={given} is not allowed: it is a number of dB, >= 0.")


def measure(pairs: Iterable[Pair], unmatched: Iterable[Unmatched] = ()) -> pd.DataFrame:
    """Differences per band, before they are judged: also their standard error, degrees of freedom and skewness."""
    rows = []
    for pair in pairs:
        found = bands(pair.sigmas)
        lost = {} if pair.excess is None else bits.difference(pair.sigmas, *pair.excess, pair.paired, found)
        rows += [_band_row(pair, band, chosen, lost.get(band, bits.UNKNOWN)) for band, chosen in found.items()]
    rows += [_unmatched_row(found) for found in unmatched]
    return pd.DataFrame(rows, columns=[*COLUMNS, "error_db", "freedom", "skewness"])


def judge(measured: pd.DataFrame) -> pd.DataFrame:
    """Intervals that hold for all rows at once, and verdicts, given ``margin_db``."""
    table = measured.copy()
    numbers = {name: table[name].to_numpy(dtype=np.float64) for name in ("difference_db", "error_db", "margin_db")}
    difference, margin = numbers["difference_db"], numbers["margin_db"]
    count = comparisons(table)
    quantile = stats.t.isf((1 - LEVEL) / 2 / max(count, 1), table["freedom"].to_numpy(dtype=np.float64))
    skewness = np.abs(table["skewness"].to_numpy(dtype=np.float64))
    few = 1 + _FEW / np.maximum(table["images"].to_numpy(dtype=np.float64), 1)
    half = (quantile + skewness * (2 * quantile**2 + 1) / 6) * few * numbers["error_db"]
    half = np.where(numbers["error_db"] == 0, 0.0, half)
    low, high = difference - half, difference + half
    found = np.select(
        [low > margin, high < -margin, (low >= -margin) & (high <= margin)], ["worse", "better", "same"], "inconclusive"
    )
    fixed = table["verdict"].to_numpy(dtype=object)
    table["low_db"], table["high_db"] = low, high
    table["verdict"] = np.where(fixed == "", found, fixed)
    return table[[*(["run"] if "run" in table else []), *COLUMNS]]


def comparisons(measured: pd.DataFrame) -> int:
    """Over how many rows chance is shared out: those with a difference that could have come out otherwise."""
    return int((measured["error_db"].to_numpy(dtype=np.float64) > 0).sum())


def bands(sigmas: Sequence[float] | FloatArray) -> dict[str, np.ndarray]:
    """Which noise levels are in which band: all, and the thirds of the range of log sigma that hold any.

    >>> {name: int(chosen.sum()) for name, chosen in bands([0.01, 0.1, 1.0, 10.0]).items()}
    {'all': 4, 'small': 1, 'middle': 2, 'large': 1}
    """
    levels = np.log(np.asarray(sigmas, dtype=np.float64))
    found = {"all": np.ones(len(levels), dtype=bool)}
    span = np.ptp(levels)
    if len(levels) < 2 or span == 0:
        return found
    third = np.select(
        [levels - levels.min() < span * (1 / 3 - 1e-9), levels.max() - levels < span * (1 / 3 - 1e-9)], [0, 2], 1
    )
    thirds = {name: third == index for index, name in enumerate(("small", "middle", "large"))}
    return found | {name: chosen for name, chosen in thirds.items() if chosen.any()}


def levels(pairs: Iterable[Pair]) -> pd.DataFrame:
    """The difference at each noise level, with a 95 % interval of its own (paired where the images are)."""
    found = [_level_rows(pair) for pair in pairs]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _level_rows(pair: Pair) -> pd.DataFrame:
    a, b = pair.risk_a.to_numpy(dtype=np.float64), pair.risk_b.to_numpy(dtype=np.float64)
    mean_a, mean_b = (np.where(whole, x.mean(axis=1), np.nan) for whole, x in ((pair.whole_a, a), (pair.whole_b, b)))
    good = (mean_a > 0) & (mean_b > 0) & (a > 0).all(axis=1)
    ends = np.full((2, len(a)), np.nan)
    ends[:, good] = ratio_interval(b[good], a[good], paired=pair.paired)
    with np.errstate(divide="ignore", invalid="ignore"):
        difference, low, high = (10 * np.log10(x) for x in (mean_b / mean_a, *ends))
    return pd.DataFrame(
        {
            "family": pair.family,
            "denoiser": pair.denoiser,
            "candidate": pair.candidate,
            "sigma": pair.sigmas,
            "images": min(a.shape[1], b.shape[1]),
            "measure": pair.measure,
            "mse_baseline": pair.a.to_numpy(dtype=np.float64).mean(axis=1),
            "mse_candidate": pair.b.to_numpy(dtype=np.float64).mean(axis=1),
            "difference_db": np.where(mean_a == mean_b, 0.0, difference),
            "low_db": low,
            "high_db": high,
            "seconds_ratio": pair.seconds_b / pair.seconds_a,
        }
    )


def _band_row(pair: Pair, band: str, chosen: np.ndarray, lost: bits.Bits) -> dict[str, Any]:
    both = chosen & pair.whole_a & pair.whole_b
    broken, mended = chosen & pair.whole_a & ~pair.whole_b, chosen & ~pair.whole_a & pair.whole_b
    a, b = (grid.to_numpy(dtype=np.float64)[both] for grid in (pair.risk_a, pair.risk_b))
    equal = np.array_equal(pair.a.to_numpy()[both], pair.b.to_numpy()[both])
    reasons = [pair.note] if pair.note else []
    verdict = ""
    if broken.any():
        verdict = "worse"
        why = pair.reasons_b[int(np.flatnonzero(broken)[0])]
        reasons.append(f"failed in the candidate, not in the baseline, at σ = {_listed(pair.sigmas[broken])}: {why}")
    elif mended.any():
        verdict = "" if both.any() else "better"
        reasons.append(f"failed in the baseline, not in the candidate, at σ = {_listed(pair.sigmas[mended])}")
    elif not both.any():
        verdict = "same"
        reasons.append("failed in both")
    elif pair.paired and equal and np.array_equal(a, b):
        verdict = "same"
        reasons.append(BITWISE)
    return {
        "family": pair.family,
        "denoiser": pair.denoiser,
        "candidate": pair.candidate,
        "band": band,
        "sigma_low": pair.sigmas[chosen].min(),
        "sigma_high": pair.sigmas[chosen].max(),
        "levels": int(both.sum()),
        "images": min(pair.a.shape[1], pair.b.shape[1]),
        "pairing": "paired" if pair.paired else "unpaired",
        "measure": pair.measure,
        "difference_bits": lost.value,
        "low_bits": lost.low,
        "high_bits": lost.high,
        "verdict": verdict,
        "reason": "; ".join(reasons),
        "seconds_ratio": _ratio(pair.seconds_b[both], pair.seconds_a[both]),
        **(mean_difference(a, b, pair.paired) if both.any() else {}),
    }


def _unmatched_row(found: Unmatched) -> dict[str, Any]:
    where = "baseline" if found.verdict == "missing" else "candidate"
    reason = f"only in the {where}" if found.whole else f"σ = {_listed(found.sigmas)} only in the {where}"
    if found.asked:
        reason = f"the candidate has no {found.asked} for this law"
    if found.namesakes:
        reason += "; the candidate has files of this name: say which stands for it by --map old=new"
    return {
        "family": found.family,
        "denoiser": found.denoiser,
        "candidate": found.denoiser,
        "band": "",
        "sigma_low": min(found.sigmas),
        "sigma_high": max(found.sigmas),
        "levels": len(found.sigmas),
        "images": 0,
        "pairing": "",
        "measure": "",
        "verdict": found.verdict,
        "reason": reason,
    }


def _ratio(seconds_b: FloatArray, seconds_a: FloatArray) -> float:
    """Ratio of median seconds an image; NaN where there is none."""
    if not len(seconds_a) or not np.median(seconds_a) > 0:
        return math.nan
    return float(np.median(seconds_b) / np.median(seconds_a))


def _listed(sigmas: Iterable[float]) -> str:
    return ", ".join(f"{sigma:.4g}" for sigma in sigmas)
