"""What a run is to do: resolved, checked and hashed before anything is computed."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gahb_bench import make
from gahb_bench.core import rng
from gahb_bench.core import spec as specs
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray, check_scored_sigmas, check_sigmas
from gahb_bench.scoring.score import check_images, refuse_duplicates

# Raised whenever a change makes any stored number differ, so that old parts are not mixed with new ones.
RESULTS_VERSION = 1

DEFAULTS = "defaults"  # among denoisers: what a run scores unless told otherwise
DEFAULT_SIGMAS = tuple(float(10 ** (quarter / 4)) for quarter in range(-10, 3))  # 10^-2.5 to 10^0.5


@dataclass(frozen=True)
class DenoiserPlan:
    """One denoiser, resolved: canonical spec, what it knows, all its parameters, hash of what the spec leaves out.

    brought : whether the user brought it from elsewhere, so that its units are not ours to vouch for
    fitted : how many numbers of it were fitted to images, None where that is not stated
    """

    spec: str
    knows: str
    parameters: dict[str, Any]
    digest: str
    brought: bool = False
    fitted: int | None = None


@dataclass(frozen=True)
class FamilyPlan:
    """One family and the denoisers to score on it."""

    spec: str
    name: str
    parameters: dict[str, Any]
    denoisers: tuple[DenoiserPlan, ...]


@dataclass(frozen=True)
class Cell:
    """The unit of work: one denoiser on one family at one noise level, all images. Picklable text and numbers."""

    family: str
    denoiser: str
    digest: str
    sigma: float
    images: int
    seed: int
    split: str

    @property
    def key(self) -> str:
        """Hash of everything the result depends on."""
        return _hash([RESULTS_VERSION, asdict(self)])


@dataclass(frozen=True)
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
            Cell(family.spec, denoiser.spec, denoiser.digest, sigma, self.images, self.seed, self.split)
            for family in self.families
            for denoiser in family.denoisers
            for sigma in self.sigmas
        ]

    @property
    def key(self) -> str:
        """Hash of the plan: two runs with the same key have the same numbers."""
        return _hash([cell.key for cell in self.cells()])

    def as_dict(self) -> dict[str, Any]:
        """The plan as it stands in run.json."""
        return asdict(self)


def make_plan(
    families: Sequence[str],
    denoisers: Sequence[str] | None = None,
    sigmas: object = None,
    images: int = 128,
    seed: int = 0,
    split: str = "test",
) -> Plan:
    """Resolve and check a run.

    Parameters
    ----------
    families, denoisers : sequences of specs; among the denoisers, ``defaults`` stands for each family's oracles, the
        networks shipped for it and the default set, and is what is scored if none are given
    sigmas : noise levels, default 13 quarter decades from 10^-2.5 to 10^0.5
    images, seed, split : how many images, which seed and split

    Raises
    ------
    UsageError
        For anything that is unknown, not allowed, or given twice.
    """
    if not families:
        raise UsageError("no family given: name at least one, for example --family calpha.")
    levels = np.unique(check_scored_sigmas(DEFAULT_SIGMAS if sigmas is None else sigmas))
    check_images(images)
    rng.check_seed(seed)
    rng.check_split(split)
    planned = tuple(_plan_family(make.family(spec), denoisers) for spec in families)
    if len({family.spec for family in planned}) < len(planned):
        raise UsageError(f"a family is given twice among {', '.join(family.spec for family in planned)}: give it once.")
    return Plan(planned, tuple(float(s) for s in levels), int(images), int(seed), split)


def parse_sigmas(text: str) -> FloatArray:
    """Noise levels as written: ``0.01,0.1`` or ``low:high:count``, evenly spaced in log sigma, both ends included.

    >>> parse_sigmas("0.01:1:3").tolist()
    [0.01, 0.1, 1.0]
    """
    try:
        if ":" in text:
            low, high, count = text.split(":")
            ends = check_sigmas([float(low), float(high)])
            if int(count) < 2:
                raise ValueError
            return np.geomspace(ends[0], ends[1], int(count))
        values = [float(piece) for piece in text.split(",") if piece.strip()]
    except UsageError:
        raise
    except ValueError:
        raise UsageError(
            f"cannot read the noise levels {text!r}: write them as 0.01,0.1,1 or as low:high:count with count >= 2, "
            "for example 0.003:3:13."
        ) from None
    return check_sigmas(values)


def _plan_family(family: Family, denoisers: Sequence[str] | None) -> FamilyPlan:
    chosen: list[str] = []
    for spec in denoisers or [DEFAULTS]:
        chosen += make.default_denoisers(family) if spec == DEFAULTS else [spec]
    made = [make.denoiser(spec, family) for spec in chosen]
    refuse_duplicates(denoiser.spec for denoiser in made)
    resolved = tuple(_planned(d) for d in made)
    return FamilyPlan(family.spec, family.name, family.parameters, resolved)


def _planned(denoiser: Denoiser) -> DenoiserPlan:
    facts = denoiser.facts
    return DenoiserPlan(denoiser.spec, denoiser.knows, denoiser.parameters, facts.digest, facts.brought, facts.fitted)


def split_specs(texts: Sequence[str] | None) -> list[str] | None:
    """Comma-separated lists, given once or repeatedly, as one list of specs."""
    return [spec for text in texts for spec in specs.parse_list(text)] if texts else None


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]
