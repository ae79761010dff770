"""Oracles of ``hierarchy``."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from gahb_bench.core.images import Images, PerImage, per_image_sigma, per_pixel
from gahb_bench.core.memory import cached
from gahb_bench.core.posterior import OracleOf, Posterior, PosteriorMean
from gahb_bench.families.hierarchy.law import Hierarchy
from gahb_bench.families.hierarchy.messages import (
    Evidence,
    Rules,
    downward,
    functional_variance,
    pixel_evidence,
    rules_of,
    upward,
)

_TILE = 2**27  # bytes of the largest intermediate array


class Mmse(PosteriorMean, OracleOf[Hierarchy]):
    """Exact posterior mean of images written by a tree: sum-product up and down the tree.

        x_hat(pixel) = sum_b P(symbol of the pixel = b | y) b / (q - 1)

    Optimality
    ----------
    Knows the law (the rules of every level). Its MSE is the MMSE: no denoiser that sees only y and sigma is below it.
    Error: rounding. `latent_posterior` gives the exact posterior of every symbol of the tree; the most probable root is
    the Bayes-optimal class.

    References
    ----------
    J. Pearl, "Probabilistic Reasoning in Intelligent Systems", 1988, section 4.3; S. Mei, 2024, arXiv:2404.18444,
    section 2 (the same messages as a U-Net).
    """

    name: ClassVar = "mmse"
    knows: ClassVar = "law"
    source: ClassVar = "Pearl 1988; Mei 2024, arXiv:2404.18444"

    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        mean, variance = self.pixels(y, sigma)
        return Posterior(mean, variance.mean(dim=(1, 2, 3)))

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """The evidence that goes up to the root, and what the pixels' evidence was normalised by."""
        nearest = (y[:, 0, :, :, None] - _intensities(self.law, y.device)).square().amin(dim=-1)
        pixels = nearest / per_pixel(sigma, y)[..., 0] ** 2 + torch.log(2 * torch.pi * per_pixel(sigma, y)[..., 0] ** 2)
        up = torch.cat([evidence.total for _, evidence in self.tiles(y, sigma)])
        return up - pixels.sum(dim=(1, 2)) / 2

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        """Posterior variance of ``<v, x>``, ``(n,)``, without a derivative: moments of it go up the tree."""
        law, rules = self.law, self.rules(y.device)
        x = _intensities(law, y.device)
        parts = [
            functional_variance(evidence, rules, v[cut].double()[:, 0, :, :, None] * x)
            for cut, evidence in self.tiles(y.double(), sigma)
        ]
        return torch.cat(parts) if parts else sigma.clone()

    def latent_posterior(self, y: Images, sigma: float | Tensor) -> dict[str, Tensor]:
        """Posterior law of each latent: ``level0`` .. ``levelL``, ``(n, 2^l, 2^l, q)`` float64 each."""
        self.family.check_images(y)
        rules = self.rules(y.device)
        parts = [downward(evidence, rules) for _, evidence in self.tiles(y.double(), per_image_sigma(sigma, y))]
        return {f"level{level}": torch.cat(laws) for level, laws in enumerate(zip(*parts, strict=True))}

    def pixels(self, y: Images, sigma: Tensor) -> tuple[Images, Images]:
        """Posterior mean and variance of each pixel, ``(n, 1, h, w)``."""
        rules, x = self.rules(y.device), _intensities(self.law, y.device)
        mean, variance = torch.empty_like(y), torch.empty_like(y)
        for cut, evidence in self.tiles(y, sigma):
            mean[cut, 0], variance[cut, 0] = pixel_moments(downward(evidence, rules)[-1], x)
        return mean, variance

    def tiles(self, y: Images, sigma: Tensor, observed: Tensor | None = None) -> Iterator[tuple[slice, Evidence]]:
        """The evidence of a few images at a time, so that memory is bounded; ``observed`` as in `pixel_evidence`."""
        law, rules = self.law, self.rules(y.device)
        states = law.symbols * (law.productions if law.rules == "grammar" else 4)
        step = max(_TILE // (8 * states * law.size**2 // 4), 1)
        for start in range(0, len(y), step):
            cut = slice(start, start + step)
            seen = observed if observed is None or len(observed) == 1 else observed[cut]
            yield cut, upward(pixel_evidence(y[cut], sigma[cut], _intensities(law, y.device), seen), rules)

    def rules(self, device: torch.device) -> list[Rules]:
        """The rules of each level, root first."""
        return _rules(self.law, device)


def pixel_moments(law: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of pixels from the law of each, ``(n, h, w, q)``, over the intensities x, ``(q,)``."""
    mode = x[law.argmax(dim=-1)]
    distance = x - mode.unsqueeze(-1)  # from the mode, so that a nearly certain pixel has no rounding
    shift = (law * distance).sum(dim=-1, keepdim=True)
    return mode + shift.squeeze(-1), (law * (distance - shift) ** 2).sum(dim=-1)


def _intensities(law: Hierarchy, device: torch.device) -> Tensor:
    return torch.from_numpy(law.intensities).to(device)


@cached(8)
def _rules(law: Hierarchy, device: torch.device) -> list[Rules]:
    return rules_of(law, device)
