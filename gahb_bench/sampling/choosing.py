"""Choosing measurements: pixels observed one after the other, each where something says that most is to be learnt.

References
----------
O. Nolan, T. S. W. Stevens, W. L. van Nierop, R. J. G. van Sloun, "Active diffusion subsampling", TMLR 2025,
arXiv:2406.14388 (there by the entropy of an ensemble of a diffusion model).
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gahb_bench import make
from gahb_bench.channels.mask import Mask
from gahb_bench.channels.problem import Problem
from gahb_bench.core import rng
from gahb_bench.core.conditional import ExactPosterior
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Images, per_image_sigma
from gahb_bench.core.inverse import PosteriorMethod
from gahb_bench.core.operator import Measurement
from gahb_bench.sampling.posterior import sample_posterior

# What says of each pixel, (n, c, h, w), how much is to be learnt there, given what was measured so far.
Rule = Callable[[Problem, Measurement, ExactPosterior], Images]


@dataclass(frozen=True, eq=False)
class Observed:
    """Images of which pixels were observed one after the other.

    counts : how many pixels were observed, rising from 0, int64 ``(m,)``
    places : which they were, in this order, int64 ``(n, counts[-1])``, each row x width + column
    error : ``|mean - x|^2`` per pixel of the exact posterior mean, float64 ``(m, n)``
    variance : what that is in the mean, the exact posterior's variance, float64 ``(m, n)``
    """

    counts: Tensor
    places: Tensor
    error: Tensor
    variance: Tensor


def observe(
    family: str | Family, batch: Batch, sigma: float | Tensor, rule: Rule, pixels: int, group: int = 1
) -> Observed:
    """Observe pixels of images one after the other, with noise, where a rule says that most is to be learnt.

    Nothing is observed at first; then, again and again, of each image the ``group`` pixels (all channels of them) that
    were not observed and of which the rule, summed over channels, is largest. Whatever the rule, the posterior given
    what was observed is exact: what is chosen depends on what was measured alone.

    Parameters
    ----------
    family : spec
        A law whose exact posterior given a mask is known.
    batch : Batch
        Clean images of it.
    sigma : float or Tensor of shape (n,)
        Standard deviation of the noise in image units, > 0; a pixel has the same noise whenever it is observed.
    rule : `where_unsure`, `at_random`, `by_exact_samples`, `by_samples`, or one's own
        Where it is NaN, as of an image whose posterior is not certified, nothing is to be learnt: the image's error is
        then NaN too.
    pixels, group : int
        How many are observed of each image, and how many at once; the last time what remains.

    Raises
    ------
    UsageError
        For numbers that are not allowed, images of another law, or a law whose posterior is not known.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> law = gb.family("calpha:size=8")
    >>> seen = observe(law, law.sample(range(2)), 0.1, where_unsure, pixels=3)
    >>> seen.counts.tolist(), seen.places.shape, bool((seen.variance[3] < seen.variance[0]).all())
    ([0, 1, 2, 3], torch.Size([2, 3]), True)
    """
    law = make.family(family)
    law.check_images(batch.images)
    channels, height, width = law.shape
    most = height * width
    if not 1 <= pixels <= most or group < 1:
        raise UsageError(
            f"pixels={pixels}, group={group} is not allowed: observe 1 to {most} pixels of {law.spec}, at least one "
            "at once."
        )
    levels = per_image_sigma(sigma, batch.images)
    shown = torch.zeros(len(batch), most, dtype=torch.bool)
    counts, places, errors, variances = [*range(0, pixels, group), pixels], [], [], []
    for count, following in pairwise([*counts, pixels]):
        problem = Problem(
            Mask.from_parameters({}).given(shown.reshape(-1, 1, height, width).expand(-1, channels, -1, -1)), law
        )
        measured = problem.measure(batch, levels)
        exact = problem.exact(measured.to(torch.float64))
        errors.append((exact.mean - batch.images.double()).square().flatten(1).mean(1))
        variances.append(exact.variance)
        if following > count:
            gain = rule(problem, measured, exact).double().sum(dim=1).flatten(1).nan_to_num(nan=0.0)
            chosen = gain.masked_fill(shown, -torch.inf).topk(following - count, dim=1).indices
            places.append(chosen)
            shown = shown.scatter(1, chosen, True)
    return Observed(torch.tensor(counts), torch.cat(places, dim=1), torch.stack(errors), torch.stack(variances))


def where_unsure(problem: Problem, measured: Measurement, exact: ExactPosterior) -> Images:
    """The rule of the law: the exact posterior variance of each pixel.

    Of a Gaussian law it does not depend on what was measured.
    """
    del problem, measured
    return exact.pixel_variance


def at_random(seed: int = 0) -> Rule:
    """The rule of chance: all orders of an image's pixels are equally likely; they depend on its number and the seed.

    Raises
    ------
    UsageError
        Unless the seed is an integer >= 0.
    """
    rng.check_seed(seed)

    def rule(problem: Problem, measured: Measurement, exact: ExactPosterior) -> Images:
        _, height, width = measured.shape
        streams = rng.generators("pixels in random order", problem.family.spec, seed, indices=measured.indices)
        drawn = [torch.from_numpy(stream.random((1, height, width))) for stream in streams]
        return torch.stack(drawn).expand_as(exact.mean) if drawn else exact.mean

    return rule


def by_exact_samples(samples: int, seed: int = 0) -> Rule:
    """The rule of a small ensemble that is right: the variance of each pixel among exact posterior samples.

    Raises
    ------
    UsageError
        If there are fewer than two samples.
    """
    _check(samples)

    def rule(problem: Problem, measured: Measurement, exact: ExactPosterior) -> Images:
        del problem, measured
        return exact.sample(samples, seed).var(dim=0)

    return rule


def by_samples(
    method: str | PosteriorMethod, denoiser: str | Denoiser | Callable[..., Any], samples: int, seed: int = 0
) -> Rule:
    """The rule of an ensemble: the variance of each pixel among samples that a method draws, as `sample_posterior`.

    Raises
    ------
    UsageError
        If there are fewer than two samples, or the method makes none; and what `sample_posterior` raises.
    """
    _check(samples)
    way = make.posterior_method(method)
    if way.point:
        raise UsageError(f"{way.spec} makes one estimate and no samples, which have no variance: choose another.")

    def rule(problem: Problem, measured: Measurement, exact: ExactPosterior) -> Images:
        del exact
        drawn = sample_posterior(way, denoiser, problem, measured, samples, seed).samples
        assert drawn is not None  # it makes more than one estimate
        return drawn.var(dim=0)

    return rule


def _check(samples: int) -> None:
    if samples < 2:
        raise UsageError(f"samples={samples} is not allowed: one sample has no variance, give at least 2.")
