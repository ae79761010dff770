"""Denoisers that users bring may have been made for other units: what gives that away is pointed out."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images

FAR = 4.0  # times sigma^2, the MSE of no denoising
_BETTER_DB = 0.5  # by this much other units must do better
_USEFUL = 0.5  # of the error of the best multiple of y about grey
_IMAGES = 4  # on which other units are tried
_USUAL = 0.1  # they are tried at the noise level nearest to this: there a denoiser can show what it does
_IN_255THS = 5.0  # noise levels from here on are hardly meant in image units


def find_implausible(
    table: pd.DataFrame, family: Family, denoisers: Sequence[Denoiser], seed: int = 0, device: str = "cpu"
) -> list[str]:
    """One sentence for each denoiser of the user's that seems to be made for other units, with what mends it.

    Other units, and other things to be estimated, are tried on four images: what is half a decibel better is named.

    Parameters
    ----------
    table : pandas.DataFrame
        The columns of scores.parquet, of split ``test``.
    family : Family
    denoisers : those to look at: whose units are not ours to vouch for (`Facts.brought`); others may be far worse than
        the identity with good reason
    seed, device
    """
    rows = table[(table["family"] == family.spec) & (table["status"] == "ok")]
    found = []
    for denoiser in denoisers:
        cells = rows[rows["denoiser"] == denoiser.spec].groupby("sigma")["mse"].mean()
        if len(cells):
            found.append(_sentence(denoiser, family, cells, seed, device))
    return [sentence for sentence in found if sentence]


def in_255ths(sigmas: Sequence[float]) -> list[str]:
    """A sentence if all noise levels are so large that 255ths may be meant."""
    if not len(sigmas) or min(sigmas) < _IN_255THS:
        return []
    given = ",".join(f"{sigma:g}" for sigma in sigmas)
    meant = ",".join(f"{sigma / 255:.3g}" for sigma in sigmas)
    return [f"the noise levels {given} are in image units, black 0 and white 1: for 255ths give {meant}."]


def _sentence(denoiser: Denoiser, family: Family, cells: pd.Series, seed: int, device: str) -> str:
    """What is to be said of one denoiser; empty if nothing is."""
    levels = cells.index.to_numpy(dtype=float)
    times = cells.to_numpy(dtype=float) / levels**2
    far = times > FAR
    at = int(times.argmax())
    usual = int(np.abs(np.log(levels / _USUAL)).argmin())
    subject = f"{denoiser.spec} on {family.spec}"
    if far.any():
        others = f"{far.sum() - 1} other noise level{'s' if far.sum() > 2 else ''}"
        more = f", and more than {FAR:g} times at {others}" if far.sum() > 1 else ""
        subject += (
            f" is far worse than no denoising: at sigma={levels[at]:.4g} its mean squared error is {times[at]:.3g} "
            f"times sigma^2{more}"
        )
    remedy = _remedy(denoiser, family, float(levels[usual]), seed, device)
    if remedy:
        return f"{subject}; {remedy}" if far.any() else f"{subject}: {remedy}"
    if far.any():
        return (
            f"{subject}. Was it made for other units (images lie nominally in [0, 1], sigma in the same units: range=, "
            "sigma_scale=), does it return the noise (returns=noise), or was it trained on other noise levels?"
        )
    return ""


def _remedy(denoiser: Denoiser, family: Family, sigma: float, seed: int, device: str) -> str:
    """What was tried at one noise level and is better; empty if nothing is."""
    batch = family.sample(range(_IMAGES), seed=seed, split="test", device=device)
    x, y = batch.images, add_noise(batch, sigma)
    own = _estimate(denoiser, y, sigma)
    if own is None:
        return ""
    outside = bool(((x < 0) | (x > 1)).any())
    inside = bool((own >= 0).all() and (own <= 1).all() and ((own == 0) | (own == 1)).any())
    if inside and outside:
        return "its estimates are clipped to [0, 1], and the images are not: leave the clipping out."
    trivial = _best_multiple(y, x)  # what any wrong one may come down to
    best, gain = None, _BETTER_DB
    for other in denoiser.units_to_try():
        estimate = _estimate(other, y, sigma)
        if estimate is not None and _mse(estimate, x) < _USEFUL * trivial:
            gained = 10 * math.log10(_mse(own, x) / _mse(estimate, x))
            if gained > gain:
                best, gain = other, gained
    if best is None:
        return ""
    return f"at sigma={sigma:.4g} it is {gain:.3g} dB better with {best.written()}: was it made for that?"


def _estimate(denoiser: Denoiser, y: Images, sigma: float) -> Images | None:
    """An estimate; None where it fails or is not finite."""
    try:
        with torch.no_grad():
            x_hat = denoiser(y, sigma)
    except Exception:
        return None
    return x_hat if x_hat.shape == y.shape and bool(torch.isfinite(x_hat).all()) else None


def _best_multiple(y: Images, x: Images) -> float:
    """The least error of ``1/2 + c (y - 1/2)``."""
    centred = y.double() - 0.5
    c = float((centred * (x.double() - 0.5)).sum() / centred.square().sum().clamp(min=1e-30))
    return _mse(0.5 + c * centred, x)


def _mse(x_hat: Images, x: Images) -> float:
    """Mean squared error, never 0."""
    return max(float((x_hat.double() - x.double()).square().mean()), 1e-30)
