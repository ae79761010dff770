"""What is best for ``markov-contours``: forward-backward, exact for this law."""

import numpy as np
import torch

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.images import FloatArray
from gahb_bench.core.optimum import Check, Optimum, Reference
from gahb_bench.families.markov_contours.check import enumeration_checks
from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.families.markov_contours.oracles import Mmse
from gahb_bench.tables.reference_tables import between_levels, find_rows

TABLE = "markov-contours.csv"
_IMAGES = 32  # images whose posterior variances are averaged where no table is stored


class MarkovContoursOptimum(Optimum[MarkovContours]):
    """What is best for ``markov-contours``: forward-backward, exact for this law."""

    oracles = (Mmse,)

    def reference(self, sigmas: FloatArray) -> Reference:
        """Mean posterior variance over images of the law: the MMSE, with its standard error.

            mmse(s) = E[ N^-2 tr Cov(x | y) ],   mmse(s; contrast) = contrast^2 mmse(s / contrast; 1)

        Read from a stored table where one covers the noise levels, otherwise averaged over 32 images now.
        """
        family = self.family
        at, scale = sigmas / family.contrast, family.contrast**2
        rows = find_rows(TABLE, unit_contrast(family).spec)
        levels = np.array([float(row["level"]) for row in rows])
        covered = len(rows) >= 4 and at.min() >= levels[0] * (1 - 1e-9) and at.max() <= levels[-1] * (1 + 1e-9)
        if covered:
            values, errors = (np.array([float(row[key]) for row in rows]) for key in ("mmse", "mmse_se"))
            mse, error, exponent = between_levels(levels, values, errors, at)
            images = int(rows[0]["images"])
        else:
            risks = [posterior_variances(unit_contrast(family), float(level), range(_IMAGES)) for level in at]
            mse = np.array([risk.mean() for risk in risks])
            error = np.array([risk.std(ddof=1) for risk in risks]) / np.sqrt(_IMAGES)
            exponent = np.gradient(np.log(mse), np.log(at)) if len(at) > 1 else np.full(1, np.nan)
            images = _IMAGES
        asymptotic = 4 * family.alpha / (2 * family.alpha + 1)
        return Reference(
            kind="exact",
            sigma=sigmas,
            mse=scale * mse,
            lower=scale * mse,
            upper=scale * mse,
            standard_error=scale * error,
            exponent=exponent,
            asymptotic_exponent=asymptotic,
            note=(
                f"Exact for this discretised law: the posterior variance by forward-backward, averaged over "
                f"{images} images. The exponent 4 alpha/(2 alpha+1) = {asymptotic:.3g} is that of ever finer images; "
                "on this one it rises to 2 where the noise is so small that every column finds its contour alone, and "
                "beyond where it finds the grid. Compare with the local exponent of this reference."
            ),
        )

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        return ["mmse"]

    def checks(self) -> list[Check]:
        """Forward-backward against a sum over all paths of a tiny chain of the same kind."""
        family = self.family
        return enumeration_checks(family)


def unit_contrast(family: MarkovContours) -> MarkovContours:
    """The same law at contrast 1."""
    return MarkovContours(**{**family.parameters, "contrast": 1.0})


def posterior_variances(family: MarkovContours, sigma: float, indices: range) -> FloatArray:
    """Posterior variance per pixel of noisy images of the split ``val``, ``(n,)``."""
    batch = family.sample(indices, split="val")
    y = batch.images.double() + sigma * unit_noise(batch).double()
    levels = torch.full((len(batch),), sigma, dtype=torch.float64)
    return Mmse.from_parameters({}).bind(family).moments(y, levels).variance.numpy()
