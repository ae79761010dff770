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
from gahb_bench.denoisers.brought import files
from gahb_bench.denoisers.brought.foreign import Foreign

_KEPT = re.compile(r"(data|constants)/[\w.]+|version|byteorder|\.data/\w+")
# What a program may not use: operators that read or write files, other libraries' operators and classes.
_FORBIDDEN = re.compile(r"\b(save|from_file|classes)\b|\bops\s*\.\s*(?!(?:aten|prim|prims|quantized)\b)\w+")


class TorchScript(Foreign):
    """A network as a TorchScript file, of ``torch.jit.trace`` or ``torch.jit.script``.

        x_hat = net(y, sigma_scale sigma)

    The program runs in TorchScript's own interpreter. A file is refused if a pickle in it names anything but tensors
    and TorchScript's classes, or if its program uses operators that touch files or come from other libraries.
    """

    name: ClassVar = "torchscript"
    source: ClassVar = "torch.jit"

    file: str = Field("", description="the TorchScript file")

    _network: Any = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        content = files.read(self.file, "torchscript:file=FILE")
        files.expect(content, self.file, "torchscript")
        checked = files.repack(content, self.file, self._keep)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is deprecated, its files are not
                self._network = torch.jit.load(io.BytesIO(checked), map_location="cpu").eval()
        except Exception as error:
            raise UsageError(
                f"torch {torch.__version__} cannot load the TorchScript program {self.file}: {printable(error, 200)}"
            ) from None
        self._digest = files.digest(content)

    def _keep(self, name: str, data: bytes) -> bytes | None:
        """What of the archive is loaded: the program, its tensors and the pickles that name nothing else."""
        if name in ("data.pkl", "constants.pkl"):
            files.check_pickle(data, self.file)
            return data
        if name.startswith("code/") and name.endswith(".py"):
            found = _FORBIDDEN.search(data.decode("utf-8", "replace"))
            if found:
                raise UsageError(f"{self.file} is refused: its program uses {found[0]!r}, which a denoiser need not.")
            return data
        return data if _KEPT.fullmatch(name) else None

    def run(self, y: Images, *sigma: Tensor) -> Any:
        return self._network.to(y.device)(*(value.float() for value in (y, *sigma)))
