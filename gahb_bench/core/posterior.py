"""Oracles: denoisers that know the law, or more than the law."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args, get_origin

import torch
from pydantic import PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import Denoiser, Differentiation
from gahb_bench.core.errors import UsageError
from gahb_bench.core.family import Family
from gahb_bench.core.images import Batch, Directions, Images, Knows, PerImage, per_image_sigma, per_pixel
from gahb_bench.core.memory import cached

F = TypeVar("F", bound=Family)
Informed = TypeVar("Informed", bound="InformedOracle")


class OracleOf(Generic[F]):
    """An oracle of one law: ``class Mmse(PosteriorMean, OracleOf[Disks])`` has its law as ``self.law``."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for base in cls.__dict__.get("__orig_bases__", ()):
            if get_origin(base) is OracleOf:
                cls.of = get_args(base)[0]  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def law(self) -> F:
        """The law this oracle was made for."""
        return cast(F, self.family)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True)
class Posterior:
    """Posterior mean ``(n, c, h, w)`` and per-pixel posterior variance ``(n,)``: ``E|x - mean|^2 / pixels`` given y.

    Examples
    --------
    >>> import gahb_bench as gb
    >>> law = gb.family("calpha:size=8")
    >>> y = gb.add_noise(law.sample(range(2)), 0.1)
    >>> found = gb.denoiser("mmse", law).posterior(y, 0.1)
    >>> found.mean.shape, bool((found.variance < 0.1**2).all())
    (torch.Size([2, 1, 8, 8]), True)
    """

    mean: Images
    variance: PerImage


@dataclass(frozen=True)
class Inferred:
    """What a posterior says of each image beside its mean, for pictures.

    outline : a curve to draw over the image, ``(n, points, 2)`` in (row, column)
    deviation : posterior standard deviation of each pixel, ``(n, c, h, w)``
    """

    outline: Tensor
    deviation: Images


class PosteriorMean(Denoiser):
    """The exact posterior mean under the family's law: its MSE is the MMSE."""

    knows: ClassVar[Knows] = "law"
    looks: ClassVar = {"": ("ink", "circle")}

    @property
    def derivative(self) -> Differentiation:
        """It is ``Cov(x|y) / sigma^2``."""
        return "exact"

    @property
    def accuracy(self) -> float:
        """Relative error that its posterior variances may have, by rounding or quadrature."""
        return 1e-3

    @property
    def smooth(self) -> bool:
        """Whether differences of its estimate tell its derivative: not if its numerical error jumps with y."""
        return True

    @abstractmethod
    def moments(self, y: Images, sigma: Tensor) -> Posterior:
        """Posterior mean and per-pixel variance; everything float64, checked."""

    def apply_covariance(self, y: Images, sigma: Tensor, v: Directions) -> Directions:
        """``Cov(x|y) v`` for k directions an image, ``(n, k, c, h, w)``; everything float64, checked.

        As it stands it differentiates the mean by forward-mode automatic differentiation, ``sigma^2 J v``; where a
        closed form is known, or the mean is not `smooth`, an oracle states its own.
        """
        k = v.shape[1]
        levels = sigma.repeat_interleave(k)
        slope = torch.func.jvp(
            lambda noisy: self.moments(noisy, levels).mean, (y.repeat_interleave(k, dim=0),), (v.flatten(0, 1),)
        )[1]
        return (per_pixel(levels, slope) ** 2 * slope).reshape(v.shape)

    def covariance(self, y: Images, sigma: float | Tensor, v: Images) -> Images:
        """``Cov(x|y) v``, the posterior covariance times a direction: sigma^2 times the derivative of the estimate.

        Parameters
        ----------
        y : Tensor, shape (n, c, h, w), floating point
            Noisy images ``x + sigma z``.
        sigma : float, or Tensor of shape (n,)
            Standard deviation of the noise in image units, > 0.
        v : Tensor, shape (n, c, h, w)
            One direction an image.

        Returns
        -------
        Tensor, shape (n, c, h, w), dtype of ``y``, units of ``sigma^2 v``

        Raises
        ------
        UsageError
            If ``v`` has not the shape of ``y``, or for images and noise levels of the wrong shape.

        References
        ----------
        M. Raphan, E. P. Simoncelli, "Least squares estimation without priors or supervision", Neural Computation 2011,
        doi:10.1162/NECO_a_00076 (derivatives of the posterior mean); C. Meng, Y. Song, W. Li, S. Ermon, NeurIPS 2021,
        arXiv:2111.04726, theorem 1 (second order).
        """
        self.family.check_images(y)
        if v.shape != y.shape:
            raise UsageError(f"v has shape {tuple(v.shape)}: give one direction an image, {tuple(y.shape)}.")
        levels = per_image_sigma(sigma, y)
        if y.shape[0] == 0:
            return y.clone()
        return self.apply_covariance(y.double(), levels, v.double().unsqueeze(1)).squeeze(1).to(y.dtype)

    def evidence(self, y: Images, sigma: Tensor) -> PerImage:
        """``log p_sigma(y)`` in nats; everything float64, checked. An oracle states it where it is known."""
        del y, sigma
        raise UsageError(
            f"{self.name} of {self.family.spec} states no log-density of noisy images: ask an oracle that does, as the "
            "mmse of most laws."
        )

    def log_density(self, y: Images, sigma: float | Tensor) -> PerImage:
        """The log-density of noisy images under the law, ``log p_sigma(y)``, p_sigma the law of ``x + sigma z``.

            grad_y log p_sigma(y) = (x_hat - y) / sigma^2,   x_hat the posterior mean (Miyasawa, Tweedie)

        Parameters
        ----------
        y : Tensor, shape (n, c, h, w), floating point
            Noisy images.
        sigma : float, or Tensor of shape (n,)
            Standard deviation of the noise in image units, > 0.

        Returns
        -------
        Tensor, shape (n,), float64
            In nats, with respect to intensities: all pixels of an image together.

        Raises
        ------
        UsageError
            Where the log-density is not known, or for images and noise levels of the wrong shape.

        References
        ----------
        K. Miyasawa, "An empirical Bayes estimator of the mean of a normal population", Bull. Inst. Internat. Statist.
        1961.
        """
        self.family.check_images(y)
        levels = per_image_sigma(sigma, y)
        return self.evidence(y.double(), levels) if len(y) else levels.clone()

    def inferred(self, y: Images, sigma: float | Tensor) -> Inferred | None:
        """What the posterior says of each image beside its mean, where that can be drawn."""
        del y, sigma
        return None

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.family.check_images(y)
        return self.moments(y.double(), sigma).mean

    def posterior(self, y: Images, sigma: float | Tensor) -> Posterior:
        """Posterior mean ``(n, c, h, w)`` and per-pixel posterior variance ``(n,)``, in the dtype of ``y``."""
        self.family.check_images(y)
        levels = per_image_sigma(sigma, y)
        if y.shape[0] == 0:
            return Posterior(y.clone(), y.new_zeros(0))
        exact = self.moments(y.double(), levels)
        return Posterior(exact.mean.to(y.dtype), exact.variance.to(y.dtype))


