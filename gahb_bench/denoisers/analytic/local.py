"""The local score machine: each pixel from the training patches at its own place."""

from typing import ClassVar

from torch import Tensor

from gahb_bench.core.images import Images
from gahb_bench.denoisers.analytic.patch import PatchDenoiser, box_sum
from gahb_bench.denoisers.analytic.weights import weighted_mean


class Local(PatchDenoiser):
    """Posterior mean of each pixel given the noisy patch around it, under the training patches at the same place.

        x_hat(q) = sum_i w_i(q) x_i(q),   w_i(q) proportional to exp(-|y_P - x_i,P|^2 / (2 sigma^2)),   P around q

    This is the best that a network of the receptive field P learns from the ``n`` images if it knows where it is: the
    local score machine. The image is taken as periodic, as for networks with circular padding; with zero padding
    (section 3.4 there) patches would end at the border.

    Optimality
    ----------
    Knows ``n`` training images. As n grows it tends to E[x(q) | y_P], the best of its receptive field (`local-mmse` on
    ``calpha``); its MSE is an upper bound on the MMSE. A patch that covers the image makes it `empirical`.

    References
    ----------
    M. Kamb, S. Ganguli, "An analytic theory of creativity in convolutional diffusion models", ICML 2025,
    arXiv:2412.20292, equations (7) and (8); the patch by noise level, section 5.1.
    """

    name: ClassVar = "local"
    source: ClassVar = "Kamb & Ganguli 2025, equation (7)"
    looks: ClassVar = {"": ("plum", "square")}
    tuned_on: ClassVar = 8

    def from_patches(self, y: Images, sigma: Tensor, side: int) -> Images:
        def log_weights(y: Tensor, sigma: Tensor, x: Tensor) -> Tensor:
            distance = (y[:, None] - x).square().sum(dim=2)
            return (-box_sum(distance, side) / (2 * sigma[:, None, None, None].square()))[:, :, None]

        return weighted_mean(log_weights, y, sigma, self.drawn(y.device), each=y[0].numel())
