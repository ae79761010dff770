"""DnCNN: convolutions with biases and ordinary batch norm, blind, estimating the noise."""

from typing import ClassVar

from pydantic import Field, field_validator
from torch import nn

from gahb_bench.core.network import Float32Conv2d, Network, Padding, Residual
from gahb_bench.networks.bias_free import check_odd


class DnCnn(Network):
    """DnCNN: ``D(y) = y - net(y)``, blind to sigma, with biases: it does not scale with its input as BF-CNN does.

    ``depth`` convolutions of one width: the first and the last with a bias, those between with batch norm, whose
    shift is their bias; a ReLU after each but the last.

    References
    ----------
    K. Zhang, W. Zuo, Y. Chen, D. Meng, L. Zhang, "Beyond a Gaussian denoiser: residual learning of deep CNN for image
    denoising", IEEE TIP 2017, doi:10.1109/TIP.2017.2662206.
    """

    name: ClassVar = "dncnn"
    source: ClassVar = "Zhang, Zuo, Chen, Meng & Zhang 2017"
    presets: ClassVar = {"small": {}, "paper": {"width": 64, "depth": 20}}
    facts: ClassVar = {"small": (93_409, 25), "paper": (667_073, 41)}

    width: int = Field(32, ge=1, le=8192, description="channels of every layer")
    depth: int = Field(12, ge=2, le=1000, description="number of convolutions")
    kernel: int = Field(3, ge=1, le=99, description="side of a convolution's kernel, odd, pixels")
    padding: Padding = Field("zeros", description="zeros or circular")

    _odd = field_validator("kernel")(check_odd)

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        del mean, std

        def layer(inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
            side = self.kernel // 2
            kind = Float32Conv2d if bias else nn.Conv2d
            return kind(inputs, outputs, self.kernel, padding=side, padding_mode=self.padding, bias=bias)

        parts: list[nn.Module] = [layer(shape[0], self.width, True), nn.ReLU(inplace=True)]
        for _ in range(self.depth - 2):
            parts += [layer(self.width, self.width, False), nn.BatchNorm2d(self.width), nn.ReLU(inplace=True)]
        parts.append(layer(self.width, shape[0], True))
        for part in parts:
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight)
        return Residual(nn.Sequential(*parts))
