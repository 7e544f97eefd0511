"""ONNX: a ModelProto or a path in, a Relax module out, by TVM's importer with a table of our own conversions."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvm_webgpu.codegen.schedule.nest import substitute
from tvm_webgpu.errors import InputError, UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_convert import CONVERTERS
from tvm_webgpu.pipeline.frontends.onnx_extents import RULES, Arithmetic, Unknown, as_tensor, constant
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare
from tvm_webgpu.pipeline.frontends.onnx_shaped import BROADCAST, SHAPED, Same, align
from tvm_webgpu.pipeline.model import ImportOptions, Model, Signature, fingerprint

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

CHECKED_BYTES = 2 << 30
"""ONNX's checker takes serialised models, which protobuf limits to this size."""


NO_NUMBERS = {8: "strings", 14: "complex numbers", 15: "complex numbers"}
"""Element types (of TensorProto) that no buffer of a GPU holds."""

SHAPES_AT = {"Resize": (3,), "Slice": (1, 2), "Upsample": (1,)}
"""Operands that TVM's converters want as a shape."""


class _Importer(onnx_frontend.ONNXGraphImporter):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.mod = tvm.IRModule()
        self._rules = Arithmetic()
        self._extents: dict[str, np.ndarray] = {}

    def _check_for_unsupported_ops(self, graph: GraphProto) -> None:
        known = {*onnx_frontend._get_convert_map(), *CONVERTERS, "If", "Constant"}
        unknown = {(node.domain, node.op_type) for node in graph.node if node.op_type not in known}
        if unknown:
            names = ", ".join(f"{name} of {domain}" if domain else name for domain, name in sorted(unknown))
            raise UnsupportedError(f"ONNX operators that can't be imported: {names}")

    def _construct_nodes(self, graph: GraphProto) -> None:
        for node in graph.node:
            if node.op_type in BROADCAST or node.op_type == "Concat":
                self._align(node)
            if not self._on_extents(node):
                super()._construct_nodes(SimpleNamespace(node=[node]))
        for value in graph.output:
            if value.name in self._extents:
                self._nodes[value.name] = self.bb.normalize(as_tensor(self.bb, self._extents[value.name]))

    def _align(self, node: NodeProto) -> None:
        """Makes operands that are broadcast, or joined, agree where their extents are open."""
        names = [name for name in node.input if name]
        if any(name in self._extents for name in names) or not any(map(self._is_open, names)):
            return
        values = [self._nodes[name] for name in names]
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        self._nodes.update(zip(names, align(self.bb, self._rules, node.op_type, values, axis), strict=True))

    def _on_extents(self, node: NodeProto) -> bool:
        """Whether the node's result is a shape, of numbers and symbols, or is shaped by one; it is converted then."""
        shaped = SHAPED.get(node.op_type)
        if shaped is None and node.op_type not in RULES and node.op_type not in ("Shape", "Size"):
            self._as_tensors(node)
            return False
        if len(node.output) != 1 or node.domain not in ("", "ai.onnx"):
            self._as_tensors(node)
            return False
        attrs, name = self._parse_attr(node.attribute), node.output[0]
        if node.op_type in ("Shape", "Size"):
            dims = self._dims_of(node.input[0])
            if dims is None:
                return False
            whole = np.array([1, *dims], object)
            part = whole[1:][attrs.get("start", 0) : attrs.get("end")]
            if node.op_type == "Size":
                part = RULES["ReduceProd"](self._rules, [whole], {"keepdims": 0})
            self._set_extents(name, part)
            return True
        known = [self._extents_of(text) for text in node.input]
        symbolic = any(text in self._extents for text in node.input)
        missing = any(array is None for text, array in zip(node.input, known, strict=True) if text)
        if symbolic and not missing and node.op_type in RULES:
            with contextlib.suppress(Unknown, TypeError):
                self._set_extents(name, RULES[node.op_type](self._rules, known, attrs))
                return True
        if shaped and (symbolic or self._is_open(node.input[0])):
            inputs = [
                array if array is not None else self._nodes.get(text)
                for text, array in zip(node.input, known, strict=True)
            ]
            if not isinstance(inputs[0], np.ndarray) or node.op_type in ("ConstantOfShape", "Range"):
                try:
                    value = shaped(self.bb, self._rules, inputs, attrs)
                except Exception as error:
                    raise _failure(node.op_type, node.name or name, inputs, error) from error
                if value is not None:
                    self._nodes[name] = self.bb.normalize(value)
                    return True
        self._as_tensors(node)
        return False

    def _dims_of(self, name: str) -> list[object] | None:
        """The shape of a value, where it is known but for symbols."""
        if name in self._extents:
            return list(self._extents[name].shape)
        kind = getattr(self._nodes.get(name), "ty", None)
        if not isinstance(kind, relax.TensorType) or kind.shape is None:
            return None
        return [self._rules.simplify(dim) for dim in kind.shape]

    def _is_open(self, name: str) -> bool:
        """Whether the shape of a value has symbols."""
        return any(not isinstance(dim, int) for dim in self._dims_of(name) or ())

    def _extents_of(self, name: str) -> np.ndarray | None:
        return self._extents[name] if name in self._extents else constant(self._nodes.get(name))

    def _set_extents(self, name: str, array: np.ndarray) -> None:
        self._extents[name] = np.asarray(array, dtype=object)
        self._nodes.pop(name, None)

    def _as_tensors(self, node: NodeProto) -> None:
        """Operands that are extents become what TVM's converters take: where they ask for it a shape, else a tensor."""
        for place, name in enumerate([*node.input, *_captured(node)]):
            array = self._extents.get(name)
            if array is None:
                continue
            if array.ndim == 1 and place in SHAPES_AT.get(node.op_type, ()):
                self._nodes[name] = relax.ShapeExpr(list(array))
            else:
                self._nodes[name] = as_tensor(self.bb, array)

    def _convert_operator(self, op_name: str, inputs: Sequence, attrs: dict, opset: int) -> relax.Expr:
        where = attrs.get("tvm_custom", {}).get("name") or op_name
        if attrs.get("training_mode"):
            raise UnsupportedError(f"ONNX operator {op_name} (node {where!r}) in training mode: export for inference")
        try:
            if (converter := CONVERTERS.get(op_name)) and (result := converter(self.bb, inputs, attrs)) is not None:
                return self.bb.normalize(result)
            return super()._convert_operator(op_name, inputs, attrs, opset)
        except Exception as error:
            raise _failure(op_name, where, inputs, error) from error


