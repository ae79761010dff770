"""How much work a plan is, measured on a few images."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.running.plan import BLOCK, Plan
from gahb_bench.running.thumbnails import BUDGET
from gahb_bench.scoring.score import SHOWN, denoise

_TRIAL_IMAGES = 16
_PAGE = 2_500_000  # bytes of a page without pictures, and of the figure
_ROW, _PART, _CELL = 60, 1_500, 1_000  # bytes of a score, of a file that holds some, and of a line of the tables
_PICTURES = 3  # how often the pictures of a page are written


@dataclass(frozen=True)
class Estimate:
    """Cost of one denoiser on one family over all noise levels, or the reason why it fails."""

    family: str
    denoiser: str
    knows: str
    seconds_an_image: float
    seconds: float
    reason: str


def estimate(plan: Plan, device: str = "cpu") -> Iterator[Estimate]:
    """Time each denoiser at the middle noise level, after one call to warm up."""
    sigma = plan.sigmas[len(plan.sigmas) // 2]
    for family in plan.families:
        images = range(min(_TRIAL_IMAGES, plan.images))
        batch = family.family.sample(images, seed=plan.seed, split=plan.split, device=device)
        z = unit_noise(batch)
        for method in family.methods:
            denoise(method.denoiser, batch, z, sigma)
            made = denoise(method.denoiser, batch, z, sigma)
            reason = next((reason for reason in made.reasons if reason), "")
            cost = 0.0 if reason else float(made.seconds.mean())
            total = cost * plan.images * len(plan.sigmas)
            yield Estimate(family.spec, method.spec, method.denoiser.knows, cost, total, reason)


def disk(plan: Plan) -> int:
    """Bytes that a run's folder takes, about: finished work, tables, pictures and page."""
    finished = 0
    for law in plan.families:
        cells, shown = len(law.methods) * len(plan.sigmas), min(SHOWN, plan.images)
        a_cell = _ROW * plan.images + _PART * math.ceil(plan.images / BLOCK) + _CELL
        finished += cells * (a_cell + shown * 4 * math.prod(law.family.shape))
    return finished + _PAGE + _PICTURES * BUDGET
