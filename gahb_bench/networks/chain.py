"""`chain`: forward-backward with learned jumps. Matched to ``markov-contours`` and ``levy``."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gahb_bench.core.images import per_pixel
from gahb_bench.core.network import Network, in_float32
from gahb_bench.networks.walk import Walk

_LEAST = 1e-30  # added to a message before its logarithm, where its largest term is 1
_FINER = 0.02, 0.02, 0.1  # the profile's numbers change by these times the learning rate a step


class Chain(Network):
    """Forward-backward messages along the columns of an image with two intensities and one contour between them.

        column j, contour at p:   t_p(row) = a + (b - a) Phi((row - p)/edge),  log L_j(p) = -|y_j - t_p|^2 / (2 sigma^2)
        path:                     probability ~ product over columns of  g(c_j) h(c_j - c_{j-1})
        x_hat_j = sum_p P(c_j = p | y) t_p

    The weight g of each position, the law h of the jumps, the intensities and the width of the edge are learned, from
    noisy pairs alone. Positions lie on a grid of ``1 / per_pixel``. Where the jumps of the contour are independent
    this is the form of the optimum; where only their changes are (``alpha=1.5``) it is not. Channels are denoised one
    by one.

    Images of one row are signals: there the values themselves are the path, and the law of their jumps is learned, with
    the weight of those that are exactly 0 (`Walk`, in `gahb_bench/networks/walk.py`); no parameter is used.

    References
    ----------
    L. R. Rabiner, "A tutorial on hidden Markov models", Proc. IEEE 77, 1989, doi:10.1109/5.18626, section III.
    """

    name: ClassVar = "chain"
    source: ClassVar = "Rabiner 1989, doi:10.1109/5.18626"
    facts: ClassVar = {"small": (757, None)}
    learning_rate: ClassVar = 0.05

    per_pixel: int = Field(16, ge=1, le=64, description="positions a pixel")
    reach: float = Field(8.0, gt=0, le=64, description="largest jump from a column to the next, pixels")

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        if shape[1] == 1:
            return Walk(shape[2], std)
        return _Chain(shape[1], self.per_pixel, round(self.reach * self.per_pixel), mean, std)


class _Chain(nn.Module):
    positions: Tensor

    def __init__(self, rows: int, per_pixel: int, reach: int, mean: float, std: float) -> None:
        super().__init__()
        self.mean, self.std, self.rows = mean, std, rows
        self.register_buffer("positions", torch.arange((rows - 1) * per_pixel + 1) / per_pixel, persistent=False)
        self.places = nn.Parameter(torch.zeros(len(self.positions)))  # log g
        self.jump_law = nn.Parameter(torch.zeros(2 * reach + 1))  # log h
        self.profile = nn.Parameter(torch.zeros(3))  # of a, b and log edge

    @in_float32
    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        profiles, moves = self._profiles(), self._moves()
        columns = y.flatten(0, 1).mT  # (n c, columns, rows)
        precision = per_pixel(sigma, y).expand((*y.shape[:2], 1, 1)).flatten(0, 1) ** -2
        centred, shapes = columns - self.mean, profiles - self.mean
        logs = (centred @ shapes.T - 0.5 * shapes.square().sum(dim=1)) * precision + self.places
        ahead = _messages(logs.unbind(dim=1), moves)
        behind = _messages(logs.unbind(dim=1)[::-1], moves.T)[::-1]
        law = (logs + torch.stack(ahead, dim=1) + torch.stack(behind, dim=1)).softmax(dim=-1)
        return (law @ profiles).mT.unflatten(0, y.shape[:2])

    def _profiles(self) -> Tensor:
        """The column seen with the contour at each position, ``(positions, rows)``."""
        low, high, edge = (rate * value for rate, value in zip(_FINER, self.profile, strict=True))
        low, high = self.mean - self.std + low, self.mean + self.std + high
        distance = torch.arange(self.rows).to(self.positions) - self.positions[:, None]
        return low + (high - low) * torch.special.ndtr(distance / edge.exp())

    def _moves(self) -> Tensor:
        """Probability of each jump from one position (rows) to another (columns)."""
        law, count = self.jump_law.softmax(dim=0), len(self.positions)
        beyond = count - 1 - len(law) // 2  # jumps that no law has; below 0, those that no image has
        return nn.functional.pad(law, (beyond, beyond)).unfold(0, count, 1).flip(0)


def _messages(logs: tuple[Tensor, ...], moves: Tensor) -> list[Tensor]:
    """Log message that each column gets from those before it, ``(n, positions)``, up to a number an image."""
    messages = [torch.zeros_like(logs[0])]
    for own in logs[:-1]:
        state = own + messages[-1]
        state = (state - state.amax(dim=-1, keepdim=True).detach()).exp()
        messages.append((state @ moves + _LEAST).log())
    return messages
