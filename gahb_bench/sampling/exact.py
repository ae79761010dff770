"""The exact error of a sampler where the law is Gaussian: no sample is drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.gaussian import Gaussian
from gahb_bench.core.images import FloatArray, Images, per_pixel
from gahb_bench.core.sampler import Noise, Sampler, Start, check_falling
from gahb_bench.samplers.starts import MEAN
from gahb_bench.samplers.teleport import Teleport
from gahb_bench.sampling.samples import check_request, levels_within

_NUMBERS_AT_ONCE = 2**22


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
    check_request(1 if evaluations is None else evaluations, 1, 0, start)
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
    response, added = responses(way, power, steps)
    first, last = float(steps[0]), float(steps[-1])
    deviation = {"gaussian": torch.full_like(power, first), "exact": (power + first**2).sqrt()}
    final = {name: (response**2 * value**2 + added).sqrt() for name, value in deviation.items()}
    wanted = (power + last**2).sqrt()
    offset = gaussian.analyse(torch.full((1, *law.shape), MEAN, dtype=torch.float64))[0]
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


def responses(
    sampler: Sampler,
    power: Tensor,
    levels: FloatArray,
    denoise: Callable[[Images, Tensor], Images] | None = None,
) -> tuple[Tensor, Tensor]:
    """What a unit of the start becomes in modes of these variances, and the variance of all noise that was added.

    Parameters
    ----------
    sampler : Sampler
        A linear one.
    power : Tensor, shape (m,), float64
        Variances lambda of the modes.
    levels : array of noise levels, falling
    denoise : callable ``(y, sigma) -> x_hat``
        A denoiser that is linear in each mode: y is ``(n, 1, 1, m)``, without the mean. The exact one unless given.

    Returns
    -------
    response, added : Tensor, shape (m,)
        A start of variance v ends with ``response^2 v + added``.
    """
    modes = Gaussian(power[None, None], lambda y: y, lambda a: a, exact=True)
    way = sampler.given(modes) if isinstance(sampler, Teleport) else sampler

    def exact(y: Images, sigma: Tensor) -> Images:
        return power / (power + per_pixel(sigma, y) ** 2) * y

    def run(began: float, units: Tensor) -> tuple[Tensor, int]:
        images = torch.full((len(units), 1, 1, len(power)), began, dtype=torch.float64)
        start = _Impulses(images, 0, tuple(range(len(units))), units)
        return way(denoise or exact, start, levels).images[:, 0, 0], len(start.drawn)

    response, draws = run(1.0, torch.tensor([-1]))
    step = max(1, _NUMBERS_AT_ONCE // len(power))
    ends = [*range(0, draws, step), draws]
    parts = [run(0.0, torch.arange(first, last))[0].square().sum(dim=0) for first, last in pairwise(ends)]
    return response[0], sum(parts, torch.zeros_like(power))
