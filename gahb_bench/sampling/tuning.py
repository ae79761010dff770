"""The weight of a method of inverse problems, tuned on measurements of split ``val``."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from gahb_bench.channels.problem import Problem
from gahb_bench.core.environment import version
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.inverse import WeightedMethod
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.sampling.posterior import sample_posterior
from gahb_bench.sampling.weights import RULE, SPLIT, subject
from gahb_bench.scoring.posterior_scores import energy_score
from gahb_bench.tables import store
from gahb_bench.tuning import minimise

GRID = 10.0 ** np.arange(-2, 3)  # weights that are tried first, in units of the published one
PRECISION = 1.0  # of the logarithm, of the search between them


def tune(
    method: WeightedMethod,
    problem: Problem,
    sigma: float,
    images: int = 16,
    samples: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> pd.DataFrame:
    """The weight of least energy score on measurements of split ``val``, with the exact denoiser, as rows of the store.

    Five weights, a factor of ten apart around the published one, then a golden section between the best one's
    neighbours. A weight with which something is not finite is never chosen. Kept by `weights.keep`, it is what
    `weights.settled` finds.

    Raises
    ------
    UsageError
        If the law has no exact posterior mean.
    DenoiserError
        If nothing finite is drawn with any weight.
    """
    law = problem.family
    oracle = posterior_mean(law)
    if oracle is None:
        raise UsageError(f"{law.spec} has no exact posterior mean: give {method.spec} a weight by hand.")
    batch = law.sample(range(images), seed, SPLIT)
    measured = problem.measure(batch, sigma)
    reasons: list[str] = []
    done = 0

    def risk(weight: float) -> float:
        nonlocal done
        try:
            found = sample_posterior(method.weighted(weight), oracle, problem, measured, samples, seed)
            score = float(
                energy_score(batch.images, found.mean[None] if found.samples is None else found.samples).mean()
            )
        except DenoiserError as error:
            reasons.append(str(error))
            score = math.inf
        done += 1
        progress(done, max(done, len(GRID) + 3))
        return score if math.isfinite(score) else math.inf

    grid = method.published * GRID
    value, score = minimise(risk, grid, PRECISION)
    if not math.isfinite(score):
        raise DenoiserError(
            f"nothing finite is drawn by {method.spec} with any weight: {reasons[-1] if reasons else ''}"
        )
    found = {"weight": float(f"{value:.3g}"), "energy_score": score, "at_edge": float(value in (grid[0], grid[-1]))}
    words = (
        f"least energy score of {samples} samples with {oracle.spec}; {len(GRID)} values in [{grid[0]:g}, {grid[-1]:g}]"
    )
    words += f", golden section to {PRECISION:g}; gahb_bench {version('gahb_bench')}, torch {version('torch')}"
    about = {"denoiser": subject(method, problem), "images": images, "seed": seed, "rule": RULE}
    return store.make_rows(law.spec, sigma, found, provenance=words, **about)
