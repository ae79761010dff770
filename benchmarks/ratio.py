"""Two ways of doing the same thing, timed in turns so that a busy machine slows both."""

import time
from collections.abc import Callable


def interleaved(first: Callable[[], object], second: Callable[[], object], rounds: int = 30) -> tuple[float, float]:
    """Least seconds of each over interleaved rounds, after one call to warm up."""
    best = [float("inf"), float("inf")]
    for turn in range(rounds + 1):
        for index, call in enumerate((first, second)):
            began = time.perf_counter()
            call()
            if turn:
                best[index] = min(best[index], time.perf_counter() - began)
    return best[0], best[1]
