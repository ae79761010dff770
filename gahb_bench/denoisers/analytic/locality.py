"""Locality that comes from the data: training images are compared where the Wiener filter of a pixel looks."""

from typing import ClassVar, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from gahb_bench.core import memory
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images
from gahb_bench.denoisers import wiener_data
from gahb_bench.denoisers.analytic.weights import weighted_mean
from gahb_bench.denoisers.training_set import TrainingSet, fitted

L = TypeVar("L", bound="Locality")

_NUMBERS_AT_ONCE = 2**21  # of the Wiener filters, while they are made


class Locality(TrainingSet):
    """Each pixel from the training images that are near the noisy one where the pixel's Wiener filter looks.

        x_hat(q) = sum_i w_i(q) x_i(q),   w_i(q) proportional to exp(-sum_{p in M(q)} (y - x_i)(p)^2 / (2 sigma^2))
        M(q) = { p : |W(q, p)| >= threshold W(q, q) },   W = C (C + sigma^2 I)^-1

    C is the sample covariance of the ``n`` images, all channels together; with ``stationary=true`` the one invariant
    under shifts that `wiener-data` has, each channel by itself, which is less noisy where n is small, and fast. The
    mask M is small for little noise and covers the image for much: the locality of networks, from the correlations of
    the pixels, not from their architecture. Where C has no variance at q, M is the whole image.

    What is the authors': W is the Jacobian of the best linear denoiser, so its row q is what the estimate of pixel q
    looks at; that row, binarised, takes the place of the patch in the local score machine (`local`), whose weights are
    otherwise kept. Their code has W = C (C + sigma^2 I)^-1 (for y = x_t / sqrt(alpha_t), sigma^2 = (1 - alpha_t) /
    alpha_t) from the covariance C of the training images, divides each row of W by its diagonal, keeps the entries of
    at least 0.02 times the largest of all, and has temperature 1 in the weights. A mask that keeps all makes it
    `empirical`, as there.

    What is chosen here: W(q, p) is held against W(q, q), the weight of the estimated pixel itself. In the code the
    distance of pixel q sums over the q-th column of the masks, so that W(q, p) = W(p, q) is held against W(p, p), and
    the threshold is relative to the largest normalised weight, which may exceed 1: all the same where C is stationary.
    The weights are normalised over all training images at once; the code averages over batches that are normalised one
    by one. The pixels of a mask count alike, as they do in the code unless the threshold is 0. ``stationary`` is not
    theirs.

    Optimality
    ----------
    Knows ``n`` training images; its MSE is an upper bound on the MMSE. A threshold near 0 makes it `empirical`,
    ``threshold=1`` nearly `local` with ``patch=1``.

    References
    ----------
    A. Lukoianov et al., "Locality in image diffusion models emerges from data statistics", NeurIPS 2025,
    arXiv:2509.09672: the analytical model; held against its code, github.com/ottogin/locality-in-diffusion-models,
    ``models/pca_locality.py``, not against the numbers of its equations.
    """

    name: ClassVar = "locality"
    source: ClassVar = "Lukoianov et al. 2025"
    looks: ClassVar = {"": ("ochre", "triangle-down")}

    stationary: bool = Field(False, description="whether the covariance is taken to be invariant under shifts")
    threshold: float = Field(0.02, gt=0, le=1, description="least weight in a Wiener filter that is looked at")

    def bind(self: L, family: Family) -> L:
        """The same for a family; a covariance that memory does not hold is refused before anything is drawn."""
        if not self.stationary:
            what = f"the Wiener filters of all pixels of {family.spec}"
            needed = memory.of_filters(family.shape) + memory.of_covariance(self.n, family.shape)
            memory.check_fits(needed, what, "choose smaller images, or stationary=true")
        return super().bind(family)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.family.check_images(y)
        x_hat = torch.empty_like(y, dtype=torch.float64)
        for level in sigma.unique():
            chosen = sigma == level
            x_hat[chosen] = self._at(float(level), y[chosen].double())
        return x_hat

    def _at(self, sigma: float, y: Images) -> Images:
        """The estimate at one noise level."""
        mask = _mask(self.family, self.n, self.split, self.seed, self.stationary, self.threshold, sigma, str(y.device))
        looked_at = torch.fft.rfft2(mask.double()).conj() if self.stationary else mask.double().mT

        def log_weights(y: Tensor, sigma: Tensor, x: Tensor) -> Tensor:
            squared = (y[:, None] - x).square() / (2 * sigma[:, None, None, None, None].square())
            if self.stationary:
                return -torch.fft.irfft2(torch.fft.rfft2(squared) * looked_at, s=x.shape[-2:])
            return -(squared.flatten(2) @ looked_at).reshape(squared.shape)

        return weighted_mean(log_weights, y, y.new_full((len(y),), sigma), self.drawn(y.device), y[0].numel())


@fitted(16)
def _mask(
    family: Family, n: int, split: str, seed: int, stationary: bool, threshold: float, sigma: float, device: str
) -> Tensor:
    """Where the Wiener filter of each pixel looks, bool: ``(pixels, pixels)``, a row for each.

    If stationary ``(c, h, w)``, the places around pixel (0, 0) of each channel.
    """
    made = wiener_data.model(family, n, split, seed, stationary, "none", device)
    origin = made.mean.new_zeros((1, *family.shape))
    if stationary:
        origin[..., 0, 0] = 1
        weights = made.wiener(made.mean + origin, sigma)[0] - made.mean
        return weights.abs() >= threshold * weights[:, :1, :1]
    pixels = origin.numel()
    rows = []
    for places in torch.arange(pixels, device=device).split(max(1, _NUMBERS_AT_ONCE // pixels)):
        units = origin.new_zeros((len(places), pixels)).scatter_(1, places[:, None], 1)
        weights = (made.wiener(made.mean + units.reshape(-1, *family.shape), sigma) - made.mean).flatten(1)
        rows.append(weights.abs() >= threshold * weights.gather(1, places[:, None]))
    return torch.cat(rows)
