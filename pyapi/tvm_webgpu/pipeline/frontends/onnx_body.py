"""A function's body for an ONNX node, written as calls: what definitions of operators are made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_webgpu.errors import UnsupportedError

if TYPE_CHECKING:
    from onnx import FunctionProto, NodeProto, TensorProto, TypeProto

INPUTS_SINCE: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "ReduceMax": (18, ("axes",)),
    "ReduceSum": (13, ("axes",)),
    "Slice": (10, ("starts", "ends", "axes")),
    "Squeeze": (13, ("axes",)),
    "Unsqueeze": (13, ("axes",)),
}
"""Operators whose attributes became inputs, and with which version: bodies give attributes."""


DEFINED_ALREADY = "tvm_webgpu: as defined"
"""The text at a node of the operator that its definition is of, which stays."""


class UnknownError(UnsupportedError):
    """What a definition must know of its inputs is not known, or not yet."""


class Body:
    """`body.Add(a, b)` appends a node and gives its output's name; arrays among the operands become constants."""

    def __init__(
        self, node: NodeProto, types: Mapping[str, TypeProto], constants: Mapping[str, TensorProto], opset: int
    ):
        from onnx import helper

        self.node, self.opset = node, opset
        self.attrs: dict[str, Any] = {attr.name: helper.get_attribute_value(attr) for attr in node.attribute}
        self.inputs = list(node.input)
        self.nodes: list[NodeProto] = []
        self._types = {f"in_{i}": types[name] for i, name in enumerate(node.input) if name in types}
        self._constants = constants
        self._made = 0

    def __getattr__(self, op: str) -> Callable[..., str]:
        if not op[0].isupper():
            raise AttributeError(op)
        return lambda *operands, **attrs: self.call(op, operands, attrs)

    def call(self, op: str, operands: Sequence[object], attrs: Mapping[str, Any]) -> str:
        """Appends a node, in the form of the model's version of ONNX."""
        from onnx import helper

        names = [self.name(value) for value in operands]
        since, moved = INPUTS_SINCE.get(op, (0, ()))
        if moved and self.opset >= since:
            names += [self.name(np.array(attrs[name], np.int64)) for name in moved if name in attrs]
            attrs = {name: value for name, value in attrs.items() if name not in moved}
        output = self._fresh()
        mark = DEFINED_ALREADY if op == self.node.op_type else None
        self.nodes.append(helper.make_node(op, names, [output], doc_string=mark, **attrs))
        return output

    def name(self, value: object) -> str:
        """The name of an operand: its own, or that of a constant made for it."""
        from onnx import helper, numpy_helper

        if isinstance(value, str):
            return value
        output = self._fresh()
        self.nodes.append(
            helper.make_node("Constant", [], [output], value=numpy_helper.from_array(np.asarray(value)))
        )
        return output

    def _fresh(self) -> str:
        self._made += 1
        return f"t{self._made}"

    def has(self, index: int) -> bool:
        """Whether the node has this input."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def input(self, index: int) -> str:
        """The name of an input in the body."""
        return f"in_{index}"

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute of the node; text as str."""
        value = self.attrs.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def knows(self, *indices: int) -> bool:
        """Whether the types of these inputs are known."""
        return all(f"in_{index}" in self._types for index in indices)

    def dtype(self, index: int) -> int:
        """The element type of an input, as ONNX numbers them."""
        if f"in_{index}" not in self._types:
            raise self._unknown(f"the type of input {index} is not known")
        return self._types[f"in_{index}"].tensor_type.elem_type

    def is_constant(self, index: int) -> bool:
        """Whether an input's value is known."""
        return self.inputs[index] in self._constants

    def value(self, index: int) -> np.ndarray:
        """An input that must be a constant."""
        from onnx import numpy_helper

        if not self.is_constant(index):
            raise self._unknown(f"input {self.inputs[index]!r} must be a constant, or be fixed (params=...)")
        return numpy_helper.to_array(self._constants[self.inputs[index]])

    def scalar(self, value: float, index: int) -> np.ndarray:
        """A constant of the type of an input."""
        from onnx import helper

        return np.array(value, helper.tensor_dtype_to_np_dtype(self.dtype(index)))

    def dims(self, index: int) -> list[int | None]:
        """The shape of an input; None where an extent is not known."""
        known = self._types.get(f"in_{index}")
        if known is None or not known.tensor_type.HasField("shape"):
            raise self._unknown(f"the rank of input {index} is not known; fix the shapes of the model's inputs")
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in known.tensor_type.shape.dim]

    def extent(self, index: int, axis: int) -> int:
        """An extent of an input that must be known."""
        extent = self.dims(index)[axis]
        if extent is None:
            raise self._unknown(f"axis {axis} of input {index} must be a number; fix the shapes of the inputs")
        return extent

    def unsupported(self, why: str) -> UnsupportedError:
        """The error for a node that can't be expressed."""
        return UnsupportedError(self._problem(why))

    def _unknown(self, why: str) -> UnknownError:
        return UnknownError(self._problem(why))

    def _problem(self, why: str) -> str:
        where = self.node.name or next(filter(None, self.node.output), "")
        return f"ONNX operator {self.node.op_type} (node {where!r}) can't be imported: {why}"

    def function(self, outputs: Sequence[str]) -> FunctionProto:
        """The body as a function of the node's inputs; `outputs` may be more than the node asks for."""
        from onnx import helper

        nodes = [*self.nodes, *(helper.make_node("Identity", [name], [f"out_{i}"]) for i, name in enumerate(outputs))]
        return helper.make_function(
            "",
            "",
            [f"in_{i}" for i in range(len(self.inputs))],
            [f"out_{i}" for i in range(min(len(outputs), len(self.node.output)))],
            nodes,
            [],
        )


Definition = Callable[[Body], Sequence[str] | None]
"""Writes a body and gives the names of the node's outputs; None leaves the node as it is."""
