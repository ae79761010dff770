"""Two tables of scores, matched: the same family, the same denoiser (or one told to stand for it), the same noise."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from gahb_bench.core.denoiser import Facts
from gahb_bench.core.errors import printable
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference
from gahb_bench.scoring.curve import HONEST, check_table
from gahb_bench.scoring.partners import Contents, asked, check_mapping, file_name, partners

_NEEDED = ("family", "denoiser", "sigma", "image", "mse", "status", "reason", "seconds")
_BROKEN = 5.0  # standard errors by which E[difference of MSE - difference of excess] = 0 may be missed
_SAME_SIGMA = 1e-9  # relative distance below which two noise levels are one


@dataclass(frozen=True)
class Pair:
    """One denoiser of the baseline and the denoiser of the candidate it is compared with, on one family.

    ``a`` and ``b`` are MSEs, noise levels by images, a row for each noise level that both have; NaN where an image
    failed. Where the pair is paired, both have the same images as columns. ``whole_a`` and ``whole_b`` say at which
    noise levels every image has a number; ``seconds_a`` and ``seconds_b`` are medians over images, per noise level.
    ``risk_a`` and ``risk_b`` are what decides: where both sides have their excess over the exact optimum, the MMSE plus
    that excess, whose mean is that of the MSE without the luck of the draw (``measure`` is then ``excess``); elsewhere
    the MSEs themselves (``mse``). ``excess`` is that of either side, ``(levels, images)``, where both have it and all
    noise levels of the other.
    """

    family: str
    denoiser: str
    candidate: str
    a: pd.DataFrame
    b: pd.DataFrame
    whole_a: np.ndarray
    whole_b: np.ndarray
    seconds_a: FloatArray
    seconds_b: FloatArray
    reasons_b: tuple[str, ...]
    paired: bool
    note: str
    risk_a: pd.DataFrame
    risk_b: pd.DataFrame
    measure: str
    matched_by: str = "name"
    excess: tuple[FloatArray, FloatArray] | None = None

    @property
    def sigmas(self) -> FloatArray:
        return self.a.index.to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class Unmatched:
    """Cells that one table has and the other has not: ``missing`` from the candidate, or ``added`` by it.

    ``whole`` if no noise level of the denoiser was matched; ``namesakes`` if the other has files of its file's name;
    ``asked`` what the mapping lets stand for it, and is not there.
    """

    family: str
    denoiser: str
    verdict: str
    sigmas: tuple[float, ...]
    whole: bool
    namesakes: bool = False
    asked: str = ""


def match(
    baseline: pd.DataFrame,
    candidate: pd.DataFrame,
    mapping: Mapping[str, str],
    unpaired: str = "",
    references: Mapping[str, Reference] | None = None,
    known: tuple[Contents, Contents] = ({}, {}),
) -> tuple[list[Pair], list[Unmatched]]:
    """Match two tables, the columns of scores.parquet.

    Denoisers are the same if their specs are; then, of those that are left and come from a file, if the files have the
    same content; then, if they have the same name, in whatever folder, and no other has.

    Parameters
    ----------
    mapping : what of the candidate stands for what of the baseline, where their names differ: a denoiser, or an
        architecture (`meant`); where both say it of one denoiser, its name decides
    unpaired : why image i of the two tables is not the same image; empty where it is
    references : what is known of the optimum, by family; without one, a family is compared by MSE
    known : what is known of the denoisers of either

    Raises
    ------
    UsageError
        If a table is not a table of scores, or holds two scores for one image, or the mapping names no denoiser of the
        baseline, or may mean several on one law.
    """
    for table in (baseline, candidate):
        check_scores(table)
    check_mapping(mapping)
    ours, theirs = _by_name(baseline), _by_name(candidate)
    known = ({one: known[0].get(one, Facts()) for one in ours}, {one: known[1].get(one, Facts()) for one in theirs})
    told = asked(mapping, *known)
    found = partners(told, *known)
    taken = {partner for _, partner in found.values()}
    added = [address for address in theirs if address not in taken and address not in ours]
    files = {file_name(address, known[1]) for address in added} - {None}
    pairs, unmatched = [], []
    for (family, name), rows in ours.items():
        if (family, name) not in found:
            wanted = told.get((family, name), ("", ("", "")))[1][1]
            namesakes = not wanted and file_name((family, name), known[0]) in files
            unmatched.append(Unmatched(family, name, "missing", _levels(rows), True, namesakes, wanted))
            continue
        matched_by, partner = found[family, name]
        other = theirs[partner]
        common, only_ours, only_theirs = _match_levels(_levels(rows), _levels(other))
        if common:
            best = (references or {}).get(family)
            pair = _pair(family, name, partner[1], rows, other, common, unpaired, best)
            same_levels = not (only_ours or only_theirs)
            pairs.append(replace(pair, matched_by=matched_by, excess=pair.excess if same_levels else None))
        for verdict, levels in (("missing", only_ours), ("added", only_theirs)):
            if levels:
                unmatched.append(Unmatched(family, name, verdict, levels, False))
    unmatched += [Unmatched(*address, "added", _levels(theirs[address]), True) for address in added]
    return pairs, unmatched


def check_scores(table: pd.DataFrame) -> None:
    """Refuse a table that cannot be compared: see `gahb_bench.scoring.curve.check_table`."""
    check_table(table, _NEEDED)


def _by_name(table: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    groups = table.groupby(["family", "denoiser"], sort=False)
    return {(str(family), str(name)): rows for (family, name), rows in groups}


def _levels(rows: pd.DataFrame) -> tuple[float, ...]:
    return tuple(float(sigma) for sigma in np.sort(rows["sigma"].unique()))


def _match_levels(
    ours: tuple[float, ...], theirs: tuple[float, ...]
) -> tuple[dict[float, float], tuple[float, ...], tuple[float, ...]]:
    """Noise levels that are equal up to rounding (ours -> theirs), and those that either has alone."""
    targets = np.array(ours)
    found = pd.Index(theirs).get_indexer(targets, method="nearest", tolerance=_SAME_SIGMA * targets)
    common = {sigma: theirs[index] for sigma, index in zip(ours, found, strict=True) if index >= 0}
    return (
        common,
        tuple(sigma for sigma in ours if sigma not in common),
        tuple(sigma for sigma in theirs if sigma not in common.values()),
    )


def _pair(
    family: str,
    name: str,
    partner: str,
    rows: pd.DataFrame,
    other: pd.DataFrame,
    common: dict[float, float],
    unpaired: str,
    known: Reference | None,
) -> Pair:
    a, seconds_a, _ = _grid(rows, list(common))
    b, seconds_b, reasons_b = _grid(other, list(common.values()))
    b.index = a.index
    whole_a, whole_b = (np.isfinite(grid.to_numpy()).all(axis=1) for grid in (a, b))
    shared = a.columns.intersection(b.columns)
    note = unpaired or ("no image in common" if shared.empty else "")
    if not note:
        a, b = a[shared], b[shared]
    reference = None if known is None else known.at(np.array(list(common)))
    excess = None if reference is None else _excesses(rows, other, common, reference, a, b, not note)
    risk_a, risk_b, measure = a, b, "mse"
    if reference is not None and excess is not None and not note:
        mmse = reference.mse[:, None]
        risk_a, risk_b = (pd.DataFrame(mmse + each, index=a.index, columns=a.columns) for each in excess)
        measure = "excess"
    return Pair(
        family=family,
        denoiser=name,
        candidate=partner,
        a=a,
        b=b,
        whole_a=whole_a,
        whole_b=whole_b,
        seconds_a=seconds_a,
        seconds_b=seconds_b,
        reasons_b=reasons_b,
        paired=not note,
        note=note,
        risk_a=risk_a,
        risk_b=risk_b,
        measure=measure,
        excess=excess,
    )


def _excesses(
    rows: pd.DataFrame,
    other: pd.DataFrame,
    common: dict[float, float],
    reference: Reference,
    a: pd.DataFrame,
    b: pd.DataFrame,
    paired: bool,
) -> tuple[FloatArray, FloatArray] | None:
    """The excess of both sides; None where it is not known, or where either has seen more than y.

    For estimates that depend on y alone, the difference of MSEs and that of excesses have the same mean; on other
    images, it is the MSE and MMSE + excess that have.
    """
    tables = (rows, other)
    blind = all("excess" in table and set(table["knows"]) <= set(HONEST) for table in tables)
    mmse = reference.mse
    if not blind or not reference.known.all() or not np.isfinite(mmse).all():
        return None
    levels, grids = (list(common), list(common.values())), (a, b)
    excess_a, excess_b = (
        _excess(table, sigmas).reindex(columns=grid.columns).to_numpy(dtype=np.float64)
        for table, sigmas, grid in zip(tables, levels, grids, strict=True)
    )
    if not (np.isfinite(excess_a).all() and np.isfinite(excess_b).all()):
        return None
    left_a, left_b = a.to_numpy(dtype=np.float64) - excess_a, b.to_numpy(dtype=np.float64) - excess_b
    crosses = [left_b - left_a] if paired else [left_a - mmse[:, None], left_b - mmse[:, None]]
    unsure = np.zeros_like(mmse) if paired else np.nan_to_num(reference.standard_error)
    if any(_differs_from_zero(cross, mmse, unsure) for cross in crosses):
        return None
    return excess_a, excess_b


def _differs_from_zero(cross: FloatArray, mmse: FloatArray, unsure: FloatArray) -> bool:
    """Whether the mean over images is not 0 at some noise level, beyond chance and the standard error of the MMSE."""
    if cross.shape[1] < 3:
        return False
    error = np.hypot(cross.std(axis=1, ddof=1) / np.sqrt(cross.shape[1]), unsure)
    return bool((np.abs(cross.mean(axis=1)) > _BROKEN * error + 1e-9 * mmse).any())


def _excess(rows: pd.DataFrame, sigmas: list[float]) -> pd.DataFrame:
    good = rows["status"] == "ok"
    table = rows.assign(excess=rows["excess"].where(good).astype(np.float64))
    return table.pivot(index="sigma", columns="image", values="excess").reindex(sigmas)


def _grid(rows: pd.DataFrame, sigmas: list[float]) -> tuple[pd.DataFrame, FloatArray, tuple[str, ...]]:
    """Noise levels by images, NaN where an image failed; median seconds and first reason of each level."""
    good = (rows["status"] == "ok") & np.isfinite(rows["mse"])
    rows = rows.assign(mse=rows["mse"].where(good).astype(np.float64))
    grid = rows.pivot(index="sigma", columns="image", values="mse").reindex(sigmas)
    seconds = rows.groupby("sigma")["seconds"].median().reindex(sigmas).to_numpy(dtype=np.float64)
    first = rows[~good].drop_duplicates("sigma").set_index("sigma")["reason"].to_dict()
    return grid, seconds, tuple(printable(first.get(sigma) or "an image has no number") for sigma in sigmas)
