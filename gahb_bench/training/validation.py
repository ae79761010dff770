"""The regret of a network in training, on images it is not trained on, with the same noise every time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from gahb_bench import make
from gahb_bench.channels.gaussian import scale_noise, unit_noise
from gahb_bench.core.images import FloatArray, Images
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.scoring.curve import vanishes
from gahb_bench.training.settings import Settings

_AT_ONCE = 32


@dataclass(frozen=True)
class Measured:
    """Mean squared error a pixel at each noise level, and the distance in dB to the optimum.

    The distance is NaN where the optimum is unknown, or vanishes: then a distance in dB says nothing.
    """

    sigma: FloatArray
    mse: FloatArray
    regret_db: FloatArray

    @property
    def mean_regret_db(self) -> float:
        """Mean over the noise levels where there is one; NaN without any."""
        known = self.regret_db[np.isfinite(self.regret_db)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def mean_mse_db(self) -> float:
        """Mean over noise levels of 10 log10 mse."""
        return float(10 * np.log10(self.mse).mean())

    @property
    def score(self) -> float:
        """By which weights are ordered, the least being the best: the mean regret, the mean error where there is none.

        Where the regret is direct, the error would order them by the luck of the draw, and where the optimum vanishes
        by what nobody could reach.
        """
        regret = self.mean_regret_db
        return regret if np.isfinite(regret) else self.mean_mse_db


class Validation:
    """Images of split ``val``, and the optimum on them.

    Where the exact posterior mean x* is known the regret is direct, 10 log10(1 + mean |x_hat - x*|^2 / mmse), without
    the luck of the draw. Elsewhere errors are held against those of the denoiser that attains the reference, else
    against the reference curve (of a bracket, its geometric middle).
    """

    def __init__(self, settings: Settings, device: str) -> None:
        law = settings.law
        batch = law.sample(range(settings.validation_images), seed=settings.seed, split="val")
        self._sigma = settings.validation_sigmas
        self._x, self._z = batch.images.to(device), unit_noise(batch).to(device)
        reference = law.reference(self._sigma)
        exact = posterior_mean(law)
        self._best = None if exact is None else self._estimates(exact)
        attaining = [name for name in reference.attained_by if law.optimum.oracle(name) is not None]
        optimum = reference.mse
        if exact is None and attaining:
            optimum = self._distances(self._estimates(make.denoiser(attaining[0], law)), [self._x] * len(self._sigma))
        self._optimum = np.where(vanishes(optimum, self._sigma), np.nan, optimum)

    def __call__(self, network: nn.Module) -> Measured:
        """Measure a module ``D(y, sigma)``."""
        training = network.training
        network.eval()
        estimates = self._estimates(network)
        network.train(training)
        mse = self._distances(estimates, [self._x] * len(estimates))
        risk = mse if self._best is None else self._optimum + self._distances(estimates, self._best)
        return Measured(self._sigma, mse, 10 * np.log10(risk / self._optimum))

    @torch.no_grad()
    def _estimates(self, denoise: Callable[..., Any]) -> list[Images]:
        """Estimates at each noise level."""
        found = []
        for sigma in self._sigma:
            y = scale_noise(self._x, self._z, float(sigma))
            levels = torch.full((len(y),), float(sigma), device=y.device)
            parts = zip(y.split(_AT_ONCE), levels.split(_AT_ONCE), strict=True)
            found.append(torch.cat([denoise(part, level) for part, level in parts]))
        return found

    def _distances(self, estimates: list[Images], others: list[Images]) -> FloatArray:
        """Mean squared distance a pixel at each noise level."""
        pairs = zip(estimates, others, strict=True)
        return np.array([float((ours.double() - theirs.double()).square().mean()) for ours, theirs in pairs])