class InformedOracle(Denoiser):
    """Knows more than y: the latents of each image, or the image itself. Call ``given(batch)`` first."""

    knows: ClassVar[Knows] = "image"
    _batch: Batch | None = PrivateAttr(default=None)

    @property
    def needs_family(self) -> bool:
        return self.knows == "latents"

    def given(self: Informed, batch: Batch) -> Informed:
        """The oracle that knows the images it will denoise, in their order."""
        informed = self.model_copy()
        informed._batch = batch
        return informed

    def of_images(self: Informed, positions: list[int]) -> Informed:
        """The oracle that knows some of its images, which may be repeated."""
        if self._batch is None:
            raise UsageError(f"{self.name} knows the {self.knows}: call .given(batch) before denoising.")
        return self.given(self._batch.select(positions))

    def batch_of(self, y: Images) -> Batch:
        """The batch this oracle was given, checked against the images it is asked to denoise."""
        if self._batch is None:
            raise UsageError(f"{self.name} knows the {self.knows}: call .given(batch) before denoising.")
        if self._batch.images.shape != y.shape:
            raise UsageError(
                f"{self.name} was given images {tuple(self._batch.images.shape)} but got {tuple(y.shape)}: "
                "give it the noisy version of the same batch."
            )
        return self._batch if self._batch.images.device == y.device else self._batch.to(y.device)


def inform(denoiser: Denoiser, batch: Batch) -> Denoiser:
    """The denoiser, given the images that it will denoise if it knows more than y."""
    return denoiser.given(batch) if isinstance(denoiser, InformedOracle) else denoiser


@cached(16)
def posterior_mean(family: Family) -> PosteriorMean | None:
    """The exact posterior mean of a law; None where none is known."""
    oracle = family.optimum.oracle("mmse")
    if oracle is None or not issubclass(oracle, PosteriorMean):
        return None
    try:
        return oracle().bind(family)
    except UsageError:  # the oracle itself refuses this law, as it does where only a linear optimum is known
        return None