def _captured(node: NodeProto) -> list[str]:
    """What the subgraphs of a node read."""
    inner = [inside for attribute in node.attribute for inside in attribute.g.node]
    return [name for one in inner for name in (*one.input, *_captured(one))]


def _failure(operator: str, where: str, inputs: Sequence, error: Exception) -> UnsupportedError:
    reason = str(error).strip().splitlines()
    dtypes = ", ".join(_type_text(value) for value in inputs if value is not None)
    return UnsupportedError(
        f"ONNX operator {operator} (node {where!r}, inputs {dtypes or 'none'}) can't be imported: "
        f"{reason[-1] if reason else type(error).__name__}"
    )


def _type_text(value: relax.Expr) -> str:
    return str(value.ty).split("\n")[-1] if hasattr(value, "ty") else type(value).__name__


def accepts(model: object) -> bool:
    """Whether this is an onnx.ModelProto (without importing onnx)."""
    return type(model).__name__ == "ModelProto" and hasattr(model, "opset_import")


def load_file(path: object, options: ImportOptions) -> Model:
    """Reads a .onnx file, with its external data; InputError if it is missing or is no ONNX model."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        if "should be stored in" in str(error):
            raise InputError(f"can't read weights of {path}, which lie in a file beside it: {error}") from error
        raise InputError(f"{path} is not an ONNX model: {error}") from error
    return load(model, options.with_name(Path(str(path)).stem))


def load(model: ModelProto, options: ImportOptions) -> Model:
    """Imports a ModelProto; symbolic dimensions keep their names, unnamed ones get a name of their own."""
    import onnx

    graph = model.graph
    if not graph.node or not graph.output:
        raise InputError(f"{options.name or 'this'} is not an ONNX model: its graph has no nodes or no outputs")
    try:
        if model.ByteSize() < CHECKED_BYTES:
            onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        if "Field 'shape' of 'type' is required" not in str(error):  # which is found out here
            raise InputError(f"not a valid ONNX model: {str(error).strip().splitlines()[0]}") from error
    names = _constant_names(graph)
    model = prepare(model, options.params, options.shapes)
    graph = model.graph
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
    shapes = _input_shapes(graph, options)
    importer = _import(graph, shapes, opset)
    while isinstance(importer, Same):  # each time there is one symbol less
        here, there = importer.args
        shapes = {
            name: [substitute(dim, {here: there}) if isinstance(dim, tvm.ir.Expr) else dim for dim in dims]
            for name, dims in shapes.items()
        }
        importer = _import(graph, shapes, opset)
    return Model(
        name=options.name or graph.name or "model",
        mod=importer.mod,
        entries={"main": Signature(tuple(importer._input_names), tuple(value.name for value in graph.output))},
        constant_names=names,
    )


def _import(graph: GraphProto, shapes: dict[str, list], opset: int) -> _Importer | Same:
    """The importer, done, with the module that it made; or two symbols that must be one."""
    importer = _Importer(shapes, None)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importer.mod = importer.from_onnx(graph, opset)
    except Exception as error:
        # Without this the builder complains on stderr that it was destroyed in the middle of a block.
        with contextlib.suppress(Exception):
            importer.bb._end_block()
        if isinstance(error, Same):
            return error
        raise
    return importer


def _input_shapes(graph: GraphProto, options: ImportOptions) -> dict[str, list]:
    """Every input's shape, one variable per symbol's name over the whole graph."""
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in initialised}
    if unknown := set(options.shapes) - set(inputs):
        raise InputError(f"no input named {', '.join(sorted(unknown))}; the model has {', '.join(inputs) or 'none'}")
    shapes: dict[str, list] = {}
    for name, value in inputs.items():
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type"):
            raise UnsupportedError(f"input {name!r} is not a tensor")
        if tensor.elem_type in NO_NUMBERS:
            raise UnsupportedError(
                f"input {name!r} holds {NO_NUMBERS[tensor.elem_type]}: give the model numbers instead"
            )
        if name not in options.shapes and not tensor.HasField("shape"):
            raise InputError(f"input {name!r} has no shape in the model; give one")
        dims = options.shapes.get(name) or [
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or f"{name}_{axis}"
            for axis, dim in enumerate(tensor.shape.dim)
        ]
        shapes[name] = list(dims)
    texts = {dim for dims in shapes.values() for dim in dims if isinstance(dim, str)}
    variables = {text: tvm.tirx.Var(text, "int64") for text in sorted(texts) if text.isidentifier()}
    return {
        name: [dim if isinstance(dim, int) else _dim(dim, variables) for dim in dims] for name, dims in shapes.items()
    }


def _dim(text: str, variables: dict[str, tvm.tirx.Var]) -> tvm.tirx.Expr:
    """A symbol, or an expression of symbols that are dimensions themselves; else the text becomes a symbol."""
    if text not in variables and set(re.findall(r"[A-Za-z_]\w*", text)) <= variables.keys():
        return onnx_frontend.parse_shape_name(text, variables)
    name = text if text in variables else re.sub(r"\W+", "_", text)
    return variables.setdefault(name, tvm.tirx.Var(name, "int64"))


def _constant_names(graph: GraphProto) -> dict[str, str]:
    from onnx import numpy_helper

    names: dict[str, str] = {}
    for tensor in graph.initializer:
        array: np.ndarray = numpy_helper.to_array(tensor)
        names.setdefault(fingerprint(array), tensor.name)
    return names
