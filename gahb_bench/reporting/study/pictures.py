"""The pictures that the runs of a report keep of a family, put together."""

import math

from gahb_bench.reporting.study.merge import Study
from gahb_bench.running.thumbnails import Thumbnails


def pictures(study: Study) -> Thumbnails | None:
    """The pictures of a study, by its denoisers and noise levels; None where no run kept any.

    Of two runs that have a picture, that of the first is taken. Only images of which every run has estimates are shown
    with them.
    """
    kept = [(source, source.run.thumbnails.get(study.family.spec)) for source in study.sources]
    found = [(source, each) for source, each in kept if each is not None and each.shown]
    if not found:
        return None
    shown = min(each.shown for _, each in found)
    names = {(s.number, name): d.plan.spec for d in study.denoisers for s, name in d.sources}
    whole = Thumbnails({}, found[0][1].noise[:shown], {})
    for source, each in reversed(found):  # so that the first run's stand
        whole.clean.update(each.clean)
        for (name, sigma), errors in each.errors.items():
            if (source.number, name) in names:
                whole.errors[names[source.number, name], _level(study, sigma)] = errors[:shown]
        whole.outline.update({_level(study, sigma): curve[:shown] for sigma, curve in each.outline.items()})
        whole.deviation.update({_level(study, sigma): map_[:shown] for sigma, map_ in each.deviation.items()})
    return whole


def _level(study: Study, sigma: float) -> float:
    """The study's noise level that is this one but for rounding."""
    return next((level for level in study.sigmas if math.isclose(level, sigma, rel_tol=1e-8)), sigma)
