"""TorchScript programs that users bring."""

import io
import re
import warnings
from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.errors import UsageError, printable
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought import files, safety
from gahb_bench.denoisers.brought.conventions import AdaptedNetwork

_KEPT = re.compile(r"(data|constants)/[\w.]+|version|byteorder|\.data/\w+")


class TorchScript(AdaptedNetwork):
    """A network as a TorchScript file, of ``torch.jit.trace`` or ``torch.jit.script``.

        x_hat = net(y, sigma_scale sigma)

    The program runs in TorchScript's own interpreter. A file is refused if a pickle in it names anything but tensors
    and TorchScript's classes, or if its program uses operators that touch files or come from other libraries.
    Such a file does not state for how many channels it was made: ``channels=1`` applies it to each channel alone.
    """

    name: ClassVar = "torchscript"
    source: ClassVar = "torch.jit"

    file: str = Field("", description="the TorchScript file")

    _network: Any = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        content = files.read(self.file, "torchscript:file=FILE")
        files.expect(content, self.file, "torchscript")
        checked = safety.repack(content, self.file, self._keep)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated, its files are not
                self._network = torch.jit.load(io.BytesIO(checked), map_location="cpu").eval()
        except Exception as error:
            raise UsageError(
                f"torch {torch.__version__} cannot load the TorchScript program {self.file}: {printable(error, 200)}"
            ) from None
        self._digest = files.digest(checked)

    def _keep(self, name: str, data: bytes) -> bytes | None:
        """What of the archive is loaded: the program, its tensors and the pickles that name nothing else."""
        if name in ("data.pkl", "constants.pkl"):
            safety.check_pickle(data, self.file)
            return data
        if name.startswith("code/") and name.endswith(".py"):
            safety.check_script(data, self.file)
            return data
        return data if _KEPT.fullmatch(name) else None

    def __reduce__(self) -> tuple[Any, ...]:
        return self.by_its_file()

    def run(self, y: Images, *sigma: Tensor | float) -> Any:
        given = (value.float() if isinstance(value, Tensor) else value for value in (y, *sigma))
        return self._network.to(y.device)(*given)
