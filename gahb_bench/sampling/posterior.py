"""Posterior samples of an inverse problem, by a method that knows the law by a denoiser alone."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gahb_bench import make
from gahb_bench.channels.problem import Problem
from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images
from gahb_bench.core.inverse import Denoise, PosteriorMethod, repeated
from gahb_bench.core.memory import cached
from gahb_bench.core.operator import Measurement
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.samplers.starts import MEAN
from gahb_bench.sampling.samples import SPLIT, refuse_informed
from gahb_bench.sampling.weights import settled

HIGH, LOW = 20.0, 0.004  # first and last noise level, in units of the images' spread: 10 and 0.002 of images in [0, 1]
_SEEN = 64  # images by which the spread of a law in units of its own is found


@dataclass(frozen=True, eq=False)
class PosteriorSamples:
    """What a method says of images given a measurement.

    samples : ``(k, n, c, h, w)``; None of a method that makes one estimate and no samples
    mean : ``(n, c, h, w)``, of the samples; or the estimate
    evaluations : of the denoiser, for each image with all its samples
    denoiser, method : their specs, that of the method with the weight it used
    """

    samples: Tensor | None
    mean: Images
    evaluations: int
    denoiser: str
    method: str


def sample_posterior(
    method: str | PosteriorMethod,
    denoiser: str | Denoiser | Callable[..., Any],
    problem: Problem,
    measured: Measurement,
    samples: int = 16,
    seed: int = 0,
) -> PosteriorSamples:
    """Posterior samples of images given a measurement, by a method that is driven by a denoiser.

    Parameters
    ----------
    method : spec
        ``python -m gahb_bench list posteriors``. Its weight, unless given, is the one that was tuned on split ``val``
        for this law, operator and noise (the same of all images), or else the published one.
    denoiser : spec, Denoiser, or callable ``(y, sigma) -> x_hat``
    problem : Problem
    measured : Measurement
        What `Problem.measure` returns.
    samples : int
        k, for each image.
    seed : int
        With the number of an image and of a sample it addresses all noise, so that sample j of an image depends on
        nothing else (of `ensemble`: on k too).

    Raises
    ------
    UsageError
        For an unknown name, numbers that are not allowed, a denoiser that knows the image, or one that has no
        derivative where the method needs it.
    DenoiserError
        If nothing that is drawn is finite.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> problem = gb.problem("mask", "calpha:size=8")
    >>> measured = problem.measure(problem.family.sample(range(2)), 0.1)
    >>> found = sample_posterior("diffpir:steps=5", "mmse", problem, measured, samples=3)
    >>> found.samples.shape, found.evaluations
    (torch.Size([3, 2, 1, 8, 8]), 15)
    """
    if not isinstance(problem, Problem):
        raise UsageError(f"problem is what gb.problem(operator, family) returns, not {problem!r}.")
    law, way = problem.family, make.posterior_method(method)
    made = make.denoiser(denoiser, law)
    refuse_informed(made)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 1:
        raise UsageError(f"samples={samples!r} is not allowed: give an integer > 0.")
    rng.check_seed(seed)
    problem.check(measured)
    level = float(measured.sigma[0]) if len(measured) and bool((measured.sigma == measured.sigma[0]).all()) else None
    way, _ = settled(way, problem, level)
    if not len(measured):
        nothing = measured.y.new_empty(0, *law.shape)
        drawn = None if way.point else nothing.expand(samples, *nothing.shape)
        return PosteriorSamples(drawn, nothing, 0, made.spec, way.spec)
    centre, spread = extent(law)

    def levels(steps: int) -> list[float]:
        return falling_levels(HIGH * spread, LOW * spread, steps).tolist()

    denoise = Denoise(made, len(measured))
    with torch.no_grad():
        tasks = repeated(measured, levels, centre, spread, seed, law.spec)
        drawn = way.draw(denoise, tasks, 1 if way.point else samples)
    if not bool(drawn.isfinite().any()):
        raise DenoiserError(f"nothing that {way.spec} draws with {made.spec} is finite.")
    mean = drawn.mean(dim=0)
    return PosteriorSamples(None if way.point else drawn, mean, denoise.evaluations, made.spec, way.spec)


@cached(16)
def extent(law: Family) -> tuple[float, float]:
    """Centre and spread of a law's images: 1/2 and 1/2, as they lie in [0, 1]; of one in units of its own, measured.

    There the centre is the median of all pixels, the spread the median over images of the root mean square distance
    from it; of 64 images of split ``val``.
    """
    if not law.own_units:
        return MEAN, 1 - MEAN
    images = law.sample(range(_SEEN), split=SPLIT).images.double()
    centre = images.median()
    return float(centre), float((images - centre).square().flatten(1).mean(dim=1).sqrt().median())
