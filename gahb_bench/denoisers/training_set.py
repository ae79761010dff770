"""What denoisers that know a training set have in common: which images it holds, drawn part by part, never all."""

import functools
from collections.abc import Callable, Iterator
from typing import ClassVar, Literal, ParamSpec, TypeVar

import torch
from pydantic import Field
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images
from gahb_bench.core.memory import cached

P = ParamSpec("P")
T = TypeVar("T")

_NUMBERS_AT_ONCE = 2**21
_CACHED = 2**18


class TrainingSet(Denoiser):
    """A denoiser that knows the first ``n`` images of a split and a seed."""

    knows: ClassVar = "training set"

    n: int = Field(1000, ge=1, le=10_000_000, description="number of training images: the first n of the split")
    split: Literal["train", "train-a", "train-b"] = Field("train", description="where the training images come from")
    seed: int = Field(0, ge=0, description="seed of the training images")

    def drawn(self, device: torch.device) -> Iterator[Images]:
        """The training images of its family, part by part, float64: parts that fit into the processor's cache."""
        parts = training_images(self.family, self.n, self.split, self.seed, str(device), torch.float32)
        return (piece.double() for part in parts for piece in part.split(max(1, _CACHED // part[0].numel())))

    def level(self, device: torch.device) -> Tensor:
        """The mean of the first training image: a number near them all."""
        return next(training_images(self.family, 1, self.split, self.seed, str(device))).mean()


def training_images(
    family: Family, n: int, split: str, seed: int, device: str, dtype: torch.dtype = torch.float64
) -> Iterator[Images]:
    """The first ``n`` images of a split, drawn by index part by part, ``(k, c, h, w)``."""
    step = max(1, _NUMBERS_AT_ONCE // (family.shape[0] * family.shape[1] * family.shape[2]))
    for start in range(0, n, step):
        yield _part(family, start, min(start + step, n), split, seed, device).to(dtype)


def fitted(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """`cached` for what is made of training images: apart from any derivative in y that is being taken meanwhile."""

    def decorate(make: Callable[P, T]) -> Callable[P, T]:
        @cached(maxsize)
        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> T:
            with temporarily_clear_interpreter_stack():  # of torch.func, which would make all that follows part of it
                return make(*args, **kwargs)

        return made

    return decorate


@fitted(16)  # a small training set is drawn once; of a large one no more than this is ever held
def _part(family: Family, start: int, stop: int, split: str, seed: int, device: str) -> Tensor:
    return family.sample(range(start, stop), seed=seed, split=split, device=device).images
