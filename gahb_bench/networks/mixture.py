"""`mixture`: Wiener filters weighted by responsibilities, all learned. Matched to ``gmm``; with one, to ``calpha``."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from gahb_bench.core.images import Images, per_pixel
from gahb_bench.core.network import Network, in_float32

_FASTER = 5.0  # logarithms of spectra change by this times the learning rate a step, all else by the learning rate


class Mixture(Network):
    """The posterior mean of a mixture of K stationary Gaussian laws, whose numbers are learned.

        x_hat = sum_k r_k [ mu_k + F* (lambda_k / (lambda_k + sigma^2)) F (y - mu_k) ],   F the Fourier transform
        log r_k = log w_k - 1/2 sum_f [ |F(y - mu_k)|^2 / (lambda_k + sigma^2) + log(lambda_k + sigma^2) ] + const

    Means mu_k, spectra lambda_k and weights w_k are learned, from noisy pairs alone but for their start: the means are
    training images far from one another (the mean of all if K = 1), the spectra are flat. What is learned has no unit:
    the logarithms of spectra and weights, and how far each frequency of a mean has moved, in multiples of
    sqrt(lambda_k). With one component it is a learned Wiener filter.

    References
    ----------
    S. M. Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, sections 10.5 and 11.4;
    T. F. Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985,
    doi:10.1016/0304-3975(85)90224-5 (the start).
    """

    name: ClassVar = "mixture"
    source: ClassVar = "Kay 1993"
    facts: ClassVar = {"small": (25_104, None)}
    learning_rate: ClassVar = 0.02

    components: int = Field(16, ge=1, le=4096, description="number K of components")

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        return _Mixture(self.components, shape, mean, std)

    def start_from(self, module: nn.Module, images: Images) -> None:
        assert isinstance(module, _Mixture)
        with torch.no_grad():
            module.start.copy_(_far_apart(images, self.components))


class _Mixture(nn.Module):
    start: Tensor
    twice: Tensor

    def __init__(self, components: int, shape: tuple[int, int, int], mean: float, std: float) -> None:
        super().__init__()
        channels, height, width = shape
        self.std = std
        self.register_buffer("start", torch.full((components, *shape), mean))
        self.moved = nn.Parameter(torch.zeros(components, *shape))
        self.spectra = nn.Parameter(torch.zeros(components, channels, height, width // 2 + 1))
        self.weights = nn.Parameter(torch.zeros(components))
        twice = torch.full((width // 2 + 1,), 2.0)  # how often a column of the half spectrum is in the whole one
        twice[0] = 1
        twice[width // 2] = 1 if width % 2 == 0 else 2
        self.register_buffer("twice", twice, persistent=False)

    @in_float32
    def forward(self, y: Tensor, sigma: Tensor) -> Tensor:
        size = y.shape[-2:]
        variance = self.std**2 * (_FASTER * self.spectra).exp()
        moved = variance.sqrt().detach() * torch.fft.rfft2(self.moved, norm="ortho")
        means = self.start + torch.fft.irfft2(moved, s=size, norm="ortho")
        total = variance + per_pixel(sigma, y)[:, None].square()  # (n, K, c, h, w')
        off = torch.fft.rfft2(y[:, None] - means, norm="ortho")
        distance = (off.abs().square() / total + total.log()) * self.twice
        responsibility = (self.weights - 0.5 * distance.sum(dim=(2, 3, 4))).softmax(dim=1)
        estimates = means + torch.fft.irfft2(off * (variance / total), s=size, norm="ortho")
        return (responsibility[:, :, None, None, None] * estimates).sum(dim=1)


def _far_apart(images: Images, count: int) -> Tensor:
    """Images ``(count, c, h, w)``, each far from those before it, the first nearest to the mean; 1: the mean."""
    points, mean = images.flatten(1), images.mean(dim=0, keepdim=True)
    if count == 1:
        return mean
    chosen = [int((points - mean.flatten()).square().sum(dim=1).argmin())]
    distance = torch.full((len(points),), torch.inf)
    while len(chosen) < count:
        distance = torch.minimum(distance, (points - points[chosen[-1]]).square().sum(dim=1))
        chosen.append(int(distance.argmax()))
    return images[chosen]
