"""What is measured of samples of ``calpha-contours``: the spectrum of the contour, and whether there is one."""

import numpy as np
import scipy.fft
import torch
from scipy.special import ndtr

from gahb_bench.core.images import FloatArray
from gahb_bench.core.statistics import Described, SampleStatistics, Seen, compare_distance, describe_distance
from gahb_bench.core.two_samples import Found, TwoSamples
from gahb_bench.families.calpha_contours.law import CalphaContours

_PARTS = 4  # positions a pixel that are tried
_ITERATIONS = 8
_NO_POWER = 1e-9  # pixels^2


class CalphaContoursStatistics(SampleStatistics[CalphaContours]):
    """The law of the fitted contour, and with constant backgrounds the distance to a stripe (`compare_distance`).

    The contour is fitted column by column, through the noise, by least squares over stripes of the law's contrast:
    the best of four positions a pixel, then Gauss-Newton. `contour spectrum`: the mean log-power of its frequencies, in
    standard deviations of an image, by permutation; `contour spread`: the law of its standard deviation
    (Kolmogorov-Smirnov). Nothing is measured of ``law=paper``, whose images have no such stripe.
    """

    def describe(self, seen: Seen) -> Described:
        law = self.family
        if law.law == "paper":
            return {}
        contour = fit_contours(law, seen.noisy[:, 0].numpy())
        step = np.diff(contour, axis=1)
        step -= law.size * np.rint(step / law.size)
        path = np.concatenate([np.zeros((len(step), 1)), np.cumsum(step, axis=1)], axis=1)
        power = np.abs(np.asarray(scipy.fft.rfft(path, axis=1, norm="ortho")))[:, 1:] ** 2
        described = {"spectrum": np.log(power + _NO_POWER), "spread": path.std(axis=1)}
        if law.background == "constant":
            stripe, _ = _stripe(law, contour)
            nearest = 0.5 - law.contrast / 2 + law.contrast * torch.from_numpy(stripe)[:, None]
            described |= describe_distance(seen, nearest)
        return described

    def compare(self, samples: Described, exact: Described, tests: TwoSamples) -> dict[str, Found]:
        if not samples:
            return {}
        own = compare_distance(samples, exact, tests) if "away" in samples else {}
        return own | {
            "contour spectrum": tests.mean_difference(samples["spectrum"], exact["spectrum"]),
            "contour spread": tests.distribution(samples["spread"], exact["spread"]),
        }


def fit_contours(law: CalphaContours, y: FloatArray) -> FloatArray:
    """The least-squares position of the stripe in every column of images ``(n, N, N)``: ``(n, N)`` pixels, modulo N."""
    size, z = law.size, (y - 0.5 + law.contrast / 2) / law.contrast
    spectrum = np.asarray(scipy.fft.rfft(z, axis=1))
    best, contour = np.full((len(y), size), -np.inf), np.zeros((len(y), size))
    for part in np.arange(_PARTS) / _PARTS:
        profile = _stripe(law, np.array([[part]]))[0][0]  # (N, 1); all stripes have the same energy but for rounding
        likeness = np.asarray(scipy.fft.irfft(spectrum * np.conj(scipy.fft.rfft(profile, axis=0)), n=size, axis=1))
        place, value = likeness.argmax(axis=1), likeness.max(axis=1)
        contour = np.where(value > best, place + part, contour)
        best = np.maximum(best, value)
    for _ in range(_ITERATIONS):
        stripe, slope = _stripe(law, contour)
        contour = contour + np.clip((slope * (z - stripe)).sum(axis=1) / (slope**2).sum(axis=1), -0.25, 0.25)
    return contour % size


def _stripe(law: CalphaContours, contour: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The stripe below contours ``(n, columns)``, ``(n, N, columns)``, and its derivative in the contour."""
    size, w = law.size, law.edge
    d = (np.arange(size)[:, None] - contour[:, None, :] + size / 4) % size - size / 4
    upper, lower = d / w, (d - size / 2) / w
    slope = (np.exp(-(lower**2) / 2) - np.exp(-(upper**2) / 2)) / (w * np.sqrt(2 * np.pi))
    return ndtr(upper) - ndtr(lower), slope
