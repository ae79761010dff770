"""The images of a family one by one: how far each is from the optimum, and what those look like that lose most."""

import base64
from collections import Counter
from typing import Any

import numpy as np

from gahb_bench.reporting.page.gallery import picture, window
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.pictures import pictures
from gahb_bench.reporting.study.section import Section
from gahb_bench.scoring.losses import worst_images

WORST = 3  # images that are named, and shown, at each noise level
NUMBERS_BUDGET = 1_000_000  # bytes of per-image numbers in a page, over all its families
PICTURES_BUDGET = 500_000  # bytes of pictures of the images that lose most
_BYTES_A_NUMBER = 2 * 4 / 3  # two bytes, as base64
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
    """Clean images, those that are most often among the worst first, as many as were kept and the budget holds."""
    kept = pictures(section.study)
    if kept is None:
        return {}
    seen: Counter[int] = Counter()
    for method in section.methods:
        if method is not section.attaining:
            for losses in method.image_db[:, :count]:
                seen.update(image for image, _ in worst_images(losses, WORST))
    found: dict[int, str] = {}
    for image, _ in seen.most_common():
        if image in kept.clean and budget > 0:
            found[image] = picture(kept.clean[image], window(kept.clean[image]))
            budget -= len(found[image])
    return found
