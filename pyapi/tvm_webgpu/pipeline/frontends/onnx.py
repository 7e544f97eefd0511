"""ONNX: a ModelProto or a path in, a Relax module out, by TVM's importer with a table of our own conversions."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import onnx_frontend

from tvm_webgpu.errors import InputError, UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_convert import CONVERTERS
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare
from tvm_webgpu.pipeline.model import ImportOptions, Model, Signature, fingerprint

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

CHECKED_BYTES = 2 << 30
"""ONNX's checker takes serialised models, which protobuf limits to this size."""


class _Importer(onnx_frontend.ONNXGraphImporter):
    def _check_for_unsupported_ops(self, graph: GraphProto) -> None:
        known = {*onnx_frontend._get_convert_map(), *CONVERTERS, "If", "Constant"}
        if unknown := sorted({node.op_type for node in graph.node} - known):
            raise UnsupportedError(f"ONNX operators that can't be imported: {', '.join(unknown)}")

    def _convert_operator(self, op_name: str, inputs: Sequence, attrs: dict, opset: int) -> relax.Expr:
        where = attrs.get("tvm_custom", {}).get("name") or op_name
        if attrs.get("training_mode"):
            raise UnsupportedError(f"ONNX operator {op_name} (node {where!r}) in training mode: export for inference")
        try:
            if (converter := CONVERTERS.get(op_name)) and (result := converter(self.bb, inputs, attrs)) is not None:
                return self.bb.normalize(result)
            return super()._convert_operator(op_name, inputs, attrs, opset)
        except Exception as error:
            reason = str(error).strip().splitlines()
            dtypes = ", ".join(_type_text(value) for value in inputs if value is not None)
            raise UnsupportedError(
                f"ONNX operator {op_name} (node {where!r}, inputs {dtypes or 'none'}) can't be imported: "
                f"{reason[-1] if reason else type(error).__name__}"
            ) from error


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
        raise InputError(f"{path} is not an ONNX model: {error}") from error
    return load(model, options.with_name(Path(str(path)).stem))


def load(model: ModelProto, options: ImportOptions) -> Model:
    """Imports a ModelProto; symbolic dimensions keep their names, unnamed ones get a name of their own."""
    import onnx

    graph = model.graph
    if not graph.node or not graph.output:
        raise InputError("not an ONNX model: its graph has no nodes or no outputs")
    try:
        if model.ByteSize() < CHECKED_BYTES:
            onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InputError(f"not a valid ONNX model: {str(error).strip().splitlines()[0]}") from error
    names = _constant_names(graph)
    model = prepare(model, options.params, options.shapes)
    graph = model.graph
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
    importer = _Importer(_input_shapes(graph, options), None)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mod = importer.from_onnx(graph, opset)
    except Exception:
        # Without this the builder complains on stderr that it was destroyed in the middle of a block.
        with contextlib.suppress(Exception):
            importer.bb._end_block()
        raise
    return Model(
        name=options.name or graph.name or "model",
        mod=mod,
        entries={"main": Signature(tuple(importer._input_names), tuple(value.name for value in graph.output))},
        constant_names=names,
    )


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
