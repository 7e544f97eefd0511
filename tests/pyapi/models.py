"""Small ONNX models for tests: arrays in, a checked ModelProto out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str | None]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Dims],
    outputs: dict[str, Dims],
    weights: dict[str, np.ndarray] | None = None,
    element: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model of these nodes; every input and output has the same element type."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, element, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(name, element, dims) for name, dims in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return made


def mlp() -> onnx.ModelProto:
    """Two dense layers with a dynamic batch: `x [batch, 8]` to `y [batch, 3]`."""
    rng = np.random.default_rng(7)
    weights = {
        "first.weight": rng.normal(0, 0.4, (16, 8)).astype("float32"),
        "first.bias": rng.normal(0, 0.1, 16).astype("float32"),
        "second.weight": rng.normal(0, 0.3, (16, 3)).astype("float32"),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "first.weight", "first.bias"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "second.weight"], ["s"]),
        helper.make_node("Softmax", ["s"], ["y"], axis=-1),
    ]
    return model(nodes, {"x": ("batch", 8)}, {"y": ("batch", 3)}, weights)
