"""Several runs on one page: what each says of a family, put together where it is about the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd

from gahb_bench.core.errors import UsageError, printable
from gahb_bench.core.optimum import Reference
from gahb_bench.running.folder import DenoiserRecord, Failure, FamilyRecord, RunData
from gahb_bench.scoring.curve import curves

SAME_DB = 1e-3  # mean errors closer than this are the same number: rounding on other hardware, below what is shown
_CELL = ["denoiser", "sigma"]


@dataclass(frozen=True, eq=False)
class Source:
    """One run of a page: its number there (from 1), its name, and the run."""

    number: int
    name: str
    run: RunData


@dataclass(frozen=True)
class Planned:
    """One denoiser of a study: under which name, at which noise levels, and where each run has it."""

    plan: DenoiserRecord
    sigmas: tuple[float, ...]
    sources: tuple[tuple[Source, str], ...]  # the run, and the denoiser's name there


@dataclass(frozen=True, eq=False)
class Study:
    """One family on one set of images, as all the runs of a page have it.

    ``scores`` and ``curves`` have the columns of scores.parquet and curves.csv, and ``run``, the number of the run
    that a row's numbers come from. Regrets are paired over all of them: the images and their noise are the same.
    ``reference`` is known at all their noise levels, and between them where a run stored that.
    """

    family: FamilyRecord
    images: int
    seed: int
    split: str
    results_version: int
    denoisers: tuple[Planned, ...]
    reference: Reference
    scores: pd.DataFrame
    curves: pd.DataFrame
    failures: tuple[Failure, ...]

    @property
    def sigmas(self) -> list[float]:
        return sorted({sigma for denoiser in self.denoisers for sigma in denoiser.sigmas})

    @property
    def sources(self) -> list[Source]:
        """The runs that its numbers come from."""
        found = {source.number: source for denoiser in self.denoisers for source, _ in denoiser.sources}
        return [found[number] for number in sorted(found)]


def sources(runs: Sequence[RunData]) -> list[Source]:
    """The runs of a page, each with a name of its own: its folder's, with a number where two are called the same."""
    found: list[Source] = []
    for number, run in enumerate(runs, start=1):
        name = run.folder.resolve().name or "run"
        if name in {source.name for source in found}:
            name = f"{name} ({number})"
        found.append(Source(number, name, run))
    return found


def studies(runs: Sequence[Source]) -> list[Study]:
    """What the runs hold, by family and images.

    Two runs that scored the same denoiser (the same name and the same digest) on the same images must have the same
    numbers, and one of them is kept. A name that stands for different things in two runs (another digest: retrained
    weights, changed code) is written with the name of the run, ``net @ run``, on the whole page.

    Raises
    ------
    UsageError
        If two runs have different numbers for the same thing.
    """
    found: dict[tuple[str, int, int, str, int], list[tuple[Source, FamilyRecord]]] = {}
    for source in runs:
        plan = source.run.manifest.plan
        for family in plan.families:
            key = (family.spec, plan.images, plan.seed, plan.split, source.run.manifest.results_version)
            found.setdefault(key, []).append((source, family))
    ambiguous = {name for parts in found.values() for name in _ambiguous(parts)}
    order = list(dict.fromkeys(key[0] for key in found))
    return [_study(key, found[key], ambiguous) for key in sorted(found, key=lambda key: order.index(key[0]))]


def _ambiguous(parts: list[tuple[Source, FamilyRecord]]) -> set[str]:
    """The names that stand for different things in the runs of one study."""
    digests: dict[str, set[str]] = {}
    for _, family in parts:
        for denoiser in family.denoisers:
            digests.setdefault(denoiser.spec, set()).add(denoiser.digest)
    return {name for name, found in digests.items() if len(found) > 1}


