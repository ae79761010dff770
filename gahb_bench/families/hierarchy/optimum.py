"""What is best for images written by a tree: belief propagation up and down the tree, exactly."""

from functools import cached_property

import numpy as np
import pandas as pd
import torch

from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.images import FloatArray, check_sigmas
from gahb_bench.core.optimum import Check, Optimum, Reference, Simulation, VarianceParts
from gahb_bench.families.hierarchy.check import enumerate_posterior, tiny_trees
from gahb_bench.families.hierarchy.law import Hierarchy
from gahb_bench.families.hierarchy.messages import downward, rules_of, upward
from gahb_bench.families.hierarchy.oracles import Mmse
from gahb_bench.tables.sampled import mean_posterior_variance, sampled_simulation

_IMAGES = 32  # of the reference computed on demand
_RARE = 100.0  # below this effective number of pixels the sampled mean is not to be trusted
_MARKOV = 20.0  # a mean of positive numbers is above this times its expectation with probability 1/20 at most
_REACH = 38.0  # standard deviations at which the normal density is the least double number
_FLOOR = 1e-100  # below, what is left is the least likelihood that the messages count


class HierarchyOptimum(Optimum[Hierarchy]):
    """What is best for images written by a tree: belief propagation up and down the tree, exactly."""

    oracles = (Mmse,)

    def reference(self, sigmas: FloatArray) -> Reference:
        """Mean posterior variance over fixed images, with its standard error and the slope of the curve.

        At noise far below the distance of intensities the risk comes from draws of the noise rarer than any sample
        holds. Where fewer than 100 pixels carry the mean, the MMSE is therefore only in a bracket, and its exponent
        NaN: above by the risk of the best denoiser that looks at one pixel (`pixelwise_risk`), below by a twentieth of
        the sampled mean, which by Markov's inequality is a bound with a confidence of 95 %, however heavy the tail.
        """
        family = self.family
        sampled = mean_posterior_variance(family, sigmas, [_IMAGES] * len(sigmas))
        rare = (sampled.effective < _RARE) | (sampled.mse < _FLOOR)
        upper = pixelwise_risk(family, sigmas)
        mse = np.where(rare, np.minimum(sampled.mse, upper), sampled.mse)
        note = "Mean posterior variance of exact belief propagation over fixed images."
        if rare.any():
            note += (
                f" At sigma <= {sigmas[rare].max():.3g} errors are too rare to sample: there the MMSE is at most the "
                "risk of the best denoiser of single pixels, and at least a twentieth of the sampled mean (95 %)."
            )
        return Reference(
            kind="bracket" if rare.any() else "exact",
            sigma=sigmas,
            mse=mse,
            lower=np.where(rare, mse / _MARKOV, mse),
            upper=np.where(rare, upper, mse),
            standard_error=np.where(rare, 0.0, sampled.standard_error),
            exponent=np.where(rare, np.nan, sampled.exponent),
            note=note,
        )

    def defaults(self) -> list[str]:
        """The oracles a run shows unless told otherwise."""
        return ["mmse"]

    @property
    def samples(self) -> VarianceParts:
        """The posterior variance of each pixel, to be sampled."""
        oracle = self._mmse
        return VarianceParts(sampled=lambda y, sigma: oracle.pixels(y, sigma)[1], known=lambda _: 0.0)

    @property
    def simulation(self) -> Simulation:
        """Posterior variances of more images than are used on demand."""
        return sampled_simulation(self.family)

    @cached_property
    def _mmse(self) -> Mmse:
        return Mmse().bind(self.family)

    def checks(self) -> list[Check]:
        """Sum-product against enumeration of all images of two tiny trees with the same kind of rules (identity 6)."""
        family = self.family
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
                    "v' covariance v": ((v * oracle.covariance(y, sigma, v)).sum((1, 2, 3)), exact.variance_along),
                    "class": (oracle.latent_posterior(y, sigma)["level0"][:, 0, 0], exact.root),
                }
                for name, (found, expected) in pairs.items():
                    error = float((found - expected).abs().max())
                    at = f"depth {tiny.depth}, q={tiny.symbols}, sigma={sigma:g}"
                    routes = ("sum-product", "enumeration of all images")
                    checks.append(Check(f"6  {name} = enumeration, {at}", error, 1e-10, routes=routes))
        return checks


def pixelwise_risk(family: Hierarchy, sigmas: FloatArray) -> FloatArray:
    """Risk of the posterior mean given one pixel and the mean law p of pixels: an upper bound on the MMSE.

        sum_a p_a E_z[ Var(x | x_a + s z) ]

    by the trapezoidal rule in z with a step that resolves the noise between neighbouring intensities. Where these are
    more than 76 sigma apart, it is below the least number in double precision, and 0.
    """
    uniform = torch.zeros(1, family.size, family.size, family.symbols, dtype=torch.float64)
    rules = rules_of(family, torch.device("cpu"))
    law = downward(upward(uniform, rules), rules)[-1].mean(dim=(0, 1, 2)).numpy()
    x, log = family.intensities, np.log(np.maximum(law, 1e-300))
    risks = []
    for sigma in sigmas:
        apart = 1 / ((family.symbols - 1) * float(sigma))
        if apart > 2 * _REACH:
            risks.append(0.0)
            continue
        step = min(0.02, 0.2 / apart)
        reach = (
            9.0 if 0.2 / apart >= 0.02 else _REACH
        )  # near intensities are confused by likely noise, far ones by rare
        z = np.arange(-reach, reach + step, step)
        density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
        each = [float(_pixel_variance(x, log, value + sigma * z, sigma) @ density) for value in x]
        risks.append(float(law @ each) * step)
    return np.array(risks)


def _pixel_variance(x: FloatArray, log: FloatArray, y: FloatArray, sigma: float) -> FloatArray:
    """Posterior variances given single pixels y, of intensities x of log probabilities ``log``."""
    weights = log - 0.5 * ((y[:, None] - x) / sigma) ** 2
    weights = np.exp(weights - weights.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights * (x - (weights * x).sum(axis=-1, keepdims=True)) ** 2).sum(axis=-1)


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
