"""Loops of a known number of steps, branches on a known condition: the nodes in, their bodies as plain nodes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_expand import nodes_of, subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

MAX_STEPS = 1024
"""The most steps of a loop: every step is nodes of its own."""


def unroll(model: ModelProto) -> bool:
    """Replaces, in place, what runs a known number of times; gives whether there was any. Wants shapes inferred."""
    from onnx import numpy_helper

    graph = model.graph
    if not any(node.op_type in UNROLLED for node in graph.node):
        return False
    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {name: numpy_helper.to_array(tensor) for name, tensor in constants.items() if not tensor.dims}
    known |= {name: numpy_helper.to_array(tensor) for name, tensor in constants.items() if list(tensor.dims) == [1]}
    shapes = {
        value.name: [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
    } | {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    axes_input = any(item.domain in ("", "ai.onnx") and item.version >= 13 for item in model.opset_import)
    nodes: list[NodeProto] = []
    changed = False
    for node in graph.node:
        loop = UNROLLED[node.op_type](node, known, shapes, axes_input) if node.op_type in UNROLLED else None
        nodes.extend(loop.nodes if loop else [node])
        changed |= loop is not None
    del graph.node[:]
    graph.node.extend(nodes)
    return changed


def refuse(model: ModelProto) -> None:
    """UnsupportedError for a loop that is left."""
    for node in nodes_of(model.graph):
        if node.op_type in ("Loop", "Scan") and node.domain in ("", "ai.onnx"):
            where = node.name or next(filter(None, node.output), "")
            raise UnsupportedError(
                f"ONNX operator {node.op_type} (node {where!r}) can't be imported: only loops of a known number of "
                f"steps, at most {MAX_STEPS}, can; fix the shapes or inputs that decide it"
            )


class _Steps:
    """The nodes of a loop's steps, or of the one branch; their values' names begin with the loop's and the step's."""

    def __init__(self, node: NodeProto, axes_input: bool, body: str = "body"):
        self.node, self.axes_input = node, axes_input
        self.prefix = next(filter(None, node.output), node.name)
        self.body: GraphProto = next(attr.g for attr in node.attribute if attr.name == body)
        self.nodes: list[NodeProto] = []

    def call(self, op: str, operands: list[str], output: str, **attrs: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, operands, [output], **attrs))
        return output

    def constant(self, output: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        return self.call("Constant", [], output, value=numpy_helper.from_array(value))

    def step(self, number: int, given: Mapping[str, str]) -> list[str]:
        """The body once, `given` naming its inputs; gives the names of its outputs."""
        from onnx import numpy_helper

        names = dict(given)

        def own(name: str) -> str:
            return f"{self.prefix}/{number}/{name}" if name else ""

        for tensor in self.body.initializer:
            names[tensor.name] = self.constant(own(tensor.name), numpy_helper.to_array(tensor))
        for node in self.body.node:
            copy = type(node)()
            copy.CopyFrom(node)
            _rename(copy, names)
            names.update((name, own(name)) for name in node.output)
            del copy.output[:]
            copy.output.extend(map(own, node.output))
            self.nodes.append(copy)
        return [names.get(value.name, value.name) for value in self.body.output]

    def stack(self, parts: list[str], axis: int, output: str) -> None:
        """Joins the steps' results along a new axis."""
        if not output:
            return
        rows = []
        for i, part in enumerate(parts):
            row = f"{output}/{i}/row"
            if self.axes_input:
                rows.append(self.call("Unsqueeze", [part, self.constant(f"{row}/axis", np.array([axis]))], row))
            else:
                rows.append(self.call("Unsqueeze", [part], row, axes=[axis]))
        self.call("Concat", rows, output, axis=axis)

    def finish(self, results: list[str]) -> None:
        for name, output in zip(results, self.node.output):
            if output:
                self.call("Identity", [name], output)


