"""Samples of a denoiser, within a budget of evaluations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gahb_bench import make
from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import check_device
from gahb_bench.core.errors import UsageError, unknown
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray, Images, PerImage
from gahb_bench.core.posterior import InformedOracle
from gahb_bench.core.sampler import Observer, Sampler, Start, check_falling
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import check_schedule, falling_levels
from gahb_bench.sampling.trajectory import TrajectoryVariance, late

HIGH, LOW = 10.0, 0.002  # noise levels between which is sampled unless told otherwise
STARTS = ("gaussian", "exact")
SPLIT = "val"  # of the noisy images that an exact start is
MOST = 100_000  # evaluations, for which nobody waits
_FINEST = 16  # steps for each evaluation, at most: some samplers skip levels
_UNUSED = 4  # steps of a sampler that chooses its own: they only say where the last quarter begins


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, and how they came about.

    images : (n, c, h, w), NaN where a sampler that ends by itself did not end within its budget
    evaluations : (n,), how often the denoiser was evaluated for each
    trajectory_variance : (n,), of the estimates in the last quarter of the steps, see `TrajectoryVariance`
    levels : the noise levels
    family, denoiser, sampler : their specs
    start : ``gaussian``, or ``exact``
    seed, indices : with the spec of the family, the address of the noise that each image was started from
    """

    images: Images
    evaluations: Tensor
    trajectory_variance: PerImage
    levels: FloatArray
    family: str
    denoiser: str
    sampler: str
    start: str
    seed: int
    indices: tuple[int, ...]


def sample(
    denoiser: str | Denoiser | Callable[..., Any],
    family: str | Family,
    sampler: str | Sampler | None = "heun",
    evaluations: int = 20,
    samples: int | range = 64,
    seed: int = 0,
    start: str = "gaussian",
    schedule: str = "karras",
    levels: object = None,
    device: str = "cpu",
) -> Samples:
    """Sample images from a denoiser, within a budget of evaluations for each.

    The number of steps is the largest within the budget. The noise depends on seed and number alone, so that two
    denoisers, or two samplers, start from the same.

    Parameters
    ----------
    denoiser : spec, Denoiser, or callable ``(y, sigma) -> x_hat``
    family : spec, or Family
    sampler : spec; None for `heun`, or, for a blind denoiser, `ascent`
    evaluations : int
        Budget for each image.
    samples : int, or a range of numbers of samples
    start : str
        ``gaussian``: 1/2 + sigma z, as everybody does; ``exact``: noisy images of the law (of split ``val``), so that
        nothing is lost by the start.
    schedule : str
        ``karras`` or ``log``, from sigma = 10 to 0.002, then 0. The shipped networks were trained up to sigma = 3.2:
        above it they guess. The step to 0 is a denoiser's: what is finer than 0.002 is smoothed away.
    levels : sequence of floats
        Noise levels in the place of a schedule, falling; the budget has to suffice for them.

    Returns
    -------
    Samples

    Raises
    ------
    UsageError
        For a budget that is too small, an unknown name, a denoiser that knows the image, of which there is none, or a
        device that is not there.

    Examples
    --------
    >>> found = sample("mmse", "calpha:size=8", evaluations=9, samples=3)
    >>> found.images.shape, found.evaluations.tolist()
    (torch.Size([3, 1, 8, 8]), [9, 9, 9])
    """
    law = make.family(family)
    check_request(evaluations, len(samples) if isinstance(samples, range) else samples, seed, start)
    chosen = samples if isinstance(samples, range) else range(samples)
    check_device(device)
    law.check_fits(len(chosen))
    method = make.denoiser(denoiser, law)
    refuse_informed(method)
    if sampler is None:
        sampler = f"ascent:most={evaluations}" if is_blind(method, law) else "heun"
    way = make.sampler(sampler, law)
    steps = levels_within(way, evaluations, schedule, levels)
    return draw(method, law, way, steps, chosen, seed, start, device)


