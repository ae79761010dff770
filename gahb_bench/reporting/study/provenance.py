"""Where the numbers come from: the facts of a run, and the command that makes a family's numbers again."""

import shlex
from collections.abc import Sequence

from gahb_bench.core.errors import UsageError
from gahb_bench.core.levels import DEFAULT_SIGMAS, parse_sigmas
from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.merge import Source
from gahb_bench.reporting.study.section import Section
from gahb_bench.running.folder import Manifest

_NAMES = {"git_commit": "commit", "cpu": "processor", "gpu": "accelerator", "threads": "torch threads"}


def settings(content: Content) -> list[str]:
    """How many families, images and noise levels, which seed, and when, a phrase each."""
    studies, labels = [section.study for section in content.sections], list(content.sigma_labels.values())
    levels = sorted({len(study.sigmas) for study in studies})
    ends = f"σ = {labels[0]}" if len(labels) == 1 else f"σ from {labels[0]} to {labels[-1]}" if labels else ""
    runs = len(content.sources)
    return [
        *([f"{runs} runs"] if runs > 1 else []),
        _count([len({study.family.spec for study in studies})], "family", "families"),
        _count(sorted({study.images for study in studies}), "image", "images"),
        f"{_count(levels, 'noise level', 'noise levels')}, {ends}",
        f"seed {', '.join(map(str, sorted({study.seed for study in studies})))}",
        " to ".join(sorted({manifest.started[:10] for manifest in content.manifests})[:: max(1, runs - 1)]),
    ]


def _count(numbers: list[int], one: str, many: str) -> str:
    return f"{' or '.join(map(str, numbers))} {one if numbers == [1] else many}"


def facts(run: Manifest) -> list[tuple[str, str]]:
    """Where the numbers of a run come from, in words."""
    found = [
        ("command", run.command or "not recorded"),
        ("seed, split", f"{run.plan.seed}, {run.plan.split}"),
        ("images", f"{run.plan.images}, the first of the split, the same at every noise level for every denoiser"),
        ("started", run.started),
        ("finished", run.finished or "not finished"),
        ("time", words.duration(run.seconds)),
        ("results version", str(run.results_version)),
    ]
    for key, value in run.environment.items():
        if key != "packages" and value is not None:
            found.append((_NAMES.get(key, key.replace("_", " ")), str(value)))
    packages = run.environment.get("packages", {})
    found.append(
        ("packages", ", ".join(f"{name} {version or '(not installed)'}" for name, version in packages.items()))
    )
    return [(name, words.sentence(value)) for name, value in found]


def commands(section: Section) -> list[tuple[Source, str]]:
    """For each run that a family's numbers come from, the command that makes them again, and nothing else.

    The run's own command where they cannot be asked for on the command line: on another split than ``test``, or by a
    name that cannot be typed.
    """
    return [(source, _command(section, source)) for source in section.sources]


def _command(section: Section, source: Source) -> str:
    plan = source.run.manifest.plan
    names = [name for method in section.methods for origin, name in method.planned.sources if origin == source]
    if plan.split != "test" or not all(name.isprintable() for name in (section.spec, *names)):
        return words.sentence(source.run.manifest.command) or "not recorded"
    parts = ["python", "-m", "gahb_bench", "run", "--family", section.spec, "--denoisers", ",".join(names)]
    parts += [*_sigmas(sorted(plan.sigmas)), "--images", str(plan.images), "--seed", str(plan.seed)]
    return shlex.join(parts)


def _sigmas(sigmas: Sequence[float]) -> list[str]:
    """The option that gives exactly these noise levels, as short as can be."""
    if tuple(sigmas) == DEFAULT_SIGMAS:
        return []
    spaced = f"{sigmas[0]!r}:{sigmas[-1]!r}:{len(sigmas)}"
    try:
        if len(sigmas) > 2 and parse_sigmas(spaced).tolist() == list(sigmas):
            return ["--sigmas", spaced]
    except UsageError:  # noise levels that this version would refuse
        pass
    return ["--sigmas", ",".join(map(repr, sigmas))]
