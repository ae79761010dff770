"""The messages of `chain` for signals: images of one row, whose values are a random walk with learned jumps."""

import math

import torch
from torch import Tensor, nn

from gahb_bench.core.network import in_float32

_STEPS, _WIDTH = 8, 4.5  # lattice steps a sigma, and sigma on each side of an observation
_KNOTS = 48  # of the law of the jumps, in asinh of their size
_NEAR, _FAR = 1 / 200, 200.0  # the sizes that it resolves, in standard deviations of a sample
_LEAST = 1e-30  # added to a message, whose largest term is 1


class Walk(nn.Module):
    """Forward-backward along a signal whose increments are independent, on a lattice h Z with h = sigma / 8.

        jumps:   P(m h)  ~  h f(|m h|) + a [m = 0],     log f piecewise linear in asinh(|u| / u0), 48 knots
        F_k(x) = L_k(x) sum_x' F_k-1(x') P(x - x'),     log L_k(x) = -(y_k - x)^2 / (2 sigma^2)
        x_hat_k = sum_x x P(x_k = x | y),               x = c_k h + j h,  |j h| <= 4.5 sigma,  c_k the nearest to y_k

    The walk starts at 0. f and the weight a of jumps that do not happen are learned; before, f is a Cauchy law.

    size : length of the signals
    std : of a sample, in the signals' units
    """

    knots: Tensor
    start: Tensor

    def __init__(self, size: int, std: float) -> None:
        super().__init__()
        self.near = std * _NEAR
        knots = torch.linspace(0, math.asinh(_FAR / _NEAR), _KNOTS)
        first = std * math.sqrt(2 / size)
        self.register_buffer("knots", knots, persistent=False)
        self.register_buffer("start", -(self.near * knots.sinh() / first).square().log1p(), persistent=False)
        self.jump_law = nn.Parameter(torch.zeros(_KNOTS))  # log f, beside the Cauchy law
        self.none = nn.Parameter(torch.tensor(math.log(first / 2)))  # log a

    @in_float32
    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        signals = y.flatten(0, 2)  # (n c, N)
        h = (sigma.repeat_interleave(y.shape[1]) / _STEPS)[:, None].to(y.dtype)
        centre = (signals.detach().double() / h.double()).round()
        residual = (signals.double() - centre * h.double()).to(y.dtype)
        half = math.ceil(_STEPS * _WIDTH)
        offsets = torch.arange(-half, half + 1, device=y.device, dtype=y.dtype)
        logs = -0.5 * ((residual[..., None] / h[..., None] - offsets) / _STEPS).square()
        shift = centre.diff(dim=1, prepend=torch.zeros_like(centre[:, :1])).to(y.dtype)
        wide = torch.arange(-2 * half, 2 * half + 1, device=y.device, dtype=y.dtype)
        weights = self._log_jumps(shift[:, 1:, None] + wide, h[..., None])
        weights = (weights - weights.amax(dim=-1, keepdim=True).detach()).exp().unbind(dim=1)
        likelihoods = logs.exp().unbind(dim=1)
        first = self._log_jumps(shift[:, :1] + offsets, h)
        ahead = [(first - first.amax(dim=-1, keepdim=True).detach()).exp()]
        for own, jumps in zip(likelihoods[:-1], weights, strict=True):
            ahead.append(_correlated(jumps, (ahead[-1] * own).flip(-1)))
        behind = [torch.ones_like(ahead[0])]
        for own, jumps in zip(likelihoods[:0:-1], weights[::-1], strict=True):
            behind.append(_correlated(jumps, behind[-1] * own).flip(-1))
        law = torch.stack(ahead, dim=1) * torch.stack(likelihoods, dim=1) * torch.stack(behind[::-1], dim=1) + _LEAST
        moved = (law @ offsets) / law.sum(dim=-1)
        return (centre.to(y.dtype) * h + moved * h).reshape(y.shape)

    def _log_jumps(self, steps: Tensor, h: Tensor) -> Tensor:
        """Log probability of the jumps of so many steps, up to a number."""
        place = ((steps * h).abs() / self.near).asinh() / self.knots[1]
        below = place.detach().long().clamp(max=_KNOTS - 2)
        law = self.start + self.jump_law
        low = law[below]
        log = low + (law[below + 1] - low) * (place - below) + h.log()
        return torch.where(steps == 0, torch.logaddexp(log, self.none.expand_as(log)), log)


def _correlated(jumps: Tensor, message: Tensor) -> Tensor:
    """``sum_t jumps_s+t message_t`` over the points s of a window, the largest 1."""
    found = (jumps.unfold(-1, message.shape[-1], 1) @ message[..., None])[..., 0] + _LEAST
    return found / found.amax(dim=-1, keepdim=True).detach()
