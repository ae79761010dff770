"""Tunes a denoiser's parameter per family and noise level, on the validation split only."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.environment import version
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import check_scored_sigmas
from gahb_bench.core.levels import DEFAULT_SIGMAS
from gahb_bench.denoisers.tunable import Tunable
from gahb_bench.tables import tuned
from gahb_bench.tables.tuned import TunedTable

SPLIT = "val"  # the only split that tuning ever draws from
_GOLDEN = (math.sqrt(5) - 1) / 2
_PIXELS_AT_ONCE = 2**19
_FEWEST, _PIXELS = 4, 2**16  # images of what is tuned when bound: as many as hold so many pixels
_PACKAGES = ("gahb_bench", "torch", "scikit-image", "curvelets")


@dataclass(frozen=True, eq=False)
class _Search:
    """What is tuned, on what, and how finely; `Crew` does it one noise level at a time."""

    method: Tunable
    family: Family
    images: int
    seed: int
    coarse: int
    precision: float

    @property
    def grid(self) -> np.ndarray:
        return np.geomspace(*self.method.search, self.coarse)

    def __call__(self, sigma: float) -> Iterator[tuple[float, float]]:
        """The best value at a noise level, and its risk."""
        batch = self.family.sample(range(self.images), seed=self.seed, split=SPLIT)
        z = unit_noise(batch)

        @cache
        def risk(value: float) -> float:
            candidate = self.method.model_copy(update={self.method.tuned: value})
            total = 0.0
            size = max(1, _PIXELS_AT_ONCE // batch.images[0].numel())
            for x, noise in zip(batch.images.split(size), z.split(size), strict=True):
                with torch.no_grad():
                    error = candidate(scale_noise(x, noise, sigma), sigma).double() - x.double()
                total += float(error.square().mean(dim=(1, 2, 3)).sum())
            return total / self.images

        yield minimise(lambda value: risk(self.method.nearest(value)), self.grid, self.precision)


def tune(
    method: Tunable,
    family: Family,
    sigmas: object = DEFAULT_SIGMAS,
    images: int = 32,
    seed: int = 0,
    coarse: int = 11,
    precision: float = 0.02,
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> TunedTable:
    """The best value of a denoiser's tuned parameter at each noise level.

        value(sigma) = argmin over v of the mean over validation images of |D_v(x + sigma z) - x|^2 / pixels

    by a grid of ``coarse`` values, evenly spaced in log v over the range the denoiser searches, then a golden section
    between the neighbours of the best; a parameter that takes few values takes the nearest. All values see the same
    images and the same noise.

    Parameters
    ----------
    method : the denoiser; the value given for its tuned parameter, if any, is not used
    family, sigmas
        On which images, at which noise levels.
    images, seed : the first ``images`` images of split ``val`` and their noise
    precision : relative precision of the value
    progress : callable (done, total), told after every noise level
    crew : who does the noise levels; without one, this process

    Returns
    -------
    TunedTable
        Of the noise levels that are finished, where the crew was stopped.
        Keep it with `gahb_bench.tables.tuned.keep`; it is then used wherever the denoiser meets this family, beside the
        other noise levels that are stored for them.

    Raises
    ------
    UsageError
        For numbers that are not allowed.
    KeyboardInterrupt
        If the crew was stopped before any noise level was finished.
    DenoiserError
        If its workers were lost at all noise levels.
    """
    crew = crew or Crew()
    if images < 1 or coarse < 3:
        raise UsageError(f"images={images}, coarse={coarse}: give at least one image and a grid of at least 3 values.")
    levels = np.unique(check_scored_sigmas(sigmas))
    batch = family.sample(range(images), seed=seed, split=SPLIT)
    check_scored_sigmas(levels, batch.images, family.spec)
    search = _Search(method, family, images, seed, coarse, precision)
    method_in_words = f"grid of {coarse} values in {list(method.search)}, golden section to {precision:g}"
    packages = [f"{name} {version(name)}" for name in _PACKAGES if version(name)]
    found: dict[float, tuple[float, float]] = {}
    lost: dict[float, str] = {}
    for sigma, result in crew.each(search, [float(s) for s in levels]):
        if isinstance(result, Lost):
            lost[sigma] = result.reason
            continue
        found[sigma] = result
        progress(len(found), len(levels))
    if not found:
        raise KeyboardInterrupt if crew.stopped else DenoiserError(f"{method.spec}: {next(iter(lost.values()))}")
    sigma, best = zip(*sorted(found.items()), strict=True)
    return TunedTable(
        denoiser=method.untuned_spec,
        family=family.spec,
        parameter=method.tuned,
        sigma=sigma,
        value=tuple(float(f"{method.nearest(value):.4g}") for value, _ in best),
        mse=tuple(float(f"{mse:.5g}") for _, mse in best),
        at_edge=tuple(value in (search.grid[0], search.grid[-1]) for value, _ in best),
        images=images,
        seed=seed,
        provenance="; ".join([method_in_words, ", ".join(packages)]),
        lost=tuple(lost.items()),
    )


def minimise(risk: Callable[[float], float], grid: np.ndarray, precision: float) -> tuple[float, float]:
    """Smallest value of ``risk`` on a grid, refined by a golden section in log value between its neighbours.

    Returns the best (value, risk) of all that were evaluated, so it is never worse than the best of the grid. For a
    risk with a single minimum between the neighbours, the value is within ``precision`` of it, relatively.
    """
    seen = {float(value): risk(float(value)) for value in grid}
    best = int(np.argmin([seen[float(value)] for value in grid]))
    low, high = np.log(grid[max(best - 1, 0)]), np.log(grid[min(best + 1, len(grid) - 1)])

    def at(log_value: float) -> float:
        value = math.exp(log_value)
        seen[value] = risk(value)
        return seen[value]

    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = at(left), at(right)
    while high - low > precision:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = at(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = at(right)
    return min(seen.items(), key=lambda item: (item[1], item[0]))


def tuned_when_bound(
    method: Tunable, family: Family, progress: Callable[[int, int], object] = lambda *_: None
) -> TunedTable:
    """A table for a law that has none, found in seconds on a few images, and kept in the user's home."""
    images = min(method.tuned_on, max(_FEWEST, _PIXELS // int(np.prod(family.shape))))
    table = tune(method, family, DEFAULT_SIGMAS[::2], images=images, coarse=9, precision=0.05, progress=progress)
    tuned.keep(table)
    return table
