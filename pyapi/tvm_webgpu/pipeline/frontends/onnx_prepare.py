"""An ONNX model in, one that TVM's importer knows more of out: shapes inferred, functions inlined, constants folded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tvm_webgpu.errors import InputError
from tvm_webgpu.pipeline.frontends.onnx_bytes import hold_in_bytes
from tvm_webgpu.pipeline.frontends.onnx_expand import expand
from tvm_webgpu.pipeline.frontends.onnx_fold import MAX_BYTES, fold

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto
from tvm_webgpu.pipeline.frontends.onnx_unroll import refuse, unroll

MAX_ROUNDS = 8


def prepare(model: ModelProto, params: Mapping[str, object], shapes: Mapping[str, Sequence[int | str]]) -> ModelProto:
    """The model with the inputs in `params` bound and the shapes of inputs set; InputError for an unknown input."""
    from onnx import shape_inference

    work = type(model)()
    work.CopyFrom(model)
    _bind(work.graph, params)
    _set_shapes(work.graph, shapes)
    _require_optional(work.graph)
    work = hold_in_bytes(work)
    weights = _take_weights(work.graph)
    for _ in range(MAX_ROUNDS):
        # Each round may make more known: a function's body asks for shapes, a folded shape makes others static.
        inferred = shape_inference.infer_shapes(work, data_prop=True)
        work = expand(inferred)
        expanded = work is not inferred or unroll(work)
        if not fold(shape_inference.infer_shapes(work, data_prop=True) if expanded else work) and not expanded:
            break
    expand(shape_inference.infer_shapes(work, data_prop=True), last=True)
    refuse(work)
    _put_weights(work.graph, weights)
    return work


def _bind(graph: GraphProto, params: Mapping[str, object]) -> None:
    from onnx import numpy_helper

    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in params]
    names = {value.name for value in graph.input} - initialised
    if unknown := set(params) - names:
        raise InputError(
            f"no input named {', '.join(sorted(unknown))}; the model has {', '.join(sorted(names)) or 'none'}"
        )
    del graph.input[:]
    graph.input.extend(inputs)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in params.items())


def _require_optional(graph: GraphProto) -> None:
    """An input that may be absent is one that a package always takes."""
    for value in graph.input:
        if value.type.HasField("optional_type") and value.type.optional_type.elem_type.HasField("tensor_type"):
            tensor = value.type.optional_type.elem_type.tensor_type
            value.type.tensor_type.CopyFrom(type(tensor).FromString(tensor.SerializeToString()))


def _set_shapes(graph: GraphProto, shapes: Mapping[str, Sequence[int | str]]) -> None:
    """The shapes that the caller wants instead of the model's; what the model says of others no longer holds."""
    if not shapes:
        return
    del graph.value_info[:]
    for value in graph.input:
        if (given := shapes.get(value.name)) is not None:
            dims = value.type.tensor_type.shape.dim
            if value.type.tensor_type.HasField("shape") and len(given) != len(dims):
                raise InputError(
                    f"the shape given for input {value.name!r} has {len(given)} dimensions, the model's {len(dims)}"
                )
            del dims[:]
            for extent in given:
                dims.add(**({"dim_value": extent} if isinstance(extent, int) else {"dim_param": extent}))
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")


def _take_weights(graph: GraphProto) -> list[TensorProto]:
    """Makes inputs of the large initializers: no pass here looks at them, and messages have a limit of 2 GB."""
    from onnx import helper

    weights = [tensor for tensor in graph.initializer if tensor.ByteSize() > MAX_BYTES]
    small = [tensor for tensor in graph.initializer if tensor.ByteSize() <= MAX_BYTES]
    names = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in weights
        if tensor.name not in names
    )
    kept = [_copy(tensor) for tensor in weights]
    small = [_copy(tensor) for tensor in small]
    del graph.initializer[:]
    graph.initializer.extend(small)
    return kept


def _copy(tensor: TensorProto) -> TensorProto:
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    return copy


def _put_weights(graph: GraphProto, weights: list[TensorProto]) -> None:
    names = {tensor.name for tensor in weights}
    inputs = [value for value in graph.input if value.name not in names]
    del graph.input[:]
    graph.input.extend(inputs)
    graph.initializer.extend(weights)
