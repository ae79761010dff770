"""Per-image scores: the mean squared error of every denoiser on the same images with the same noise."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.denoiser import Denoiser, check_estimate
from gahb_bench.core.errors import UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Images, check_scored_sigmas
from gahb_bench.core.posterior import inform

COLUMNS = ["family", "denoiser", "knows", "sigma", "image", "mse", "status", "reason", "seconds"]
SHOWN = 4  # of how many images, the first ones, estimates are kept for galleries
_PIXELS_AT_ONCE = 2**19  # bounds the memory of one call, whatever the image size


@dataclass(frozen=True)
class Evaluation:
    """One denoiser at one noise level: a row an image, and the estimates of the first few images."""

    rows: pd.DataFrame
    shown: np.ndarray


def score(
    family: Family, denoisers: Sequence[Denoiser], sigmas: object, images: int, seed: int, device: str = "cpu"
) -> pd.DataFrame:
    """Score denoisers on the first ``images`` images of a family's test split; see `gahb_bench.score`."""
    levels = check_scored_sigmas(sigmas)
    check_images(images)
    refuse_duplicates([denoiser.spec for denoiser in denoisers])
    batch = family.sample(range(images), seed=seed, split="test", device=device)
    z = unit_noise(batch)
    parts = [evaluate(denoiser, batch, z, float(s)).rows for denoiser in denoisers for s in levels]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def evaluate(denoiser: Denoiser, batch: Batch, z: Images, sigma: float) -> Evaluation:
    """Score one denoiser at one noise level; what goes wrong in it is recorded, not raised."""
    count = len(batch)
    mse, seconds = np.full(count, np.nan), np.full(count, np.nan)
    reasons = [""] * count
    shown: list[np.ndarray] = []
    size = max(1, _PIXELS_AT_ONCE // batch.images[0].numel())
    for start in range(0, count, size):
        chosen = range(start, min(start + size, count))
        part = batch.select(chosen)
        y = scale_noise(part.images, z[start : chosen.stop], sigma)
        began = time.perf_counter()
        try:
            with torch.no_grad():
                x_hat = check_estimate(inform(denoiser, part)(y, sigma), y, denoiser.spec).detach()
                error = (x_hat.double() - part.images.double()).square().mean(dim=(1, 2, 3)).cpu().numpy()
                kept = x_hat[: sum(image < SHOWN for image in part.indices)].float().cpu().numpy()
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # a denoiser is foreign code: whatever it raises is a result to record
            reasons[start : chosen.stop] = [reason_of(problem)] * len(chosen)
            continue
        mse[start : chosen.stop] = error
        seconds[start : chosen.stop] = (time.perf_counter() - began) / len(chosen)
        for position in np.flatnonzero(~np.isfinite(error)) + start:
            reasons[position], mse[position] = _why_not_finite(denoiser), np.nan
        shown.extend(kept)
    rows = pd.DataFrame(
        {
            "family": batch.family,
            "denoiser": denoiser.spec,
            "knows": denoiser.knows,
            "sigma": float(sigma),
            "image": np.asarray(batch.indices, dtype=np.int64),
            "mse": mse,
            "status": ["failed" if reason else "ok" for reason in reasons],
            "reason": reasons,
            "seconds": seconds,
        },
        columns=COLUMNS,
    )
    return Evaluation(rows, np.stack(shown) if shown else np.empty((0, *batch.images.shape[1:]), np.float32))


def _why_not_finite(denoiser: Denoiser) -> str:
    """The reason of an image whose estimate is not finite: the denoiser's own, where it states one."""
    reason = denoiser.facts.nan_reason
    return f"{denoiser.spec}: {reason}." if reason else f"{denoiser.spec} returned NaN or infinity."


def check_images(images: int) -> None:
    """Refuse a number of images that is not a positive integer."""
    if isinstance(images, bool) or not isinstance(images, int | np.integer) or images < 1:
        raise UsageError(f"images={images!r} is not allowed: it is a number of images, an integer >= 1.")


def refuse_duplicates(specs: Iterable[str]) -> None:
    """Refuse two denoisers of one name: their rows could not be told apart."""
    seen: set[str] = set()
    for spec in specs:
        if spec in seen:
            raise UsageError(f"the denoiser {spec!r} is given twice: give it once, or give two callables two names.")
        seen.add(spec)
