"""The pictures that a run keeps for its page: clean and noisy images, estimates, and what the optimum inferred."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gahb_bench.core.images import FloatArray

BUDGET = 6 * 2**20  # bytes before compression of the estimates of a run, over all its families
WORST = 64  # images of a family kept clean because a method loses most on them

Pixels = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Pictures of one family.

    clean : the images by number, ``(c, h, w)`` float32: the first few, and those on which methods lose most
    noise : the unit noise of the first few, ``(k, c, h, w)``
    errors : estimate minus clean image of the first few, ``(k, c, h, w)`` float16, by (denoiser, noise level)
    outline : what the optimum inferred of the first few: a curve ``(k, points, 2)`` in (row, column), by noise level
    deviation : posterior standard deviation of each of their pixels, ``(k, c, h, w)``, by noise level
    """

    clean: dict[int, Pixels]
    noise: Pixels
    errors: dict[tuple[str, float], Pixels]
    outline: dict[float, Pixels] = field(default_factory=dict)
    deviation: dict[float, Pixels] = field(default_factory=dict)

    @property
    def shown(self) -> int:
        """How many images have estimates."""
        return len(self.noise)

    def noisy(self, image: int, sigma: float) -> Pixels:
        """A noisy image, ``(c, h, w)``."""
        return self.clean[image] + sigma * self.noise[image].astype(np.float64)

    def estimate(self, denoiser: str, sigma: float, image: int) -> Pixels | None:
        """An estimate, ``(c, h, w)``; None where it was not kept."""
        error = self.errors.get((denoiser, sigma))
        return None if error is None else self.clean[image] + error[image].astype(np.float64)

    @staticmethod
    def pack(families: Mapping[str, "Thumbnails"]) -> bytes:
        """All families' pictures as one compressed file; names stand in an index, never in a path."""
        arrays: dict[str, NDArray] = {"families": np.array(list(families), dtype=np.str_)}
        for position, each in enumerate(families.values()):
            parts: dict[str, NDArray] = {
                "images": np.array(list(each.clean), dtype=np.int64),
                "clean": np.stack(list(each.clean.values())).astype(np.float32),
                "noise": each.noise.astype(np.float16),
                "denoisers": np.array([name for name, _ in each.errors], dtype=np.str_),
                "sigmas": np.array([sigma for _, sigma in each.errors], dtype=np.float64),
                "errors": _stack(list(each.errors.values()), np.float16),
                "outline_sigmas": np.array(list(each.outline), dtype=np.float64),
                "outline": _stack(list(each.outline.values()), np.float32),
                "deviation_sigmas": np.array(list(each.deviation), dtype=np.float64),
                "deviation": _stack(list(each.deviation.values()), np.float32),
            }
            arrays |= {f"{position}.{name}": value for name, value in parts.items()}
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]
        return content.getvalue()

    @staticmethod
    def load(path: Path) -> dict[str, "Thumbnails"]:
        """The pictures in a file, by family spec; none if it is not there or damaged: they are never missed."""
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as content:
                arrays = {name: content[name] for name in content.files}
            families = [str(name) for name in arrays["families"]]
            return {spec: _unpack(arrays, position) for position, spec in enumerate(families)}
        except Exception:  # a damaged file can make its readers raise anything
            return {}


def _unpack(arrays: dict[str, NDArray], position: int) -> Thumbnails:
    def part(name: str) -> NDArray:
        return arrays[f"{position}.{name}"]

    names = zip((str(name) for name in part("denoisers")), part("sigmas").tolist(), strict=True)
    return Thumbnails(
        clean=dict(zip(part("images").tolist(), part("clean"), strict=True)),
        noise=part("noise"),
        errors=dict(zip(names, part("errors"), strict=True)),
        outline=dict(zip(part("outline_sigmas").tolist(), part("outline"), strict=True)),
        deviation=dict(zip(part("deviation_sigmas").tolist(), part("deviation"), strict=True)),
    )


def _stack(parts: list[Pixels], dtype: type) -> FloatArray:
    return np.stack(parts).astype(dtype) if parts else np.empty(0, dtype)
