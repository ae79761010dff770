"""BF-CNN, the bias-free convolutional network of the research code: blind, it estimates the noise."""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from torch import Tensor, nn

from gahb_bench.core.errors import UsageError
from gahb_bench.core.network import Network, Padding, Residual
from gahb_bench.networks.bias_free import BiasFreeBatchNorm, check_odd, convolution, initialize

First = Literal["linear", "relu"]


class BfCnn(Network):
    """Bias-free CNN of the paper: ``D(y) = y - net(y)``, blind to sigma, with ``D(a y) = a D(y)`` in evaluation.

    ``depth`` convolutions of one width without pooling; a bias-free batch norm and a ReLU after each but the first
    and the last. The research code has the first layer linear where it loads published networks, and a ReLU after it
    where it trains new ones: ``first``. The research code pads with zeros; ``padding=circular`` is ours.

    References
    ----------
    S. Mohan, Z. Kadkhodaie, E. P. Simoncelli, C. Fernandez-Granda, "Robust and interpretable blind image denoising
    via bias-free convolutional neural networks", ICLR 2020, arXiv:1906.05478.
    """

    name: ClassVar = "bf-cnn"
    source: ClassVar = "Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda 2020; research code of Kadkhodaie et al. 2024"
    presets: ClassVar = {"small": {}, "paper": {"width": 64, "depth": 21}}
    facts: ClassVar = {"small": (93_056, 25), "paper": (702_784, 43)}

    width: int = Field(32, ge=1, le=8192, description="channels of every layer")
    depth: int = Field(12, ge=2, le=1000, description="number of convolutions")
    kernel: int = Field(3, ge=1, le=99, description="side of a convolution's kernel, odd, pixels")
    padding: Padding = Field("zeros", description="zeros or circular")
    first: First = Field("linear", description="what follows the first convolution: linear (nothing) or relu")

    _odd = field_validator("kernel")(check_odd)

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        del mean, std
        return Residual(BfCnnModule(shape[0], self.width, [self.kernel] * self.depth, self.padding, self.first))


class BfCnnModule(nn.Module):
    """The raw network ``y -> noise``, its tensors named and shaped as in the research code.

    kernels : side of each layer's kernel; some of them 1 give a smaller receptive field at the same depth
    """

    def __init__(
        self, channels: int, width: int, kernels: Sequence[int], padding: Padding = "zeros", first: First = "linear"
    ) -> None:
        super().__init__()
        self.channels, self.first = channels, first
        self.receptive_field = 1 + sum(kernel - 1 for kernel in kernels)
        widths = [channels, *[width] * (len(kernels) - 1), channels]
        self.conv_layers = nn.ModuleList(
            convolution(widths[i], widths[i + 1], kernel, padding, outer=i in (0, len(kernels) - 1))
            for i, kernel in enumerate(kernels)
        )
        self.BN_layers = nn.ModuleList(BiasFreeBatchNorm(width) for _ in kernels[2:])
        initialize(self)

    @classmethod
    def like(cls, tensors: Mapping[str, Tensor], padding: Padding = "zeros", first: First = "linear") -> "BfCnnModule":
        """A network of the sizes that the names and shapes of a state dict tell.

        Raises
        ------
        UsageError
            If they are not of this network.
        """
        found = {int(match[1]): tensors[match[0]] for match in map(_LAYER.fullmatch, tensors) if match}
        layers = [found[place] for place in sorted(found)]
        if len(layers) < 2 or 0 not in found or any(layer.ndim != 4 for layer in layers):
            raise UsageError(
                "these are not the tensors of BF-CNN of the research code, which has conv_layers.0.weight, "
                f"conv_layers.1.weight and so on; there are {', '.join(sorted(tensors)[:3]) or 'none'}."
            )
        return cls(layers[0].shape[1], layers[0].shape[0], [layer.shape[2] for layer in layers], padding, first)

    def forward(self, y: Tensor) -> Tensor:
        x = self.conv_layers[0](y)
        if self.first == "relu":
            x = x.relu_()
        for layer, norm in zip(self.conv_layers[1:-1], self.BN_layers, strict=True):
            x = norm(layer(x)).relu_()
        return self.conv_layers[-1](x)


_LAYER = re.compile(r"conv_layers\.(\d{1,4})\.weight")