def draw(
    denoiser: Denoiser,
    law: Family,
    sampler: Sampler,
    levels: FloatArray,
    indices: range,
    seed: int = 0,
    start: str = "gaussian",
    device: str = "cpu",
    observe: Observer = lambda *_: None,
) -> Samples:
    """What `sample` does, of what is made and checked; ``observe`` is shown each evaluation."""
    began = begin(law, indices, float(levels[0]), seed, start, device)
    variance = TrajectoryVariance(began.images, late(levels))

    def see(which: Tensor | None, sigma: Tensor, x_hat: Images) -> None:
        variance(which, sigma, x_hat)
        observe(which, sigma, x_hat)

    found = sampler(denoiser, began, levels, see)
    return Samples(
        found.images,
        found.evaluations,
        variance.value,
        levels,
        law.spec,
        denoiser.spec,
        sampler.spec,
        start,
        seed,
        tuple(indices),
    )


def begin(
    law: Family, indices: range, sigma: float, seed: int = 0, start: str = "gaussian", device: str = "cpu"
) -> Start:
    """What samples of these numbers start from, float32."""
    if start == "exact":
        return starts.exact(law.sample(indices, seed, SPLIT, device), sigma)
    made = starts.gaussian(law.shape, indices, sigma, seed)
    return Start(made.images.to(device), made.seed, made.indices)


def levels_within(sampler: Sampler, evaluations: int, schedule: str = "karras", levels: object = None) -> FloatArray:
    """The noise levels of as many steps as a budget of evaluations allows; or those given, if it allows them.

    A sampler that chooses its steps itself gets the highest, the lowest, and some between that it does not use.

    Raises
    ------
    UsageError
        If the budget does not suffice.
    """
    check_schedule(schedule)
    if levels is not None:
        given = check_falling(levels)
        given = given[given > 0] if sampler.adaptive else given
    elif sampler.adaptive:
        given = falling_levels(HIGH, LOW, _UNUSED, zero=False, schedule=schedule)
    else:
        return _finest(sampler, evaluations, schedule)
    needed = sampler.evaluations(given)
    if needed > evaluations:
        advice = "give fewer levels" if levels is not None else f"give {sampler.name}:most={evaluations}"
        raise UsageError(
            f"{evaluations} evaluations are too few: {sampler.spec} takes up to {needed} here. Give more, or {advice}."
        )
    return given


def is_blind(denoiser: Denoiser, law: Family) -> bool:
    """Whether a denoiser gives the same estimate whatever noise level it is told."""
    y = begin(law, range(1), HIGH).images
    return torch.equal(denoiser(y, HIGH), denoiser(y, LOW))


def refuse_informed(denoiser: Denoiser) -> None:
    """Refuse a denoiser that knows the image.

    Raises
    ------
    UsageError
    """
    if isinstance(denoiser, InformedOracle):
        raise UsageError(
            f"{denoiser.spec} knows the {denoiser.knows}, and a sample has none before it is made: choose a denoiser "
            "that sees y and sigma alone."
        )


def check_request(evaluations: object, samples: object, seed: int, start: object) -> None:
    """Refuse numbers that are not whole or below 1, a seed that is none, or a start that is not known."""
    for name, value in (("evaluations", evaluations), ("samples", samples)):
        if not isinstance(value, int | np.integer) or value < 1:
            raise UsageError(f"{name}={value!r} is not allowed: give a whole number, at least 1.")
        if name == "evaluations" and value > MOST:
            raise UsageError(f"{name}={value} is not allowed: give at most {MOST:,}.")
    rng.check_seed(seed)
    if start not in STARTS:
        raise unknown("start", str(start), STARTS)


def _finest(sampler: Sampler, evaluations: int, schedule: str) -> FloatArray:
    """The levels of the largest number of steps within a budget: it grows with them, if slowly."""

    def levels(steps: int) -> FloatArray:
        return falling_levels(HIGH, LOW, steps, schedule=schedule)

    few, many = 2, _FINEST * evaluations + 2
    needed = sampler.evaluations(levels(few))
    if needed > evaluations:
        raise UsageError(
            f"{evaluations} evaluations are too few: {sampler.spec} takes {needed} or more. Give more evaluations."
        )
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if sampler.evaluations(levels(middle)) <= evaluations else (few, middle)
    return levels(few)