def _study(key: tuple[str, int, int, str, int], parts: list[tuple[Source, FamilyRecord]], ambiguous: set[str]) -> Study:
    spec, images, seed, split, version = key
    levels: dict[str, float] = {}  # noise levels that differ by rounding are one
    planned: dict[str, Planned] = {}
    scores, stored, failures = [], [], []
    for source, family in parts:
        names = {d.spec: f"{d.spec} @ {source.name}" if d.spec in ambiguous else d.spec for d in family.denoisers}
        sigmas = {s: levels.setdefault(f"{s:.9g}", s) for s in source.run.manifest.plan.sigmas}
        for denoiser in family.denoisers:
            name = names[denoiser.spec]
            before = planned.get(name, Planned(denoiser.model_copy(update={"spec": name}), (), ()))
            here = tuple(sorted({*before.sigmas, *sigmas.values()}))
            planned[name] = Planned(before.plan, here, (*before.sources, (source, denoiser.spec)))
        for rows, kept in ((source.run.scores, scores), (source.run.curves, stored)):
            mine = rows[rows["family"] == spec]
            named = mine["denoiser"].map(lambda name, names=names: names.get(name, name))
            level = mine["sigma"].map(lambda sigma: levels.setdefault(f"{sigma:.9g}", sigma))
            kept.append(mine.assign(denoiser=named, sigma=level, run=source.number))
        failures += [
            failure.model_copy(update={"denoiser": names.get(failure.denoiser, failure.denoiser)})
            for failure in source.run.manifest.failures
            if failure.family == spec
        ]
    table = scores[0] if len(parts) == 1 else _together(scores, {s.number: s.name for s, _ in parts}, spec)
    reference = _reference([source.run for source, _ in parts], spec)
    curve = stored[0] if len(parts) == 1 else _curves(table, spec, reference)
    family = parts[0][1].model_copy(update={"denoisers": [denoiser.plan for denoiser in planned.values()]})
    return Study(
        family, images, seed, split, version, tuple(planned.values()), reference, table, curve, tuple(failures)
    )


def _reference(runs: Sequence[RunData], family: str) -> Reference:
    """The reference as the runs stored it, at the noise levels of all of them."""
    known = [run.references[family] for run in runs if family in run.references]
    none = Reference.none(np.unique(runs[0].manifest.plan.sigmas), "The run holds no reference of this family.")
    return reduce(Reference.join_levels, known) if known else none


def _together(scores: list[pd.DataFrame], names: dict[int, str], family: str) -> pd.DataFrame:
    """All scores, each cell once: of two runs that have it, the one in which nothing failed and that has its excess.

    Where both are so, the first.
    """
    table = pd.concat(scores, ignore_index=True)
    cells = table.assign(good=table["status"] == "ok").groupby([*_CELL, "run"], sort=False)
    cells = cells.agg(good=("good", "all"), mse=("mse", "mean"), excess=("excess", "count")).reset_index()
    kept = []
    for (denoiser, sigma), rows in cells.groupby(_CELL, sort=False):
        good = rows[rows["good"]]
        if len(good) > 1:
            mine = table[(table["denoiser"] == denoiser) & (table["sigma"] == sigma)]
            images = mine.pivot_table(index="run", columns="image", values="mse").loc[good["run"]]
            _refuse_different(f"{denoiser} on {family} at sigma={sigma:.4g}", good, images, names)
        found = good if len(good) else rows
        kept.append(found.loc[found["excess"].idxmax()][[*_CELL, "run"]])
    return table.merge(pd.DataFrame(kept).astype({"run": int}), on=[*_CELL, "run"])


def _refuse_different(what: str, cells: pd.DataFrame, images: pd.DataFrame, names: dict[int, str]) -> None:
    """Refuse cells (runs by images) of which some image differs beyond rounding."""
    first, mse = cells.iloc[0], images.to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = np.abs(10 * np.log10(mse / mse[0]))
    different = np.flatnonzero(((mse != mse[0]) & ~(apart < SAME_DB)).any(axis=1))
    if len(different):
        other = cells.iloc[different[0]]
        raise UsageError(
            f"the runs {printable(names[first['run']])} and {printable(names[other['run']])} have different numbers "
            f"for {printable(what)} (mean MSE {first['mse']:.6g} and {other['mse']:.6g}), though the images, the noise "
            "and the denoiser's digest are the same: one of them is wrong. Compute one again (--no-resume), or make "
            "their reports apart."
        )


def _curves(scores: pd.DataFrame, family: str, reference: Reference) -> pd.DataFrame:
    """Curves of the merged scores, paired anew."""
    origin = scores.drop_duplicates([*_CELL])[[*_CELL, "run"]]
    return curves(scores, {family: reference}).merge(origin, on=_CELL)
