"""Networks trained by the research code of Kadkhodaie et al., from its own ``model.pt``."""

import re
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor, nn

from gahb_bench.core.denoiser import Denoiser, Facts
from gahb_bench.core.errors import DenoiserError, UsageError, printable
from gahb_bench.core.images import Images
from gahb_bench.core.network import parameter_count
from gahb_bench.denoisers.apply import by_channel, in_parts
from gahb_bench.denoisers.brought import checkpoint, files
from gahb_bench.denoisers.brought.base import RANGES, ExternalNetwork, ends_of, read_range
from gahb_bench.denoisers.brought.checkpoint import Checkpoint
from gahb_bench.networks.bf_cnn import BfCnnModule
from gahb_bench.networks.unet import Sizes, UNetModule
from gahb_bench.networks.weights import fit_tensors

# A tensor that only this kind of network has.
_SIGNS = {
    "encoder.0.0.weight": "paper-unet",
    "conv_layers.0.weight": "paper-bf-cnn",
    "first_layer.weight": "paper-bias-free",
    "cnn.first_layer.weight": "paper-bias-free",
    "conv9.weight": "paper-bias-free",
}
_OLDER = re.compile(r"(running_sd|gammas)\.(\d{1,4})(\.weight)?")


class PaperNetwork(ExternalNetwork):
    """A blind network of the research code: ``x_hat = y - net(y)``, sizes read from the tensors.

        y' = low + (high - low) y,   x_hat = (D(y') - low) / (high - low)           range=low:high

    One made for one channel is applied to each channel of an image alone.
    """

    weights: str = Field("", description="the research code's own file: torch.save or safetensors; see `checkpoint`")

    range: str = Field("0:1", description="black:white of the images that it was trained on, 0:255 or -1:1")

    _network: Any = PrivateAttr()

    _read_range = field_validator("range", mode="before")(read_range)

    def model_post_init(self, context: object) -> None:
        del context
        content = files.read(self.weights, f"{self.name}:weights=FILE")
        held = checkpoint.read(content, self.weights)
        self._refuse_other(held.tensors)
        with torch.device("meta"):  # no memory is taken for tensors that may not be there
            self._network, tensors = self._build(held)
        fit_tensors(self._network, tensors, self.weights)
        self._network.eval().requires_grad_(False)
        self._digest = files.digest(content)

    @property
    def own_facts(self) -> Facts:
        return replace(super().own_facts, fitted=parameter_count(self._network))

    @abstractmethod
    def _build(self, checkpoint: Checkpoint) -> tuple[nn.Module, dict[str, Tensor]]:
        """An untrained network of the sizes that the tensors tell, and the tensors under its own names."""

    def _refuse_other(self, tensors: dict[str, Tensor]) -> None:
        """Refuse the tensors of another kind of network, and say how it is named."""
        found = next((name for sign, name in _SIGNS.items() if sign in tensors), "")
        if found != self.name:
            there = ", ".join(printable(name, 60) for name in sorted(tensors)[:3]) or "none"
            remedy = (
                f"name it {found}:weights={self.weights}"
                if found
                else "of a network of other code, name the module with its weights loaded, module:name, or export it"
            )
            raise UsageError(f"{self.weights} does not hold the tensors of {self.name}; there are {there}: {remedy}.")

    @property
    def network(self) -> nn.Module:
        """The raw network, in evaluation mode."""
        return self._network

    @property
    def receptive_field(self) -> int:
        """Side of the square of pixels that one pixel of the estimate depends on."""
        return self._network.receptive_field

    def _denoised(self, y: Images) -> Images:
        """The estimate from images of as many channels as the network was made for."""
        return y - self._network(y.float()).to(y.dtype)

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        del sigma
        low, high = ends_of(self.range)
        channels = self._network.to(y.device).channels
        given = low + (high - low) * y
        answer = by_channel(lambda images: in_parts(self._denoised, images), channels, given, name=self.spec)
        return (answer - low) / (high - low)

    def units_to_try(self) -> list[Denoiser]:
        """The same for images of other ranges."""
        return [self.model_copy(update={"range": span}) for span in RANGES if span != self.range]


