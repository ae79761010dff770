"""Where a signal is looked for: at each time a window of the lattice h Z around what was observed."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gahb_bench.core.errors import UsageError
from gahb_bench.families.levy.jumps import JumpLaw

_STEPS = 6  # lattice steps a scale of the jumps and a sigma, at least
_WIDTH = 8.0  # of a window on each side of an observation, in sigma
_WIDEST_REACH = 2**12  # lattice steps that an unobserved sample is looked for beyond its neighbours, at most
_MOST = 2**21  # lattice steps that a window has on each side, at most


@dataclass(frozen=True)
class Lattice:
    """Windows ``(centre_k + j) h``, ``|j| <= half``, of n signals of N samples.

    h : lattice step of each signal, ``(n, 1)``
    centre : of each window, in steps, ``(n, N)``, whole numbers
    half : half-width of each window, in steps, the same for all
    """

    h: Tensor
    centre: Tensor
    half: int

    def select(self, chosen: Tensor) -> "Lattice":
        """The windows of some of the signals."""
        return Lattice(self.h[chosen], self.centre[chosen], self.half)

    @property
    def offsets(self) -> Tensor:
        """The j, ``(2 half + 1,)``."""
        return torch.arange(-self.half, self.half + 1, dtype=torch.float64, device=self.h.device)

    def log_jumps(self, law: JumpLaw, k: int) -> Tensor:
        """Log probabilities of the jumps from time k - 1 to k.

        At k = 0 those to each point of the window, ``(n, 2 half + 1)``. Later those of ``shift + q`` steps,
        ``|q| <= 2 half``, where ``shift`` is from one centre to the next, ``(n, 4 half + 1)``.
        """
        if k == 0:
            return law.log_weights(self.centre[:, :1] + self.offsets, self.h)
        q = torch.arange(-2 * self.half, 2 * self.half + 1, dtype=torch.float64, device=self.h.device)
        return law.log_weights(self.centre[:, k : k + 1] - self.centre[:, k - 1 : k] + q, self.h)


def lattices(
    law: JumpLaw, y: Tensor, sigma: Tensor, observed: Tensor, fineness: float = 1.0
) -> Iterator[tuple[Tensor, Lattice]]:
    """The windows of noisy signals ``y`` (n, N) of which samples ``observed`` (n, N) were seen: which signals, windows.

        h = min(sigma, scale) / steps,    steps = 6 fineness, or max(6, sqrt(N)) fineness where jumps may be 0

    A level that is constant for N samples is known to sigma / sqrt(N): hence the root. Then h changes means by less
    than 1e-4 sigma. A window is 8 sigma on each side of what was observed. A sample that was not is looked for between
    its observed neighbours (0 before the first), and as far beyond as the jumps between them reach, at most 4,096
    steps. Where all of the law lies inside, up to 1e-9, it is the window. Signals whose windows have the same number
    of points come together.

    Raises
    ------
    UsageError
        If a window had more than four million points: noise, or a gap, far beyond the scale of the jumps.
    """
    size = y.shape[1]
    steps = max(_STEPS, size**0.5) if law.atom else _STEPS
    h = (sigma.clamp(max=law.scale) / steps / fineness)[:, None]
    low, high, gap = _neighbours(y, observed)
    reaches = torch.tensor([0.0, *(law.reach(count) for count in range(1, size + 1))], dtype=y.dtype, device=y.device)
    beyond = torch.minimum(reaches[gap], _WIDEST_REACH * h)
    half, middle = (high - low) / 2 + _WIDTH * sigma[:, None] + beyond, (low + high) / 2
    whole = half >= reaches[size] + middle.abs()
    centre = torch.where(whole, 0.0, (middle / h).round())
    points = (torch.where(whole, reaches[size], half) / h).amax(dim=1).ceil()
    gaps = ~observed.all(dim=1)
    points = torch.where(gaps, (2 ** ((4 * points.log2()).ceil() / 4)).ceil(), points)  # few different widths
    for width in points.unique():
        chosen = torch.nonzero(points == width)[:, 0]
        if float(width) > _MOST:
            level, far = float(sigma[chosen].max()), float((high - low)[chosen].max())
            raise UsageError(
                f"a signal with noise of sigma={level:g}, and gaps across which it moves by up to {far:g}, is too wide "
                f"for jumps of scale {law.scale:g}: its lattice would have {2 * float(width):.2g} points a sample, and "
                f"at most {2 * _MOST:.2g} are allowed. Choose less noise, or a larger scale."
            )
        yield chosen, Lattice(h[chosen], centre[chosen], int(width))


def _neighbours(y: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The lower and the higher of the observations on both sides, and how many jumps there are between them.

    Both are the observation itself where there is one, and no jump is between. After the last there is one side.
    """
    n, size = y.shape
    time = torch.arange(size, device=y.device).expand(n, size)
    before = torch.where(observed, time, -1).cummax(dim=1).values
    after = torch.where(observed, time, size).flip(1).cummin(dim=1).values.flip(1)
    from_start = torch.cat([torch.zeros_like(y[:, :1]), y], dim=1)
    left = from_start.gather(1, before + 1)
    right = torch.where(after < size, y.gather(1, after.clamp(max=size - 1)), left)
    gap = torch.where(after < size, after, time) - before
    return torch.minimum(left, right), torch.maximum(left, right), torch.where(observed, 0, gap)
