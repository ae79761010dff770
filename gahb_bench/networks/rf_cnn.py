"""`rf-cnn`: the bias-free CNN of the research code with a receptive field that is chosen, at one depth."""

from typing import ClassVar

from pydantic import Field, field_validator, model_validator
from torch import nn

from gahb_bench.core.network import Network, Padding, Residual
from gahb_bench.networks.bf_cnn import BfCnnModule, First
from gahb_bench.networks.bias_free import check_odd


class RfCnn(Network):
    """Bias-free CNN that sees ``field`` x ``field`` pixels: ``D(y) = y - net(y)``, blind to sigma.

    ``(field - 1) / 2`` convolutions of 3 x 3, then 1 x 1 up to the same ``depth``: networks of different receptive
    fields differ in what they see, not in how deep they are. Its risk on ``calpha`` can be held against
    ``local-mmse:patch=field``, the least that anything of this receptive field can reach.

    References
    ----------
    Z. Kadkhodaie, F. Guth, S. Mallat, E. P. Simoncelli, "Learning multi-scale local conditional probability models of
    images", ICLR 2023, arXiv:2303.02984, section 4.
    """

    name: ClassVar = "rf-cnn"
    source: ClassVar = "Kadkhodaie, Guth, Mallat & Simoncelli 2023, arXiv:2303.02984"
    presets: ClassVar = {"small": {}, "paper": {"width": 64, "depth": 21, "field": 43}}
    facts: ClassVar = {"small": (44_960, 9), "paper": (702_784, 43)}

    field: int = Field(9, ge=5, le=43, description="side of the receptive field, odd, pixels")
    width: int = Field(32, ge=1, le=8192, description="channels of every layer")
    depth: int = Field(21, ge=2, le=64, description="number of convolutions")
    padding: Padding = Field("zeros", description="zeros or circular")
    first: First = Field("linear", description="what follows the first convolution: linear (nothing) or relu")

    _odd = field_validator("field")(check_odd)

    @model_validator(mode="after")
    def _deep_enough(self) -> "RfCnn":
        if self.depth < self._wide:
            raise ValueError(f"field={self.field} takes {self._wide} convolutions of 3 x 3: give depth={self._wide}")
        return self

    @property
    def _wide(self) -> int:
        """How many convolutions are 3 x 3."""
        return (self.field - 1) // 2

    def build(self, shape: tuple[int, int, int], mean: float, std: float) -> nn.Module:
        del mean, std
        kernels = [3] * self._wide + [1] * (self.depth - self._wide)
        return Residual(BfCnnModule(shape[0], self.width, kernels, self.padding, self.first))
