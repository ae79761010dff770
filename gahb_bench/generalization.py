"""From memorising to generalising: pairs of networks on disjoint training sets of n images, beside memoriser and truth.

run.json                 the study, the environment
generalization.csv       one row a measurement; `COLUMNS`, `MEASURES`
trainings/n=N-SPLIT/     the trainings (see `gahb_bench.training.folder`); their last weights are measured
parts/KEY.csv            the rows of one n, found again by content
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gahb_bench import make
from gahb_bench.channels.gaussian import add_noise
from gahb_bench.core.crew import Crew, Lost
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import DenoiserError, StoreError, UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.files import explain_errors, lock, refuse_overwriting, write_atomically
from gahb_bench.core.images import Batch, Images, check_scored_sigmas
from gahb_bench.core.posterior import PosteriorMean, posterior_mean
from gahb_bench.denoisers.training_set import training_images
from gahb_bench.networks.recipe import read_recipe
from gahb_bench.samplers import starts
from gahb_bench.samplers.schedules import falling_levels
from gahb_bench.sampling.samples import is_blind
from gahb_bench.scoring.bits import excess_bits
from gahb_bench.scoring.generalization import Estimate, closeness, correlation, mean, model_variance, nearest, place
from gahb_bench.training.budget import Training
from gahb_bench.training.elsewhere import train_all
from gahb_bench.training.loop import PausedError, Progress, fit
from gahb_bench.training.settings import Settings, check_possible, make_settings

SPLITS = ("train-a", "train-b")
SIGMAS = (0.03, 0.1, 0.3, 1.0)
COLUMNS = {
    "family": "its spec",
    "network": "its spec",
    "n": "images in each training set",
    "split": "the training set of the network that is measured; blank for what is of both",
    "sigma": "noise level, image units; blank for what is of all of them",
    "measure": "one of `MEASURES`",
    "value": "",
    "low": "95 % interval over images, or over samples; blank with fewer than three",
    "high": "",
    "images": "how many, of each of which there is one draw of noise; or samples",
}
MEASURES = {
    "test_regret_db": "10 log10(1 + E|D - x*|^2 / mmse) on noisy test images",
    "train_regret_db": "10 log10(mse / mmse) on noisy training images",
    "test_bits": "excess over the noise levels, bits a pixel",
    "t_train": "place between memoriser (0) and truth (1) on noisy training images; blank where these are near",
    "r_train": "squared distance from that axis, of its squared length",
    "t_test": "the same on noisy test images",
    "r_test": "",
    "model_variance": "E|D_A - D_B|^2 / (2 E excess) on noisy test images",
    "sample_correlation": "of the images that both generate from the same seeds",
    "nearest_ratio": "E|sample - nearest training image|^2 over that of the nearest in the other training set",
    "nearest_share": "share of the samples that are nearer to their training set than to the other",
}
_RULE = 1  # of the parts: raised whenever what is measured changes
_STEPS = 18  # from noise to an image


@dataclass(frozen=True)
class Study:
    """What is trained, and measured; family, network and sampler are canonical specs.

    sizes : n, increasing
    sampler : None for the probability flow (`heun`), or for blind networks the `ascent`
    images, samples : how many noisy images of each kind, how many samples are measured
    """

    family: str
    network: str
    sizes: tuple[int, ...]
    steps: int
    batch: int
    sigmas: tuple[float, ...]
    images: int
    samples: int
    sampler: str | None
    seed: int

    def training(self, n: int, split: str) -> Training:
        """One training. It is validated at its end alone: nothing is chosen by images held out."""
        values = {"images": n, "split": split, "steps": self.steps, "batch": self.batch, "seed": self.seed}
        return Training(self.family, self.network, None, values | {"validate_every": self.steps})

    def settings(self, n: int, split: str) -> Settings:
        """The settings of one training."""
        training = self.training(n, split)
        return make_settings(training.family, training.network, training.values)


def make_study(
    family: str,
    network: str,
    sizes: Iterable[int],
    *,
    steps: int = 800,
    batch: int = 32,
    sigmas: object = SIGMAS,
    images: int = 64,
    samples: int = 64,
    sampler: str | None = None,
    seed: int = 0,
) -> Study:
    """A study, checked.

    Raises
    ------
    UsageError
        For an unknown name, a value that is not allowed, or a law whose posterior mean is not known.
    """
    law, ordered = make.family(family), tuple(sorted(set(sizes)))
    if not ordered or ordered[0] < 1:
        raise UsageError(f"sizes={','.join(map(str, ordered))} are not allowed: give numbers of images, each >= 1.")
    for name, count in (("images", images), ("samples", samples)):
        if count < 3:
            raise UsageError(f"{name}={count} is not allowed: an interval needs at least 3.")
    if posterior_mean(law) is None:
        raise UsageError(f"the exact posterior mean of {law.spec} is not known: choose another law.")
    levels = tuple(sorted(check_scored_sigmas(sigmas).tolist()))
    method = None if sampler is None else make.sampler(sampler).spec
    spec = make.network(network).spec
    study = Study(law.spec, spec, ordered, steps, batch, levels, images, samples, method, seed)
    study.settings(ordered[0], SPLITS[0])
    _memoriser(law, study, ordered[0], SPLITS[0])
    return study


def carry_out(
    study: Study,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> pd.DataFrame:
    """Train and measure, from the smallest n to the largest; what is finished in the folder is used again.

    The table is written anew after each n. ``progress`` is told (done, total) of the training steps, a measurement
    counting as one. ``crew`` is who does it; on its workers the trainings of all n come first.

    Raises
    ------
    StoreError
        If the folder holds something else, or other trainings, or cannot be written.
    DenoiserError
        If a training diverges, or the workers that did it are lost; what is finished is kept.
    PausedError
        If the crew was stopped before the end.
    """
    check_possible(study.settings(study.sizes[-1], SPLITS[0]), device, 1, folder)
    crew, law = crew or Crew(), make.family(study.family)
    with lock(folder):
        _begin(folder, study, device)
        paths = {(n, split): folder / "trainings" / f"n={n}-{split}" for n in study.sizes for split in SPLITS}
        steps = {address: _steps_done(path) for address, path in paths.items()}
        tables: dict[int, pd.DataFrame] = {}
        failed: dict[int, str] = {}

        def tell(address: tuple[int, str] | None = None, now: Progress | None = None) -> None:
            if address is not None and now is not None:
                steps[address] = now.step
            progress(sum(steps.values()) + len(tables), len(paths) * study.steps + len(study.sizes))

        def add(n: int, rows: pd.DataFrame) -> None:
            tables[n] = rows
            _write(folder / "generalization.csv", pd.concat([tables[each] for each in sorted(tables)]))
            tell()

        def trained() -> Iterator[tuple[int, list[Denoiser]]]:
            """Each n with its pair, once both are trained; those that were measured before are added at once."""
            for n in study.sizes:
                if n in failed:
                    continue
                weights = []
                for split in SPLITS:
                    count, stop = partial(tell, (n, split)), lambda: crew.stopped
                    best = fit(study.settings(n, split), paths[n, split], device=device, progress=count, pause=stop)
                    weights.append(best.with_name("last.safetensors"))
                networks = [make.denoiser(str(path), law) for path in weights]
                if (path := _part(folder, study, n, networks, device)).is_file():
                    with explain_errors(path):
                        add(n, pd.read_csv(path))
                else:
                    yield n, networks

        tell()  # what was done before: the time left is told by the pace since
        if not crew.alone:
            failed = _train_on_workers(study, paths, crew, device, tell)
        for (n, networks), rows in crew.each(partial(_measure, study, device), trained()):
            if isinstance(rows, Lost):
                failed[n] = rows.reason
                continue
            path = _part(folder, study, n, networks, device)
            _write(path, rows)
            add(n, pd.read_csv(path))
    if failed:
        raise DenoiserError("; ".join(f"n={n}: {reason}" for n, reason in failed.items()))
    if len(tables) < len(study.sizes):
        raise PausedError("the study was stopped; it goes on from what is finished")
    return pd.concat([tables[n] for n in study.sizes], ignore_index=True)


def _train_on_workers(
    study: Study,
    paths: dict[tuple[int, str], Path],
    crew: Crew,
    device: str,
    tell: Callable[[tuple[int, str], Progress | None], object],
) -> dict[int, str]:
    """All trainings, several at once; why those of an n failed."""
    failed = {}
    addresses = {path: address for address, path in paths.items()}
    trainings = {path: study.training(*address) for path, address in addresses.items()}
    for path, came in train_all(trainings, crew, device=device):
        tell(addresses[path], came.progress)
        if came.failed:
            failed[addresses[path][0]] = came.failed
    if crew.stopped:
        raise PausedError("the trainings were stopped; each goes on from its state")
    return failed


def _steps_done(path: Path) -> int:
    """How many steps the training in a folder has taken, as far as it would go on from there."""
    try:
        return int(read_recipe(path / "state.safetensors")["step"])
    except (UsageError, KeyError, TypeError, ValueError):
        return 0  # `fit` says what is wrong with it, if anything is


def _part(folder: Path, study: Study, n: int, networks: list[Denoiser], device: str) -> Path:
    """Where the rows of one n are kept, named by all that they depend on."""
    asked = {**asdict(study), "sizes": n, "weights": [network.facts.digest for network in networks]}
    key = hashlib.sha256(json.dumps([_RULE, asked, device.partition(":")[0]]).encode()).hexdigest()[:16]
    return folder / "parts" / f"{key}.csv"


def _measure(study: Study, device: str, pair: tuple[int, list[Denoiser]]) -> Iterator[pd.DataFrame]:
    """The rows of one n."""
    yield pd.DataFrame(_rows(study, *pair, device), columns=list(COLUMNS))


def _rows(study: Study, n: int, networks: list[Denoiser], device: str) -> Iterator[dict[str, Any]]:
    """All measurements of one pair."""
    law = make.family(study.family)
    truth = posterior_mean(law)
    assert truth is not None  # `make_study` has looked
    sampled = [_samples(study, law, network, device) for network in networks]
    address = {"family": study.family, "network": study.network, "n": n}
    for measure, split, sigma, found in [
        *_on_images(study, law, truth, n, networks, device),
        *_of_samples(study, law, n, sampled),
    ]:
        yield {**address, "split": split, "sigma": sigma, "measure": measure, **asdict(found)}


Measured = tuple[str, str | None, float | None, Estimate]


def _on_images(
    study: Study, law: Family, truth: PosteriorMean, n: int, networks: list[Denoiser], device: str
) -> Iterator[Measured]:
    """What is measured on noisy images."""
    test = law.sample(range(study.images), study.seed, "test", device)
    excess = {split: [] for split in SPLITS}
    for sigma in study.sigmas:
        mmse = float(law.reference(sigma).mse[0])
        y = add_noise(test, sigma)
        best, estimates = truth(y.double(), sigma), [network(y, sigma) for network in networks]
        for split, network, x_hat in zip(SPLITS, networks, estimates, strict=True):
            memoriser = _memoriser(law, study, n, split)
            excess[split].append(_mean_square(x_hat, best))
            regret = mean(excess[split][-1] / mmse)
            yield "test_regret_db", split, sigma, _changed(regret, lambda ratio: 10 * np.log10(1 + max(ratio, 0.0)))
            found = place(x_hat, memoriser(y.double(), sigma), best, mmse)
            yield "t_test", split, sigma, found.t
            yield "r_test", split, sigma, found.r
            own = _training_images(law, study, n, split, device)
            noisy = add_noise(own, sigma)
            x_hat = network(noisy, sigma)
            regret = mean(_mean_square(x_hat, own.images) / mmse)
            yield "train_regret_db", split, sigma, _changed(regret, lambda ratio: 10 * np.log10(max(ratio, 1e-30)))
            found = place(x_hat, memoriser(noisy.double(), sigma), truth(noisy.double(), sigma), mmse)
            yield "t_train", split, sigma, found.t
            yield "r_train", split, sigma, found.r
        yield "model_variance", None, sigma, model_variance(estimates[0], estimates[1], best)
    for split in SPLITS:
        bits = excess_bits(np.array(study.sigmas), np.array(excess[split]))
        yield "test_bits", split, None, Estimate(bits.value, bits.low, bits.high, study.images)


def _of_samples(study: Study, law: Family, n: int, sampled: list[Images]) -> Iterator[Measured]:
    """What is measured on the images that both generate from the same seeds."""
    yield "sample_correlation", None, None, correlation(*sampled)
    for mine, split, other in zip(sampled, SPLITS, SPLITS[::-1], strict=True):
        finite = mine[torch.isfinite(mine).flatten(1).all(dim=1)]
        near = [nearest(finite, training_images(law, n, each, study.seed, "cpu")) for each in (split, other)]
        ratio, share = closeness(*near)
        yield "nearest_ratio", split, None, ratio
        yield "nearest_share", split, None, share


def _samples(study: Study, law: Family, network: Denoiser, device: str) -> Images:
    """Images from noise, the same noise for each network of the study."""
    settings = study.settings(study.sizes[0], SPLITS[0])
    start = starts.gaussian(law.shape, range(study.samples), settings.sigma_high, study.seed)
    start = replace(start, images=start.images.to(device))
    levels = falling_levels(settings.sigma_high, settings.sigma_low, _STEPS)
    if study.sampler is not None:
        return make.sampler(study.sampler, law)(network, start, levels).images.cpu()
    if is_blind(network, law):
        return make.sampler("ascent")(network, start, levels[:-1]).images.cpu()
    return make.sampler("heun")(network, start, levels).images.cpu()


def _memoriser(law: Family, study: Study, n: int, split: str) -> Denoiser:
    """The posterior mean under a training set."""
    return make.denoiser(f"empirical:n={n},split={split},seed={study.seed}", law)


def _training_images(law: Family, study: Study, n: int, split: str, device: str) -> Batch:
    """As many as are measured, again and again where there are fewer, each time with another draw of noise.

    It is none that the training has seen: that noise has an address of its own.
    """
    batch = law.sample(range(min(n, study.images)), study.seed, split, device)
    again = batch.select([place_ % len(batch) for place_ in range(study.images)])
    return replace(again, indices=tuple(range(study.images)))


def _mean_square(a: Images, b: Images) -> np.ndarray:
    return (a.double() - b.double()).square().flatten(1).mean(dim=1).cpu().numpy()


def _changed(estimate: Estimate, change: Callable[[float], float]) -> Estimate:
    """Through an increasing function."""
    return replace(estimate, value=change(estimate.value), low=change(estimate.low), high=change(estimate.high))


def _begin(folder: Path, study: Study, device: str) -> None:
    """Mark a folder as that of a study before anything else is written.

    Raises
    ------
    StoreError
        If it holds anything else: nothing was changed.
    """
    path = folder / "run.json"
    try:
        ours = "generalization" in json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        refuse_overwriting(folder, ("generalization.csv", "trainings", "parts", "scores.parquet", "training.json"))
        ours = True
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise StoreError(f"{folder} holds something else than such a study: nothing was changed. Give --out another.")
    content = {"generalization": asdict(study), "environment": environment(device)}
    with explain_errors(folder):
        (folder / "parts").mkdir(exist_ok=True)
        write_atomically(path, lambda file: file.write((json.dumps(content, indent=2) + "\n").encode()))


def _write(path: Path, table: pd.DataFrame) -> None:
    with explain_errors(path):
        write_atomically(path, lambda file: file.write(table.to_csv(index=False).encode()))