class PaperUNet(PaperNetwork):
    """The U-Net of Kadkhodaie et al. with its published or newly trained weights: blind and bias-free.

        x_hat = y - net(y)

    References
    ----------
    Z. Kadkhodaie, F. Guth, E. P. Simoncelli, S. Mallat, "Generalization in diffusion models arises from
    geometry-adaptive harmonic representations", ICLR 2024, arXiv:2310.02557.
    """

    name: ClassVar = "paper-unet"
    source: ClassVar = "Kadkhodaie, Guth, Simoncelli & Mallat 2024, research code"

    def _build(self, checkpoint: Checkpoint) -> tuple[nn.Module, dict[str, Tensor]]:
        return UNetModule(Sizes.of(checkpoint.tensors)), checkpoint.tensors

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        by = 2**self._network.sizes.blocks
        if y.shape[-2] % by or y.shape[-1] % by:
            raise DenoiserError(
                f"{self.spec} halves the image {self._network.sizes.blocks} times: its sides must be divisible by "
                f"{by}, but the images are {y.shape[-2]} x {y.shape[-1]}."
            )
        return super().estimate(y, sigma)


class PaperBfCnn(PaperNetwork):
    """BF-CNN of Kadkhodaie et al., of any receptive field, with its published or newly trained weights.

        x_hat = y - net(y)

    The tensors do not tell whether a ReLU follows the first convolution: it does in networks trained by the research
    code's ``main.py`` as it stands, not in those that its loader reads by default, nor in those of a smaller
    receptive field. Older files of the same laboratory, which name their norms ``running_sd.i`` and ``gammas.i``,
    always have one.

    References
    ----------
    Z. Kadkhodaie, F. Guth, S. Mallat, E. P. Simoncelli, "Learning multi-scale local conditional probability models of
    images", ICLR 2023, arXiv:2303.02984.
    """

    name: ClassVar = "paper-bf-cnn"
    source: ClassVar = "Mohan et al. 2020; Kadkhodaie et al. 2023, 2024, research code"

    first: Literal["auto", "linear", "relu"] = Field(
        "auto", description="what follows the first convolution; auto: relu in older files (running_sd.i), else linear"
    )

    def _build(self, checkpoint: Checkpoint) -> tuple[nn.Module, dict[str, Tensor]]:
        tensors = _renamed(checkpoint.tensors)
        older = tensors.keys() != checkpoint.tensors.keys()
        first = ("relu" if older else "linear") if self.first == "auto" else self.first
        return BfCnnModule.like(tensors, first=first), tensors


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of BF-CNN under its later names; where an older file has no ``gammas`` at all, they are ones.

    Raises
    ------
    UsageError
        If the file has ``gammas`` and no ``running_sd``, which the oldest code kept in another file.
    """
    older = {name: match for name in tensors if (match := _OLDER.fullmatch(name))}
    kinds = {match[1] for match in older.values()}
    if kinds == {"gammas"}:
        raise UsageError(
            "running_sd is missing: the oldest research code kept it in a file of its own, running_sd.pt. Save both in "
            "one, torch.save({**net, **{f'running_sd.{i}': sd for i, sd in enumerate(running_sd)}}, FILE)."
        )
    renamed = {name: value for name, value in tensors.items() if name not in older}
    for name, match in older.items():
        norm = f"BN_layers.{match[2]}"
        renamed[f"{norm}.{match[1]}"] = tensors[name].reshape(1, -1, 1, 1)
        if kinds == {"running_sd"}:
            renamed[f"{norm}.gammas"] = torch.ones_like(renamed[f"{norm}.running_sd"])
    return renamed
