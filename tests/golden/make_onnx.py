"""Small ONNX models for the tests, by the package `onnx`, which the tests themselves do not need.

    python tests/golden/make_onnx.py

shrink.onnx: 0.5 + (y - 0.5) / (1 + sigma), any number and size of images. fixed.onnx: y / 2, shape (2, 1, 8, 8) only.
beside.onnx: y times 64 x 64 weights of 1/2, which stand in beside.bin.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

FOLDER = Path(__file__).parent


def write(name, nodes, inputs, shape, constants):
    """Write a model with one output ``x`` of the given shape."""
    output = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (FOLDER / name).write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(FOLDER / name))


def number(name, value, dtype=np.float32):
    """A constant."""
    return numpy_helper.from_array(np.array(value, dtype), name)


if __name__ == "__main__":
    sides = ["n", 1, "h", "w"]
    write(
        "shrink.onnx",
        [
            helper.make_node("Reshape", ["sigma", "shape"], ["s"]),
            helper.make_node("Add", ["s", "one"], ["d"]),
            helper.make_node("Sub", ["y", "half"], ["c"]),
            helper.make_node("Div", ["c", "d"], ["q"]),
            helper.make_node("Add", ["q", "half"], ["x"]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, sides),
            helper.make_tensor_value_info("sigma", TensorProto.FLOAT, ["n"]),
        ],
        sides,
        [number("shape", [-1, 1, 1, 1], np.int64), number("one", 1), number("half", 0.5)],
    )
    write(
        "fixed.onnx",
        [helper.make_node("Mul", ["y", "half"], ["x"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 1, 8, 8])],
        [2, 1, 8, 8],
        [number("half", 0.5)],
    )
    weights = number("weights", np.full((64, 64), 0.5))
    external_data_helper.set_external_data(weights, "beside.bin")
    (FOLDER / "beside.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    write(
        "beside.onnx",
        [helper.make_node("Mul", ["y", "weights"], ["x"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, 64, 64])],
        ["n", 1, 64, 64],
        [weights],
    )
