"""Samples of a denoiser, and the exact error of a sampler where the law is Gaussian, without a single sample.

References
----------
T. Karras, M. Aittala, T. Aila, S. Laine, "Elucidating the design space of diffusion-based generative models", NeurIPS
2022, arXiv:2206.00364 (samplers, schedules); B. Wang, J. J. Vastola, TMLR 2024, arXiv:2412.09726 (flow of a Gaussian).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from gahb_bench import make
from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError, unknown
from gahb_bench.core.family import Family
from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import FloatArray, Images, PerImage, per_pixel
from gahb_bench.core.posterior import InformedOracle
from gahb_bench.core.sampler import Noise, Sampler, Start, check_falling
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import check_schedule, falling_levels
from gahb_bench.samplers.teleport import Teleport

HIGH, LOW = 10.0, 0.002  # noise levels between which is sampled unless told otherwise
STARTS = ("gaussian", "exact")
SPLIT = "val"  # of the noisy images that an exact start is
_FINEST = 64  # steps for each evaluation, at most: some samplers skip levels
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Samples:
    """Images, and how they came about.

    images : (n, c, h, w), NaN where a sampler that ends by itself did not end within its budget
    evaluations : (n,), how often the denoiser was evaluated for each
    trajectory_variance : (n,), see `TrajectoryVariance`
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
        ``karras`` or ``log``, from sigma = 10 to 0.002, then 0.
    levels : sequence of floats
        Noise levels in the place of a schedule, falling; the budget has to suffice for them.

    Returns
    -------
    Samples

    Raises
    ------
    UsageError
        For a budget that is too small, an unknown name, or a denoiser that knows the image, of which there is none.

    Examples
    --------
    >>> found = sample("mmse", "calpha:size=8", evaluations=9, samples=3)
    >>> found.images.shape, found.evaluations.tolist()
    (torch.Size([3, 1, 8, 8]), [9, 9, 9])
    """
    law = make.family(family)
    chosen = range(samples) if isinstance(samples, int) else samples
    _check(evaluations, len(chosen), seed, start)
    law.check_fits(len(chosen))
    method = make.denoiser(denoiser, law)
    refuse_informed(method)
    if sampler is None:
        sampler = f"ascent:most={evaluations}" if is_blind(method, law) else "heun"
    way = make.sampler(sampler, law)
    steps = levels_within(way, evaluations, schedule, levels)
    began = begin(law, chosen, float(steps[0]), seed, start, device)
    variance = TrajectoryVariance(began.images, float(steps[len(steps) // 2]))
    found = way(method, began, steps, variance)
    return Samples(
        found.images,
        found.evaluations,
        variance.value,
        steps,
        law.spec,
        method.spec,
        way.spec,
        start,
        seed,
        tuple(chosen),
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

    A sampler that chooses its steps itself gets the highest, the lowest, and one between that it does not use.

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
        given = falling_levels(HIGH, LOW, 2, zero=False, schedule=schedule)
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


class TrajectoryVariance:
    """The variance of the estimates x_hat along each trajectory, mean over pixels, from the level ``below`` down.

    A trajectory that hesitates between modes has a large one: the detector of hallucinations of Aithal et al., who take
    it over some of the last steps. Here these are the evaluations at a sigma of at most the middle one of the levels.

    References
    ----------
    S. K. Aithal, P. Maini, Z. C. Lipton, J. Z. Kolter, NeurIPS 2024, arXiv:2406.09358, section 5.
    """

    def __init__(self, like: Images, below: float) -> None:
        self._below = below
        self._count = torch.zeros(len(like), dtype=torch.float64, device=like.device)
        self._mean = torch.zeros_like(like, dtype=torch.float64)
        self._squares = torch.zeros_like(self._count)

    def __call__(self, which: Tensor | None, sigma: Tensor, x_hat: Images) -> None:
        """Take another evaluation into account (Welford's recursion)."""
        places = torch.arange(len(x_hat), device=x_hat.device) if which is None else which
        counted = sigma <= self._below
        places, x = places[counted], x_hat[counted].double()
        self._count[places] += 1
        away = x - self._mean[places]
        self._mean[places] += away / per_pixel(self._count[places], x)
        self._squares[places] += (away * (x - self._mean[places])).flatten(1).mean(dim=1)

    @property
    def value(self) -> PerImage:
        """(n,); NaN where there are fewer than two estimates."""
        return torch.where(self._count > 1, self._squares / self._count, torch.nan)


@dataclass(frozen=True, eq=False)
class ExactError:
    """How far the law of a sampler's images is from the true one, in closed form.

    Both are Gaussian and have the same modes. With s_k the deviation of mode k at the end (and mean, where the start
    has another than the law), s_k* that of the law with the noise of the last level, and s_k0 that of the same
    sampler started from noisy images of the law,

        w2^2 = sum_k (s_k - s_k*)^2 / pixels,    start: s_k - s_k0,    discretisation: s_k0 - s_k*,

    so that the two parts add up mode by mode, w2 <= start + discretisation, and an exact start has no start error.

    w2, start, discretisation : Wasserstein-2 distances, root mean square per pixel, image units
    variance : of each mode at the end, (c, h, w); for `calpha` in the order of ``fft2``
    law_variance : that of the law, with the noise of the last level
    levels : the noise levels
    evaluations : how often the denoiser is evaluated
    """

    w2: float
    start: float
    discretisation: float
    variance: FloatArray
    law_variance: FloatArray = field(repr=False)
    levels: FloatArray = field(repr=False)
    evaluations: int


def exact_error(
    family: str | Family,
    sampler: str | Sampler = "heun",
    evaluations: int | None = None,
    levels: object = None,
    start: str = "gaussian",
    schedule: str = "karras",
) -> ExactError:
    """The exact error of a sampler with the exact denoiser, where the law is Gaussian: no sample is drawn.

    In the modes of such a law the exact denoiser is ``lambda / (lambda + sigma^2) y``, and a sampler that is linear
    treats each alone: the variance of what comes out follows from its response to the start and to each noise that it
    adds, found by running it on numbers.

    Parameters
    ----------
    family : spec, or Family
    sampler : spec
    evaluations, schedule : as `sample`; 20 unless levels are given
    levels : sequence of floats
        Noise levels in the place of a schedule, falling.
    start : str
        ``gaussian`` or ``exact``.

    Raises
    ------
    UsageError
        For a law that is not Gaussian, a sampler that is not linear, or a budget that is too small.

    Examples
    --------
    >>> coarse, fine = (exact_error("calpha:size=16", evaluations=n, start="exact").w2 for n in (10, 40))
    >>> coarse > 4 * fine
    True
    """
    law = make.family(family)
    way = make.sampler(sampler)
    _check(evaluations or 1, 1, 0, start)
    gaussian = law.optimum.gaussian()
    if gaussian is None or not gaussian.exact:
        raise UsageError(
            f"{law.spec} is not Gaussian, so that the error of a sampler is not known in closed form: sample, and "
            "measure it (gb.sample); or choose a Gaussian law, like calpha."
        )
    if not way.linear:
        raise UsageError(
            f"{way.spec} is not linear, as it looks at lengths of whole images: its error is not known in closed form. "
            "Sample, and measure it (gb.sample); or choose another sampler, like heun."
        )
    if levels is None or evaluations is not None:
        steps = levels_within(way, 20 if evaluations is None else evaluations, schedule, levels)
    else:
        steps = check_falling(levels)
    power, place = torch.unique(gaussian.variances, return_inverse=True)
    response, added = _responses(way, power, steps)
    first, last = float(steps[0]), float(steps[-1])
    deviation = {"gaussian": torch.full_like(power, first), "exact": (power + first**2).sqrt()}
    final = {name: (response**2 * value**2 + added).sqrt() for name, value in deviation.items()}
    wanted = (power + last**2).sqrt()
    offset = gaussian.analyse(torch.full((1, *law.shape), starts.MEAN, dtype=torch.float64))[0]
    shift = response[place] * offset if start == "gaussian" else torch.zeros_like(offset)

    def distance(difference: Tensor, shift: Tensor) -> float:
        return float((difference[place].square() + shift.square()).mean().sqrt())

    return ExactError(
        distance(final[start] - wanted, shift),
        distance(final[start] - final["exact"], shift),
        distance(final["exact"] - wanted, torch.zeros_like(shift)),
        final[start].square()[place].numpy(),
        wanted.square()[place].numpy(),
        steps,
        way.evaluations(steps),
    )


@dataclass(frozen=True)
class _Impulses(Start):
    """A start whose image i has, of all noise that is added, a unit in the draw ``units[i]`` alone; -1 for none."""

    units: Tensor = field(default_factory=lambda: torch.zeros(0))
    drawn: list[int] = field(default_factory=list)

    def noise(self) -> Noise:
        def draw(like: Images, which: Tensor | None = None) -> Images:
            now = self.units == len(self.drawn)
            self.drawn.append(1)
            return per_pixel((now if which is None else now[which]).to(like.dtype), like).expand(like.shape)

        return draw


def _responses(sampler: Sampler, power: Tensor, levels: FloatArray) -> tuple[Tensor, Tensor]:
    """What a unit of the start becomes in modes of these variances, and the variance of all noise that was added."""
    modes = Gaussian(power[None, None], lambda y: y, lambda a: a, exact=True)
    way = sampler.given(modes) if isinstance(sampler, Teleport) else sampler

    def denoise(y: Images, sigma: Tensor) -> Images:
        return power / (power + per_pixel(sigma, y) ** 2) * y

    def run(began: float, units: Tensor) -> tuple[Tensor, int]:
        images = torch.full((len(units), 1, 1, len(power)), began, dtype=torch.float64)
        start = _Impulses(images, 0, tuple(range(len(units))), units)
        return way(denoise, start, levels).images[:, 0, 0], len(start.drawn)

    response, draws = run(1.0, torch.tensor([-1]))
    step = max(1, _NUMBERS_AT_ONCE // len(power))
    ends = [*range(0, draws, step), draws]
    parts = [run(0.0, torch.arange(first, last))[0].square().sum(dim=0) for first, last in pairwise(ends)]
    return response[0], sum(parts, torch.zeros_like(power))


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


def _check(evaluations: int, samples: int, seed: int, start: str) -> None:
    for name, value in (("evaluations", evaluations), ("samples", samples)):
        if value < 1:
            raise UsageError(f"{name}={value} is not allowed: give at least 1.")
    rng.check_seed(seed)
    if start not in STARTS:
        raise unknown("start", start, STARTS)
