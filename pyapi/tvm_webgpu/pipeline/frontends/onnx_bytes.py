"""Whole numbers of 2 and 4 bits are held one to a byte: an ONNX model with them in, one with int8 and uint8 out.

Inputs and outputs of a package change their types, too. What makes such numbers is brought into their range: a cast
keeps the low bits, a quantisation takes the nearest end. All else only moves them, or reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto


class Held(NamedTuple):
    """The type that holds one of these, as ONNX numbers them; how many values that has, and how many are negative."""

    kind: int
    negative: int
    values: int


INT8, UINT8 = 3, 2
SMALL = {21: Held(UINT8, 0, 16), 22: Held(INT8, 8, 16), 25: Held(UINT8, 0, 4), 26: Held(INT8, 2, 4)}
"""UINT4, INT4, UINT2 and INT2."""
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
CASTS = ("Cast", "CastLike")


def hold_in_bytes(model: ModelProto) -> ModelProto:
    """The model itself where it has none of these numbers."""
    from onnx import inliner, shape_inference

    if not any(_mentions(graph) for graph in _graphs(model.graph)) and not model.functions:
        return model
    work = inliner.inline_local_functions(model, convert_version=False) if model.functions else model
    if not any(_mentions(graph) for graph in _graphs(work.graph)):
        return model
    work = shape_inference.infer_shapes(work, data_prop=True)
    for graph in list(_graphs(work.graph)):
        _hold(graph)
    return work


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.HasField("g") or attribute.graphs else []:
                yield from _graphs(inner)


def _values(graph: GraphProto) -> list[ValueInfoProto]:
    return [*graph.input, *graph.output, *graph.value_info]


def _mentions(graph: GraphProto) -> bool:
    return (
        any(value.type.tensor_type.elem_type in SMALL for value in _values(graph))
        or any(tensor.data_type in SMALL for tensor in graph.initializer)
        or any(
            (attribute.name in TYPE_ATTRIBUTES and attribute.i in SMALL) or attribute.t.data_type in SMALL
            for node in graph.node
            for attribute in node.attribute
        )
    )


def _hold(graph: GraphProto) -> None:
    types = {value.name: value.type.tensor_type.elem_type for value in _values(graph)}
    nodes = [part for node in graph.node for part in _ranged(node, types)]
    del graph.node[:]
    graph.node.extend(nodes)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in TYPE_ATTRIBUTES and attribute.i in SMALL:
                attribute.i = SMALL[attribute.i].kind
            _retype(attribute.t)
    for tensor in graph.initializer:
        _retype(tensor)
    for value in _values(graph):
        if held := SMALL.get(value.type.tensor_type.elem_type):
            value.type.tensor_type.elem_type = held.kind


def _retype(tensor: TensorProto) -> None:
    from onnx import helper, numpy_helper

    if held := SMALL.get(tensor.data_type):
        array = numpy_helper.to_array(tensor).astype(helper.tensor_dtype_to_np_dtype(held.kind))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _ranged(node: NodeProto, types: dict[str, int]) -> Iterator[NodeProto]:
    """The node, and what brings its result into the range of its type."""
    from onnx import helper, numpy_helper

    held = SMALL.get(types.get(node.output[0], 0)) if node.output else None
    if held is None or node.op_type not in (*CASTS, "QuantizeLinear"):
        yield node
        return
    if node.op_type in CASTS:
        steps = [("Add", held.negative), ("Mod", held.values), ("Sub", held.negative)]
    else:
        steps = [("Max", -held.negative), ("Min", held.values - held.negative - 1)]
    result, kind = node.output[0], helper.tensor_dtype_to_np_dtype(held.kind)
    part = f"{result}_whole"
    node.output[0] = part
    yield node
    for i, (op, number) in enumerate(steps):
        constant, last = f"{part}_{i}_with", i == len(steps) - 1
        yield helper.make_node("Constant", [], [constant], value=numpy_helper.from_array(np.array(number, kind)))
        following = result if last else f"{part}_{i}"
        yield helper.make_node(op, [part, constant], [following])
        part = following