def _rename(node: NodeProto, names: Mapping[str, str]) -> None:
    """Also in subgraphs, where a value of the same name hides the outer one."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for graph in subgraphs(node):
        inner = {value.name for value in (*graph.input, *graph.initializer)}
        inner |= {name for each in graph.node for name in each.output}
        outer = {name: to for name, to in names.items() if name not in inner}
        for each in graph.node:
            _rename(each, outer)
        for value in graph.output:
            if value.name in outer:
                # A branch's result must be made in the branch.
                graph.node.add(op_type="Identity", input=[outer[value.name]], output=[value.name])


Shapes = Mapping[str, list[int | None]]
Known = Mapping[str, np.ndarray]


def _loop(node: NodeProto, known: Known, shapes: Shapes, axes_input: bool) -> _Steps | None:
    """M, condition, states in; states and rows of each scanned output out."""
    trips, condition = node.input[0], node.input[1]
    steps = _Steps(node, axes_input)
    if trips not in known or int(known[trips].reshape(())) > MAX_STEPS or not _goes_on(steps.body, condition, known):
        return None
    states = list(node.input[2:])
    scanned: list[list[str]] = [[] for _ in steps.body.output[1 + len(states) :]]
    always = steps.constant(f"{steps.prefix}/always", np.array(True))
    for number in range(max(0, int(known[trips].reshape(())))):
        counter = steps.constant(f"{steps.prefix}/{number}/step", np.array(number, np.int64))
        names = [value.name for value in steps.body.input]
        outputs = steps.step(number, dict(zip(names, [counter, always, *states])))
        states = outputs[1 : 1 + len(states)]
        for rows, row in zip(scanned, outputs[1 + len(states) :]):
            rows.append(row)
    if scanned and not scanned[0]:
        return None  # no step: the rows' type would be lost
    steps.finish(states)
    for rows, output in zip(scanned, node.output[len(states) :]):
        steps.stack(rows, 0, output)
    return steps


def _goes_on(body: GraphProto, condition: str, known: Known) -> bool:
    """Whether the condition is true from the first to the last step."""
    from onnx import helper, numpy_helper

    if condition and not (condition in known and bool(known[condition].reshape(()))):
        return False
    makers = {name: node for node in body.node for name in node.output}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in body.initializer}
    name = body.output[0].name
    while name in makers and makers[name].op_type in ("Identity", "Cast"):
        name = makers[name].input[0]
    if name == body.input[1].name:
        return True
    if name in makers and makers[name].op_type == "Constant":
        value = helper.get_attribute_value(makers[name].attribute[0])
        return bool(numpy_helper.to_array(value)) if hasattr(value, "dims") else bool(value)
    outer = constants.get(name, known.get(name))
    return outer is not None and bool(outer.reshape(()))


def _scan(node: NodeProto, known: Known, shapes: Shapes, axes_input: bool) -> _Steps | None:
    """States and sequences in; states and rows out, each along an axis and in a direction of its own."""
    from onnx import helper

    attrs = {attr.name: helper.get_attribute_value(attr) for attr in node.attribute}
    steps = _Steps(node, axes_input)
    count = attrs["num_scan_inputs"]
    first = len(node.input) - count
    if first != len(steps.body.input) - count:
        return None  # ONNX 8's form, with lengths and a batch
    states, sequences = list(node.input[:first]), node.input[first:]
    axes = list(attrs.get("scan_input_axes", [0] * count))
    backward = attrs.get("scan_input_directions", [0] * count)
    shape = shapes.get(sequences[0])
    length = shape[axes[0]] if shape else None
    if not length or length > MAX_STEPS:
        return None
    outputs_at = len(states)
    scanned: list[list[str]] = [[] for _ in steps.body.output[outputs_at:]]
    names = [value.name for value in steps.body.input]
    for number in range(length):
        # The row's number is an operand, not an attribute, so that all steps share their kernels.
        rows = []
        for i, (sequence, axis) in enumerate(zip(sequences, axes)):
            at = np.array(length - 1 - number if backward[i] else number, np.int64)
            row = f"{steps.prefix}/{number}/row{i}"
            rows.append(steps.call("Gather", [sequence, steps.constant(f"{row}/at", at)], row, axis=axis))
        outputs = steps.step(number, dict(zip(names, [*states, *rows])))
        states = outputs[:outputs_at]
        for made, part in zip(scanned, outputs[outputs_at:]):
            made.append(part)
    steps.finish(states)
    out_axes = list(attrs.get("scan_output_axes", [0] * len(scanned)))
    out_backward = attrs.get("scan_output_directions", [0] * len(scanned))
    for i, (made, output) in enumerate(zip(scanned, node.output[outputs_at:])):
        steps.stack(made[::-1] if out_backward[i] else made, out_axes[i], output)
    return steps


def _if(node: NodeProto, known: Known, shapes: Shapes, axes_input: bool) -> _Steps | None:
    if node.input[0] not in known:
        return None
    chosen = "then_branch" if bool(known[node.input[0]].reshape(())) else "else_branch"
    steps = _Steps(node, axes_input, chosen)
    steps.finish(steps.step(0, {}))
    return steps


UNROLLED = {"If": _if, "Loop": _loop, "Scan": _scan}
