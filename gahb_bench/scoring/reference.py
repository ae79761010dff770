"""The reference of a run: at its noise levels, and between them where that costs nothing."""

import numpy as np

from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Reference

_POINTS = 48  # at least so many points on the curve of a closed form


def run_reference(family: Family, sigmas: object) -> Reference:
    """What is known of a family's optimum, to score and to draw with.

    A closed form is also stated at levels between, for a smooth curve. A reference with a statistical error comes from
    a simulation, whose levels are stored or costly: it is stated at the given levels alone.
    """
    known = family.reference(sigmas)
    if known.kind not in ("exact", "linear") or np.any(known.standard_error):
        return known
    return known.join_levels(family.reference(_between(known.sigma)))


def _between(sigmas: FloatArray) -> FloatArray:
    """Noise levels between each two, evenly in log sigma; around a single level, a factor of 2."""
    levels = np.log(np.unique(sigmas))
    if len(levels) == 1:
        return np.exp(levels + np.delete(np.linspace(-1, 1, 9), 4) * np.log(2))
    steps = max(4, -(-_POINTS // (len(levels) - 1)))
    positions = np.linspace(0, len(levels) - 1, (len(levels) - 1) * steps + 1)
    positions = positions[positions % 1 > 0.5 / steps]
    return np.exp(np.interp(positions, np.arange(len(levels)), levels))
