"""The pictures of a report: clean, noisy, every estimate and its error, as inline PNG."""

import base64
import io
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gahb_bench.noise import add_noise
from gahb_bench.reporting.content import Content, Section, spread
from gahb_bench.running import store

Array = NDArray[np.floating]

BUDGET = 2_500_000  # bytes of pictures in a page, over all its families
ERROR_SCALE = 3.0  # full colour of an error image, in root mean square errors of the best estimate shown
_MOST_IMAGES = 4
_BASE64 = 4 / 3
_BYTES_A_PIXEL = 1.6  # of an estimate and its error, compressed: what noise needs
_ERROR_STEPS = 33  # an odd number, so that zero has a colour of its own


@dataclass(frozen=True)
class Gallery:
    """Pictures of one family: ``levels`` noise levels of ``images`` images.

    ``clean`` is a picture an image; ``cells[level][image]`` holds the ``noisy`` picture, the ``error_scale``, and
    ``methods``: for each denoiser of the section its ``estimate`` and ``error`` pictures and its ``psnr_db``, or None.
    """

    levels: list[float]
    windows: list[tuple[float, float]]
    clean: list[str]
    cells: list[list[dict[str, Any]]]

    @property
    def images(self) -> int:
        return len(self.clean)


def galleries(content: Content, folder: Path) -> dict[str, Gallery]:
    """The gallery of every family that has estimates in the run's folder, by spec."""
    kept = store.estimates(folder)
    share = BUDGET / max(1, len(content.sections))
    found = {section.spec: _gallery(section, content, kept, share) for section in content.sections}
    return {spec: gallery for spec, gallery in found.items() if gallery is not None}


def _gallery(
    section: Section, content: Content, kept: dict[tuple[str, str, float], NDArray[np.float32]], budget: float
) -> Gallery | None:
    mine = {(name, sigma): shown for (family, name, sigma), shown in kept.items() if family == section.spec}
    available = [len(shown) for shown in mine.values() if len(shown)]
    if section.family is None or not available:
        return None
    plan = content.manifest.plan
    sigmas = [sigma for sigma in content.sigmas if any(level == sigma for _, level in mine)]
    levels, images = _fit_budget(
        sigmas, min(*available, _MOST_IMAGES), section.family.shape, len(section.methods), budget
    )
    batch = section.family.sample(range(images), seed=plan.seed, split=plan.split)
    clean = batch.images.numpy()
    windows = [(float(x.min()), float(x.max())) for x in clean]
    cells = []
    for sigma in levels:
        noisy = add_noise(batch, sigma).numpy()
        shown = [mine.get((method.spec, sigma)) for method in section.methods]
        estimates = [[None if e is None else e[i] for e in shown] for i in range(images)]
        cells.append([_cell(clean[i], noisy[i], estimates[i], windows[i]) for i in range(images)])
    return Gallery(levels, windows, [picture(x, w) for x, w in zip(clean, windows, strict=True)], cells)


def _cell(x: Array, y: Array, estimates: list[Array | None], window: tuple[float, float]) -> dict[str, Any]:
    """One image at one noise level."""
    errors = [None if e is None else e.astype(np.float64) - x for e in estimates]
    mse = [None if e is None else float(np.mean(e**2)) for e in errors]
    least = min((m for m in mse if m is not None), default=0.0)
    scale = ERROR_SCALE * float(np.sqrt(least)) or 1.0
    methods = [
        None
        if estimate is None or error is None or value is None
        else {
            "estimate": picture(estimate, window),
            "error": error_picture(error, scale),
            "psnr_db": round(-10 * math.log10(value), 2) if value > 0 else None,
        }
        for estimate, error, value in zip(estimates, errors, mse, strict=True)
    ]
    return {"noisy": picture(y, window), "error_scale": float(f"{scale:.2g}"), "methods": methods}


def picture(x: Array, window: tuple[float, float]) -> str:
    """An image ``(c, h, w)`` as a data URI: grey, or colour if c = 3; the window goes from black to white."""
    low, high = window
    scaled = np.clip((x.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    levels = np.round(255 * scaled).astype(np.uint8)
    image = Image.fromarray(levels.transpose(1, 2, 0)) if len(levels) == 3 else Image.fromarray(levels[0])
    return _data_uri(image)


def error_picture(error: Array, scale: float) -> str:
    """A signed error ``(c, h, w)``, averaged over channels, as a data URI: blue below 0, red above."""
    half = _ERROR_STEPS // 2
    steps = np.round(half * np.clip(error.mean(axis=0) / scale, -1, 1)).astype(int) + half
    image = Image.frombytes("P", steps.shape[::-1], steps.astype(np.uint8).tobytes())
    image.putpalette(_error_colours())
    return _data_uri(image)


@lru_cache(maxsize=1)
def _error_colours() -> bytes:
    colours = matplotlib.colormaps["RdBu_r"](np.linspace(0, 1, _ERROR_STEPS))[:, :3]
    return np.round(255 * colours).astype(np.uint8).tobytes()


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _fit_budget(
    sigmas: list[float], images: int, shape: tuple[int, int, int], methods: int, budget: float
) -> tuple[list[float], int]:
    """Which noise levels and how many images fit: every level if possible, then as many images as possible."""
    c, h, w = shape
    pixels = (3 if c == 3 else 1) * h * w
    per_cell = _BASE64 * (pixels * (1 + _BYTES_A_PIXEL * methods) + 200)
    affordable = budget / per_cell
    levels = len(sigmas) if affordable >= len(sigmas) else max(1, min(len(sigmas), int(affordable)))
    return spread(sigmas, levels), max(1, min(images, int(affordable / levels)))
