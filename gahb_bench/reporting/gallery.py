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
from PIL import Image, ImageDraw

from gahb_bench import make
from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.images import Batch
from gahb_bench.reporting.content import Content
from gahb_bench.reporting.section import Section, spread
from gahb_bench.running import store

Array = NDArray[np.floating]
Estimates = dict[tuple[str, str, float], NDArray[np.float32]]

BUDGET = 2_800_000  # bytes of pictures in a page, over all its families
ERROR_SCALE = 3.0  # full colour of an error image, in root mean square errors of the best estimate shown
_MOST_IMAGES = 4
_BASE64 = 4 / 3
_BYTES_A_PIXEL = 1.2  # of an estimate and its error, compressed: what noise needs
_OUTLINE_PIXELS, _OUTLINE_COLOUR = 128, (230, 60, 40)
_ERROR_STEPS = 33  # an odd number, so that zero has a colour of its own


@dataclass(frozen=True)
class Gallery:
    """Pictures of one family: ``levels`` noise levels of ``images`` images.

    ``clean`` is a picture an image; ``cells[level][image]`` holds the ``noisy`` picture, the ``error_scale``, what the
    optimum ``inferred`` (or None), and ``methods``: for each denoiser of the section its ``estimate`` and ``error``
    pictures and its ``psnr_db``, or None.
    """

    levels: list[float]
    windows: list[tuple[float, float]]
    clean: list[str]
    cells: list[list[dict[str, Any]]]

    @property
    def images(self) -> int:
        return len(self.clean)


def galleries(content: Content) -> dict[str, Gallery]:
    """The gallery of every section that has estimates in a run's folder, by anchor."""
    kept = {source.run.folder: store.estimates(source.run.folder) for source in content.sources}
    share = BUDGET / max(1, len(content.sections))
    found = {section.anchor: _gallery(section, _estimates(section, kept), share) for section in content.sections}
    return {anchor: gallery for anchor, gallery in found.items() if gallery is not None}


def _estimates(section: Section, kept: dict[Path, Estimates]) -> dict[tuple[str, float], NDArray[np.float32]]:
    """The estimates of a section's methods by name and noise level, each from the run whose numbers are shown."""
    found = {}
    for method in section.methods:
        for source, name in method.planned.sources:
            for sigma in source.run.manifest.plan.sigmas:
                shown = kept[source.run.folder].get((section.spec, name, sigma))
                level = next((s for s in section.sigmas if math.isclose(s, sigma, rel_tol=1e-8)), sigma)
                if shown is not None:
                    found.setdefault((method.spec, level), shown)
    return found


def _gallery(section: Section, mine: dict[tuple[str, float], NDArray[np.float32]], budget: float) -> Gallery | None:
    available = [len(shown) for shown in mine.values() if len(shown)]
    if section.family is None or not available:
        return None
    sigmas = [sigma for sigma in section.sigmas if any(level == sigma for _, level in mine)]
    levels, images = _fit_budget(
        sigmas, min(*available, _MOST_IMAGES), section.family.shape, len(section.methods), budget
    )
    batch = section.family.sample(range(images), seed=section.study.seed, split=section.study.split)
    clean = batch.images.numpy()
    windows = [(float(x.min()), float(x.max())) for x in clean]
    cells = []
    for sigma in levels:
        noisy = add_noise(batch, sigma).numpy()
        shown = [mine.get((method.spec, sigma)) for method in section.methods]
        estimates = [[None if e is None else e[i] for e in shown] for i in range(images)]
        row = [_cell(clean[i], noisy[i], estimates[i], windows[i]) for i in range(images)]
        for cell, inferred in zip(row, _inferred(section, batch, sigma, windows), strict=True):
            cell["inferred"] = inferred
        cells.append(row)
    return Gallery(levels, windows, [picture(x, w) for x, w in zip(clean, windows, strict=True)], cells)


def _inferred(
    section: Section, batch: Batch, sigma: float, windows: list[tuple[float, float]]
) -> list[dict[str, Any] | None]:
    """What the optimum infers of each image, where it says so: its outline on the noisy one, and where it is unsure."""
    oracle: Any = None if section.attaining is None else make.denoiser(section.attaining.spec, section.family)
    if not (hasattr(oracle, "outline") and hasattr(oracle, "variance_map")):
        return [None] * len(batch)
    y = add_noise(batch, sigma)
    outlines, spreads = oracle.outline(y, sigma), oracle.variance_map(y, sigma).clamp(min=0).sqrt().numpy()
    return [
        {
            "outline": outlined(noisy.numpy(), outline.numpy(), window),
            "unsure": picture(unsure, (0.0, float(unsure.max()) or 1.0)),
            "most": float(f"{unsure.max():.2g}"),
        }
        for noisy, outline, unsure, window in zip(y, outlines, spreads, windows, strict=True)
    ]


def outlined(x: Array, outline: Array, window: tuple[float, float]) -> str:
    """A grey image ``(1, h, w)`` with a curve ``(points, 2)`` in (row, column) drawn on it, as a data URI."""
    low, high = window
    grey = np.round(255 * np.clip((x[0].astype(np.float64) - low) / max(high - low, np.finfo(float).tiny), 0, 1))
    image = Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    scale = max(1, _OUTLINE_PIXELS // max(image.size))
    image = image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
    points = [(scale * (column + 0.5), scale * (row + 0.5)) for row, column in outline]
    ImageDraw.Draw(image).line(points, fill=_OUTLINE_COLOUR, width=2)
    return _data_uri(image.quantize(64))


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
