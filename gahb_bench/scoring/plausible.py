"""Denoisers that users bring may have been made for other units: what gives that away is pointed out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Images
from gahb_bench.scoring.curve import HONEST

FAR = 4.0  # times sigma^2, the MSE of no denoising
_BETTER_DB = 0.5  # by this much other units must do better
_WORSE_DB = 0.1  # and by this much worse nowhere
_USEFUL = 0.5  # of the error of the best multiple of y about grey
_MULTIPLE = 1.05  # times that error: as good as the best multiple; what is no more than that
_MULTIPLE_DB = 1.0  # must do better by this
_KNOWING = 0.75  # of the error of grey alone
_IMAGES = 4  # on which other units are tried
_USUAL = 0.1  # they are tried at the noise level nearest to this: there a denoiser can show what it does,
_WORST = 2  # and at so many others, where most seems to be lost
_IN_255THS = 5.0  # noise levels from here on are hardly meant in image units


def find_implausible(
    table: pd.DataFrame, family: Family, denoisers: Sequence[Denoiser], seed: int = 0, device: str = "cpu"
) -> list[str]:
    """One sentence for each denoiser of the user's that seems to be made for other units, with what mends it.

    Other units, and other things to be estimated, are tried on four images, at the noise level nearest to 0.1 and where
    most is lost to the best multiple of y about grey and to the other denoisers of the table: what is half a decibel
    better somewhere, and nowhere worse, is named; a whole one where it is then no more than a multiple of y.

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
    means = rows[rows["knows"].isin(HONEST)].groupby(["denoiser", "sigma"])["mse"].mean().unstack()
    scored = {each: means.loc[each.spec].dropna() for each in denoisers if each.spec in means.index}
    if not scored:
        return []
    batch = family.sample(range(_IMAGES), seed=seed, split="test", device=device)
    sentences = [
        _sentence(each, cells, means.drop(index=each.spec).min(), batch, family) for each, cells in scored.items()
    ]
    return [sentence for sentence in sentences if sentence]


def in_255ths(sigmas: Sequence[float], families: Sequence[Family]) -> list[str]:
    """A sentence if all noise levels are so large that 255ths may be meant: not of laws in units of their own."""
    if not len(sigmas) or min(sigmas) < _IN_255THS or all(family.own_units for family in families):
        return []
    given = ",".join(f"{sigma:g}" for sigma in sigmas)
    meant = ",".join(f"{sigma / 255:.3g}" for sigma in sigmas)
    return [f"the noise levels {given} are in image units, black 0 and white 1: for 255ths give {meant}."]


def _sentence(denoiser: Denoiser, cells: pd.Series, others: pd.Series, batch: Batch, family: Family) -> str:
    """What is to be said of one denoiser, given its errors and the least of others by noise level; empty if nothing."""
    levels = cells.index.to_numpy(dtype=float)
    times = cells.to_numpy(dtype=float) / levels**2
    far = times > FAR
    at = int(times.argmax())
    subject = f"{denoiser.spec} on {batch.family}"
    if far.any():
        others_far = f"{far.sum() - 1} other noise level{'s' if far.sum() > 2 else ''}"
        more = f", and more than {FAR:g} times at {others_far}" if far.sum() > 1 else ""
        subject += (
            f" is far worse than no denoising: at sigma={levels[at]:.4g} its mean squared error is {times[at]:.3g} "
            f"times sigma^2{more}"
        )
    remedy = _remedy(denoiser, batch, _to_try(cells, others, batch.images))
    if remedy:
        return f"{subject}; {remedy}" if far.any() else f"{subject}: {remedy}"
    if far.any():
        units = f"of {family.spec} are its own" if family.own_units else "are those of images nominally in [0, 1]"
        return (
            f"{subject}. Was it made for other units (here they {units}, sigma in the same: range=, "
            "sigma_scale=), does it return the noise (returns=noise), or was it trained on other noise levels?"
        )
    return ""


def _to_try(cells: pd.Series, others: pd.Series, x: Images) -> list[float]:
    """The noise levels at which other units are tried: the usual one, and those at which most seems to be lost."""
    levels = cells.index.to_numpy(dtype=float)
    grey = _mse(torch.full_like(x, 0.5), x)
    possible = np.fmin(grey * levels**2 / (grey + levels**2), others.reindex(cells.index).to_numpy(dtype=float))
    lost = 10 * np.log10(np.maximum(cells.to_numpy(dtype=float), 1e-30) / np.maximum(possible, 1e-30))
    usual = int(np.abs(np.log(levels / _USUAL)).argmin())
    worst = [int(i) for i in np.argsort(-lost) if lost[i] > _BETTER_DB and i != usual][:_WORST]
    return [float(levels[i]) for i in [usual, *worst]]


@dataclass(frozen=True)
class _Trial:
    """One noise level at which other units are tried: noisy images, and the errors to be compared with."""

    sigma: float
    y: Images
    x: Images
    own: float
    multiple: float  # of the best multiple of y about grey: what any wrong one may come down to
    grey: float

    def gain(self, other: Denoiser) -> float:
        """How many dB better it is; -inf where it fails."""
        estimate = _estimate(other, self.y, self.sigma)
        return -math.inf if estimate is None else 10 * math.log10(self.own / _mse(estimate, self.x))

    def counts(self, gain: float, same_target: bool) -> bool:
        """Whether it is so good that it is hardly by chance; with the same thing estimated, a multiple may do."""
        if not gain > _BETTER_DB:
            return False
        mse = self.own / 10 ** (gain / 10)
        if mse < _USEFUL * self.multiple:
            return True
        as_good = mse < _MULTIPLE * self.multiple and mse < _KNOWING * self.grey
        return same_target and as_good and gain > _MULTIPLE_DB

    def speaks_against(self, gain: float) -> bool:
        """Whether it is worse where the denoiser as it is does well."""
        return gain < -_WORSE_DB and self.own < _MULTIPLE * self.multiple


def _remedy(denoiser: Denoiser, batch: Batch, sigmas: Sequence[float]) -> str:
    """What was tried at these noise levels and is better; empty if nothing is."""
    x = batch.images
    trials = []
    for sigma in sigmas:
        y = add_noise(batch, sigma)
        own = _estimate(denoiser, y, sigma)
        if own is None:
            continue
        outside = bool(((x < 0) | (x > 1)).any())
        inside = bool((own >= 0).all() and (own <= 1).all() and ((own == 0) | (own == 1)).any())
        if inside and outside:
            return "its estimates are clipped to [0, 1], and the images are not: leave the clipping out."
        grey = _mse(torch.full_like(x, 0.5), x)
        trials.append(_Trial(sigma, y, x, _mse(own, x), _best_multiple(y, x), grey))
    target = denoiser.parameters.get("returns")
    best, at, most = None, 0.0, _BETTER_DB
    for other in denoiser.units_to_try():
        found = []
        for trial in trials:
            gain = trial.gain(other)
            if trial.speaks_against(gain):
                found = []
                break
            if trial.counts(gain, other.parameters.get("returns") == target):
                found.append((gain, trial.sigma))
        if found and max(found)[0] > most:
            best, (most, at) = other, max(found)
    if best is None:
        return ""
    return f"at sigma={at:.4g} it is {most:.3g} dB better with {best.written()}: was it made for that?"


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
