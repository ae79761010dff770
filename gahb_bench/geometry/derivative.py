"""The derivative of a denoiser in y, as products with directions and as a matrix."""

import copy
from collections.abc import Callable
from typing import Any, cast, get_args

import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser, Differentiation, check_estimate
from gahb_bench.core.errors import DenoiserError, UsageError, printable
from gahb_bench.core.images import Directions, Images, per_image_sigma, per_pixel
from gahb_bench.core.posterior import InformedOracle, PosteriorMean

STEP = 1e-2  # of a difference, in units of sigma at a pixel, on average
_SEEN_WELL = 0.2  # relative error of a brought denoiser's derivative beyond which it is found by differences
_ROUNDING = 1e-5  # relative: estimates of the same image that differ by more are random
_VALUES_AT_ONCE = 2**17  # bounds the memory of a network's features


class Linearised:
    """J = dD/dy at noisy images ``y`` (n, c, h, w) and noise levels ``sigma``: its products with directions.

    Parameters
    ----------
    denoiser : Denoiser
    y : Tensor, shape (n, c, h, w), floating point
        Networks compute in float32; whatever computes in float64 should be given float64.
    sigma : float, or Tensor of shape (n,)
    derivative : how; that of the denoiser by default. ``exact`` is ``Cov(x|y) v / sigma^2``, ``autograd`` forward or
        backward differentiation, ``difference`` a central difference. Jumps of D, at thresholds, are seen by none but
        the last. Of a brought denoiser the default is measured: differences where automatic differentiation misses
        its estimate or a part of it. ``how`` says what was chosen.
    step : of differences, in units of sigma at a pixel, on average

    Raises
    ------
    UsageError
        If it is no denoiser, has no derivative, or not this one; for images or noise levels of the wrong kind or shape,
        or images that are not finite.
    DenoiserError
        If a brought denoiser answers the same images differently at each call: it has no derivative.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> law = gb.family("calpha:size=8")
    >>> y = gb.add_noise(law.sample([0]), 0.1).double()
    >>> at = Linearised(gb.denoiser("mmse", law), y, 0.1)
    >>> v = torch.ones(1, 1, *y.shape[1:], dtype=torch.float64)
    >>> at.how, bool(torch.allclose(at.right(v), at.left(v)))  # symmetric, as every posterior mean's
    ('exact', True)
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Images,
        sigma: float | Tensor,
        derivative: Differentiation | None = None,
        step: float = STEP,
    ) -> None:
        levels = _checked(denoiser, y, sigma, derivative)
        self.how: Differentiation = denoiser.derivative if derivative is None else derivative
        if self.how == "none":
            raise UsageError(
                f"{denoiser.spec} has no derivative: its estimate jumps as y moves (an iteration that stops, or random "
                "numbers that change with y). Leave it out; tv:solver=bregman has one."
            )
        if self.how == "exact" and not isinstance(denoiser, PosteriorMean):
            raise UsageError(f"{denoiser.spec} is no exact posterior mean: its derivative is not a covariance.")
        self.denoiser, self.y, self.sigma, self.step = denoiser, y.detach(), levels, step
        if denoiser.own_facts.brought and len(y):
            self._refuse_random()
            if derivative is None and self.how == "autograd" and not self._is_seen():
                self.how = "difference"

    def error(self) -> float:
        """How far ``J v`` is from a central difference along a random v; see `derivative_error`."""
        drawn = rng.generator("derivative").standard_normal(tuple(self.y.shape))
        v = torch.from_numpy(drawn).to(self.y)[:, None]
        expected = self._by("difference").right(v)
        return float((self.right(v) - expected).norm() / expected.norm().clamp(min=torch.finfo(v.dtype).tiny))

    def right(self, v: Directions) -> Directions:
        """``J v`` for k directions an image, ``(n, k, c, h, w)``."""
        return self._by_parts({"exact": self._exact, "autograd": self._forward, "difference": self._difference}, v)

    def left(self, u: Directions) -> Directions:
        """``J' u`` for k directions an image, ``(n, k, c, h, w)``.

        Raises
        ------
        UsageError
            If the derivative is by differences, which give no products from the left.
        """
        if self.how == "difference":
            raise UsageError(
                f"{self.denoiser.spec} is differentiated by differences, which give J v and not J' v: ask for the "
                "whole Jacobian."
            )
        return self._by_parts({"exact": self._exact, "autograd": self._backward}, u)

    def image(self, i: int) -> "Linearised":
        """The same at one image alone."""
        one = copy.copy(self)
        one.denoiser, one.y, one.sigma = self._of(i, 1), self.y[i : i + 1], self.sigma[i : i + 1]
        return one

    def _by(self, how: Differentiation) -> "Linearised":
        other = copy.copy(self)
        other.how = how
        return other

    def _refuse_random(self) -> None:
        first, again = (_estimate(self.denoiser, self.y.clone(), self.sigma).detach() for _ in range(2))
        if float((first - again).norm()) > _ROUNDING * float(first.norm()):
            raise DenoiserError(
                f"{self.denoiser.spec} answers the same images differently at each call (random numbers), so it has no "
                "derivative: fix them."
            )

    def _is_seen(self) -> bool:
        """Whether automatic differentiation finds the derivative of the map, and of all of it."""
        try:
            return self.error() < _SEEN_WELL
        except RuntimeError:
            return False

    def _of(self, i: int, copies: int) -> Denoiser:
        """The denoiser, for copies of an image if it knows more than y."""
        denoiser = self.denoiser
        return denoiser.of_images([i] * copies) if isinstance(denoiser, InformedOracle) else denoiser

    def _by_parts(
        self, routes: dict[Differentiation, Callable[[int, Directions], Directions]], v: Directions
    ) -> Directions:
        """One image after the other, a few directions at a time."""
        if v.ndim != 5 or (len(v), *v.shape[2:]) != tuple(self.y.shape):
            n, *image = self.y.shape
            raise UsageError(f"directions have shape {tuple(v.shape)}: give k an image, {(n, 'k', *image)}.")
        at_once = max(1, _VALUES_AT_ONCE // self.y[0].numel()) if len(self.y) else 1
        rows = [
            torch.cat([routes[self.how](i, part[None]) for part in directions.split(at_once)], dim=1)
            for i, directions in enumerate(v)
        ]
        return torch.cat(rows) if rows else v.clone()

    def _exact(self, i: int, v: Directions) -> Directions:
        oracle, y, sigma = cast(PosteriorMean, self.denoiser), self.y[i : i + 1], self.sigma[i : i + 1]
        oracle.family.check_images(y)
        return (oracle.apply_covariance(y.double(), sigma, v.double()) / sigma**2).to(v.dtype)

    def _difference(self, i: int, v: Directions) -> Directions:
        y, v = self.y[i : i + 1], v[0]
        denoiser, levels = self._of(i, len(v)), self.sigma[i].expand(len(v))
        length = v.flatten(1).norm(dim=1).clamp(min=torch.finfo(v.dtype).tiny)
        step = per_pixel(self.step * float(self.sigma[i]) * y.numel() ** 0.5 / length, v)
        ahead, behind = (_estimate(denoiser, y + sign * step * v, levels).detach() for sign in (1, -1))
        return ((ahead - behind) / (2 * step))[None]

    def _forward(self, i: int, v: Directions) -> Directions:
        v = v[0]
        denoiser, levels = self._of(i, len(v)), self.sigma[i].expand(len(v))
        many = self.y[i].repeat(len(v), 1, 1, 1)
        if not denoiser.own_facts.brought:
            return torch.func.jvp(lambda noisy: _estimate(denoiser, noisy, levels), (many,), (v,))[1].detach()[None]
        noisy = many.requires_grad_()  # foreign code may lack forward mode, or crash in it: backward twice
        weights = torch.zeros_like(many, requires_grad=True)
        (pulled,) = torch.autograd.grad(_graph(denoiser, noisy, levels), noisy, weights, create_graph=True)
        if not pulled.requires_grad:  # it does not depend on the weights: the derivative is 0
            return torch.zeros_like(v)[None]
        return torch.autograd.grad(pulled, weights, v)[0][None]

    def _backward(self, i: int, u: Directions) -> Directions:
        noisy = self.y[i : i + 1].detach().clone().requires_grad_()
        estimate = _graph(self._of(i, 1), noisy, self.sigma[i : i + 1])
        try:
            (pulled,) = torch.autograd.grad(estimate, noisy, u.movedim(0, 1), is_grads_batched=True, retain_graph=True)
        except (NotImplementedError, RuntimeError):  # an operator that cannot be batched: one direction after the other
            each = [torch.autograd.grad(estimate, noisy, one[None], retain_graph=True)[0] for one in u[0]]
            return torch.cat(each)[None]
        return pulled.movedim(1, 0)


def _checked(denoiser: Any, y: Any, sigma: Any, derivative: Any) -> Tensor:
    """The noise levels ``(n,)``; refuse what is no denoiser, no finite images, no noise level, no way to differentiate.

    Raises
    ------
    UsageError
        Saying which.
    """
    if not isinstance(denoiser, Denoiser):
        raise UsageError(
            f"{printable(denoiser, 80)} is no denoiser that can be measured here: wrap a callable, gb.denoiser(f), or "
            'name one, gb.denoiser("mmse", family=...).'
        )
    if not isinstance(y, Tensor) or y.ndim != 4 or not y.is_floating_point():
        given = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise UsageError(f"y is {given}: give noisy images as a floating-point tensor (n, c, h, w).")
    if not bool(torch.isfinite(y).all()):
        raise UsageError("y has values that are not finite: nothing can be differentiated there.")
    if derivative is not None and derivative not in get_args(Differentiation):
        ways = ", ".join(get_args(Differentiation)[:-1])
        raise UsageError(f"derivative={derivative!r} is not allowed: one of {ways}.")
    try:
        return per_image_sigma(sigma, y)
    except UsageError:
        raise
    except (TypeError, ValueError, RuntimeError):
        raise UsageError(f"sigma={printable(sigma, 80)} is no noise level: give a number, or a tensor (n,).") from None


def _estimate(denoiser: Denoiser, y: Images, sigma: Tensor) -> Images:
    return check_estimate(denoiser(y, sigma), y, denoiser.spec)


def _graph(denoiser: Denoiser, noisy: Images, sigma: Tensor) -> Images:
    """The estimate, with what leads back from it to the noisy image."""
    with torch.enable_grad():
        estimate = _estimate(denoiser, noisy, sigma)
    if not estimate.requires_grad:
        raise DenoiserError(
            f"{denoiser.spec} returns an estimate without a gradient (it leaves torch, or detaches): ask for "
            'derivative="difference".'
        )
    return estimate


def jacobian(denoiser: Denoiser, y: Images, sigma: float | Tensor, derivative: Differentiation | None = None) -> Tensor:
    """The Jacobian ``J[i, j] = d D(y)_i / d y_j`` of each image, ``(n, d, d)`` with d = c h w.

    It takes d products with single pixels, a few at a time; the result has d^2 numbers an image.

    Parameters and errors are those of `Linearised`.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> family = gb.family("calpha:size=8")
    >>> y = gb.add_noise(family.sample(range(2)), 0.1).double()
    >>> J = jacobian(gb.denoiser("wiener", family=family), y, 0.1)
    >>> J.shape, bool(torch.allclose(J[0], J[1]))  # linear: the same at every image
    (torch.Size([2, 64, 64]), True)
    """
    at = Linearised(denoiser, y, sigma, derivative)
    y, n, d = at.y, len(y), int(y.shape[1:].numel())
    units = torch.eye(d, dtype=y.dtype, device=y.device).reshape(1, d, *y.shape[1:]).expand(n, -1, -1, -1, -1)
    if at.how == "difference":
        return at.right(units).reshape(n, d, d).mT
    return at.left(units).reshape(n, d, d)


def derivative_error(
    denoiser: Denoiser,
    y: Images,
    sigma: float | Tensor,
    derivative: Differentiation | None = None,
    step: float = STEP,
) -> float:
    """How far ``J v`` is from a central difference of estimates along a random v: the relative error, over all images.

    Parameters and errors are those of `Linearised`, but that ``derivative`` is what the denoiser states by default.
    Where a denoiser has kinks or jumps between the two estimates, and in float32, it is not 0; a part of the estimate
    that automatic differentiation does not see shows as an error near 1.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> law = gb.family("calpha:size=8")
    >>> y = gb.add_noise(law.sample([0]), 0.1).double()
    >>> derivative_error(gb.denoiser("mmse", law), y, 0.1) < 1e-6
    True
    """
    stated = getattr(denoiser, "derivative", None) if derivative is None else derivative
    return Linearised(denoiser, y, sigma, stated, step).error()
