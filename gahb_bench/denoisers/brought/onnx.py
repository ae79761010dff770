"""ONNX models that users bring, if onnxruntime is installed."""

import importlib
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from gahb_bench.core.denoiser import Differentiation
from gahb_bench.core.errors import DenoiserError, MissingPackageError, UsageError, printable
from gahb_bench.core.files import content_digest
from gahb_bench.core.images import Images
from gahb_bench.denoisers.brought import files
from gahb_bench.denoisers.brought.base import AdaptedNetwork, channels_of, check_fixed

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class Onnx(AdaptedNetwork):
    """A network as an ONNX model, run by the package `onnxruntime` on the processor.

        x_hat = net(y, sigma_scale sigma)

    The first input of the model is y, the second (unless it is blind) sigma; its first output is taken. All of it
    stands in one file: weights in a second file are not looked for. A model of one channel is applied to each channel
    alone.

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
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            files.expect(content, self.file, "onnx")
            raise UsageError(
                f"{self.file} is not an ONNX model that onnxruntime can run, all in one file: {printable(error, 200)}"
            ) from None
        self._digest = content_digest(content)

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

    def run(self, y: Images, *sigma: Tensor) -> Any:
        inputs = self._session.get_inputs()
        if len(inputs) != 1 + len(sigma):
            names = ", ".join(node.name for node in inputs)
            raise DenoiserError(
                f"{self.spec} takes {len(inputs)} inputs ({names}): give blind=true if it takes y only."
            )
        check_fixed(self._shape, y, self.spec)
        given = {
            node.name: value.cpu().numpy().astype(_DTYPES.get(node.type, np.float32))
            for node, value in zip(inputs, (y, *sigma), strict=True)
        }
        answer = self._session.run(None, given)[0]
        return torch.from_numpy(np.asarray(answer)).to(y.device)


def _package() -> ModuleType:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingPackageError(
            "onnx needs the package 'onnxruntime', which is not installed: pip install 'gahb_bench[onnx]'."
        ) from error
