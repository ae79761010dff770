"""The images of a family one by one: how far each is from the optimum, and what those look like that lose most."""

import base64
from collections import Counter
from typing import Any

import numpy as np

from gahb_bench.reporting.content import Content
from gahb_bench.reporting.gallery import picture
from gahb_bench.reporting.method import Method
from gahb_bench.reporting.section import Section

WORST = 3  # images that are named, and shown, at each noise level
NUMBERS_BUDGET = 1_000_000  # bytes of per-image numbers in a page, over all its families
PICTURES_BUDGET = 500_000  # bytes of pictures of the images that lose most
_BYTES_A_NUMBER = 2 * 4 / 3  # two bytes, as base64
_MOST_PICTURES = 64  # of one family
_MISSING = -(2**15)
_HUNDREDTHS = 100


def per_image(content: Content) -> dict[str, dict[str, Any]]:
    """For each section, by anchor: how many images are listed, their ``db`` for each method, and ``pictures``.

    ``db`` is base64 of little-endian int16, hundredths of a dB, noise level by noise level; -32768 where there is none.
    """
    levels = max(1, sum(len(section.sigmas) * len(section.methods) for section in content.sections))
    most = max(16, int(NUMBERS_BUDGET / _BYTES_A_NUMBER / levels))
    share = PICTURES_BUDGET / max(1, len(content.sections))
    return {section.anchor: _section(section, most, share) for section in content.sections}


def worst(method: Method, level: int, count: int = WORST) -> list[tuple[int, float]]:
    """The images that lose most at a noise level (its position among the section's): index and dB, the worst first."""
    values = method.image_db[level]
    order = np.argsort(-values, kind="stable")
    return [(int(image), float(values[image])) for image in order[:count] if np.isfinite(values[image])]


def _section(section: Section, most: int, budget: float) -> dict[str, Any]:
    count = min(section.study.images, most)
    return {
        "count": count,
        "of": section.study.images,
        "db": [_encoded(method.image_db[:, :count]) for method in section.methods],
        "pictures": _pictures(section, count, budget),
    }


def _encoded(values: np.ndarray) -> str:
    steps = np.clip(np.round(_HUNDREDTHS * values), _MISSING + 1, 2**15 - 1)
    whole = np.where(np.isnan(steps), _MISSING, steps).astype("<i2")
    return base64.b64encode(whole.tobytes()).decode()


def _pictures(section: Section, count: int, budget: float) -> dict[int, str]:
    """Clean images, those that are most often among the worst first, as many as the budget holds."""
    if section.family is None:
        return {}
    seen: Counter[int] = Counter()
    for method in section.methods:
        if method is not section.attaining:
            for level in range(len(section.sigmas)):
                seen.update(image for image, _ in worst(method, level) if image < count)
    chosen = [image for image, _ in seen.most_common(_MOST_PICTURES)]
    if not chosen:
        return {}
    batch = section.family.sample(chosen, seed=section.study.seed, split=section.study.split)
    found: dict[int, str] = {}
    for image, x in zip(chosen, batch.images.numpy(), strict=True):
        found[image] = picture(x, (float(x.min()), float(x.max())))
        budget -= len(found[image])
        if budget < 0:
            break
    return found
