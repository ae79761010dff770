"""What is measured of a pair of networks on disjoint training sets of n images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gahb_bench import make
from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Images
from gahb_bench.core.posterior import PosteriorMean, posterior_mean
from gahb_bench.denoisers.training_set import training_images
from gahb_bench.generalization.study import SPLITS, Study
from gahb_bench.generalization.theories import theories
from gahb_bench.running.generalization.folder import COLUMNS, TRUTH
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.sampling.samples import is_blind
from gahb_bench.scoring.bits import Bits, difference, excess_bits
from gahb_bench.scoring.generalization import (
    Estimate,
    Nearest,
    Place,
    closeness,
    correlation,
    mean,
    model_variance,
    nearest,
    place,
)

RULE = 3  # raised whenever what is measured changes
_LEAST = 1e-10  # of the MMSE: a squared distance below is called that
_SHOWN = 8  # samples that are kept as pictures
_STEPS = 18  # from noise to an image

Pictures = dict[str, np.ndarray]


@dataclass(frozen=True)
class Pair:
    """Two networks, one for each of `SPLITS`, that were trained on ``n`` images each."""

    study: Study
    law: Family
    n: int
    networks: tuple[Denoiser, Denoiser]
    device: str

    @property
    def truth(self) -> PosteriorMean:
        """The posterior mean under the law."""
        known = posterior_mean(self.law)
        assert known is not None  # `make_study` has looked
        return known

    def on_images(self) -> pd.DataFrame:
        """Regrets, bits, places, and the part of the error that is not shared, on noisy images."""
        study, truth = self.study, self.truth
        test = self.law.sample(range(study.images), study.seed, "test", self.device)
        rows = _Rows(self)
        excess, errors, least = ({split: [] for split in SPLITS} for _ in range(3))
        for sigma in study.sigmas:
            mmse = float(self.law.reference(sigma).mse[0])
            y = add_noise(test, sigma)
            best, estimates = truth(y.double(), sigma), [network(y, sigma) for network in self.networks]
            for split, network, x_hat in zip(SPLITS, self.networks, estimates, strict=True):
                memoriser = make.denoiser(f"empirical:n={self.n},split={split},seed={study.seed}", self.law)
                excess[split].append(_mean_square(x_hat, best))
                regret = mean(excess[split][-1] / mmse)
                rows.add("test_regret_db", _changed(regret, lambda ratio: _decibel(1 + max(ratio, 0.0))), split, sigma)
                rows.add_place("test", place(x_hat, memoriser(y.double(), sigma), best, mmse), split, sigma)
                own = self.own_images(split, study.images)
                noisy = add_noise(own, sigma)
                x_hat, truest = network(noisy, sigma), truth(noisy.double(), sigma)
                errors[split].append(_mean_square(x_hat, own.images))
                least[split].append(_mean_square(truest, own.images))
                rows.add("train_regret_db", _changed(mean(errors[split][-1] / mmse), _decibel), split, sigma)
                rows.add_place("train", place(x_hat, memoriser(noisy.double(), sigma), truest, mmse), split, sigma)
            rows.add("model_variance", model_variance(estimates[0], estimates[1], best), sigma=sigma)
        levels = np.array(study.sigmas)
        for split in SPLITS:
            everywhere = {"all": np.ones(len(levels), dtype=bool)}
            saved = difference(levels, np.array(least[split]), np.array(errors[split]), True, everywhere)["all"]
            rows.add_bits("test_bits", excess_bits(levels, np.array(excess[split])), split)
            rows.add_bits("train_bits", saved, split)
        return rows.table

    def from_theories(self, sigma: float) -> pd.DataFrame:
        """The distance of each network to each theory of its training set, and to the truth, at one noise level."""
        study, rows = self.study, _Rows(self)
        mmse = float(self.law.reference(sigma).mse[0])
        test = self.law.sample(range(study.theories), study.seed, "test", self.device)
        for split, network in zip(SPLITS, self.networks, strict=True):
            noisy = {"test": add_noise(test, sigma), "train": add_noise(self.own_images(split, study.theories), sigma)}
            estimates = {kind: network(y, sigma) for kind, y in noisy.items()}
            known = theories(self.law, self.n, split, study.seed, sigma, study.patches)
            for theory, denoiser in {**known, TRUTH: self.truth}.items():
                for kind, y in noisy.items():
                    ratio = mean(_mean_square(estimates[kind], denoiser(y.double(), sigma)) / mmse)
                    found = _changed(ratio, _decibel)
                    rows.add(f"distance_{kind}_db", found, split, sigma, theory=theory, denoiser=denoiser.spec)
        return rows.table

    def of_samples(self) -> tuple[pd.DataFrame, Pictures]:
        """What both generate from the same seeds, beside their training sets; the first samples as pictures."""
        rows, pictures = _Rows(self), {}
        sampled = [self.samples(network) for network in self.networks]
        finite = torch.stack([torch.isfinite(images).flatten(1).all(dim=1) for images in sampled])
        rows.add("sample_correlation", correlation(*sampled))
        for which, images in enumerate(sampled):
            split, other = SPLITS[which], SPLITS[1 - which]
            name, samples = split.removeprefix("train-"), images[finite[which]]
            chosen = finite.all(dim=0)[finite[which]].nonzero().flatten()[:_SHOWN]
            pictures[f"n={self.n}/sample-{name}"] = samples[chosen].numpy()
            for measure, what, shifted in (("nearest", "nearest", False), ("shifted", "moved", True)):
                own, others = (self._nearest(samples, each, shifted) for each in (split, other))
                ratio, share = closeness(own, others)
                rows.add(f"{measure}_ratio", ratio, split)
                rows.add(f"{measure}_share", share, split)
                pictures[f"n={self.n}/{what}-{name}"] = self._moved(own, chosen, split)
                pictures[f"n={self.n}/{what}-distance-{name}"] = np.sqrt(own.distance[chosen.numpy()])
        return rows.table, pictures

    def _nearest(self, samples: Images, split: str, shifted: bool) -> Nearest:
        images = training_images(self.law, self.n, split, self.study.seed, "cpu")
        return nearest(samples, images, shifted=shifted)

    def _moved(self, found: Nearest, chosen: Tensor, split: str) -> np.ndarray:
        """The training images that are nearest to some samples, each moved to where it is nearest."""
        images = self.law.sample(found.index[chosen].tolist(), self.study.seed, split).images
        moved = images.clone()
        for number, shift in enumerate(found.shift[chosen].tolist()):
            moved[number] = images[number].roll(shift, (1, 2))
        return moved.numpy()

    def samples(self, network: Denoiser) -> Images:
        """Images from noise, the same noise for each network of the study."""
        study = self.study
        settings = study.settings(study.sizes[0], SPLITS[0])
        start = starts.gaussian(self.law.shape, range(study.samples), settings.sigma_high, study.seed)
        start = replace(start, images=start.images.to(self.device))
        levels = falling_levels(settings.sigma_high, settings.sigma_low, _STEPS)
        if study.sampler is not None:
            return make.sampler(study.sampler, self.law)(network, start, levels).images.cpu()
        if is_blind(network, self.law):
            return make.sampler("ascent")(network, start, levels[:-1]).images.cpu()
        return make.sampler("heun")(network, start, levels).images.cpu()

    def own_images(self, split: str, count: int) -> Batch:
        """As many training images, again and again where there are fewer, each time with another draw of noise.

        It is none that the training has seen: that noise has an address of its own.
        """
        batch = self.law.sample(range(min(self.n, count)), self.study.seed, split, self.device)
        again = batch.select([number % len(batch) for number in range(count)])
        return replace(again, indices=tuple(range(count)))


class _Rows:
    """The measurements of a pair, row by row."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        measure: str,
        found: Estimate,
        split: str | None = None,
        sigma: float | None = None,
        **of_distance: str,
    ) -> None:
        """One of `MEASURES`, of one network or of both, at one noise level or at all of them."""
        study = self._pair.study
        address = {"family": study.family, "network": study.network, "n": self._pair.n, "split": split, "sigma": sigma}
        nothing = {"theory": None, "denoiser": None}
        self._rows.append({**address, "measure": measure, **nothing, **of_distance, **asdict(found)})

    def add_place(self, kind: str, found: Place, split: str, sigma: float) -> None:
        """On and off the axis, on test or training images."""
        self.add(f"t_{kind}", found.t, split, sigma)
        self.add(f"r_{kind}", found.r, split, sigma)

    def add_bits(self, measure: str, found: Bits, split: str) -> None:
        """Over all noise levels."""
        self.add(measure, Estimate(found.value, found.low, found.high, self._pair.study.images), split)

    @property
    def table(self) -> pd.DataFrame:
        """All rows, with the columns of the folder's table."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS))


def _mean_square(a: Images, b: Images) -> np.ndarray:
    return (a.double() - b.double()).square().flatten(1).mean(dim=1).cpu().numpy()


def _decibel(ratio: float) -> float:
    return 10 * float(np.log10(max(ratio, _LEAST)))


def _changed(estimate: Estimate, change: Callable[[float], float]) -> Estimate:
    """Through an increasing function."""
    return replace(estimate, value=change(estimate.value), low=change(estimate.low), high=change(estimate.high))
