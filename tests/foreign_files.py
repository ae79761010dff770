"""Small files of every form that a user may bring, made for tests."""

import warnings
from pathlib import Path

import torch
from torch import nn

import gahb_bench as gb
from gahb_bench.networks.bf_cnn import BfCnnModule
from gahb_bench.networks.unet import Sizes, UNetModule
from gahb_bench.networks.weights import save

GOLDEN = Path(__file__).parent / "golden"


class Shrink(nn.Module):
    """``0.5 + (y - 0.5) / (1 + sigma)``: a graph of a few operators."""

    def forward(self, y, sigma):
        return 0.5 + (y - 0.5) / (1 + sigma.reshape(-1, 1, 1, 1))


class Noise(nn.Module):
    """Blind, returns the noise: a bias-free high-pass filter."""

    def __init__(self):
        super().__init__()
        self.filter = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        with torch.no_grad():
            self.filter.weight.copy_(torch.tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 10)

    def forward(self, y):
        return self.filter(y)


def shrink(y, sigma):
    """`Shrink` as a function."""
    level = torch.as_tensor(sigma, dtype=y.dtype).reshape(-1, 1, 1, 1)
    return 0.5 + (y - 0.5) / (1 + level)


def script(module, path):
    """A TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        torch.jit.script(module.eval()).save(path)


def export(module, inputs, path, *, fixed=False):
    """A file of torch.export: any number of images of any size, or of the inputs' own shape."""
    any_size = torch.export.Dim.DYNAMIC
    sizes = tuple({place: any_size for place in range(x.ndim) if place != 1} for x in inputs)
    program = torch.export.export(module.eval(), inputs, dynamic_shapes=None if fixed else sizes)
    torch.export.save(program, path)


def small_unet(channels=1):
    """Tensors of the U-Net of the bias-free study, 2 and 3 kernels wide, by their names and shapes there."""
    shapes = {
        "conv1": (2, channels, 5, 5),
        "conv2": (2, 2, 3, 3),
        "conv3": (3, 2, 3, 3),
        "conv4": (3, 3, 3, 3),
        "conv5": (3, 3, 3, 3),
        "conv6": (3, 3, 3, 3),
        "conv7": (3, 3, 4, 4),
        "conv8": (2, 5, 3, 3),
        "conv9": (channels, 2, 5, 5),
    }
    generator = torch.Generator().manual_seed(0)
    return {f"{name}.weight": 0.4 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def spec(name, folder, channels=1):
    """A spec of a denoiser of the catalogue, with a file of its own, for so many channels, where it needs one.

    What takes minutes gets a small training set.
    """
    path = folder / f"{name}.pt"
    torch.manual_seed(0)
    if name == "paper-unet":
        torch.save(UNetModule(Sizes(channels, 2, 1, 3, 2, 2, 2)).state_dict(), path)
        return f"{name}:weights={path}"
    if name == "paper-bf-cnn":
        torch.save(BfCnnModule(channels, 2, [3, 3, 3]).state_dict(), path)
        return f"{name}:weights={path}"
    if name == "paper-bias-free":
        smooth = {name: value.abs() / value[0].numel() for name, value in small_unet(channels).items()}  # no kinks
        torch.save(smooth, path)
        return f"{name}:weights={path}"
    if name == "torchscript":
        script(Shrink(), path)
        return f"{name}:file={path}"
    if name == "exported":
        export(Shrink(), (torch.rand(2, channels, 8, 8), torch.rand(2)), path.with_suffix(".pt2"))
        return f"{name}:file={path.with_suffix('.pt2')}"
    if name == "network":
        made = gb.network("bf-cnn:width=2,depth=3")
        recipe = {"network": made.spec, "family": "calpha", "shape": [channels, 16, 16], "mean": 0.5, "std": 0.25}
        save(path.with_suffix(".safetensors"), made.build((channels, 16, 16), 0.5, 0.25).state_dict(), recipe)
        return f"{name}:weights={path.with_suffix('.safetensors')}"
    if name == "onnx":
        return f"{name}:file={GOLDEN / 'shrink.onnx'}"
    if name == "callable":
        return f"{name}:path=(foreign_files:shrink)"
    if name == "local-equivariant":  # the time grows as the square of the number of pixels
        return f"{name}:n=1,patch=3"
    if name == "locality":  # otherwise one matrix of pixels by pixels
        return f"{name}:n=30,stationary=true"
    if name == "local":
        return f"{name}:n=30,patch=3"
    if name == "mixture-score":
        return f"{name}:n=30,components=2"
    return name
