"""Networks that ``train`` trained, shipped or the user's own."""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, PrivateAttr
from torch import Tensor, nn

from gahb_bench.core import registry
from gahb_bench.core.denoiser import Denoiser, Facts
from gahb_bench.core.errors import DenoiserError
from gahb_bench.core.images import Images, Knows
from gahb_bench.core.network import parameter_count
from gahb_bench.denoisers.apply import by_channel, in_parts
from gahb_bench.networks.recipe import locate
from gahb_bench.networks.weights import file_digest, load


class TrainedNetwork(Denoiser):
    """A network from a file of weights that ``train`` wrote, or one that is shipped.

    It runs on any family whose images it can take, not only on the one it was trained on; one trained on one channel
    is applied to each channel alone.

    Optimality
    ----------
    Knows what it was trained on: its MSE is an upper bound on the MMSE. How it was trained, and its regret then, is
    its ``recipe``.
    """

    name: ClassVar = "network"
    knows: ClassVar[Knows] = "training set"
    source: ClassVar = "trained by `python -m gahb_bench train`"
    looks: ClassVar = {"": ("teal", "circle")}

    weights: str = Field("", description="name of shipped weights, or a .safetensors file")

    _path: Path = PrivateAttr()
    _digest: str = PrivateAttr()
    _kept: tuple[nn.Module, dict[str, Any]] = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        self._path = locate(self.weights)
        self._digest = file_digest(self._path)
        self._kept = _loaded(self._path, self._digest, "cpu")  # now: a transform of torch.func must not load it

    @property
    def needs_family(self) -> bool:
        return False

    @property
    def recipe(self) -> dict[str, object]:
        """How the weights came about: network, family, steps, settings, hardware, regret on validation images."""
        return self._kept[1]

    @property
    def own_facts(self) -> Facts:
        """Hash of the file as it was when the denoiser was made; the network, its size, and what it was trained on."""
        module, recipe = self._kept
        return Facts(
            digest=self._digest,
            fitted=parameter_count(module),
            architecture=recipe["network"],
            trained_on=recipe["family"],
        )

    def estimate(self, y: Images, sigma: Tensor) -> Images:
        module, recipe = self._kept if y.device.type == "cpu" else _loaded(self._path, self._digest, str(y.device))
        channels, height, width = y.shape[1:]
        registry.make("networks", recipe["network"]).check_shape((channels, height, width))
        run = partial(in_parts, module)
        return by_channel(run, recipe["shape"][0], y.float(), sigma.float(), name=self.spec)


@lru_cache(maxsize=4)
def _loaded(path: Path, digest: str, device: str) -> tuple[nn.Module, dict[str, Any]]:
    """The module on a device, and its recipe, from a file of this content and no other."""
    module, recipe = load(path)
    if file_digest(path) != digest:
        raise DenoiserError(f"the weights {path} were changed while they were in use: run the same command again.")
    return module.to(device), recipe
