"""A mixture of Gaussians in the place of the training set: between its Gaussian and the memoriser."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from gahb_bench.core import memory, rng
from gahb_bench.core.family import Family
from gahb_bench.core.images import Images
from gahb_bench.denoisers.training_set import TrainingSet, fitted, training_images

M = TypeVar("M", bound="MixtureScore")

_RANK = 1e-14  # a variance below this share of the largest is rounding
_ROUNDS = 100  # of k-means; it ends before where no image changes its cluster


class MixtureScore(TrainingSet):
    """Posterior mean under a mixture of Gaussians fitted to the training images: its score is that of the mixture.

        x_hat = sum_k r_k [ mu_k + C_k (C_k + sigma^2 I)^-1 (y - mu_k) ],   r_k ~ w_k N(y; mu_k, C_k + sigma^2 I)

    The ``n`` images are put into K = ``components`` clusters by k-means (started by k-means++, at most 100 rounds); w_k
    is the share of cluster k, mu_k its mean, C_k its sample covariance (divided by the size of the cluster), whose rank
    is at most the size of the cluster less one. With one component it is the Gaussian approximation, the same map as
    `wiener-data:stationary=false,shrinkage=none`; with n it is `empirical`.

    Optimality
    ----------
    Knows ``n`` training images; it would be exact if the law were that mixture. Its MSE is an upper bound on the MMSE.

    References
    ----------
    B. Wang, J. J. Vastola, "The unreasonable effectiveness of Gaussian score approximation for diffusion models and its
    applications", TMLR 2024, arXiv:2412.09726; D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful
    seeding", SODA 2007.
    """

    name: ClassVar = "mixture-score"
    source: ClassVar = "Wang & Vastola 2024"
    looks: ClassVar = {"": ("blue", "square")}

    components: int = Field(10, ge=1, description="number K of Gaussians, at most n")

    @model_validator(mode="after")
    def _enough(self: M) -> M:
        if self.components > self.n:
            raise ValueError(f"{self.n} training images make at most {self.n} components, not {self.components}")
        return self

    def bind(self: M, family: Family) -> M:
        """The same for a family; covariances that memory does not hold are refused before anything is drawn."""
        what = f"the covariances of {self.components} clusters of {self.n} images of {family.spec}"
        needed = memory.of_covariances(self.n, self.components, family.shape)
        memory.check_fits(needed, what, "choose fewer or smaller images, or fewer components")
        return super().bind(family)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.family.check_images(y)
        mixture = _mixture(self.family, self.n, self.split, self.seed, self.components, str(y.device))
        log_weights, means = zip(*(part.posterior(y.double(), sigma) for part in mixture), strict=True)
        responsibilities = torch.stack(log_weights, dim=1).softmax(dim=1)
        return torch.einsum("nk,nkchw->nchw", responsibilities, torch.stack(means, dim=1))


@dataclass
class _Gaussian:
    """One component: its share, its mean ``(c, h, w)``, its covariance ``V' diag(variances) V``, V ``(r, pixels)``."""

    share: float
    mean: Tensor
    variances: Tensor
    vectors: Tensor

    def posterior(self, y: Images, sigma: Tensor) -> tuple[Tensor, Images]:
        """Logarithm of ``share N(y; mean, C + sigma^2)``, up to what is the same for all components, and its E[x | y].

        With u = y - mean and c = V u:   |u|^2 / sigma^2 - sum c^2 v / (sigma^2 (v + sigma^2)),   log det over sigma^2 I
        """
        u = (y - self.mean).flatten(1)
        noise = sigma[:, None].square()
        along, total = u @ self.vectors.mT, self.variances + noise
        distance = (u.square().sum(dim=1) - (along.square() * self.variances / total).sum(dim=1)) / noise[:, 0]
        log_determinant = (total / noise).log().sum(dim=1)
        estimate = self.mean + ((along * self.variances / total) @ self.vectors).reshape(y.shape)
        return math.log(self.share) - (distance + log_determinant) / 2, estimate


@fitted(8)
def _mixture(family: Family, n: int, split: str, seed: int, components: int, device: str) -> list[_Gaussian]:
    """The clusters of the training images, as Gaussians; an empty one is left out."""

    def images() -> Iterator[Tensor]:
        return training_images(family, n, split, seed, device)

    centres = _start(images, components, rng.generator("k-means", family.spec, split, seed, n, components))
    labels = None
    for _ in range(_ROUNDS):
        before, labels = labels, torch.cat([_nearest(x, centres) for x in images()])
        if before is not None and torch.equal(before, labels):
            break
        sums = torch.zeros_like(centres)
        for x, label in _with(images, labels):
            sums.index_add_(0, label, x)
        sizes = labels.bincount(minlength=len(centres)).reshape(-1, 1, 1, 1)
        centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
    assert labels is not None
    return [_gaussian(images, labels, int(k), centres[k]) for k in labels.unique()]


def _start(images: Callable[[], Iterator[Tensor]], count: int, generator: np.random.Generator) -> Tensor:
    """The start of k-means++: each image with a probability as its squared distance to the nearest before it.

    ``(K, c, h, w)``; fewer than ``count`` where fewer of the images differ.
    """
    nearest = torch.cat([x.new_ones(len(x)) for x in images()])
    found: list[Tensor] = []
    while len(found) < count and float(nearest.max()) > 0:
        chosen = int(generator.choice(len(nearest), p=(nearest / nearest.sum()).cpu().numpy()))
        found += [x[label] for x, label in _with(images, torch.arange(len(nearest)) == chosen) if label.any()]
        away = torch.cat([(x - found[-1]).square().sum(dim=(1, 2, 3)) for x in images()])
        nearest = away if len(found) == 1 else torch.minimum(nearest, away)
    return torch.cat(found)


def _nearest(x: Tensor, centres: Tensor) -> Tensor:
    """Which centre is nearest to each image, ``(k,)``."""
    about = centres.mean()
    flat = (centres - about).flatten(1)
    return (flat.square().sum(dim=1) - 2 * (x - about).flatten(1) @ flat.mT).argmin(dim=1)


def _with(images: Callable[[], Iterator[Tensor]], labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The training images part by part, each with its labels."""
    start = 0
    for x in images():
        yield x, labels[start : start + len(x)]
        start += len(x)


def _gaussian(images: Callable[[], Iterator[Tensor]], labels: Tensor, k: int, mean: Tensor) -> _Gaussian:
    """The Gaussian of one cluster, directions without variance left out."""
    size, pixels = int((labels == k).sum()), mean.numel()
    members = ((x[label == k] - mean).flatten(1) for x, label in _with(images, labels))
    if size < pixels:
        _, singular, vectors = torch.linalg.svd(torch.cat(list(members)), full_matrices=False)
        variances = singular.square() / size
    else:
        covariance = mean.new_zeros((pixels, pixels))
        for x in members:
            covariance += x.mT @ x / size
        variances, columns = torch.linalg.eigh(covariance)
        vectors = columns.mT
    kept = variances > _RANK * variances.max()
    return _Gaussian(size / len(labels), mean, variances[kept], vectors[kept])
