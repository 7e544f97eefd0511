"""A tiny ONNX graph builder: operators called like functions in, a checked `onnx.ModelProto` out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 18

Shape = Sequence[int | str]


class Graph:
    """Collects nodes and weights in order of use; `op` returns the name of the value it makes.

    `dtype` is the type of every floating-point weight, `float32` or `float16`.
    """

    def __init__(self, name: str, *, seed: int, dtype: str = "float32") -> None:
        self.name = name
        self.dtype = np.dtype(dtype)
        self.rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def input(self, name: str, shape: Shape, dtype: str | None = None) -> str:
        self._inputs.append(self._value(name, shape, dtype))
        return name

    def output(self, value: str, name: str, shape: Shape, dtype: str | None = None) -> None:
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._value(name, shape, dtype))

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        self._count += 1
        out = f"{kind}_{self._count}"
        self._nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def weight(self, name: str, value: np.ndarray) -> str:
        """Adds a tensor by name; floating-point values take the graph's dtype."""
        if value.dtype.kind == "f":
            value = value.astype(self.dtype)
        self._weights[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def scalar(self, value: float) -> str:
        return self.weight(f"scalar_{value:g}", np.array(value, "float64"))

    def ints(self, *values: int) -> str:
        return self.weight("ints_" + "_".join(map(str, values)), np.array(values, "int64"))

    def normal(self, name: str, shape: Sequence[int], std: float, mean: float = 0.0) -> str:
        return self.weight(name, self.rng.normal(mean, std, shape))

    def uniform(self, name: str, shape: Sequence[int], low: float, high: float) -> str:
        return self.weight(name, self.rng.uniform(low, high, shape))

    def build(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, initializer=list(self._weights.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="tvm-webgpu tests", ir_version=10
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _value(self, name: str, shape: Shape, dtype: str | None) -> onnx.ValueInfoProto:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype or self.dtype))
        return helper.make_tensor_value_info(name, element, list(shape))
