"""The memoriser: the posterior mean where the law is the training set itself."""

from functools import partial
from typing import ClassVar

from torch import Tensor

from gahb_bench.core.images import Images
from gahb_bench.denoisers.analytic.weights import gaussian, weighted_mean
from gahb_bench.denoisers.training_set import TrainingSet


class Empirical(TrainingSet):
    """Posterior mean under the training set: the denoiser that a network of unlimited capacity would learn.

        x_hat = sum_i w_i x_i,   w_i proportional to exp(-|y - x_i|^2 / (2 sigma^2)),   i = 1 ... n

    Exact: the weights are normalised over all training images, which are drawn part by part and never held at once
    (differentiating it holds them). Sampling with it returns training images.

    Optimality
    ----------
    Knows ``n`` training images. It is the best of all denoisers on noisy versions of those very images; on others its
    MSE is an upper bound on the MMSE, to which it tends as n grows, exponentially slowly in the dimension.

    References
    ----------
    M. Kamb, S. Ganguli, "An analytic theory of creativity in convolutional diffusion models", ICML 2025,
    arXiv:2412.20292, equations (3) and (4); G. Biroli et al., "Dynamical regimes of diffusion models", Nature
    Communications 2024, arXiv:2402.18491.
    """

    name: ClassVar = "empirical"
    source: ClassVar = "Kamb & Ganguli 2025, equation (3)"
    looks: ClassVar = {"": ("grey", "square")}

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        self.family.check_images(y)
        log_weights = partial(gaussian, about=self.level(y.device))
        return weighted_mean(log_weights, y.double(), sigma, self.drawn(y.device))
