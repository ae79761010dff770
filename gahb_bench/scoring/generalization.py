"""Where a denoiser stands between the memoriser of its training set and the truth, and what two of them share.

Of two networks A and B trained on disjoint sets of as many images: D_e is the posterior mean under a training set, x*
that under the law. All are given as what they make of the same noisy images, (n, c, h, w).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError
from gahb_bench.scoring.intervals import Array, mean_interval, ratio_interval

_NUMBERS_AT_ONCE = 2**21  # distances of samples to shifted images
LEAST_DISTANCE = 0.1  # of the MMSE: E|x* - D_e|^2 below which memoriser and truth are not told apart


@dataclass(frozen=True)
class Estimate:
    """A mean, or a ratio of means, over so many images, and its 95 % interval; that is NaN with fewer than three."""

    value: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Place:
    """Where a denoiser stands: t along the axis from memoriser to truth, r off it, in units of its squared length.

    distance : that squared length, E|x* - D_e|^2 per pixel
    """

    t: Estimate
    r: Estimate
    distance: float


@dataclass(frozen=True)
class Nearest:
    """The nearest of some images to each sample: its number, and its squared distance per pixel, each ``(n,)``.

    shift : by how many rows and columns it is moved, ``(n, 2)``; 0 where it is looked for as it lies
    """

    index: Tensor
    distance: Array
    shift: Tensor


def place(x_hat: Tensor, memoriser: Tensor, truth: Tensor, mmse: float) -> Place:
    """The place of D between the memoriser D_e and the truth x*.

        t = E<D - D_e, x* - D_e> / E|x* - D_e|^2,      r = E|D - D_e - t (x* - D_e)|^2 / E|x* - D_e|^2

    t is 0 for the memoriser, 1 for the truth, and its weight for a blend of the two, which all have r = 0. The sharp
    test is on noisy training images: there D_e knows the answer, and the truth does not.

    Parameters
    ----------
    x_hat, memoriser, truth : (n, c, h, w), of the same noisy images
    mmse : per pixel, at this noise level

    Returns
    -------
    Place
        t and r are NaN where the distance is not above a tenth of the MMSE.
    """
    _check_shapes(x_hat, memoriser, truth)
    axis, step = _flat(truth) - _flat(memoriser), _flat(x_hat) - _flat(memoriser)
    length = _squared(axis)
    distance = float(length.mean())
    if not distance > LEAST_DISTANCE * mmse:
        nothing = Estimate(float("nan"), float("nan"), float("nan"), len(length))
        return Place(nothing, nothing, distance)
    t = _ratio((step * axis).mean(axis=1), length)
    r = _ratio(_squared(step - t.value * axis), length)  # t makes it least: that t is estimated costs no first order
    return Place(t, r, distance)


def model_variance(a: Tensor, b: Tensor, truth: Tensor) -> Estimate:
    """Which part of the error of two networks they do not share: 1 for independent errors, 0 for a common bias.

        E|D_A - D_B|^2 / (E|D_A - x*|^2 + E|D_B - x*|^2)

    (more than 1 for errors of opposite sign; NaN where neither errs).
    """
    _check_shapes(a, b, truth)
    return _ratio(_squared(_flat(a) - _flat(b)), _squared(_flat(a) - _flat(truth)) + _squared(_flat(b) - _flat(truth)))


def correlation(a: Tensor, b: Tensor) -> Estimate:
    """Mean over images of the correlation, over pixels, of ``a[i]`` and ``b[i]``: samples from the same seeds.

    An image that is constant, or not finite, on either side has none and is not counted.
    """
    _check_shapes(a, b)
    x, y = (_flat(images) - _flat(images).mean(axis=1, keepdims=True) for images in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (x * y).mean(axis=1) / np.sqrt(_squared(x) * _squared(y))
    return mean(values[np.isfinite(values)])


def nearest(samples: Tensor, images: Iterable[Tensor], *, shifted: bool = False) -> Nearest:
    """The nearest of many images, given part by part, each (k, c, h, w), to each sample (n, c, h, w).

    If ``shifted``, of the images and all their periodic shifts: a network that does not know where it is copies these.

    Raises
    ------
    UsageError
        If there is no image.
    """
    best = torch.full((len(samples),), torch.inf, dtype=torch.float64)
    index, shift = torch.full((len(samples),), -1), torch.zeros(len(samples), 2, dtype=torch.long)
    if len(samples) == 0:
        return Nearest(index, best.numpy(), shift)
    samples, start, rows = samples.double(), 0, max(1, _NUMBERS_AT_ONCE // samples.numel())
    for part in (piece for given in images for piece in given.double().split(rows)):
        distances = _over_shifts(samples, part) if shifted else _as_they_lie(samples, part)
        distance, found = distances.flatten(1).min(dim=1)
        places = torch.stack(torch.unravel_index(found, distances.shape[1:]), dim=1)
        nearer = distance < best
        best, index = torch.where(nearer, distance, best), torch.where(nearer, places[:, 0] + start, index)
        shift = torch.where(nearer[:, None], places[:, 1:], shift)
        start += len(part)
    if start == 0:
        raise UsageError("there is no image to be near to: give at least one.")
    return Nearest(index, best.numpy() / samples[0].numel(), shift)


def _as_they_lie(samples: Tensor, images: Tensor) -> Tensor:
    """Squared distances ``(n, k, 1, 1)``."""
    found = torch.cdist(samples.flatten(1), images.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    return found.square()[:, :, None, None]


def _over_shifts(samples: Tensor, images: Tensor) -> Tensor:
    """Squared distances ``(n, k, h, w)`` to the images moved by so many rows and columns."""
    transforms = torch.fft.rfft2(samples)[:, None] * torch.fft.rfft2(images).conj()
    products = torch.fft.irfft2(transforms.sum(dim=2), s=samples.shape[-2:])
    energies = (each.square().sum(dim=(1, 2, 3)) for each in (samples, images))
    of_samples, of_images = next(energies)[:, None, None, None], next(energies)[:, None, None]
    return (of_samples + of_images - 2 * products).clamp(min=0)


def closeness(training: Nearest, held_out: Nearest) -> tuple[Estimate, Estimate]:
    """How much nearer samples are to a training set than to as many images held out.

    The ratio of the mean squared distances to the nearest of each (0: they are training images), and the share of the
    samples to which the training image is the nearer one (1 if they are training images). For a generator that
    has learned the law the two sets are alike: the ratio is 1 and the share 1/2, up to the luck of the two sets, which
    the intervals, over samples, do not hold.
    """
    share = np.where(training.distance == held_out.distance, 0.5, training.distance < held_out.distance)
    return _ratio(training.distance, held_out.distance), mean(share)


def mean(values: Array) -> Estimate:
    """The mean of one value an image; NaN of none."""
    if len(values) == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    low, high = mean_interval(values[None])
    return Estimate(float(values.mean()), float(low[0]), float(high[0]), len(values))


def _ratio(values: Array, reference: Array) -> Estimate:
    """The ratio of two means over the same images; NaN of none, or where the lower one is 0."""
    if len(reference) == 0 or not reference.mean() > 0:
        return Estimate(float("nan"), float("nan"), float("nan"), len(values))
    low, high = ratio_interval(values[None], reference[None])
    return Estimate(float(values.mean() / reference.mean()), float(low[0]), float(high[0]), len(values))


def _flat(images: Tensor) -> Array:
    return images.detach().cpu().double().flatten(1).numpy()


def _squared(values: Array) -> Array:
    """Mean square over the pixels of each image."""
    return np.square(values).mean(axis=1)


def _check_shapes(first: Tensor, *others: Tensor) -> None:
    for other in others:
        if other.shape != first.shape:
            raise UsageError(
                f"images {tuple(first.shape)} and {tuple(other.shape)} cannot be compared: give the estimates of the "
                "same noisy images."
            )
