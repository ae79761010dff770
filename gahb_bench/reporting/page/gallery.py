"""The pictures of a report: clean, noisy, every estimate and its error, as inline PNG."""

import base64
import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from gahb_bench.reporting.page.signals import HEIGHT, WIDTH, curves, is_signal
from gahb_bench.reporting.study.content import Content
from gahb_bench.reporting.study.pictures import pictures
from gahb_bench.reporting.study.section import Section, spread
from gahb_bench.running.thumbnails import Pixels, Thumbnails

BUDGET = 2_800_000  # bytes of pictures in a page, over all its families
ERROR_SCALE = 3.0  # full colour of an error image, in root mean square errors of the best estimate shown
_MOST_IMAGES = 4
_BASE64 = 4 / 3
_BYTES_A_PIXEL = 1.2  # of an estimate and its error, compressed: what noise needs
_OUTLINE_PIXELS, _OUTLINE_COLOUR = 128, (230, 60, 40)
# RdBu of ColorBrewer (https://colorbrewer2.org), reversed
_BLUE_TO_RED = bytes.fromhex("053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f")
_ERROR_STEPS = 33  # an odd number, so that zero has a colour of its own


@dataclass(frozen=True)
class Gallery:
    """Pictures of one family: ``levels`` noise levels of ``images`` images, grey or in ``colour``, or ``signals``.

    ``clean`` is a picture an image; ``cells[level][image]`` holds the ``noisy`` picture, the ``error_scale``, what the
    optimum ``inferred`` (or None), and ``methods``: for each denoiser of the section its ``estimate`` and ``error``
    pictures and its ``psnr_db``, or None.
    """

    levels: list[float]
    colour: bool
    signals: bool
    windows: list[tuple[float, float]]
    clean: list[str]
    cells: list[list[dict[str, Any]]]

    @property
    def images(self) -> int:
        return len(self.clean)


def galleries(content: Content) -> dict[str, Gallery]:
    """The gallery of every section of which a run keeps estimates, by anchor."""
    share = BUDGET / max(1, len(content.sections))
    found = {section.anchor: _gallery(section, pictures(section.study), share) for section in content.sections}
    return {anchor: gallery for anchor, gallery in found.items() if gallery is not None}


def _gallery(section: Section, kept: Thumbnails | None, budget: float) -> Gallery | None:
    sigmas = [] if kept is None else [s for s in section.sigmas if any(level == s for _, level in kept.errors)]
    if kept is None or not sigmas:
        return None
    levels, images = _fit_budget(
        sigmas, min(kept.shown, _MOST_IMAGES), kept.clean[0].shape, len(section.methods), budget
    )
    shown = [kept.clean[image] for image in range(images)]
    windows = [window(x) for x in shown]
    clean = [picture(*pair) for pair in zip(shown, windows, strict=True)]
    cells = [[_cell(section, kept, sigma, image, windows[image]) for image in range(images)] for sigma in levels]
    return Gallery(levels, len(shown[0]) == 3, is_signal(shown[0].shape), windows, clean, cells)


def window(x: Pixels) -> tuple[float, float]:
    """What is shown black, and what is shown white: the range of a clean image, over all its channels."""
    return float(x.min()), float(x.max())


def _cell(section: Section, kept: Thumbnails, sigma: float, image: int, shown: tuple[float, float]) -> dict[str, Any]:
    """One image at one noise level."""
    level = section.sigmas.index(sigma)
    mse = [float(method.errors[level, image]) for method in section.methods]
    least = min((value for value in mse if math.isfinite(value)), default=0.0)
    scale = ERROR_SCALE * math.sqrt(least) or 1.0
    methods = []
    for method, value in zip(section.methods, mse, strict=True):
        estimate = kept.estimate(method.spec, sigma, image)
        methods.append(
            None
            if estimate is None
            else {
                "estimate": picture(estimate, shown),
                "error": error_picture(estimate - kept.clean[image], scale),
                "psnr_db": round(-10 * math.log10(value), 2) if value > 0 else None,
            }
        )
    return {
        "noisy": picture(kept.noisy(image, sigma), shown),
        "error_scale": float(f"{scale:.2g}"),
        "inferred": _inferred(kept, sigma, image, shown),
        "methods": methods,
    }


