"""Noise levels to sample by: how the steps lie between the highest and the lowest."""

from collections.abc import Callable

import numpy as np

from gahb_bench.core.errors import UsageError, unknown
from gahb_bench.core.images import FloatArray, check_sigmas

_STEEPNESS = 7.0  # rho of Karras et al. 2022: how much more of the steps are at low noise levels


def _karras(high: float, low: float, count: int) -> FloatArray:
    return np.linspace(high ** (1 / _STEEPNESS), low ** (1 / _STEEPNESS), count) ** _STEEPNESS


def _log(high: float, low: float, count: int) -> FloatArray:
    return np.geomspace(high, low, count)


# Evenly spaced in the seventh root (Karras et al. 2022, arXiv:2206.00364, equation 5), or in the logarithm.
SCHEDULES: dict[str, Callable[[float, float, int], FloatArray]] = {"karras": _karras, "log": _log}


def falling_levels(high: float, low: float, steps: int, *, zero: bool = True, schedule: str = "karras") -> FloatArray:
    """Noise levels from ``high`` to ``low`` in so many steps, by a schedule of `SCHEDULES`.

    With ``zero`` the last of the steps is the one from ``low`` to 0.

    Raises
    ------
    UsageError
        Unless high > low > 0 and there is a step between them; or for an unknown schedule.
    """
    check_schedule(schedule)
    check_sigmas([high, low])
    between = steps - zero
    if high <= low or between < 1:
        raise UsageError(f"no {steps} steps lead from sigma={high:g} to {low:g}: give high > low, and more steps.")
    levels = SCHEDULES[schedule](high, low, between + 1)
    levels[[0, -1]] = high, low
    return np.append(levels, 0.0) if zero else levels


def check_schedule(schedule: str) -> None:
    """Refuse a schedule that is not known.

    Raises
    ------
    UsageError
    """
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
