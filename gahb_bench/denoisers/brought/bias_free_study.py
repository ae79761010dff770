"""Networks of the bias-free study of Mohan et al., from its own checkpoints."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gahb_bench.core.errors import UsageError
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought.checkpoint import Checkpoint
from gahb_bench.denoisers.brought.paper import PaperNetwork

_STAGES = 4  # of a recurrent network that does not say


class PaperBiasFree(PaperNetwork):
    """DnCNN, recurrent CNN or small U-Net of the bias-free study, with or without biases, with its published weights.

        x_hat = net(y)

    Which of them it is, its sizes and its biases are read from the tensors; the number of stages and whether the U-Net
    estimates the noise from ``args`` beside them. Without ``args`` there are 4 stages, and the U-Net estimates the
    image: these are the study's defaults.

    References
    ----------
    S. Mohan, Z. Kadkhodaie, E. P. Simoncelli, C. Fernandez-Granda, "Robust and interpretable blind image denoising
    via bias-free convolutional neural networks", ICLR 2020, arXiv:1906.05478.
    """

    name: ClassVar = "paper-bias-free"
    source: ClassVar = "Mohan, Kadkhodaie, Simoncelli & Fernandez-Granda 2020, research code"

    def _build(self, checkpoint: Checkpoint) -> tuple[nn.Module, dict[str, Tensor]]:
        tensors, settings = checkpoint.tensors, checkpoint.settings
        if "conv9.weight" in tensors:
            return SmallUNet(tensors, residual=settings.get("residual") is True), tensors
        if "cnn.first_layer.weight" in tensors:
            return RecurrentCnn(tensors, settings.get("max_stage", _STAGES)), tensors
        return DnCnn(tensors), tensors

    def _denoised(self, y: Images) -> Images:
        return self._network(y.float()).to(y.dtype)


class _Cnn(nn.Module):
    """Convolutions of one width, a ReLU after each but the last; ``norm`` before those of the inner ones, if given."""

    def __init__(self, tensors: Mapping[str, Tensor], norm: Any = None) -> None:
        super().__init__()
        first, last = _weight(tensors, "first_layer"), _weight(tensors, "last_layer")
        width, self.inputs, kernel = first.shape[:3]
        bias = "first_layer.bias" in tensors
        count = sum(name.startswith("hidden_layer_list.") and name.endswith(".weight") for name in tensors)

        def convolution(inputs: int, outputs: int, bias: bool) -> nn.Conv2d:
            return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)

        self.first_layer = convolution(self.inputs, width, bias)
        self.hidden_layer_list = nn.ModuleList(convolution(width, width, bias) for _ in range(count))
        self.bn_layer_list = nn.ModuleList(norm(width) for _ in range(count)) if norm else [nn.Identity()] * count
        self.last_layer = convolution(width, last.shape[0], "last_layer.bias" in tensors)
        self.reach = (count + 2) * (kernel // 2)  # pixels on each side

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_layer(x).relu()
        for layer, norm in zip(self.hidden_layer_list, self.bn_layer_list, strict=True):
            x = norm(layer(x)).relu()
        return self.last_layer(x)


class BiasFreeNorm(nn.BatchNorm2d):
    """Batch norm in evaluation without mean and shift, ``weight x / (sqrt(running_var) + eps)``; they lie unused."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as torch names it
        assert self.running_var is not None
        return input * (self.weight / (self.running_var.sqrt() + self.eps)).view(-1, 1, 1)


class DnCnn(_Cnn):
    """``y -> x_hat = y - net(y)``; with biases ordinary batch norm, without them `BiasFreeNorm`."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__(tensors, nn.BatchNorm2d if "first_layer.bias" in tensors else BiasFreeNorm)
        self.channels, self.receptive_field = self.inputs, 1 + 2 * self.reach

    def forward(self, x: Tensor) -> Tensor:
        return x - super().forward(x)


class RecurrentCnn(nn.Module):
    """``y -> x_hat``: one CNN, applied ``stages`` times to y and what it gave before, side by side."""

    def __init__(self, tensors: Mapping[str, Tensor], stages: Any) -> None:
        super().__init__()
        if not isinstance(stages, int) or not 1 <= stages <= 100:
            raise UsageError(f"a recurrent network of max_stage={stages!r} is not allowed: 1 to 100 stages.")
        self.cnn = _Cnn({name.removeprefix("cnn."): value for name, value in tensors.items()})
        self.stages, self.channels = stages, self.cnn.inputs // 2
        self.receptive_field = 1 + 2 * stages * self.cnn.reach

    def forward(self, y: Tensor) -> Tensor:
        x = y
        for _ in range(self.stages):
            x = self.cnn(torch.cat([y, x], dim=1))
        return x


class SmallUNet(nn.Module):
    """``y -> x_hat``: halved once, dilated convolutions inside; an odd side is made even by a row of zeros.

    residual : whether the last convolution gives the noise
    """

    receptive_field = 45

    def __init__(self, tensors: Mapping[str, Tensor], residual: bool) -> None:
        super().__init__()
        self.residual = residual
        (fine, self.channels), coarse = _weight(tensors, "conv1").shape[:2], _weight(tensors, "conv3").shape[0]
        bias = "conv1.bias" in tensors
        self.conv1 = nn.Conv2d(self.channels, fine, 5, padding=2, bias=bias)
        self.conv2 = nn.Conv2d(fine, fine, 3, padding=1, bias=bias)
        self.conv3 = nn.Conv2d(fine, coarse, 3, stride=2, padding=1, bias=bias)
        self.conv4 = nn.Conv2d(coarse, coarse, 3, padding=1, bias=bias)
        self.conv5 = nn.Conv2d(coarse, coarse, 3, dilation=2, padding=2, bias=bias)
        self.conv6 = nn.Conv2d(coarse, coarse, 3, dilation=4, padding=4, bias=bias)
        self.conv7 = nn.ConvTranspose2d(coarse, coarse, 4, stride=2, padding=1, bias=bias)
        self.conv8 = nn.Conv2d(coarse + fine, fine, 3, padding=1, bias=bias)
        self.conv9 = nn.Conv2d(fine, self.channels, 5, padding=2, bias=False)

    def forward(self, y: Tensor) -> Tensor:
        height, width = y.shape[-2:]
        x = nn.functional.pad(y, (0, width % 2, 0, height % 2))
        x = kept = self.conv2(self.conv1(x).relu()).relu()
        for layer in (self.conv3, self.conv4, self.conv5, self.conv6, self.conv7):
            x = layer(x).relu()
        x = self.conv9(self.conv8(torch.cat([x, kept], dim=1)).relu())[..., :height, :width]
        return y - x if self.residual else x


def _weight(tensors: Mapping[str, Tensor], layer: str) -> Tensor:
    """The kernel of a convolution, ``(out, in, side, side)``."""
    weight = tensors.get(f"{layer}.weight")
    if weight is None or weight.ndim != 4:
        raise UsageError(f"these are not the tensors of a network of the bias-free study: {layer}.weight is no kernel.")
    return weight
