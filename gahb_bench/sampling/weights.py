"""The weight that a method of inverse problems uses: by hand, tuned on split ``val`` and stored, or the published one.

It is tuned by `gahb_bench.sampling.tuning`; the shipped table is made by ``datasets/tables/make_weights.py``.
"""

import numpy as np
import pandas as pd

from gahb_bench.channels.problem import Problem
from gahb_bench.core.denoiser import UNTUNED
from gahb_bench.core.inverse import PosteriorMethod, WeightedMethod
from gahb_bench.tables import store

RULE = 1  # of what tuning finds: raised when that changes
SPLIT = "val"  # the only split that tuning draws from


def settled(method: PosteriorMethod, problem: Problem, sigma: float | None) -> tuple[PosteriorMethod, str]:
    """The method with the weight that it uses for a problem and a noise of the measurement, and where that is from.

    The weight given by hand; or the one that was tuned for this method, law, operator and noise, whatever the denoiser;
    or the published one. The words are empty where the method has no weight.
    """
    if not isinstance(method, WeightedMethod):
        return method, ""
    if method.weight > 0:
        return method, "weight given by hand"
    rows = None if sigma is None else _stored(method, problem, sigma)
    if rows is None:
        return method.weighted(method.published), f"{UNTUNED}: weight as published"
    edge = ", at an end of the range" if rows["value"]["at_edge"] else ""
    words = f"weight tuned on {int(rows['images'].iloc[0])} images of split {SPLIT}{edge}"
    return method.weighted(float(rows["value"]["weight"])), words


def is_tuned(method: PosteriorMethod, problem: Problem, sigma: float) -> bool:
    """Whether there is nothing to tune: it has no weight, or one by hand, or a stored one."""
    return not settled(method, problem, sigma)[1].startswith(UNTUNED)


def keep(rows: pd.DataFrame) -> None:
    """Keep what was tuned in the user's own table."""
    store.keep("weights", rows)


def subject(method: WeightedMethod, problem: Problem) -> str:
    """What names it in the table, in the place of a denoiser."""
    return f"{method.unweighted_spec} {problem.spec}"


def _stored(method: WeightedMethod, problem: Problem, sigma: float) -> pd.DataFrame | None:
    """The rows of the store by quantity, the user's own before the shipped ones."""
    for rows in store.find("weights", problem.family.spec, subject(method, problem), rule=RULE):
        here = rows[np.isclose(rows["sigma"], sigma, rtol=store.ON_A_LEVEL, atol=0)]
        if len(here):
            return here.set_index("quantity")
    return None
