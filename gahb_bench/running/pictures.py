"""Which pictures a run keeps for its page, and making them: from what its tasks drew, or drawn again."""

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.images import Batch, Images
from gahb_bench.core.optimum import Reference
from gahb_bench.core.posterior import PosteriorMean
from gahb_bench.running.parts import Parts
from gahb_bench.running.plan import FamilyPlan, Plan
from gahb_bench.running.thumbnails import BUDGET, WORST, Thumbnails
from gahb_bench.scoring.by_image import by_image
from gahb_bench.scoring.losses import image_losses, worst_images
from gahb_bench.scoring.score import SHOWN
from gahb_bench.scoring.summary import attaining

_REMEMBERED = 2**26  # bytes of drawn images that are kept in memory until the end
_WORST_A_CELL = 3


class Pictures:
    """The images that a run's tasks drew, as far as memory allows."""

    def __init__(self, plan: Plan, device: str) -> None:
        self._plan, self._device = plan, device
        self._images: dict[tuple[str, int], Images] = {}
        self._noise: dict[tuple[str, int], Images] = {}
        self._bytes = 0

    def cache(self, batch: Batch, z: Images) -> None:
        """Keep the images of a batch, and the noise of the run's first few."""
        for image, x, noise in zip(batch.indices, batch.images, z, strict=True):
            if image < SHOWN:
                self._noise[batch.family, image] = noise.cpu()
            if self._bytes < _REMEMBERED:
                self._images[batch.family, image] = x.cpu()
                self._bytes += x.numel() * x.element_size()

    def first(self, family: FamilyPlan, count: int) -> tuple[Images, Images]:
        """The first few images of a family and their unit noise."""
        keys = [(family.spec, image) for image in range(count)]
        if not all(key in self._images and key in self._noise for key in keys):
            batch = family.family.sample(range(count), seed=self._plan.seed, split=self._plan.split)
            self.cache(batch, unit_noise(batch))
            return batch.images, unit_noise(batch)
        return torch.stack([self._images[key] for key in keys]), torch.stack([self._noise[key] for key in keys])

    def clean(self, family: FamilyPlan, images: Iterable[int]) -> dict[int, np.ndarray]:
        """Clean images of a family, by number."""
        wanted = list(images)
        lacking = [image for image in wanted if (family.spec, image) not in self._images]
        found = {image: self._images[family.spec, image].numpy() for image in wanted if image not in lacking}
        if lacking:
            drawn = family.family.sample(lacking, seed=self._plan.seed, split=self._plan.split).images.numpy()
            found |= dict(zip(lacking, drawn, strict=True))
        return {image: found[image] for image in wanted}


def thumbnails(
    plan: Plan,
    parts: Parts,
    pictures: Pictures,
    scores: pd.DataFrame,
    curves: pd.DataFrame,
    references: Mapping[str, Reference],
) -> dict[str, Thumbnails]:
    """The pictures of every family of a plan, within the run's budget."""
    share = BUDGET // max(1, len(plan.families))
    found = {}
    for family in plan.families:
        rows, curve = (table[table["family"] == family.spec] for table in (scores, curves))
        hardest = _hardest(plan, rows, curve, references[family.spec])
        made = _family(plan, family, parts, pictures, hardest, share)
        if made is not None:
            found[family.spec] = made
    return found


def _family(
    plan: Plan, family: FamilyPlan, parts: Parts, pictures: Pictures, hardest: list[int], budget: int
) -> Thumbnails | None:
    """The pictures of one family; None where no estimate of its first images is there."""
    cell_bytes = 2 * int(np.prod(family.family.shape))
    affordable = budget // (cell_bytes * max(1, len(family.methods) * len(plan.sigmas)))
    count = min(SHOWN, plan.images, max(1, affordable))
    shown = {
        (method.spec, sigma): parts.first_estimates(plan.cell(family, method, sigma), count)
        for method in family.methods
        for sigma in plan.sigmas
    }
    estimates = {key: found for key, found in shown.items() if found is not None}
    if not estimates:
        return None
    x, z = pictures.first(family, count)
    errors = {key: found - x.numpy() for key, found in estimates.items()}
    outline, deviation = _inferred(plan, family, x, z)
    clean = pictures.clean(family, dict.fromkeys([*range(count), *hardest]))
    return Thumbnails(clean, z.numpy(), errors, outline, deviation)


def _inferred(
    plan: Plan, family: FamilyPlan, x: Images, z: Images
) -> tuple[dict[float, np.ndarray], dict[float, np.ndarray]]:
    """What the optimum infers of the first images, where it says so."""
    outline, deviation = {}, {}
    optima = [m.denoiser for m in family.methods if isinstance(m.denoiser, PosteriorMean)]
    for oracle in optima[:1]:
        for sigma in plan.sigmas:
            found = oracle.inferred(scale_noise(x, z, sigma), sigma)
            if found is None:
                break
            outline[sigma], deviation[sigma] = found.outline.numpy(), found.deviation.numpy()
    return outline, deviation


def _hardest(plan: Plan, scores: pd.DataFrame, curves: pd.DataFrame, reference: Reference) -> list[int]:
    """Images on which some method loses most at some noise level, those that are so most often first."""
    errors, best, levels = by_image(scores, range(plan.images)), attaining(curves, reference), list(plan.sigmas)
    paired = None if best is None else errors.at(best, "mse", levels)
    stated = reference.at(np.array(plan.sigmas)).mse
    kinds = curves.pivot(index="denoiser", columns="sigma", values="regret_kind").reindex(columns=levels)
    seen: Counter[int] = Counter()
    for name in scores["denoiser"].unique():
        if name != best:
            mse, excess = (errors.at(name, measure, levels) for measure in ("mse", "excess"))
            losses = image_losses(mse, paired, stated, excess, (kinds.loc[name] == "direct").to_numpy())
            seen.update(image for level in losses for image, _ in worst_images(level, _WORST_A_CELL))
    return [image for image, _ in seen.most_common(WORST)]
