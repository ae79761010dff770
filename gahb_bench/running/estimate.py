"""How much work a plan is, measured on a few images."""

from collections.abc import Iterator
from dataclasses import dataclass

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.running.plan import Plan
from gahb_bench.scoring.score import denoise

_TRIAL_IMAGES = 16


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
