"""Every denoiser over all families of a report: a row each, and a matrix of families by denoisers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gahb_bench.reporting.study import words
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.method import Method
from gahb_bench.reporting.study.section import Section
from gahb_bench.reporting.study.style import rank
from gahb_bench.scoring import bits
from gahb_bench.scoring.bits import Bits
from gahb_bench.scoring.mean_regret import MeanRegret, over_families
from gahb_bench.scoring.summary import Worst

STEPS = (0.1, 0.3, 1.0, 3.0, 10.0)  # dB; the upper ends of the matrix's colours, the last colour without an end


@dataclass(frozen=True)
class Standing:
    """One denoiser over the families of a report.

    methods : what it is on each family, None where it did not run
    counted : the families whose optimum is known exactly and on which it has a number at every noise level: the mean
        and the worst regret are over these alone
    worst : the largest regret, and the family where it is
    bits : the mean of its excess bits over the same families; unknown where one of them has none
    untuned : on how many families its parameter follows a rule
    architecture : of a row over networks of one architecture, each on the law it was trained on; empty elsewhere
    exponent_error : the largest fitted exponent minus the reference's, in size, its standard error, and its family
    """

    label: str
    knows: str
    sections: tuple[Section, ...]
    methods: tuple[Method | None, ...]
    counted: tuple[Section, ...]
    exact: int
    mean: MeanRegret
    worst: tuple[Worst, Section] | None
    bits: Bits
    exponent_error: tuple[float, float, Section] | None
    fitted: int | None
    images_per_second: float
    untuned: int
    architecture: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What kinds of regret the means are made of."""
        counted = [m for m, s in zip(self.methods, self.sections, strict=True) if m is not None and s in self.counted]
        return tuple(dict.fromkeys(kind for method in counted for kind in method.kinds))

    @property
    def first(self) -> Method:
        return next(method for method in self.methods if method is not None)


@dataclass(frozen=True)
class Leaderboard:
    """Standings, the comparable first; by the number of families that count, then by mean regret."""

    sections: tuple[Section, ...]
    standings: tuple[Standing, ...]

    @property
    def exact(self) -> int:
        """How many laws with a known optimum there are."""
        return len({section.spec for section in self.sections if _exact(section)})

    @property
    def laws(self) -> int:
        return len({section.spec for section in self.sections})

    @property
    def uneven(self) -> bool:
        """Whether the means of those that can be compared are over different families."""
        return len({s.counted for s in self.standings if s.first.honest and s.counted}) > 1


def leaderboard(content: Content) -> Leaderboard:
    """The standings of a report: a row a denoiser, and one for each architecture over the laws it was trained on."""
    sections = content.sections
    names = dict.fromkeys(method.spec for section in sections for method in section.methods)
    found = [_denoiser(name, sections) for name in names]
    networks = dict.fromkeys(m.planned.plan.architecture for s in sections for m in s.methods if _trained_here(m, s))
    found += [_architecture(network, sections) for network in networks]
    return Leaderboard(sections, tuple(sorted(found, key=_order)))


def step(regret: float) -> int:
    """The position of a regret's colour.

    >>> step(-0.2), step(0.1), step(0.11), step(50.0)
    (0, 0, 1, 5)
    """
    return int(np.searchsorted(STEPS, regret))


def _exact(section: Section) -> bool:
    return section.reference.kind == "exact"


def _order(standing: Standing) -> tuple[object, ...]:
    honest = standing.first.honest
    mean = standing.mean.value
    return (
        not honest,
        0 if honest else rank(standing.knows),
        -len(standing.counted),
        np.isnan(mean),
        mean,
        standing.label,
    )


def _trained_here(method: Method, section: Section) -> bool:
    return method.planned.plan.architecture != "" and method.planned.plan.trained_on == section.spec


def _denoiser(name: str, sections: Sequence[Section]) -> Standing:
    """The row of one denoiser."""
    methods = tuple(next((m for m in section.methods if m.spec == name), None) for section in sections)
    untuned = sum(m.planned.plan.untuned for m in methods if m is not None)
    here = sum(m is not None for m in methods)
    label = words.named(name, untuned == here)
    return _standing(label if untuned in (0, here) else f"{label} (untuned on {untuned})", methods, sections, untuned)


def _architecture(network: str, sections: Sequence[Section]) -> Standing:
    """The row of one architecture: on each law, the first of its networks that was trained on it."""
    methods = tuple(
        next((m for m in s.methods if _trained_here(m, s) and m.planned.plan.architecture == network), None)
        for s in sections
    )
    return replace(
        _standing(f"{words.visible(network)} trained on each law", methods, sections, 0), architecture=network
    )


def _standing(label: str, methods: tuple[Method | None, ...], sections: Sequence[Section], untuned: int) -> Standing:
    pairs = [(section, method) for section, method in zip(sections, methods, strict=True) if method is not None]
    counted = _one_a_law([(s, m) for s, m in pairs if _counts(s, m)])
    worst = [(m.worst, s) for s, m in counted if m.worst is not None]
    errors = [(m.exponent_error, m.fit.standard_error, s) for s, m in counted if m.fit is not None]
    errors = [error for error in errors if np.isfinite(error[0])]
    seconds = [m.seconds for _, m in pairs if np.isfinite(m.seconds)]
    fitted = [m.planned.plan.fitted for _, m in pairs if m.planned.plan.fitted is not None]
    return Standing(
        label=label,
        knows=pairs[0][1].knows,
        sections=tuple(sections),
        methods=methods,
        counted=tuple(section for section, _ in counted),
        exact=len({section.spec for section in sections if _exact(section)}),
        mean=over_families([m.regret for _, m in counted]),
        worst=max(worst, key=lambda found: found[0].value, default=None),
        bits=bits.over_families([m.bits for _, m in counted]),
        exponent_error=max(errors, key=lambda error: abs(error[0]), default=None),
        fitted=max(fitted, default=None),
        images_per_second=1 / float(np.mean(seconds)) if seconds and np.mean(seconds) > 0 else float("nan"),
        untuned=untuned,
    )


def _one_a_law(counted: list[tuple[Section, Method]]) -> list[tuple[Section, Method]]:
    """Of the sections of one law (other images, another seed), the one with the most images: a law has one vote."""
    best: dict[str, tuple[Section, Method]] = {}
    for section, method in counted:
        kept = best.get(section.spec)
        if kept is None or section.study.images > kept[0].study.images:
            best[section.spec] = (section, method)
    return list(best.values())


def _counts(section: Section, method: Method) -> bool:
    """Whether a regret enters the mean: to a known optimum, at every noise level that has one, by what is possible."""
    whole = not method.troubles and method.levels == section.regret_levels > 0
    return _exact(section) and whole and bool(np.isfinite(method.mean_regret)) and method not in section.impossible
