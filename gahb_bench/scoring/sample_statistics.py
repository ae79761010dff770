"""How samples of a law differ from the law: statistics, each beside its value for exact samples and a p-value."""

import numpy as np
import pandas as pd
import torch

from gahb_bench.core import rng
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.statistics import LEAST_TOLERANCE, Described, SampleStatistics, Seen
from gahb_bench.core.two_samples import Found, TwoSamples

COLUMNS = ("statistic", "value", "floor", "p_value")

_FEWEST = 8  # samples
_EXACT = 512  # exact images to compare with, or as many as the samples if they are more
_NO_POWER = 1e-14  # of the largest power: what rounding leaves


def sample_statistics(family: Family, samples: Images, *, seed: int = 0, tolerance: float = 0.01) -> pd.DataFrame:
    """How samples differ from the law: statistics of every law, then those of this one (`Family.statistics`).

    Of every law: the share of finite samples; the energy distance; the mean and the variance of pixels and the power
    spectrum by radius (each: how far the means are apart, in standard deviations of an image, over pixels or radii);
    concentration: the laws of two Lipschitz functions, ``|x - 1/2| / sqrt(pixels)`` and the total variation
    ``mean |gradient x|_1`` (Kolmogorov-Smirnov distance), and how many of their extremes are samples' over what is due.

    Samples and exact images are compared through white noise of standard deviation ``tolerance``, that is with the law
    at that noise level, which forgives errors far below it. A sampler whose last step is from a level s to the
    posterior mean leaves out what is then left of the variance, about s^2 in directions where the law has no more: a
    tolerance of s sees that, one of 5 s does not.

    Parameters
    ----------
    family : Family
        The law.
    samples : Tensor, shape (n, c, h, w), n >= 8, floating point
        Independent samples. Those that hold NaN or infinity count as such and are left out of all else.
    seed : int >= 0
        Of the exact images (split ``val``), the noise and the permutations.
    tolerance : float >= 0
        In image units; by default five times the least noise level, 0.002, of the schedules of samplers. A smaller one
        than 0.00001 counts as that, which is above the rounding of float32.

    Returns
    -------
    DataFrame
        A row a statistic: ``statistic``, its name; ``value``, that of the samples; ``floor``, that of as many exact
        images; ``p_value``, the probability of a value at least as far off under the law. Those by permutation are at
        least 1/5000.

    Raises
    ------
    UsageError
        For images that cannot be of the family, fewer than 8 finite samples, or a tolerance that is no noise level.

    References
    ----------
    G. J. Szekely, M. L. Rizzo, 2013, doi:10.1016/j.jspi.2013.03.018 (energy distance); M. E. A. Seddik, C. Louart,
    M. Tamaazousti, R. Couillet, ICML 2020, arXiv:2001.08370 (concentration of generated images).
    """
    family.check_images(samples)
    rng.check_seed(seed)
    if not (np.isfinite(tolerance) and tolerance >= 0):
        raise UsageError(f"tolerance={tolerance:g} is not allowed: give a noise level in image units, or 0.")
    finite = samples.flatten(1).isfinite().all(dim=1)
    count = int(finite.sum())
    if count < _FEWEST:
        raise UsageError(f"{count} finite samples of {len(samples)} are too few to compare: give at least {_FEWEST}.")
    exact = max(count, _EXACT)
    batch = family.sample(range(count + exact), seed=seed, split="val")
    sets = (samples[finite].cpu(), batch.images[:count], batch.images[count:])
    seen = [_seen(images, tolerance, seed, which) for which, images in enumerate(sets)]
    tests = TwoSamples(count, exact, seed)
    found = {"finite": Found(count / len(samples), 1.0 if bool(finite.all()) else 0.0)}
    floor = {"finite": Found(1.0, 1.0)}
    for statistics in (_OfEveryLaw(family), family.sample_statistics):
        described, as_many, others = (statistics.describe(each) for each in seen)
        found |= statistics.compare(described, others, tests)
        floor |= statistics.compare(as_many, others, tests)
    rows = [(name, each.value, floor[name].value, each.p_value) for name, each in found.items()]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def flagged(family: Family, samples: Images, *, seed: int = 0, tolerance: float = 0.01) -> FloatArray:
    """Which samples the law's own statistics flag (`SampleStatistics.flag`), like those of `gmm` between modes.

    Seen as by `sample_statistics`: 1 or 0, ``(n,)``; NaN for samples that are not finite, and of laws that flag none.
    """
    flags = np.full(len(samples), np.nan)
    finite = samples.flatten(1).isfinite().all(dim=1).cpu()
    statistics = family.sample_statistics
    if statistics.flag is not None and bool(finite.any()):
        seen = _seen(samples.cpu()[finite], tolerance, seed, 0)
        flags[finite.numpy()] = statistics.describe(seen)[statistics.flag]
    return flags


class _OfEveryLaw(SampleStatistics[Family]):
    """What needs no law but its exact images."""

    def describe(self, seen: Seen) -> Described:
        x = seen.noisy
        steps = (x.diff(dim=axis).abs().flatten(1).sum(dim=1) for axis in (2, 3))
        return {
            "pixels": x.flatten(1).numpy(),
            "power": radial_power(x),
            "norm": (x - 0.5).flatten(1).square().mean(dim=1).sqrt().numpy(),
            "total variation": (sum(steps, torch.zeros(len(x), dtype=x.dtype)) / x[0].numel()).numpy(),
        }

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        pixels, others = samples["pixels"], exact["pixels"]
        middle = np.concatenate([pixels, others]).mean(axis=0)
        least = _NO_POWER * max(samples["power"].max(), exact["power"].max())
        found = {
            "energy distance": tests.energy(pixels, others),
            "pixel mean": tests.mean_difference(pixels, others),
            "pixel variance": tests.mean_difference((pixels - middle) ** 2, (others - middle) ** 2),
            "power spectrum": tests.mean_difference(
                *(np.log(np.maximum(each["power"], least)) for each in (samples, exact))
            ),
        }
        for name in ("norm", "total variation"):
            found[name] = tests.distribution(samples[name], exact[name])
            found[f"{name}: extremes"] = tests.extremes(samples[name], exact[name])
        return found


def radial_power(images: Images) -> FloatArray:
    """Power ``(n, radii)`` of each image at frequencies of a rounded radius, in cycles an image; mean over channels."""
    height, width = images.shape[-2:]
    rows, columns = np.fft.fftfreq(height, 1 / height), np.fft.fftfreq(width, 1 / width)
    radius = np.rint(np.hypot(rows[:, None], columns)).astype(np.int64).ravel()
    _, place, size = np.unique(radius, return_inverse=True, return_counts=True)
    power = torch.fft.fft2(images - 0.5, norm="ortho").abs().square().mean(dim=1).flatten(1)
    binned = power.new_zeros(len(power), len(size)).index_add_(1, torch.from_numpy(place), power)
    return binned.numpy() / size


def _seen(images: Images, tolerance: float, seed: int, which: int) -> Seen:
    clean = images.double()
    streams = rng.generators("sample statistics", "noise", seed, which, indices=range(len(clean)))
    z = np.stack([stream.standard_normal(tuple(clean.shape[1:])) for stream in streams])
    within = max(tolerance, LEAST_TOLERANCE)
    return Seen(clean, clean + within * torch.from_numpy(z), within)
