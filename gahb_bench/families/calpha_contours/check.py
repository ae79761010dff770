"""Independent routes for ``calpha-contours`` on tiny cases: dense linear algebra, and exact contours by matrices."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gahb_bench.channels import gaussian as noise
from gahb_bench.core.images import Batch, FloatArray
from gahb_bench.core.optimum import Check
from gahb_bench.families.calpha_contours.compute import RULE, unit_contrast
from gahb_bench.families.calpha_contours.law import CalphaContours
from gahb_bench.families.calpha_contours.model import contour_model, given_contour
from gahb_bench.tables.interpolate import stored_curve

_PER_PIXEL = 8  # positions a pixel of the exact posterior of a cyclic random walk
_Z = 4.5  # a z-score beyond which a bracket's ends are in the wrong order
_STEP = 0.45  # standard deviation of its increments, pixels


class CyclicWalkContours(CalphaContours):
    """`calpha-contours` over constant backgrounds whose contour is a closed random walk: its MMSE can be computed.

    lambda_k = s^2 / (4 sin^2(pi k / N)),   s = 0.45 pixels: the increments are independent but for closing up
    """

    @property
    def contour_spectrum(self) -> FloatArray:  # type: ignore[override]
        """Eigenvalues of the contour's covariance, ``(N,)``; 0 for its mean."""
        angle = np.pi * np.arange(1, self.size) / self.size
        return np.concatenate([[0.0], _STEP**2 / (4 * np.sin(angle) ** 2)])

    @property
    def _contour_gain(self) -> FloatArray:  # type: ignore[override]
        return np.sqrt(self.contour_spectrum[: self.size // 2 + 1])


def cyclic_walk_variances(family: CyclicWalkContours, sigma: float, indices: Sequence[int]) -> FloatArray:
    """Posterior variance per pixel of noisy images of the split ``val``, by products of transfer matrices.

    The contour is put on a grid of 1/8 pixel around the circle; the law of the position in column j given y is the
    diagonal of K E_{j+1} K E_{j+2} ... K E_j, K the matrix of the increments and E_j the likelihoods of column j.
    """
    batch = family.sample(indices, split="val")
    y = batch.images[:, 0].double() - 0.5 + sigma * noise.unit_noise(batch)[:, 0].double()
    size, cells = family.size, family.size * _PER_PIXEL
    model = contour_model(family, y.device)
    places = torch.arange(cells, dtype=torch.float64) / _PER_PIXEL
    mask, _ = model.mask(places[:, None].expand(cells, size))
    profiles = model.image(mask[:, :, 0], 0.0, 0.0)
    away = torch.minimum(places, size - places)
    around = torch.arange(cells)
    kernel = torch.exp(-0.5 * (away / _STEP) ** 2)[(around[:, None] - around) % cells]
    kernel = kernel / kernel.sum(1, keepdim=True)
    return np.array([_cyclic_variance(profiles, kernel, image, sigma) for image in y])


def _cyclic_variance(profiles: Tensor, kernel: Tensor, y: Tensor, sigma: float) -> float:
    fit = (y.mT @ profiles.T - 0.5 * profiles.square().sum(1)) / sigma**2
    likelihood = (fit - fit.amax(1, keepdim=True)).exp()
    size = len(likelihood)
    right = [torch.eye(len(kernel), dtype=torch.float64)]  # right[i]: columns size - i ... size - 1
    for j in reversed(range(1, size)):
        product = kernel @ (likelihood[j][:, None] * right[-1])
        right.append(product / product.max())
    left = likelihood[0][:, None] * torch.eye(len(kernel), dtype=torch.float64)  # columns 0 ... j
    variance = 0.0
    for j in range(size):
        if j:
            left = (left @ kernel) * likelihood[j]
            left = left / left.max()
        # a closed path: from column 0 at p to column j at q, on to the last column at r, and back to p
        marginal = torch.einsum("pq,qp->q", left, right[size - 1 - j] @ kernel)
        marginal = marginal / marginal.sum()
        mean = marginal @ profiles
        variance += float(marginal @ profiles.square().sum(1) - mean.square().sum())
    return variance / size / profiles.shape[1]


def dense_genie(family: CalphaContours, batch: Batch, y: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """E[x | y, contour] less 1/2 and its variance per pixel, by inverting the covariance of the whole image."""
    size = family.size
    model = contour_model(family, y.device)
    rows = torch.arange(size)
    lag = (rows[:, None] - rows) % size
    column = torch.fft.ifft2(torch.from_numpy(family.background_spectrum)).real
    covariance = column[lag[:, None, :, None], lag[None, :, None, :]].reshape(size**2, size**2)
    means, variances = [], []
    for contour, image in zip(batch.latents["contour"], y, strict=True):
        m = model.mask(contour[None])[0].flatten()
        prior = covariance * (m[:, None] * m + (1 - m[:, None]) * (1 - m))
        gain = torch.linalg.solve(prior + sigma**2 * torch.eye(size**2, dtype=torch.float64), prior)
        base = model.image(m, 0.0, 0.0)
        means.append((base + (image.flatten() - base) @ gain).reshape(size, size))
        variances.append(sigma**2 * torch.trace(gain) / size**2)
    return torch.stack(means), torch.stack(variances)


def genie_checks(family: CalphaContours) -> list[Check]:
    """The genie's conjugate gradients against dense linear algebra on 16 x 16 images."""
    small = CalphaContours(
        **{**family.parameters, "size": 16, "edge": min(family.edge, 16 / 22), "background": "gaussian"}
    )
    batch = small.sample(range(3), split="val")
    model = contour_model(small, batch.images.device)
    checks = []
    for level in (0.03, 0.3, 3.0):
        sigma = level * small.contrast
        y = batch.images[:, 0].double() - 0.5 + sigma * noise.unit_noise(batch)[:, 0].double()
        mask, _ = model.mask(batch.latents["contour"])
        found = given_contour(model, mask, y, torch.full((3,), sigma, dtype=torch.float64))
        dense, variance = dense_genie(small, batch, y, sigma)
        worst = float((found - dense).abs().max() / math.sqrt(float(variance.mean())))
        detail = f"largest difference over the posterior standard deviation, sigma/contrast = {level:g}, N = 16"
        routes = ("conjugate gradients", "dense linear algebra")
        checks.append(Check(f"6  genie = dense linear algebra, sigma={sigma:g}", worst, 1e-4, detail, routes))
    return checks


def bracket_checks(family: CalphaContours) -> list[Check]:
    """At the stored levels, the genie at most the lower end, and the lower end at most the upper: largest z-scores.

    The genie's risk, the planted chains and the chains started from the data are three simulations of the same images;
    the last two are compared image by image.
    """
    table = stored_curve(unit_contrast(family).spec, rule=RULE)
    if table is None:
        return []
    pairs = {("planted chains", "chains from the data"): (-table["gap"], table["gap_se"])}
    if family.background == "gaussian":
        error = np.hypot(table["genie_se"], table["lower_se"])
        pairs["what knows the contour", "planted chains"] = (table["genie"] - table["lower"], error)
    return [
        Check(
            f"8  {routes[0]} <= {routes[1]}, all stored levels",
            float(np.maximum(excess / error, 0).max()),
            _Z,
            f"{len(table)} levels",
            routes,
            statistical=True,
        )
        for routes, (excess, error) in pairs.items()
    ]
