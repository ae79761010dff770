"""Trains the pairs of a study and measures them; what is finished is kept, and used again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from gahb_bench import make
from gahb_bench.core.crew import Crew
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.environment import environment
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.files import lock
from gahb_bench.core.spec import format_spec
from gahb_bench.generalization.measure import RULE, Pair, Pictures
from gahb_bench.generalization.study import SPLITS, Study
from gahb_bench.networks.recipe import read_recipe
from gahb_bench.running.generalization import folder as files
from gahb_bench.training.elsewhere import train_all
from gahb_bench.training.loop import fit
from gahb_bench.training.settings import check_possible
from gahb_bench.training.trainer import PausedError

Address = tuple[int, str]  # n, split


def carry_out(
    study: Study,
    folder: Path,
    *,
    device: str = "cpu",
    command: str = "",
    save_seconds: float = 60.0,
    progress: Callable[[int, int], object] = lambda *_: None,
    crew: Crew | None = None,
) -> pd.DataFrame:
    """Train and measure, from the smallest n to the largest; what is finished in the folder is used again.

    The tables are written anew after each n. A training that is stopped loses the steps since its last save, at most
    ``save_seconds`` and the twenty steps between two looks at the clock; of measurements, the one that is going on:
    that on images, on samples, or of the theories at one noise level. ``progress`` is told (done, total) of the
    training steps, a measurement counting as one. On the workers of ``crew`` all trainings are done first, several at
    once; what is measured, is measured here.

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
        files.begin(folder, asdict(study), environment(device), command)
        paths = {(n, split): folder / "trainings" / f"n={n}-{split}" for n in study.sizes for split in SPLITS}
        steps = {address: _steps_done(path) for address, path in paths.items()}
        tables: list[pd.DataFrame] = []
        pictures: Pictures = {}
        total = len(paths) * study.steps + len(study.sizes) * _count(study)

        def tell() -> None:
            progress(sum(steps.values()) + len(tables), total)

        def came(address: Address, step: int) -> None:
            steps[address] = step
            tell()

        tell()  # what was done before: the time left is told by the pace since
        if not crew.alone:
            _train_on_workers(study, paths, crew, device, came)
        for n in study.sizes:

            def trained(split: str, n: int = n) -> Denoiser:
                best = fit(
                    study.settings(n, split),
                    paths[n, split],
                    device=device,
                    save_seconds=save_seconds,
                    progress=lambda now: came((n, split), now.step),
                    pause=lambda: crew.stopped,
                )
                return make.denoiser(format_spec("network", {"weights": str(best.with_name("last.safetensors"))}), law)

            pair = Pair(study, law, n, (trained(SPLITS[0]), trained(SPLITS[1])), device)
            for measurement in _measurements(pair):
                if crew.stopped:
                    raise PausedError("the study was stopped; it goes on from what is finished")
                table, drawn = measurement.kept(folder / "parts")
                tables.append(table)
                pictures |= drawn
                tell()
            files.write_pictures(folder / "pictures.npz", pictures)
            files.write_rows(folder / "generalization.csv", pd.concat(tables, ignore_index=True))
    return files.read_rows(folder / "generalization.csv")


def _train_on_workers(
    study: Study, paths: dict[Address, Path], crew: Crew, device: str, came: Callable[[Address, int], object]
) -> None:
    """All trainings, several at once."""
    addresses = {path: address for address, path in paths.items()}
    trainings = {path: study.training(*address) for path, address in addresses.items()}
    failed = []
    for path, done in train_all(trainings, crew, device=device):
        if done.failed:
            failed.append(f"{path.name}: {done.failed}")
        elif done.progress is not None:
            came(addresses[path], done.progress.step)
    if failed:
        raise DenoiserError("; ".join(failed))
    if crew.stopped:
        raise PausedError("the trainings were stopped; each goes on from its state")


def _steps_done(path: Path) -> int:
    """How many steps the training in a folder has taken, as far as it would go on from there."""
    try:
        return int(read_recipe(path / "state.safetensors")["step"])
    except (UsageError, KeyError, TypeError, ValueError):
        return 0  # `fit` says what is wrong with it, if anything is


@dataclass(frozen=True)
class _Measurement:
    """A part of the table, with the pictures that go with it; ``of`` is all that it depends on."""

    of: dict[str, object]
    measure: Callable[[], tuple[pd.DataFrame, Pictures]]

    def kept(self, parts: Path) -> tuple[pd.DataFrame, Pictures]:
        """What was kept before, or is measured, and kept, now."""
        key = hashlib.sha256(json.dumps([RULE, self.of]).encode()).hexdigest()[:16]
        kept = files.read_part(parts / key)
        if kept is None:
            files.write_part(parts / key, *self.measure())
            kept = files.read_part(parts / key)
            assert kept is not None, f"{parts / key} was written, and cannot be read"
        return kept


def _measurements(pair: Pair) -> Iterator[_Measurement]:
    """All that is measured of a pair, in parts that take no more than a minute or two."""
    study = pair.study
    of = {"family": study.family, "network": study.network, "n": pair.n, "seed": study.seed}
    of |= {"weights": [each.facts.digest for each in pair.networks], "device": pair.device.partition(":")[0]}
    nothing: Pictures = {}
    yield _Measurement(of | {"sigmas": study.sigmas, "images": study.images}, lambda: (pair.on_images(), nothing))
    yield _Measurement(of | {"samples": study.samples, "sampler": study.sampler}, pair.of_samples)
    for sigma in study.sigmas if study.theories else ():
        yield _Measurement(
            of | {"sigma": sigma, "theories": study.theories, "patches": study.patches},
            lambda sigma=sigma: (pair.from_theories(sigma), nothing),
        )


def _count(study: Study) -> int:
    """How many measurements there are of a pair."""
    return 2 + (len(study.sigmas) if study.theories else 0)
