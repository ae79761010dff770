"""What is best for images written by a tree: belief propagation up and down the tree, exactly."""

from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gahb_bench import catalog
from gahb_bench.errors import UsageError
from gahb_bench.families.hierarchy import Hierarchy
from gahb_bench.noise import scale_noise, unit_noise
from gahb_bench.oracles.base import PosteriorMean
from gahb_bench.oracles.hierarchy_enumeration import enumerate_posterior, tiny_trees
from gahb_bench.oracles.hierarchy_messages import (
    Evidence,
    Rules,
    downward,
    functional_variance,
    pixel_evidence,
    rules_of,
    upward,
)
from gahb_bench.oracles.sampled import Parts, mean_posterior_variance
from gahb_bench.types import Check, FloatArray, Images, PerImage, Posterior, Reference, check_sigmas, per_image_sigma

_IMAGES = 32  # of the reference computed on demand
_RARE = 100.0  # below this effective number of pixels the sampled mean is not to be trusted
_FLOOR = 1e-100  # below, what is left is the least likelihood that the messages count
_TILE = 2**27  # bytes of the largest intermediate array


def reference(family: Hierarchy, sigmas: FloatArray) -> Reference:
    """Mean posterior variance over fixed images, with its standard error and the slope of the curve.

    At noise far below the distance of intensities the risk comes from draws of the noise rarer than any sample holds.
    Where fewer than 100 pixels carry the mean, the error is therefore the distance to the risk of the best denoiser
    that looks at one pixel (`pixelwise_risk`), which is an upper bound on the MMSE, and the exponent is NaN.
    """
    sampled = mean_posterior_variance(family, sigmas, parts(family.spec), [_IMAGES] * len(sigmas))
    rare = (sampled.effective < _RARE) | (sampled.mse < _FLOOR)
    upper = np.maximum(pixelwise_risk(family, sigmas) - sampled.mse, 0.0)
    note = "Mean posterior variance of exact belief propagation over fixed images."
    if rare.any():
        note += f" At sigma <= {sigmas[rare].max():.3g} errors are too rare to sample: only an upper bound is known."
    return Reference(
        kind="exact",
        sigma=sigmas,
        mse=sampled.mse,
        lower=sampled.mse,
        upper=sampled.mse,
        standard_error=np.where(rare, np.maximum(upper, sampled.standard_error), sampled.standard_error),
        exponent=np.where(rare, np.nan, sampled.exponent),
        note=note,
    )


def pixelwise_risk(family: Hierarchy, sigmas: FloatArray) -> FloatArray:
    """Risk of the posterior mean given one pixel and the mean law p of pixels: an upper bound on the MMSE.

        sum_a p_a E_z[ Var(x | x_a + s z) ]

    by the trapezoidal rule in z with a step that resolves the noise between neighbouring intensities.
    """
    uniform = torch.zeros(1, family.size, family.size, family.symbols, dtype=torch.float64)
    rules = rules_of(family, torch.device("cpu"))
    law = downward(upward(uniform, rules), rules)[-1].mean(dim=(0, 1, 2)).numpy()
    x, log = family.intensities, np.log(np.maximum(law, 1e-300))
    risks = []
    for sigma in sigmas:
        step = min(0.02, 0.2 * float(sigma) * (family.symbols - 1))
        z = np.arange(-9.0, 9.0 + step, step) if step == 0.02 else np.arange(-38.0, 38.0 + step, step)
        y = x[:, None] + sigma * z
        weights = log - 0.5 * ((y[..., None] - x) / sigma) ** 2
        weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        variance = (weights * (x - (weights * x).sum(axis=-1, keepdims=True)) ** 2).sum(axis=-1)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        risks.append(float(law @ (variance * density).sum(axis=-1) * step))
    return np.array(risks)


def defaults(family: Hierarchy) -> list[str]:
    """The oracles a run shows unless told otherwise."""
    del family
    return ["mmse"]


def level_accuracy(family: Hierarchy, sigmas: object, images: int = 64, seed: int = 0) -> pd.DataFrame:
    """How surely the optimal classifier reads each level of the tree: where in noise each level is lost.

    Parameters
    ----------
    family : Hierarchy
    sigmas : sequence of float
    images : int
        Images of split ``test``.
    seed : int

    Returns
    -------
    DataFrame
        ``family, sigma, level, accuracy, standard_error, empirical, chance``: level 0 is the class. ``accuracy`` is
        the mean over images of the largest posterior probability, the Bayes-optimal accuracy; ``empirical`` is the
        share of symbols that the classifier got right on the same images; ``chance`` is what it gets without seeing y.
    """
    levels = check_sigmas(sigmas)
    batch = family.sample(range(images), seed=seed, split="test")
    x, z = batch.images.double(), unit_noise(batch).double()
    oracle = Mmse.from_parameters({}).bind(family)
    blind = oracle.latent_posterior(x[:1], 1e8)
    rows = []
    for sigma in levels:
        for name, law in oracle.latent_posterior(scale_noise(x, z, float(sigma)), float(sigma)).items():
            best, guess = law.max(dim=-1)
            sure = best.mean(dim=(1, 2)).numpy()
            right = (guess == batch.latents[name]).double().mean()
            error = sure.std(ddof=1) / np.sqrt(images) if images > 1 else np.nan
            chance = blind[name].amax(dim=-1).mean()
            level = int(name.removeprefix("level"))
            rows.append((family.spec, sigma, level, sure.mean(), error, float(right), float(chance)))
    return pd.DataFrame(rows, columns=["family", "sigma", "level", "accuracy", "standard_error", "empirical", "chance"])


