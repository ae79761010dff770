"""Per-image scores: the mean squared error of every denoiser on the same images with the same noise."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core import memory
from gahb_bench.core.denoiser import Denoiser, check_estimate
from gahb_bench.core.errors import UsageError, reason_of
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, FloatArray, Images, check_scored_sigmas
from gahb_bench.core.posterior import PosteriorMean, inform, posterior_mean

COLUMNS = ["family", "denoiser", "knows", "sigma", "image", "mse", "excess", "status", "reason", "seconds"]
SHOWN = 4  # of how many images, the first ones, estimates are kept for galleries
_PIXELS_AT_ONCE = 2**19  # bounds the memory of one call, whatever the image size


@dataclass(frozen=True, eq=False)
class Estimates:
    """What a denoiser made of a batch: ``x_hat`` (NaN where it failed), seconds an image, and why images failed."""

    x_hat: Images
    seconds: FloatArray
    reasons: list[str]


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
    refuse_repeated(levels.tolist())
    check_images(images)
    refuse_duplicates([denoiser.spec for denoiser in denoisers])
    needed = memory.of_tables(len(denoisers) * len(levels), images) + memory.of_scoring(images, family.shape)
    what = f"scores on {family.spec} (images: {images}, noise levels: {len(levels)})"
    memory.check_fits(needed, what, "choose fewer or smaller images, or fewer noise levels")
    batch = family.sample(range(images), seed=seed, split="test", device=device)
    check_scored_sigmas(levels, batch.images, family.spec)
    z = unit_noise(batch)
    optimum = optimum_among(denoisers, family)
    scored = {
        (position, float(sigma)): evaluation.rows
        for sigma in levels
        for position, evaluation in evaluate_all(denoisers, optimum, batch, z, float(sigma))
    }
    parts = [scored[position, float(sigma)] for position in range(len(denoisers)) for sigma in levels]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def optimum_among(denoisers: Sequence[Denoiser], family: Family) -> PosteriorMean | None:
    """The exact posterior mean of a law, the one among these denoisers if it is there; None where none is known."""
    exact = family.optimum.oracle("mmse")
    given = (d for d in denoisers if isinstance(d, PosteriorMean) and type(d) is exact and d.family == family)
    return next(given, None) or posterior_mean(family)


def evaluate_all(
    denoisers: Sequence[Denoiser], optimum: PosteriorMean | None, batch: Batch, z: Images, sigma: float
) -> Iterator[tuple[int, Evaluation]]:
    """Score denoisers at one noise level, the optimum first; each by its position among those given.

    The exact posterior mean of the law is computed once, also where it is not among them, and shared: each denoiser's
    excess is its distance to it.
    """
    best = None if optimum is None else denoise(optimum, batch, z, sigma)
    x_star = None if best is None else best.x_hat
    for position, denoiser in sorted(enumerate(denoisers), key=lambda item: item[1] is not optimum):
        estimates = best if denoiser is optimum and best is not None else denoise(denoiser, batch, z, sigma)
        yield position, measure(estimates, denoiser, batch, sigma, x_star)


def denoise(denoiser: Denoiser, batch: Batch, z: Images, sigma: float) -> Estimates:
    """Estimates of one denoiser at one noise level; what goes wrong in it is recorded, not raised."""
    count = len(batch)
    x_hat = torch.full_like(batch.images, torch.nan)
    seconds = np.full(count, np.nan)
    reasons = [""] * count
    size = max(1, _PIXELS_AT_ONCE // batch.images[0].numel())
    for start in range(0, count, size):
        chosen = range(start, min(start + size, count))
        part = batch.select(chosen)
        y = scale_noise(part.images, z[start : chosen.stop], sigma)
        began = time.perf_counter()
        try:
            with torch.no_grad():
                x_hat[start : chosen.stop] = check_estimate(inform(denoiser, part)(y, sigma), y, denoiser.spec)
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # a denoiser is foreign code: whatever it raises is a result to record
            reasons[start : chosen.stop] = [reason_of(problem)] * len(chosen)
            continue
        seconds[start : chosen.stop] = (time.perf_counter() - began) / len(chosen)
        finite = torch.isfinite(x_hat[start : chosen.stop].flatten(1)).all(dim=1).cpu().numpy()
        for position in np.flatnonzero(~finite) + start:
            reasons[position] = _why_not_finite(denoiser)
    return Estimates(x_hat, seconds, reasons)


def measure(estimates: Estimates, denoiser: Denoiser, batch: Batch, sigma: float, optimum: Images | None) -> Evaluation:
    """The rows of the score table of some estimates.

        mse    = |x_hat - x|^2 / pixels
        excess = |x_hat - x*|^2 / pixels,   x* the exact posterior mean, where one is known

    For an estimate that is a function of y alone, E[mse | y] = excess + posterior variance.
    """
    x_hat = estimates.x_hat.double()
    failed = np.array([bool(reason) for reason in estimates.reasons])
    mse = np.where(failed, np.nan, (x_hat - batch.images.double()).square().mean(dim=(1, 2, 3)).cpu().numpy())
    excess = np.full(len(batch), np.nan)
    if optimum is not None:
        distance = (x_hat - optimum.double()).square().mean(dim=(1, 2, 3)).cpu().numpy()
        excess = np.where(failed | ~np.isfinite(distance), np.nan, distance)
    rows = pd.DataFrame(
        {
            "family": batch.family,
            "denoiser": denoiser.spec,
            "knows": denoiser.knows,
            "sigma": float(sigma),
            "image": np.asarray(batch.indices, dtype=np.int64),
            "mse": mse,
            "excess": excess,
            "status": np.where(failed, "failed", "ok"),
            "reason": estimates.reasons,
            "seconds": estimates.seconds,
        },
        columns=COLUMNS,
    )
    shown = [position for position, image in enumerate(batch.indices) if image < SHOWN and not failed[position]]
    return Evaluation(rows, estimates.x_hat[shown].float().cpu().numpy())


def unmade(denoiser: Denoiser, family: str, sigma: float, images: Sequence[int], reason: str) -> Evaluation:
    """The rows of images that could not be scored: none has a number, and all have the reason."""
    unknown = np.full(len(images), np.nan)
    rows = pd.DataFrame(
        {
            "family": family,
            "denoiser": denoiser.spec,
            "knows": denoiser.knows,
            "sigma": float(sigma),
            "image": np.asarray(images, dtype=np.int64),
            "mse": unknown,
            "excess": unknown,
            "status": "failed",
            "reason": reason,
            "seconds": unknown,
        },
        columns=COLUMNS,
    )
    return Evaluation(rows, np.empty((0, 0, 0, 0), np.float32))


def _why_not_finite(denoiser: Denoiser) -> str:
    """The reason of an image whose estimate is not finite: the denoiser's own, where it states one."""
    reason = denoiser.facts.nan_reason
    return f"{denoiser.spec}: {reason}." if reason else f"{denoiser.spec} returned NaN or infinity."


def check_images(images: int) -> None:
    """Refuse a number of images that is not a positive integer."""
    if isinstance(images, bool) or not isinstance(images, int | np.integer) or images < 1:
        raise UsageError(f"images={images!r} is not allowed: it is a number of images, an integer >= 1.")


def refuse_repeated(sigmas: Sequence[float]) -> None:
    """Refuse a noise level that is given twice: an image would have two scores."""
    repeated = [sigma for position, sigma in enumerate(sigmas) if sigma in sigmas[:position]]
    if repeated:
        raise UsageError(f"sigma={repeated[0]:g} is given twice: give each noise level once.")


def refuse_duplicates(specs: Iterable[str], what: str = "denoiser") -> None:
    """Refuse two denoisers, or others, of one name: their rows could not be told apart."""
    seen: set[str] = set()
    for spec in specs:
        if spec in seen:
            raise UsageError(f"the {what} {spec!r} is given twice: give it once, or two names to what is not the same.")
        seen.add(spec)
