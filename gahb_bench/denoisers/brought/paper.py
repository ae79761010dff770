"""Networks trained by the research code of Kadkhodaie et al., from its own ``model.pt``."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from gahb_bench.core.denoiser import Facts
from gahb_bench.core.errors import DenoiserError
from gahb_bench.core.files import content_digest
from gahb_bench.core.images import Images
from gahb_bench.core.network import parameter_count
from gahb_bench.denoisers.apply import by_channel, in_parts
from gahb_bench.denoisers.brought import files, safety
from gahb_bench.denoisers.brought.base import ExternalNetwork
from gahb_bench.networks.bf_cnn import BfCnnModule
from gahb_bench.networks.unet import Sizes, UNetModule
from gahb_bench.networks.weights import fit_tensors


class PaperNetwork(ExternalNetwork):
    """A blind network of the research code: ``x_hat = y - net(y)``, sizes read from the tensors.

    One made for one channel is applied to each channel of an image alone.
    """

    weights: str = Field("", description="model.pt of the research code: a state dict, with or without 'module.'")

    _network: Any = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        content = files.read(self.weights, f"{self.name}:weights=FILE")
        tensors = safety.read_tensors(content, self.weights)
        self._network = self._module(tensors)
        fit_tensors(self._network, tensors, self.weights)
        self._network.eval().requires_grad_(False)
        self._digest = content_digest(content)

    @property
    def own_facts(self) -> Facts:
        return replace(super().own_facts, fitted=parameter_count(self._network))

    @abstractmethod
    def _module(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """An untrained network of the sizes that the tensors tell."""

    @property
    def network(self) -> nn.Module:
        """The raw network ``y -> noise``, in evaluation mode."""
        return self._network

    @property
    def receptive_field(self) -> int:
        """Side of the square of pixels that one pixel of the estimate depends on."""
        return self._network.receptive_field

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        del sigma
        network = self._network.to(y.device)

        def denoise(part: Images) -> Images:
            return part - network(part.float()).to(part.dtype)

        return by_channel(lambda images: in_parts(denoise, images), network.channels, y, name=self.spec)


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

    def _module(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        return UNetModule(Sizes.of(tensors))

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
    receptive field.

    References
    ----------
    Z. Kadkhodaie, F. Guth, S. Mallat, E. P. Simoncelli, "Learning multi-scale local conditional probability models of
    images", ICLR 2023, arXiv:2303.02984.
    """

    name: ClassVar = "paper-bf-cnn"
    source: ClassVar = "Mohan et al. 2020; Kadkhodaie et al. 2023, 2024, research code"

    first: Literal["linear", "relu"] = Field("linear", description="what follows the first convolution")

    def _module(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        return BfCnnModule.like(tensors, first=self.first)
