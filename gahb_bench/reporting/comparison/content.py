"""What a comparison of runs says: a baseline and candidates, verdicts, and what else differs between the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase

import pandas as pd

from gahb_bench.core.denoiser import Facts
from gahb_bench.core.errors import StoreError, UsageError, printable, unknown
from gahb_bench.reporting.comparison.options import fits, margin_of, read_mapping
from gahb_bench.reporting.study import words
from gahb_bench.running.folder import Manifest, RunData, read
from gahb_bench.scoring.compare import BITWISE, MARGIN_DB, VERDICTS, check_margin, comparisons, judge, levels, measure
from gahb_bench.scoring.matching import Pair, check_scores, match
from gahb_bench.scoring.partners import Contents

MARKS = (b"Differences are mean log-ratios of risk in dB", b"gahb_bench compare")  # one of them is in every form of it
GATES = tuple(verdict for verdict in VERDICTS if verdict != "same")


@dataclass(frozen=True)
class Difference:
    """Something in which two runs differ, beside their results."""

    what: str
    baseline: str
    candidate: str


@dataclass(frozen=True)
class Candidate:
    """One run compared with the baseline."""

    letter: str
    run: RunData
    differences: tuple[Difference, ...]
    unpaired: str  # why image i is not the same image as the baseline's; empty where it is
    pairs: tuple[Pair, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything a comparison says. ``table`` holds the rows of `gahb_bench.compare`, and ``run``, a letter."""

    baseline: RunData
    candidates: tuple[Candidate, ...]
    table: pd.DataFrame
    comparisons: int
    fail_on: tuple[str, ...]

    @cached_property
    def levels(self) -> pd.DataFrame:
        """Each noise level by itself, with pointwise 95 % intervals; the rows of pairs that are in ``table``."""
        kept = set(zip(self.table["run"], self.table["family"], self.table["denoiser"], strict=True))
        found = []
        for one in self.candidates:
            pairs = [pair for pair in one.pairs if (one.letter, pair.family, pair.denoiser) in kept]
            found.append(levels(pairs).assign(run=one.letter))
        return pd.concat(found, ignore_index=True)

    @property
    def failing(self) -> pd.DataFrame:
        """The rows that make the comparison fail."""
        return self.table[self.table["verdict"].isin(self.fail_on)]

    def of(self, candidate: Candidate) -> pd.DataFrame:
        """The rows of one candidate."""
        return self.table[self.table["run"] == candidate.letter]

    def headline(self, candidate: Candidate) -> str:
        """How many rows have which verdict."""
        verdicts = self.of(candidate)["verdict"]
        counts = {verdict: int((verdicts == verdict).sum()) for verdict in VERDICTS}
        bitwise = int((self.of(candidate)["reason"] == BITWISE).sum())
        same = f"{counts['same']} same" + (f" ({bitwise} of them bitwise)" if bitwise else "")
        return ", ".join([f"{count} {name}" for name, count in counts.items() if count and name != "same"] + [same])

    @property
    def method(self) -> str:
        """How differences and verdicts are to be read, in one paragraph."""
        return (
            "Differences are mean log-ratios of risk in dB, candidate over baseline: above 0 is worse. Where both have "
            "their excess over the exact posterior mean on the same images, the risk is MMSE + excess, without luck of "
            "the draw (by excess); elsewhere it is the MSE (by MSE). Their intervals "
            f"hold at once with 95 % for all comparisons in which chance plays a part ({self.comparisons} here; "
            "Bonferroni; jackknife over images jointly for all noise levels of a band, Student's t, widened for skewed "
            "errors and for few images). Worse or better: the interval lies wholly beyond the margin; same: wholly "
            "within it; otherwise inconclusive. Bands are thirds of the range of log σ. Bits a pixel are the "
            "candidate's excess bits (excess/σ² integrated over ln σ) minus the baseline's, above 0 is worse: over all "
            "noise levels and about those of a band, with 95 % intervals each by itself; a dash where either lacks its "
            "excess over an exact posterior mean or a noise level that the other has, or there are fewer than four. "
            "Times are ratios of median seconds an image. Neither decides anything."
        )


