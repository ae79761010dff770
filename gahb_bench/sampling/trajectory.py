"""How restless the estimates along a trajectory are."""

import torch
from torch import Tensor

from gahb_bench.core.images import Images, PerImage, per_pixel


class TrajectoryVariance:
    """The variance of the estimates x_hat along each trajectory, mean over pixels, from the level ``below`` down.

    A trajectory that hesitates between modes has a large one: the detector of hallucinations of Aithal et al., who take
    it over some of the last steps. Here these are the evaluations at a sigma of at most the middle one of the levels.

    References
    ----------
    S. K. Aithal, P. Maini, Z. C. Lipton, J. Z. Kolter, NeurIPS 2024, arXiv:2406.09358, section 5.
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