def independent_route(family: Hierarchy) -> list[Check]:
    """Sum-product against enumeration of all images of two tiny trees with the same kind of rules (identity 6)."""
    checks = []
    for tiny in tiny_trees(family):
        oracle = Mmse.from_parameters({}).bind(tiny)
        batch = tiny.sample(range(2), split="val")
        for sigma in (0.1, 0.5):
            y = scale_noise(batch.images.double(), unit_noise(batch).double(), sigma)
            v = unit_noise(batch).double().flip(0)
            exact = enumerate_posterior(tiny, y, sigma, v)
            posterior = oracle.posterior(y, sigma)
            levels = torch.full((2,), sigma, dtype=torch.float64)
            pairs = {
                "mean": (posterior.mean, exact.mean),
                "variance": (posterior.variance, exact.variance),
                "variance along v": (oracle.variance_along(y, levels, v), exact.variance_along),
                "class": (oracle.latent_posterior(y, sigma)["level0"][:, 0, 0], exact.root),
            }
            for name, (found, expected) in pairs.items():
                error = float((found - expected).abs().max())
                at = f"depth {tiny.depth}, q={tiny.symbols}, sigma={sigma:g}"
                checks.append(Check(f"6  {name} = enumeration, {at}", error, 1e-10))
    return checks


class Mmse(PosteriorMean):
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
        mean, variance = self._pixels(y, sigma)
        return Posterior(mean, variance.mean(dim=(1, 2, 3)))

    def variance_along(self, y: Images, sigma: Tensor, v: Images) -> PerImage:
        law, rules = _hierarchy(self.family), self._rules(y.device)
        x = _intensities(law, y.device)
        parts = [
            functional_variance(evidence, rules, v[cut].double()[:, 0, :, :, None] * x)
            for cut, evidence in self._tiles(y.double(), sigma)
        ]
        return torch.cat(parts) if parts else sigma.clone()

    def latent_posterior(self, y: Images, sigma: float | Tensor) -> dict[str, Tensor]:
        """Posterior law of each latent: ``level0`` .. ``levelL``, ``(n, 2^l, 2^l, q)`` float64 each."""
        self.family.check_images(y)
        rules = self._rules(y.device)
        parts = [downward(evidence, rules) for _, evidence in self._tiles(y.double(), per_image_sigma(sigma, y))]
        return {f"level{level}": torch.cat(laws) for level, laws in enumerate(zip(*parts, strict=True))}

    def _pixels(self, y: Images, sigma: Tensor) -> tuple[Images, Images]:
        """Posterior mean and variance of each pixel, ``(n, 1, h, w)``."""
        rules, x = self._rules(y.device), _intensities(_hierarchy(self.family), y.device)
        mean, variance = torch.empty_like(y), torch.empty_like(y)
        for cut, evidence in self._tiles(y, sigma):
            law = downward(evidence, rules)[-1]
            mode = x[law.argmax(dim=-1)]
            distance = x - mode.unsqueeze(-1)  # from the mode, so that a nearly certain pixel has no rounding
            shift = (law * distance).sum(dim=-1, keepdim=True)
            mean[cut, 0] = mode + shift.squeeze(-1)
            variance[cut, 0] = (law * (distance - shift) ** 2).sum(dim=-1)
        return mean, variance

    def _tiles(self, y: Images, sigma: Tensor) -> Iterator[tuple[slice, Evidence]]:
        """The evidence of a few images at a time, so that memory is bounded."""
        law, rules = _hierarchy(self.family), self._rules(y.device)
        states = law.symbols * (law.productions if law.rules == "grammar" else 4)
        step = max(_TILE // (8 * states * law.size**2 // 4), 1)
        for start in range(0, len(y), step):
            cut = slice(start, start + step)
            yield cut, upward(pixel_evidence(y[cut], sigma[cut], _intensities(law, y.device)), rules)

    def _rules(self, device: torch.device) -> list[Rules]:
        return _rules(self.family.spec, device)


@lru_cache(maxsize=64)
def parts(spec: str) -> Parts:
    """The posterior variance of each pixel, to be sampled."""
    oracle = Mmse.from_parameters({}).bind(catalog.family(spec))
    return Parts(sampled=lambda y, sigma: oracle._pixels(y, sigma)[1], known=lambda _: 0.0)


def _hierarchy(family: object) -> Hierarchy:
    if not isinstance(family, Hierarchy):
        raise UsageError(f"this is an oracle of 'hierarchy', not of {family}.")
    return family


def _intensities(law: Hierarchy, device: torch.device) -> Tensor:
    return torch.from_numpy(law.intensities).to(device)


@lru_cache(maxsize=8)
def _rules(spec: str, device: torch.device) -> list[Rules]:
    return rules_of(_hierarchy(catalog.family(spec)), device)