def compare_folders(
    folders: Sequence[Path],
    *,
    margin: float = MARGIN_DB,
    margins: Mapping[str, float] | None = None,
    only: Sequence[str] = (),
    mapping: Sequence[str] = (),
    fail_on: Sequence[str] = ("worse",),
) -> Comparison:
    """Compare runs with the first of them.

    Parameters
    ----------
    folders : a baseline and at least one candidate
    margin, margins : dB that do not matter; by family spec or glob, the exact spec first, then the first that fits
    only : globs ``FAMILY``, ``DENOISER`` or ``FAMILY/DENOISER`` of what is compared; everything without
    mapping : texts ``old=new``: denoiser ``old`` of the baseline is compared with ``new`` of the candidates; either may
        be an architecture, which on each law is the network of it that was trained there
    fail_on : verdicts for which the comparison fails

    Raises
    ------
    UsageError
        For anything that is unknown or not allowed, or if nothing can be compared.
    StoreError
        If a folder holds no run.
    """
    if not 2 <= len(folders) <= len(ascii_uppercase):
        raise UsageError(
            f"{words.counted(len(folders), 'run folder')} given: a comparison needs a baseline, and 1 to "
            f"{len(ascii_uppercase) - 1} candidates after it."
        )
    check_margin(margin)
    if not fail_on:
        raise UsageError(f"no verdict to fail on is given: name at least one of {', '.join(GATES)}.")
    for verdict in fail_on:
        if verdict not in GATES:
            raise unknown("verdict", verdict, GATES)
    baseline, *others = (_read(folder) for folder in folders)
    ours, *theirs = (_contents(run) for run in (baseline, *others))
    renamed = read_mapping(mapping, ours, theirs)
    lettered = zip(ascii_uppercase[1:], others, theirs, strict=False)
    found = [_candidate(letter, baseline, other, renamed, (ours, known)) for letter, other, known in lettered]
    table = pd.concat([rows for _, rows in found], ignore_index=True)
    if only:
        chosen = [any(fits(row, pattern) for pattern in only) for row in table.itertuples()]
        if not any(chosen):
            names = {*table["family"], *table["denoiser"]}
            raise unknown("family or denoiser", ", ".join(only), (printable(name) for name in names))
        table = table[chosen].reset_index(drop=True)
    table["margin_db"] = [margin_of(family, margins or {}, margin) for family in table["family"]]
    candidates = tuple(candidate for candidate, _ in found)
    return Comparison(baseline, candidates, judge(table), comparisons(table), tuple(fail_on))


def _read(folder: Path) -> RunData:
    run = read(folder)
    try:
        check_scores(run.scores)
    except UsageError as error:
        raise StoreError(f"cannot compare {folder / 'scores.parquet'}: {error}") from None
    return run


def _candidate(
    letter: str, baseline: RunData, run: RunData, mapping: Mapping[str, str], known: tuple[Contents, Contents]
) -> tuple[Candidate, pd.DataFrame]:
    ours, theirs = baseline.manifest.plan, run.manifest.plan
    versions = baseline.manifest.results_version, run.manifest.results_version
    addresses = (("seed", ours.seed, theirs.seed), ("split", ours.split, theirs.split), ("results version", *versions))
    unpaired = [f"the {what} differs ({printable(a)}, {printable(b)})" for what, a, b in addresses if a != b]
    pairs, unmatched = match(baseline.scores, run.scores, mapping, " and ".join(unpaired), baseline.references, known)
    if not pairs:
        raise UsageError(
            f"{run.folder} and {baseline.folder} have no denoiser on a family at a noise level in common, so that "
            "nothing can be compared. Where a denoiser has another name, give --map old=new."
        )
    moved = dict.fromkeys(_moved(pair, *known) for pair in pairs if pair.matched_by != "name")
    differences = (*moved, *_differences(baseline.manifest, run.manifest))
    candidate = Candidate(letter, run, differences, " and ".join(unpaired), tuple(pairs))
    rows = measure(pairs, unmatched)
    rows.insert(0, "run", letter)
    return candidate, rows


def _contents(run: RunData) -> Contents:
    """What is known of each denoiser of which there are scores."""
    planned = {
        (family.spec, one.spec): Facts(digest=one.digest, architecture=one.architecture, trained_on=one.trained_on)
        for family in run.manifest.plan.families
        for one in family.denoisers
    }
    scored = run.scores[["family", "denoiser"]].drop_duplicates()
    return {address: planned.get(address, Facts()) for address in scored.itertuples(index=False, name=None)}


def _moved(pair: Pair, ours: Contents, theirs: Contents) -> Difference:
    """A denoiser's two names, each with its architecture where that is what it was matched by."""
    named = []
    for name, known in ((pair.denoiser, ours), (pair.candidate, theirs)):
        network = known[pair.family, name].architecture if pair.matched_by == "architecture" else ""
        named.append(words.sentence(f"{name} ({network})" if network else name))
    return Difference(f"denoiser, matched by {pair.matched_by}", *named)


def _differences(a: Manifest, b: Manifest) -> tuple[Difference, ...]:
    """What differs between two runs, beside their results."""
    before, after = _settings(a), _settings(b)
    return tuple(
        Difference(what, before.get(what, "none"), after.get(what, "none"))
        for what in {**before, **after}
        if before.get(what) != after.get(what)
    )


def _settings(run: Manifest) -> dict[str, str]:
    plan, environment = run.plan, run.environment
    packages = environment.get("packages")
    found = {
        "results version": run.results_version,
        "status": run.status,
        "images": plan.images,
        "seed": plan.seed,
        "split": plan.split,
        "noise levels": ", ".join(f"{sigma:.6g}" for sigma in plan.sigmas),
    }
    found |= {key.replace("_", " "): value for key, value in environment.items() if key != "packages"}
    if isinstance(packages, dict):
        found |= {f"package {name}": version or "not installed" for name, version in packages.items()}
    for family in plan.families:
        for denoiser in family.denoisers:
            if denoiser.digest:
                found[f"code or weights of {denoiser.spec} on {family.spec}"] = denoiser.digest[:12]
    return {words.sentence(what): words.sentence(value) for what, value in found.items()}
