"""ONNX models that users bring, if onnxruntime is installed."""

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import Differentiation
from gahb_bench.core.digest import join_digests
from gahb_bench.core.errors import DenoiserError, MissingPackageError, UsageError, printable
from gahb_bench.core.files import content_digest, read_file
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought import files
from gahb_bench.denoisers.brought.base import channels_of, check_fixed
from gahb_bench.denoisers.brought.conventions import AdaptedNetwork

_LOCATION = re.compile(rb"\x0a\x08location\x12")  # an entry of a tensor's external_data: its key, then its value
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class Onnx(AdaptedNetwork):
    """A network as an ONNX model, run by the package `onnxruntime` on the processor.

        x_hat = net(y, sigma_scale sigma)

    The first input of the model is y, the second (unless it is blind) sigma; its first output is taken. Weights in
    files of their own are looked for in the model's folder. A model of one channel is applied to each channel alone.

    Raises
    ------
    MissingPackageError
        If the package `onnxruntime` is not installed.
    """

    name: ClassVar = "onnx"
    source: ClassVar = "ONNX; package onnxruntime"

    file: str = Field("", description="the .onnx file")

    _session: Any = PrivateAttr()

    def model_post_init(self, context: object) -> None:
        del context
        runtime = _package()
        content = files.read(self.file, "onnx:file=FILE")
        beside = _files_beside(content, self.file)
        source = str(Path(self.file).expanduser()) if beside else content
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            files.expect(content, self.file, "onnx")
            raise UsageError(
                f"{self.file} is not an ONNX model that onnxruntime can run: {printable(error, 200)}"
            ) from None
        self._digest = join_digests(content_digest(content), *(content_digest(part) for part in beside))

    @property
    def made_for(self) -> int | None:
        return self.channels or channels_of(self._shape)

    @property
    def _shape(self) -> tuple[int | None, ...]:
        """The shape of y that the model states, None where it may vary."""
        return tuple(side if isinstance(side, int) else None for side in self._session.get_inputs()[0].shape)

    @property
    def derivative(self) -> Differentiation:
        """Another program computes it."""
        return "difference"

    def __reduce__(self) -> tuple[Any, ...]:
        return self.by_its_file()

    def run(self, y: Images, *sigma: Tensor | float) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 + len(sigma):
            names = ", ".join(node.name for node in inputs)
            raise DenoiserError(
                f"{self.spec} takes {len(inputs)} inputs ({names}): give blind=true if it takes y only."
            )
        check_fixed(self._shape, y, self.spec)
        given = {
            node.name: torch.as_tensor(value).cpu().numpy().astype(_DTYPES.get(node.type, np.float32))
            for node, value in zip(inputs, (y, *sigma), strict=True)
        }
        answer = self._session.run(None, given)[0]
        return torch.from_numpy(np.asarray(answer)).to(y.device)


def _files_beside(content: bytes, file: str) -> list[bytes]:
    """What stands in the files of weights that a model names, each once.

    Raises
    ------
    UsageError
        If one is not there, or lies outside of the model's folder.
    """
    names = sorted({_value(content, match.end()) for match in _LOCATION.finditer(content)})
    folder = Path(file).expanduser().resolve().parent
    found = []
    for name in names:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise UsageError(f"{file} is refused: it takes weights from {printable(name)}, outside of its folder.")
        try:
            found.append(read_file(path))
        except OSError as error:
            raise UsageError(
                f"{file} takes weights from {printable(name)}, which cannot be read in its folder: {error.strerror}. "
                "Put that file beside it."
            ) from None
    return found


def _value(content: bytes, start: int) -> str:
    """The text of a protobuf field that begins with its length."""
    length, shift = 0, 0
    while start < len(content):
        byte = content[start]
        length, shift, start = length | (byte & 0x7F) << shift, shift + 7, start + 1
        if byte < 0x80:
            break
    return content[start : start + length].decode("utf-8", "replace")


def _package() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingPackageError(
            "onnx needs the package 'onnxruntime', which is not installed: pip install 'gahb_bench[onnx]'."
        ) from error
