"""The density that any denoiser's probability flow gives to images: an integral of the traces of its Jacobian."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser
from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images, PerImage, check_sigmas, per_image_sigma
from gahb_bench.geometry.derivative import Linearised, jacobian

LogDensity = Callable[[Images, float], PerImage]


@dataclass(frozen=True)
class FlowDensity:
    """Log-densities in nats, and how far they may be off, float64 ``(n,)`` each.

    value : log q_sigma(y)
    standard_error : of the probes' mean; 0 where traces are exact
    step_error : how much the value changed from half as many steps

    Examples
    --------
    >>> FlowDensity(torch.tensor([-3.5]), torch.zeros(1), torch.tensor([0.01])).value.tolist()
    [-3.5]
    """

    value: PerImage
    standard_error: PerImage
    step_error: PerImage


def flow_log_density(
    denoiser: Denoiser,
    y: Images,
    sigma: float,
    *,
    top: float = 30.0,
    end: LogDensity | None = None,
    steps: int = 24,
    probes: int | None = None,
    seed: int = 0,
) -> FlowDensity:
    """The log-density at ``y`` of what the denoiser's probability flow makes of noise, ``log q_sigma(y)``.

        dy/dt = y - D(y, s),   t = log s,   from s = sigma up to s = top
        log q_sigma(y) = log q_top(y(top)) + int (pixels - tr J(y(t), s)) dt,   J = dD/dy

    by the classical Runge-Kutta method in t, of order 4. Where D is the posterior mean of a law, q_sigma is that law
    with noise of level sigma, up to what q_top is off.

    Parameters
    ----------
    denoiser : Denoiser
        With a derivative; D(y, s) is called at all levels from ``sigma`` to ``top``.
    y : Tensor, shape (n, c, h, w), floating point
        Noisy images. The denoiser is called in this dtype.
    sigma, top : float
        Least and greatest noise level in image units, 0 < sigma < top.
    end : callable ``(y, top) -> (n,)``, log-density in nats at the greatest level
        By default that of ``1/2 + top z``, which samplers start from; of an exact oracle, ``oracle.log_density``.
    steps : int, even, >= 2
        Four evaluations and traces each, and half as many again for the error.
    probes : int >= 2, or None
        Traces by so many random directions z, ``tr J ~ z'Jz`` with z = +-1 at each pixel, the same along the path;
        None takes the whole Jacobian, pixels products an evaluation.
    seed : int >= 0
        Of the directions.

    Raises
    ------
    UsageError
        For levels that are not in order, too few steps or probes, or a denoiser without a derivative.

    References
    ----------
    Y. Song et al., ICLR 2021, arXiv:2011.13456, section 4.3 and appendix D.2 (likelihood by the probability flow);
    M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix", Commun. Stat. 1990,
    doi:10.1080/03610919008812866 (probes).

    Examples
    --------
    >>> import gahb_bench as gb
    >>> D = gb.denoiser("mmse", family="calpha:size=8")
    >>> y = gb.add_noise(D.family.sample(range(2)), 0.3).double()
    >>> found = flow_log_density(D, y, 0.3, end=D.log_density)
    >>> bool(torch.allclose(found.value, D.log_density(y, 0.3), atol=1e-2))
    True
    """
    low, high = (float(check_sigmas(level)[0]) for level in (sigma, top))
    if low >= high:
        raise UsageError(f"sigma={low:g} is not below top={high:g}: the flow goes up from sigma.")
    if steps < 2 or steps % 2:
        raise UsageError(f"steps={steps} is not allowed: give an even number, at least 2.")
    if probes is not None and probes < 2:
        raise UsageError(f"probes={probes} is not allowed: give at least 2, or None for exact traces.")
    directions = None if probes is None else _directions(y, probes, seed)
    value, coarse = (_ascend(denoiser, y, low, high, count, directions, end or _start) for count in (steps, steps // 2))
    spread = value.std(dim=1) / math.sqrt(value.shape[1]) if probes else torch.zeros_like(value[:, 0])
    mean = value.mean(dim=1)
    return FlowDensity(mean, spread, (mean - coarse.mean(dim=1)).abs())


def _ascend(
    denoiser: Denoiser, y: Images, low: float, high: float, steps: int, directions: Tensor | None, end: LogDensity
) -> Tensor:
    """The log-density ``(n, probes)`` by each probe; of exact traces, one."""
    h = math.log(high / low) / steps
    path = y.double()
    divergence = path.new_zeros(len(y), 1 if directions is None else directions.shape[1])

    def slope(at: Images, level: float) -> tuple[Images, Tensor]:
        noisy = at.to(y.dtype)
        return at - denoiser(noisy, level).double(), _expansion(denoiser, noisy, level, directions)

    for step in range(steps):
        start, middle, stop = (low * math.exp((step + part) * h) for part in (0.0, 0.5, 1.0))
        first = slope(path, start)
        second = slope(path + h / 2 * first[0], middle)
        third = slope(path + h / 2 * second[0], middle)
        fourth = slope(path + h * third[0], stop)
        parts = list(zip(first, second, third, fourth, strict=True))
        moved, grown = (h / 6 * (a + 2 * b + 2 * c + d) for a, b, c, d in parts)
        path, divergence = path + moved, divergence + grown
    return end(path, high).double()[:, None] + divergence


def _expansion(denoiser: Denoiser, y: Images, level: float, directions: Tensor | None) -> Tensor:
    """``pixels - tr J``, ``(n, probes)``."""
    pixels = y[0].numel()
    if directions is None:
        return pixels - jacobian(denoiser, y, level).diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True).double()
    product = Linearised(denoiser, y, level).right(directions)
    return pixels - (directions * product).flatten(2).sum(dim=2).double()


def _directions(y: Images, probes: int, seed: int) -> Tensor:
    streams = rng.generators("flow density", "probes", seed, indices=range(len(y)))
    signs = [2 * stream.integers(2, size=(probes, *y.shape[1:])) - 1 for stream in streams]
    return torch.stack([torch.from_numpy(each) for each in signs]).to(y)


def _start(y: Images, level: float) -> PerImage:
    """The log-density of ``1/2 + level z``."""
    s = per_image_sigma(level, y)
    energy = (y - 0.5).square().sum(dim=(1, 2, 3)) / s**2
    return -(energy + y[0].numel() * torch.log(2 * torch.pi * s**2)) / 2
