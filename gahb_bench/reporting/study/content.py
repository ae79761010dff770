"""What a report says, worked out once for the page, the text and the figure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gahb_bench.core.errors import unknown
from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.merge import Planned, Source, Study, sources, studies
from gahb_bench.reporting.study.section import Section, make_section
from gahb_bench.reporting.study.style import styles
from gahb_bench.running.folder import Manifest, RunData


@dataclass(frozen=True)
class Content:
    """Everything a report says, of one run or of several."""

    sources: tuple[Source, ...]
    sections: tuple[Section, ...]

    @property
    def manifests(self) -> list[Manifest]:
        return [source.run.manifest for source in self.sources]

    @property
    def sigmas(self) -> list[float]:
        return sorted({sigma for section in self.sections for sigma in section.sigmas})

    @property
    def sigma_labels(self) -> dict[float, str]:
        return words.sigma_labels(self.sigmas)

    @property
    def cells(self) -> int:
        return sum(section.cells for section in self.sections)

    @property
    def troubles(self) -> int:
        return sum(len(section.troubles) for section in self.sections)

    @property
    def complete(self) -> bool:
        return all(manifest.status == "complete" for manifest in self.manifests)


def content(*runs: RunData, families: Sequence[str] = (), denoisers: Sequence[str] = ()) -> Content:
    """Work out what the report of some runs says.

    Parameters
    ----------
    runs : one or more runs
    families, denoisers : sequences of specs
        Show these alone; without any, all. Regrets stay paired with a denoiser that is not shown.

    Raises
    ------
    UsageError
        If a family or denoiser is in none of the runs, or two runs have different numbers for the same thing.
    """
    origins = sources(runs)
    found = studies(origins)
    _refuse_unknown("family", families, {study.family.spec for study in found})
    _refuse_unknown("denoiser", denoisers, {name for study in found for d in study.denoisers for name in _names(d)})
    looks = styles({denoiser.plan.spec: denoiser.plan.look for study in found for denoiser in study.denoisers})
    shown = [study for study in found if not families or study.family.spec in families]
    sections = [
        make_section(study, f"family-{position}", distinction, looks)
        for position, (study, distinction) in enumerate(zip(shown, _distinctions(shown), strict=True), start=1)
    ]
    if denoisers:
        sections = [_only(section, set(denoisers)) for section in sections]
        sections = [section for section in sections if section.methods]
    return Content(tuple(origins), tuple(sections))


def _refuse_unknown(what: str, given: Sequence[str], known: set[str]) -> None:
    for name in given:
        if name not in known:
            raise unknown(f"{what} in these runs", name, known)


def _names(denoiser: Planned) -> set[str]:
    """The names a denoiser can be asked for by: its own, and the one without the name of its run."""
    return {denoiser.plan.spec, *(name for _, name in denoiser.sources)}


def _only(section: Section, wanted: set[str]) -> Section:
    return replace(section, methods=tuple(m for m in section.methods if _names(m.planned) & wanted))


def _distinctions(found: Sequence[Study]) -> list[str]:
    """What tells each study from the others of the same family, in words."""
    fields = {"images": "{} images", "seed": "seed {}", "split": "split {}", "results_version": "results version {}"}
    texts = []
    for study in found:
        others = [other for other in found if other.family.spec == study.family.spec]
        differing = [name for name in fields if len({getattr(other, name) for other in others}) > 1]
        texts.append(", ".join(fields[name].format(getattr(study, name)) for name in differing))
    return texts
