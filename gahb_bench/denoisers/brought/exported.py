"""Programs of torch.export that users bring."""

import io
import json
import re
from typing import Any, ClassVar

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.errors import DenoiserError, UsageError, printable, reason_of
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought import files, safety
from gahb_bench.denoisers.brought.base import channels_of, check_fixed
from gahb_bench.denoisers.brought.conventions import AdaptedNetwork

_MODEL = "models/model.json"
_KEPT = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+"
    r"|data/(weights|constants)/(model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
)


class Exported(AdaptedNetwork):
    """A network as a program of ``torch.export.save`` (``.pt2``).

        x_hat = net(y, sigma_scale sigma)

    torch itself executes pickles and expressions that such a file holds; so only the graph and the raw tensors are
    given to it, after every text in the graph was found to be a plain name, an operator of torch without side effects,
    or arithmetic. Export with a variable number of images. A graph of one channel is applied to each channel alone.
    """

    name: ClassVar = "exported"
    source: ClassVar = "torch.export"

    file: str = Field("", description="the .pt2 file")

    _network: Any = PrivateAttr()
    _shapes: list[tuple[int | None, ...]] = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        content = files.read(self.file, "exported:file=FILE")
        files.expect(content, self.file, "exported")
        checked = safety.repack(content, self.file, self._keep)
        try:
            program = torch.export.load(io.BytesIO(checked))
            numbers = [each for each in program.graph_signature.user_inputs if not isinstance(each, str)]
            self._shapes = [] if numbers else _input_shapes(program)
            self._network = program.module()
        except Exception as error:
            raise UsageError(
                f"torch {torch.__version__} cannot load {self.file}: {reason_of(error)}. Save it again with this torch."
            ) from None
        if numbers:
            raise UsageError(
                f"{self.file} takes the number {numbers[0]} and no other, as torch.export keeps the numbers that it is "
                "given: export it again with sigma as a tensor."
            )
        self._digest = files.digest(checked)

    def _keep(self, name: str, data: bytes) -> bytes | None:
        """What of the archive is loaded: the graph and raw tensors; no samples of the inputs, which are pickled."""
        if name == _MODEL:
            return json.dumps(safety.clean_program(data, self.file)).encode()
        if name == "data/sample_inputs/model.pt":
            return b""
        if _KEPT.fullmatch(name):
            return data
        if name.startswith(("extra/", "data/sample_inputs/")):
            return None
        raise UsageError(
            f"{self.file} is refused: it holds {printable(name)}, which is neither a graph nor a plain tensor. Save it "
            "with torch.export.save of torch >= 2.9."
        )

    @property
    def made_for(self) -> int | None:
        return self.channels or channels_of(self._shapes[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return self.by_its_file()

    def run(self, y: Images, *sigma: Tensor | float) -> Any:
        if len(self._shapes) != 1 + len(sigma):
            raise DenoiserError(f"{self.spec} takes {len(self._shapes)} inputs: give blind=true if it takes y only.")
        check_fixed(self._shapes[0], y, self.spec)
        return self._network.to(y.device)(*(torch.as_tensor(value, device=y.device).float() for value in (y, *sigma)))


def _input_shapes(program: torch.export.ExportedProgram) -> list[tuple[int | None, ...]]:
    """The shape of each input, None where it may vary."""
    names = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [tuple(s if isinstance(s, int) else None for s in values[name].shape) for name in names]
