"""How restless the estimates along a trajectory are."""

import torch
from torch import Tensor

from gahb_bench.core.images import FloatArray, Images, PerImage, per_pixel

_LATE = 0.75  # of the steps are over where the variance begins to count


class TrajectoryVariance:
    """The variance of the estimates x_hat along each trajectory, mean over pixels, from the level ``below`` down.

    A trajectory that still hesitates between modes has a large one: the detector of hallucinations of Aithal et al.,
    who take it over the last few steps. Earlier every trajectory moves, as its mode is being chosen, and the variance
    is that of the choice.

    References
    ----------
    S. K. Aithal, P. Maini, Z. C. Lipton, J. Z. Kolter, NeurIPS 2024, arXiv:2406.09358.
    """

    def __init__(self, like: Images, below: float) -> None:
        self._below = below
        self._count = torch.zeros(len(like), dtype=torch.float64, device=like.device)
        self._mean = torch.zeros_like(like, dtype=torch.float64)
        self._squares = torch.zeros_like(self._count)

    def __call__(self, which: Tensor | None, sigma: Tensor, x_hat: Images) -> None:
        """Take another evaluation into account (Welford's recursion)."""
        places = torch.arange(len(x_hat), device=x_hat.device) if which is None else which
        counted = sigma <= self._below
        places, x = places[counted], x_hat[counted].double()
        self._count[places] += 1
        away = x - self._mean[places]
        self._mean[places] += away / per_pixel(self._count[places], x)
        self._squares[places] += (away * (x - self._mean[places])).flatten(1).mean(dim=1)

    @property
    def value(self) -> PerImage:
        """(n,); NaN where there are fewer than two estimates."""
        return torch.where(self._count > 1, self._squares / self._count, torch.nan)


def late(levels: FloatArray) -> float:
    """The level from which down the last quarter of the steps is, or the last two levels > 0 where it has fewer."""
    positive = levels[levels > 0]
    return float(positive[max(0, min(int(_LATE * len(positive)), len(positive) - 2))])
