"""What a run is to do: resolved, checked and hashed before anything is computed."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from gahb_bench import defaults, make
from gahb_bench.core import memory, rng
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import DEFAULTS, Denoiser, Facts
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import check_scored_sigmas
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.running.folder import DenoiserRecord, FamilyRecord, PlanRecord
from gahb_bench.scoring.score import check_images, optimum_among, refuse_duplicates

# Raised whenever a change makes any stored number differ, so that old parts are not mixed with new ones.
RESULTS_VERSION = 2

# Denoisers to choose from, and such by names of one's choice.
Named = Mapping[str, str | Denoiser | Callable[..., Any]]
Chosen = Sequence[str | Denoiser | Callable[..., Any] | Named] | Named

BLOCK = 128  # most images that are scored at once


@dataclass(frozen=True, eq=False)
class Method:
    """One denoiser of a plan, ready to be called, and what is recorded of it."""

    denoiser: Denoiser
    facts: Facts

    @property
    def spec(self) -> str:
        return self.denoiser.spec

    @property
    def record(self) -> DenoiserRecord:
        """What run.json keeps."""
        denoiser, facts = self.denoiser, self.facts
        return DenoiserRecord(
            spec=denoiser.spec,
            knows=denoiser.knows,
            parameters=denoiser.parameters,
            digest=facts.digest,
            brought=facts.brought,
            fitted=facts.fitted,
            tuning=facts.tuning,
            tuned=facts.tuned,
            architecture=facts.architecture,
            trained_on=facts.trained_on,
            look=denoiser.look,
        )


@dataclass(frozen=True, eq=False)
class FamilyPlan:
    """One family and the denoisers to score on it; the exact posterior mean of its law, where one is known."""

    family: Family
    methods: tuple[Method, ...]
    optimum: PosteriorMean | None
    digest: str

    @property
    def spec(self) -> str:
        return self.family.spec

    @property
    def record(self) -> FamilyRecord:
        """What run.json keeps."""
        family = self.family
        return FamilyRecord(
            spec=family.spec,
            name=family.name,
            shape=family.shape,
            parameters=family.parameters,
            digest=self.digest,
            denoisers=[method.record for method in self.methods],
        )


@dataclass(frozen=True)
class Cell:
    """One denoiser on one family at one noise level, by name; ``key`` is a hash of all that an image's score needs."""

    family: str
    denoiser: str
    digest: str
    sigma: float
    seed: int
    split: str
    law: str = ""  # hash of the family's code, where that is not of this package

    @property
    def key(self) -> str:
        """Hash of everything the score of an image depends on, but for the image's number."""
        return _hash([RESULTS_VERSION, *astuple(self)])


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole run."""

    families: tuple[FamilyPlan, ...]
    sigmas: tuple[float, ...]
    images: int
    seed: int
    split: str

    def cells(self) -> list[Cell]:
        """All cells, in the order of the score table."""
        return [
            self.cell(family, method, sigma)
            for family in self.families
            for method in family.methods
            for sigma in self.sigmas
        ]

    def cell(self, family: FamilyPlan, method: Method, sigma: float) -> Cell:
        """The cell of one denoiser at one noise level."""
        address = (family.spec, method.spec, method.facts.digest, sigma, self.seed, self.split)
        return Cell(*address, law=family.digest)

    @property
    def memory(self) -> int:
        """Bytes of memory that it takes, about, but for what its denoisers take themselves."""
        return _memory([law.family for law in self.families], len(self.cells()), self.images)

    @property
    def key(self) -> str:
        """Hash of the plan: two runs with the same key have the same numbers."""
        return _hash([self.images, [cell.key for cell in self.cells()]])

    @property
    def record(self) -> PlanRecord:
        """What run.json keeps."""
        return PlanRecord(
            families=[family.record for family in self.families],
            sigmas=list(self.sigmas),
            images=self.images,
            seed=self.seed,
            split=self.split,
        )


def make_plan(
    families: Sequence[str | Family],
    denoisers: Chosen | None = None,
    sigmas: object = None,
    images: int = 128,
    seed: int = 0,
    split: str = "test",
    tune: bool = True,
    progress: Callable[[int, int], object] = lambda *_: None,
    defaults: Callable[[Family], list[str | Denoiser]] = defaults.scored,
) -> Plan:
    """Resolve and check a run.

    Parameters
    ----------
    families : specs, or families
    denoisers : specs, denoisers, or callables; such by names of one's choice, alone or in the list; ``defaults`` stands
        for each family's oracles, the networks shipped for it and the default set, and is scored if none are given
    sigmas : noise levels, default 13 quarter decades from 10^-2.5 to 10^0.5
    images, seed, split : how many images, which seed and split
    tune : whether a parameter for which no table is stored is tuned now, on split ``val``, rather than left to a rule
    progress : told (done, total) of the noise levels of each such tuning
    defaults : the denoisers that ``defaults`` stands for, of a family

    Raises
    ------
    UsageError
        For anything that is unknown, not allowed, or given twice, or for more than memory holds.
    """
    if not families:
        raise UsageError("no family given: name at least one, for example --family calpha.")
    levels = np.unique(check_scored_sigmas(DEFAULT_SIGMAS if sigmas is None else sigmas))
    check_images(images)
    rng.check_seed(seed)
    rng.check_split(split)
    laws = [make.family(family) for family in families]
    chosen = [_chosen(law, denoisers, defaults) for law in laws]
    needed = _memory(laws, sum(map(len, chosen)) * len(levels), images)
    what = f"a run on {', '.join(law.spec for law in laws)} (images: {images}, noise levels: {len(levels)})"
    memory.check_fits(needed, what, "choose fewer or smaller images, fewer noise levels or fewer denoisers")
    if len({law.spec for law in laws}) < len(laws):
        raise UsageError(f"a family is given twice among {', '.join(law.spec for law in laws)}: give it once.")
    made = [_make(law, those) for law, those in zip(laws, chosen, strict=True)]
    planned = tuple(_plan_family(law, those, tune, progress) for law, those in zip(laws, made, strict=True))
    return Plan(planned, tuple(float(s) for s in levels), int(images), int(seed), split)


def split_specs(texts: Sequence[str] | None) -> list[str] | None:
    """Comma-separated lists, given once or repeatedly, as one list of specs."""
    return [spec for text in texts for spec in specs.parse_list(text, make.names_denoiser)] if texts else None


def _chosen(
    family: Family, denoisers: Chosen | None, defaults: Callable[[Family], list[str | Denoiser]]
) -> list[str | Denoiser | Callable[..., Any]]:
    """The denoisers that are meant for a family; only those with names of one's choice are made."""
    if denoisers is not None and not isinstance(denoisers, Mapping):
        make.refuse_no_list(denoisers)
    chosen: list[str | Denoiser | Callable[..., Any]] = []
    for each in [denoisers] if isinstance(denoisers, Mapping) else denoisers or [DEFAULTS]:
        if isinstance(each, Mapping):
            chosen += make.untuned(each, family)
        else:
            chosen += defaults(family) if isinstance(each, str) and each == DEFAULTS else [each]
    return chosen


def _memory(families: Sequence[Family], cells: int, images: int) -> int:
    """Bytes of memory of a run: its tables, and the images of one family that are scored at once."""
    count = min(images, BLOCK)
    scored = max(memory.of_scoring(count, family.shape) for family in families)
    return memory.PROCESS + memory.of_tables(cells, images) + scored


def _make(family: Family, chosen: Sequence[str | Denoiser | Callable[..., Any]]) -> list[Denoiser]:
    """The denoisers, none tuned yet: what is refused is refused before that."""
    made = make.untuned(chosen, family)
    refuse_duplicates(denoiser.spec for denoiser in made)
    return made


def _plan_family(
    family: Family, chosen: Sequence[Denoiser], tune: bool, progress: Callable[[int, int], object]
) -> FamilyPlan:
    made = [make.denoiser(denoiser, family, tune, progress).followed(family) for denoiser in chosen]
    methods = tuple(Method(denoiser, denoiser.facts) for denoiser in made)
    return FamilyPlan(family, methods, optimum_among(made, family), family.digest)


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
