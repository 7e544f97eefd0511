"""An ONNX graph in, the same graph without what is known before it runs out: shapes, and small constants' results.

TVM's importer wants shapes, axes, pads and the like as constants, where exporters write arithmetic on shapes, and so do
the functions that ONNX defines its operators by.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MAX_BYTES = 1 << 16
"""Larger constants are data, not shapes: they are left to the passes on the imported module."""

RANDOM = {
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}

MOVES = {"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"}
"""Operators that only move elements of their first input, or inputs: what becomes of each can be followed."""

Dims = list[int | None]


class Partial:
    """A shape of which only some extents are known: `values` counts where `known` is 1."""

    def __init__(self, values: np.ndarray, known: np.ndarray):
        self.values, self.known = values, known


Known = dict[str, np.ndarray | Partial]


def fold(model: ModelProto) -> bool:
    """Replaces, in place, nodes whose outputs are known by initializers; gives whether there were any.

    Wants shapes inferred. Large initializers should have been taken out.
    """
    from onnx import numpy_helper

    graph = model.graph
    opsets = {item.domain: item.version for item in model.opset_import}
    known: Known = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if tensor.ByteSize() <= MAX_BYTES
    }
    shapes = dict(_shapes(graph))
    kept: list[NodeProto] = []
    folded: dict[str, np.ndarray] = {}
    for node in graph.node:
        results = _evaluate(node, known, shapes, opsets)
        if results and all(isinstance(result, np.ndarray) for result in results.values()):
            folded.update((name, result) for name, result in results.items() if isinstance(result, np.ndarray))
        else:
            kept.append(node)
        known.update(results)
    if not folded:
        return False
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in folded.items())
    drop_unused(graph)
    return True


def _shapes(graph: GraphProto) -> Iterator[tuple[str, Dims]]:
    for tensor in graph.initializer:
        yield tensor.name, list(tensor.dims)
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if value.type.HasField("tensor_type") and tensor.HasField("shape"):
            yield value.name, [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]


def _evaluate(node: NodeProto, known: Known, shapes: dict[str, Dims], opsets: dict[str, int]) -> Known:
    """The node's outputs, as far as they are known."""
    if (
        node.domain not in ("", "ai.onnx")
        or node.op_type in RANDOM
        or any(attr.HasField("g") for attr in node.attribute)
    ):
        return {}
    if node.op_type in ("Shape", "Size"):
        dims = shapes.get(node.input[0])
        return {} if dims is None else _of_shape(node, dims)
    inputs = {name: known[name] for name in node.input if name in known}
    if any(name and name not in inputs for name in node.input):
        return {}
    partial = {name: value for name, value in inputs.items() if isinstance(value, Partial)}
    arrays = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
    if not partial:
        return dict(_run(node, arrays, opsets))
    if node.op_type not in MOVES or any(name in partial for name in node.input[1:] if node.op_type != "Concat"):
        return {}
    moved = node.input if node.op_type == "Concat" else node.input[:1]
    values = _run(node, arrays | {name: value.values for name, value in partial.items()}, opsets)
    masks = {
        name: value.known if isinstance(value, Partial) else np.ones_like(value, np.int64)
        for name, value in inputs.items()
        if name in moved
    }
    mask = _run(node, arrays | masks, opsets)
    return {
        name: value if mask[name].all() else Partial(value, mask[name])
        for name, value in values.items()
        if name in mask
    }


def _of_shape(node: NodeProto, dims: Dims) -> Known:
    if node.op_type == "Size":
        return {} if None in dims else {node.output[0]: np.array(math.prod(map(int, dims)), np.int64)}  # type: ignore[arg-type]
    bounds = {attr.name: attr.i for attr in node.attribute}
    dims = dims[slice(bounds.get("start"), bounds.get("end"))]
    values = np.array([0 if dim is None else dim for dim in dims], np.int64)
    if None not in dims:
        return {node.output[0]: values}
    return {node.output[0]: Partial(values, np.array([dim is not None for dim in dims], np.int64))}


def _run(node: NodeProto, inputs: dict[str, np.ndarray], opsets: dict[str, int]) -> dict[str, np.ndarray]:
    """The outputs by ONNX's own reference implementation; nothing where it has none, or they are large."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            names = [name for name in node.output if name]
            graph = helper.make_graph(
                [node],
                "constant",
                [helper.make_tensor_value_info(name, 0, None) for name in inputs],
                [helper.make_tensor_value_info(name, 0, None) for name in names],
            )
            imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
            results = ReferenceEvaluator(helper.make_model(graph, opset_imports=imports)).run(None, inputs)
    except Exception:  # whatever it is, the node stays
        return {}
    arrays = {name: np.asarray(result) for name, result in zip(names, results) if not isinstance(result, list | dict)}
    if len(arrays) < len(names) or any(
        array.nbytes > MAX_BYTES or array.dtype.kind in "OUS" for array in arrays.values()
    ):
        return {}
    return arrays


def used_names(nodes: Sequence[NodeProto]) -> set[str]:
    """The values that nodes read, and those that their subgraphs read or give."""
    names: set[str] = set()
    for node in nodes:
        names.update(node.input)
        for attr in node.attribute:
            for graph in (*attr.graphs, *([attr.g] if attr.HasField("g") else [])):
                names |= used_names(graph.node) | {value.name for value in graph.output}
    return names


def drop_unused(graph: GraphProto) -> None:
    """Removes, in place, nodes and initializers that no output needs."""
    needed = {value.name for value in graph.output}
    kept: list[NodeProto] = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= used_names([node])
    del graph.node[:]
    graph.node.extend(reversed(kept))
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(initializers)
