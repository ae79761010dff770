"""What is best for ``markov-contours``: forward-backward, exact for this law."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from gahb_bench.errors import UsageError
from gahb_bench.families.base import Family
from gahb_bench.families.markov_contours import MarkovContours
from gahb_bench.noise import unit_noise
from gahb_bench.oracles.base import PosteriorMean
from gahb_bench.oracles.markov_contours_enumeration import enumeration_checks
from gahb_bench.oracles.markov_contours_messages import ContourPosterior, forward_backward, functional_variance
from gahb_bench.oracles.reference_tables import between_levels, find_rows
from gahb_bench.types import Check, FloatArray, Images, PerImage, Posterior, Reference

TABLE = "markov-contours.csv"
_IMAGES = 32  # images whose posterior variances are averaged where no table is stored


def reference(family: MarkovContours, sigmas: FloatArray) -> Reference:
    """Mean posterior variance over images of the law: the MMSE, with its standard error.

        mmse(s) = E[ N^-2 tr Cov(x | y) ],   mmse(s; contrast) = contrast^2 mmse(s / contrast; 1)

    Read from a stored table where one covers the noise levels, otherwise averaged over 32 images now.
    """
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
            f"Exact for this discretised law: the posterior variance by forward-backward, averaged over {images} "
            f"images. The exponent 4 alpha/(2 alpha+1) = {asymptotic:.3g} is that of ever finer images; on this one it "
            "rises to 2 where the noise is so small that every column finds its contour alone, and beyond where it "
            "finds the grid. Compare with the local exponent of this reference."
        ),
    )


def defaults(family: MarkovContours) -> list[str]:
    """The oracles a run shows unless told otherwise."""
    del family
    return ["mmse"]


def independent_route(family: MarkovContours) -> list[Check]:
    """Forward-backward against a sum over all paths of a tiny chain of the same kind."""
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


class Mmse(PosteriorMean):
    """Exact posterior mean by forward-backward over the columns.

        P(y_j | c_j = p)  proportional to  exp( (<y_j, t_p> - |t_p|^2 / 2) / sigma^2 )
        x_hat_j = sum_p P(c_j = p | y) t_p

    t_p a column of the image with the contour at p.

    Optimality
    ----------
    Knows the law. Its MSE is the MMSE of the discretised law, which is the law the images are drawn from. Error:
    rounding (float64, messages rescaled at every column).

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77, 1989, doi:10.1109/5.18626, section III.
    """

    name: ClassVar = "mmse"
    aliases: ClassVar = ("forward-backward",)
    knows: ClassVar = "law"
    source: ClassVar = "Rabiner 1989, doi:10.1109/5.18626"

    def bind(self, family: Family) -> "Mmse":
        if not isinstance(family, MarkovContours):
            raise UsageError(f"{self.name} here is the oracle of 'markov-contours', not of {family.spec!r}.")
        return super().bind(family)

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        posterior = self.contour(y, sigma)
        return Posterior(posterior.mean[:, None], posterior.variance)

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        profiles, y = self._profiles(y), y[:, 0].double()
        marginals = forward_backward(self._law.chain, profiles, y, sigma).marginals
        return functional_variance(self._law.chain, profiles, y, sigma, v[:, 0].double(), marginals)

    def contour(self, y: Images, sigma: Tensor) -> ContourPosterior:
        """The posterior of the contour: the law of its position in each column, and what follows for the image."""
        return forward_backward(self._law.chain, self._profiles(y), y[:, 0].double(), sigma)

    @property
    def _law(self) -> MarkovContours:
        assert isinstance(self.family, MarkovContours)
        return self.family

    def _profiles(self, y: Images) -> Tensor:
        """Columns of the image for each position, ``(positions, N)``."""
        law = self._law
        return torch.from_numpy(0.5 + law.contrast * (law.profiles - 0.5)).to(y.device)
