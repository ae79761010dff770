"""References that take a simulation, made level by level and kept in the user's home."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.core.optimum import Simulation
from gahb_bench.tables import store
from gahb_bench.tables.interpolate import LEAST_LEVELS, covers, stored_curves

FEWEST_IMAGES = 4  # that a standard error over images is taken of


@dataclass(frozen=True)
class Level:
    """A noise level that was made and kept: its numbers, as of `store.by_level`, and the seconds it took.

    ``lost``: why it was not made, where the workers that did it were lost again and again.
    """

    sigma: float
    numbers: dict[str, float]
    seconds: float
    lost: str = ""


def simulation_of(family: Family) -> Simulation:
    """How the reference of a law is simulated.

    Raises
    ------
    UsageError
        If it takes no simulation, or if the law is of one's own: it may change under its name, and what was kept would
        then be of another law.
    """
    simulation = family.optimum.simulation
    if simulation is None:
        kind = family.reference(DEFAULT_SIGMAS).kind
        said = "no optimum is known" if kind == "none" else f"its reference ({kind}) is computed when it is asked for"
        raise UsageError(f"{family.spec}: nothing to simulate, {said}.")
    if family.digest:
        raise UsageError(
            f"{family.spec}: only references of the package's own laws are kept; a law of your own may change under "
            "its name, so its reference is measured in each run."
        )
    return simulation


def missing(simulation: Simulation, sigmas: Sequence[float], images: int) -> list[float]:
    """Those of some noise levels at which no reference is stored that was made with at least so many images.

    Raises
    ------
    UsageError
        If they and what is kept are too few for a curve.
    """
    levels = np.asarray(sigmas, dtype=np.float64) / simulation.unit
    there = np.zeros(len(levels), dtype=bool)
    for rows in store.find(simulation.table, simulation.family, rule=simulation.rule):
        kept = rows.loc[rows["images"] >= images, "sigma"].to_numpy()
        there |= np.isclose(levels[:, None], kept, rtol=store.ON_A_LEVEL, atol=0).any(axis=1)
    for curve in stored_curves(simulation.family, rule=simulation.rule):
        if curve["images"].min() >= images:
            there |= covers(curve.index.to_numpy(), levels)
    wanted = np.asarray(sigmas, dtype=np.float64)[~there]
    if simulation.table == "curves" and len(wanted):
        _check_enough(simulation, wanted / simulation.unit)
    return wanted.tolist()


def _check_enough(simulation: Simulation, levels: FloatArray) -> None:
    own = store.read(store.own("curves")).get((simulation.family, ""))
    kept = np.array([]) if own is None else own.loc[own["rule"] == simulation.rule, "sigma"].to_numpy()
    if len(np.unique(np.concatenate([levels, kept]))) < LEAST_LEVELS:
        raise UsageError(
            f"{simulation.family}: a run reads this reference from a curve through at least {LEAST_LEVELS} noise "
            f"levels, and there would be {len(levels)}. Give more, or none for the {len(DEFAULT_SIGMAS)} default ones."
        )


def simulate(
    family: Family,
    sigmas: Sequence[float],
    images: int,
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> Iterator[Level]:
    """Make the reference at each noise level, the largest first, and keep it in the user's home as it comes.

    Parameters
    ----------
    progress : callable (images done, images to do), over all noise levels
    crew : who does the noise levels; without one this process, the next after the last is kept

    Raises
    ------
    UsageError
        If it takes no simulation.
    StoreError
        If the home cannot be written.
    """
    simulation, crew, done = simulation_of(family), crew or Crew(), 0
    path = store.own(simulation.table)

    def tell(more: int) -> None:
        progress(done + more, len(sigmas) * images)

    how = partial(_measure, family, images, tell=tell) if crew.alone else partial(_measure, family, images)
    for sigma, result in crew.each(how, sorted(sigmas, reverse=True)):
        if isinstance(result, Lost):
            yield Level(sigma, {}, 0.0, result.reason)
            continue
        rows, seconds = result
        store.add(path, rows)
        done += images
        tell(0)
        yield Level(sigma, store.by_level(rows).iloc[0].to_dict(), seconds)


def _measure(
    family: Family, images: int, sigma: float, tell: Callable[[int], object] = lambda _: None
) -> Iterator[tuple[pd.DataFrame, float]]:
    """The rows of one noise level, and the seconds that they took."""
    began, simulation = time.perf_counter(), simulation_of(family)
    yield simulation.measure(sigma / simulation.unit, images, tell), time.perf_counter() - began
