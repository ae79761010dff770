"""What is best for ``markov-contours``: forward-backward, exact for this law."""

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import unit_noise
from gahb_bench.core.images import FloatArray
from gahb_bench.core.memory import cached
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation
from gahb_bench.families.markov_contours.check import enumeration_checks
from gahb_bench.families.markov_contours.law import MarkovContours
from gahb_bench.families.markov_contours.oracles import Mmse
from gahb_bench.tables import store
from gahb_bench.tables.sampled import at_levels, local_exponent

RULE = 1  # of `compute`: raised when it changes what it computes
_IMAGES, _TABLE_IMAGES = 32, 256  # images a level: where nothing is stored, and of what is made to be kept


class MarkovContoursOptimum(Optimum[MarkovContours]):
    """What is best for ``markov-contours``: forward-backward, exact for this law."""

    oracles = (Mmse,)

    def reference(self, sigmas: FloatArray) -> Reference:
        """Mean posterior variance over images of the law: the MMSE, with its standard error.

            mmse(s) = E[ N^-2 tr Cov(x | y) ],   mmse(s; contrast) = contrast^2 mmse(s / contrast; 1)

        Read from a stored curve at the noise levels that it covers; at others averaged over 32 images, and kept.
        """
        family = self.family
        at, scale = sigmas / family.contrast, family.contrast**2
        law = unit_contrast(family)
        levels = at_levels(law.spec, at, lambda level: compute(law, level), rule=RULE, keep=True)
        mse = levels["mse"].to_numpy()
        few, many = int(levels["images"].min()), int(levels["images"].max())
        images = f"{few}" if few == many else f"{few} to {many}"
        asymptotic = 4 * family.alpha / (2 * family.alpha + 1)
        return Reference(
            kind="exact",
            sigma=sigmas,
            mse=scale * mse,
            lower=scale * mse,
            upper=scale * mse,
            standard_error=scale * levels["mse_se"].to_numpy(),
            exponent=levels["exponent"].to_numpy(),
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

    @property
    def simulation(self) -> Simulation:
        """Posterior variances of as many images as the stored curves have."""
        law = unit_contrast(self.family)

        def measure(sigma: float, images: int, _: object) -> pd.DataFrame:
            return compute(law, sigma, images)

        return Simulation(law.spec, "levels", RULE, _TABLE_IMAGES, measure, self.family.contrast)

    def checks(self) -> list[Check]:
        """Forward-backward against a sum over all paths of a tiny chain of the same kind."""
        family = self.family
        return enumeration_checks(family)


def unit_contrast(family: MarkovContours) -> MarkovContours:
    """The same law at contrast 1."""
    return MarkovContours(**{**family.parameters, "contrast": 1.0})


@cached(256)
def compute(family: MarkovContours, sigma: float, images: int = _IMAGES) -> pd.DataFrame:
    """Mean posterior variance over the first images of the split ``val``, per pixel, and its local exponent."""
    variances = posterior_variances(family, sigma, range(images))
    quantities = {
        "mse": (float(variances.mean()), float(variances.std(ddof=1) / np.sqrt(images))),
        "exponent": local_exponent(
            lambda level: float(posterior_variances(family, level, range(images)).mean()), sigma
        ),
    }
    return store.make_rows(
        family.spec, sigma, quantities, images=images, seed=0, rule=RULE, provenance="mean posterior variance"
    )


def posterior_variances(family: MarkovContours, sigma: float, indices: range) -> FloatArray:
    """Posterior variance per pixel of noisy images of the split ``val``, ``(n,)``."""
    batch = family.sample(indices, split="val")
    y = batch.images.double() + sigma * unit_noise(batch).double()
    levels = torch.full((len(batch),), sigma, dtype=torch.float64)
    return Mmse.from_parameters({}).bind(family).moments(y, levels).variance.numpy()
