"""What a study of generalisation trains and measures, checked before anything is computed."""

from collections.abc import Iterable
from dataclasses import dataclass

from gahb_bench import make
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import check_scored_sigmas
from gahb_bench.core.posterior import posterior_mean
from gahb_bench.generalization.theories import check_theories
from gahb_bench.training.budget import Training
from gahb_bench.training.settings import Settings, make_settings

SPLITS = ("train-a", "train-b")
SIGMAS = (0.03, 0.1, 0.3, 1.0)


@dataclass(frozen=True)
class Study:
    """What is trained, and measured; family, network and sampler are canonical specs.

    sizes : n, increasing
    images, samples : how many noisy images of each kind, how many samples are measured
    theories : on how many of these images the distance to the analytic theories is measured; 0 for not at all
    patches : how many training images the theory `local-equivariant` takes its patches from, at most
    sampler : None for the probability flow (`heun`), or for blind networks the `ascent`
    """

    family: str
    network: str
    sizes: tuple[int, ...]
    steps: int
    batch: int
    sigmas: tuple[float, ...]
    images: int
    samples: int
    theories: int
    patches: int
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
    theories: int = 8,
    patches: int = 30,
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
    for name, count in (("images", images), ("samples", samples), ("theories", theories)):
        if count < 3 and (name, count) != ("theories", 0):
            raise UsageError(f"{name}={count} is not allowed: an interval needs at least 3.")
    if patches < 1:
        raise UsageError(f"patches={patches} is not allowed: local-equivariant needs at least one training image.")
    if posterior_mean(law) is None:
        raise UsageError(f"the exact posterior mean of {law.spec} is not known: choose another law.")
    levels = tuple(sorted(check_scored_sigmas(sigmas).tolist()))
    method = None if sampler is None else make.sampler(sampler).spec
    spec = make.network(network).spec
    study = Study(law.spec, spec, ordered, steps, batch, levels, images, samples, theories, patches, method, seed)
    study.settings(ordered[0], SPLITS[0])
    check_theories(law, ordered[-1], seed, needed=theories > 0)
    return study