def _inferred(kept: Thumbnails, sigma: float, image: int, shown: tuple[float, float]) -> dict[str, Any] | None:
    """What the optimum infers of an image, where it says so: its outline on the noisy one, and where it is unsure."""
    if sigma not in kept.outline or sigma not in kept.deviation:
        return None
    unsure = np.sqrt(np.mean(np.square(kept.deviation[sigma][image]), axis=0, keepdims=True))
    most = float(unsure.max())
    return {
        "outline": outlined(kept.noisy(image, sigma), kept.outline[sigma][image], shown),
        "unsure": picture(unsure, (0.0, most or 1.0)),
        "most": float(f"{most:.2g}"),
    }


def outlined(x: Pixels, outline: Pixels, shown: tuple[float, float]) -> str:
    """An image ``(c, h, w)`` with a curve ``(points, 2)`` in (row, column) drawn on it, as a data URI."""
    image = _image(x, shown).convert("RGB")
    scale = max(1, _OUTLINE_PIXELS // max(image.size))
    image = image.resize((scale * image.width, scale * image.height), Image.Resampling.NEAREST)
    points = [(scale * (column + 0.5), scale * (row + 0.5)) for row, column in outline]
    ImageDraw.Draw(image).line(points, fill=_OUTLINE_COLOUR, width=2)
    return _data_uri(image.quantize(64))


def picture(x: Pixels, shown: tuple[float, float]) -> str:
    """An image ``(c, h, w)`` as a data URI: grey, or colour if c = 3; the window goes from black to white.

    Images of one row are drawn as curves, the window from bottom to top.
    """
    return _data_uri(_image(x, shown))


def _image(x: Pixels, shown: tuple[float, float]) -> Image.Image:
    if is_signal(x.shape):
        return curves(x, shown)
    low, high = shown
    scaled = np.clip((x.astype(np.float64) - low) / max(high - low, np.finfo(float).tiny), 0, 1)
    levels = np.round(255 * scaled).astype(np.uint8)
    return Image.fromarray(levels.transpose(1, 2, 0)) if len(levels) == 3 else Image.fromarray(levels[0])


def error_picture(error: Pixels, scale: float) -> str:
    """A signed error ``(c, h, w)`` as a data URI: blue below 0, red above; colours about grey; or a curve."""
    if len(error) == 3 or is_signal(error.shape):
        return picture(error, (-scale, scale))
    half = _ERROR_STEPS // 2
    steps = np.round(half * np.clip(error.mean(axis=0) / scale, -1, 1)).astype(int) + half
    image = Image.frombytes("P", steps.shape[::-1], steps.astype(np.uint8).tobytes())
    image.putpalette(_error_colours())
    return _data_uri(image)


@lru_cache(maxsize=1)
def _error_colours() -> bytes:
    anchors = np.frombuffer(_BLUE_TO_RED, dtype=np.uint8).reshape(-1, 3)
    places = np.linspace(0, len(anchors) - 1, _ERROR_STEPS)
    colours = [np.interp(places, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.round(np.stack(colours, axis=1)).astype(np.uint8).tobytes()


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _fit_budget(
    sigmas: list[float], images: int, shape: tuple[int, ...], methods: int, budget: float
) -> tuple[list[float], int]:
    """Which noise levels and how many images fit: every level if possible, then as many images as possible."""
    c, h, w = (shape[0], HEIGHT, WIDTH) if is_signal(shape) else shape
    pixels = (3 if c == 3 else 1) * h * w
    per_cell = _BASE64 * (pixels * (1 + _BYTES_A_PIXEL * methods) + 200)
    affordable = budget / per_cell
    levels = len(sigmas) if affordable >= len(sigmas) else max(1, min(len(sigmas), int(affordable)))
    return spread(sigmas, levels), max(1, min(images, int(affordable / levels)))
