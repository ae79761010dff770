"""The derivative of a denoiser in y, as products with directions and as a matrix."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from gahb_bench.core import rng
from gahb_bench.core.denoiser import Denoiser, Differentiation
from gahb_bench.core.errors import DenoiserError, UsageError
from gahb_bench.core.images import Directions, Images, per_image_sigma, per_pixel
from gahb_bench.core.posterior import InformedOracle, PosteriorMean

STEP = 1e-2  # of a difference, in units of sigma at a pixel, on average
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
        the last.
    step : of differences, in units of sigma at a pixel, on average

    Raises
    ------
    UsageError
        If the denoiser has no derivative, or not this one.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: Images,
        sigma: float | Tensor,
        derivative: Differentiation | None = None,
        step: float = STEP,
    ) -> None:
        self.how: Differentiation = denoiser.derivative if derivative is None else derivative
        if self.how == "none":
            raise UsageError(
                f"{denoiser.spec} has no derivative: its estimate jumps as y moves (an iteration that stops, or random "
                "numbers that change with y). Leave it out; tv:solver=bregman has one."
            )
        if self.how == "exact" and not isinstance(denoiser, PosteriorMean):
            raise UsageError(f"{denoiser.spec} is no exact posterior mean: its derivative is not a covariance.")
        self.denoiser, self.y, self.sigma, self.step = denoiser, y, per_image_sigma(sigma, y), step

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
        return Linearised(self._of(i, 1), self.y[i : i + 1], self.sigma[i : i + 1], self.how, self.step)

    def _of(self, i: int, copies: int) -> Denoiser:
        """The denoiser, for copies of an image if it knows more than y."""
        denoiser = self.denoiser
        return denoiser.of_images([i] * copies) if isinstance(denoiser, InformedOracle) else denoiser

    def _by_parts(
        self, routes: dict[Differentiation, Callable[[int, Directions], Directions]], v: Directions
    ) -> Directions:
        """One image after the other, a few directions at a time."""
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
        return ((denoiser(y + step * v, levels) - denoiser(y - step * v, levels)) / (2 * step))[None]

    def _forward(self, i: int, v: Directions) -> Directions:
        v = v[0]
        denoiser, levels = self._of(i, len(v)), self.sigma[i].expand(len(v))
        many = self.y[i].expand(len(v), -1, -1, -1).contiguous()
        if not denoiser.own_facts.brought:
            return torch.func.jvp(lambda noisy: denoiser(noisy, levels), (many,), (v,))[1].detach()[None]
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


def _graph(denoiser: Denoiser, noisy: Images, sigma: Tensor) -> Images:
    """The estimate, with what leads back from it to the noisy image."""
    with torch.enable_grad():
        estimate = denoiser(noisy, sigma)
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
    n, d = len(y), int(y.shape[1:].numel())
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

    Where a denoiser has kinks or jumps between the two estimates, and in float32, it is not 0; a part of the estimate
    that automatic differentiation does not see shows as an error near 1.
    """
    at = Linearised(denoiser, y, sigma, derivative)
    v = torch.from_numpy(rng.generator("derivative").standard_normal(tuple(y.shape))).to(y)[:, None]
    found = at.right(v)
    expected = Linearised(denoiser, y, sigma, "difference", step).right(v)
    return float((found - expected).norm() / expected.norm().clamp(min=torch.finfo(y.dtype).tiny))
