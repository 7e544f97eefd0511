"""Loops and branches whose course is known become plain nodes: beside ONNX Runtime, before the import."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto
from onnx.helper import make_graph, make_node, make_tensor, make_tensor_value_info
from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare

from .graphs import check, floats, model

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def body(nodes, inputs, outputs):  # type: ignore[no-untyped-def]
    """Inputs and outputs are (name, element type, shape)."""
    return make_graph(nodes, "body", *([make_tensor_value_info(*each) for each in part] for part in (inputs, outputs)))


def decay():  # type: ignore[no-untyped-def]
    """A state halved and added to what the outer graph has; each step's is a row of the second result."""
    nodes = [
        make_node("Constant", [], ["half"], value=make_tensor("half", FLOAT, [], [0.5])),
        make_node("Mul", ["state", "half"], ["halved"]),
        make_node("Add", ["halved", "outer"], ["next"]),
        make_node("Cast", ["i"], ["number"], to=FLOAT),
        make_node("Mul", ["next", "number"], ["row"]),
        make_node("Identity", ["go"], ["goes"]),
    ]
    inputs = [("i", INT64, []), ("go", BOOL, []), ("state", FLOAT, [3])]
    return body(nodes, inputs, [("goes", BOOL, []), ("next", FLOAT, [3]), ("row", FLOAT, [3])])


def test_a_loop_of_known_length() -> None:
    feeds = {"x": floats(3), "outer": floats(3)}
    node = make_node("Loop", ["trips", "", "x"], ["y", "rows"], body=decay())
    before = model([node], feeds, [("y", FLOAT), ("rows", FLOAT)], [("trips", np.array(4))])
    check(before, feeds, "Loop")


def test_a_loop_of_unknown_length_is_refused() -> None:
    feeds = {"x": floats(3), "outer": floats(3), "trips": np.array(4)}
    node = make_node("Loop", ["trips", "", "x"], ["y", "rows"], body=decay(), name="decay")
    before = model([node], feeds, [("y", FLOAT), ("rows", FLOAT)])
    with pytest.raises(UnsupportedError, match=r"Loop .node 'decay'.*known number of steps"):
        prepare(before, {}, {})
    assert "Loop" not in {node.op_type for node in prepare(before, {"trips": np.array(2)}, {}).graph.node}


@pytest.mark.parametrize("backward", [0, 1])
def test_a_scan_along_another_axis(backward: int) -> None:
    feeds = {"start": floats(2), "x": floats(2, 5)}
    nodes = [make_node("Add", ["sum", "part"], ["next"]), make_node("Exp", ["next"], ["row"])]
    inner = body(
        nodes, [("sum", FLOAT, [2]), ("part", FLOAT, [2])], [("next", FLOAT, [2]), ("row", FLOAT, [2])]
    )
    node = make_node(
        "Scan", ["start", "x"], ["y", "rows"], body=inner, num_scan_inputs=1, scan_input_axes=[1],
        scan_input_directions=[backward], scan_output_axes=[1], scan_output_directions=[1],
    )
    check(model([node], feeds, [("y", FLOAT), ("rows", FLOAT)]), feeds, "Scan")


@pytest.mark.parametrize("chosen", [False, True])
def test_a_branch_on_what_is_known(chosen: bool) -> None:
    feeds = {"x": floats(4)}
    branches = {
        f"{name}_branch": body([make_node(op, ["x"], ["t"])], [], [("t", FLOAT, [4])])
        for name, op in (("then", "Exp"), ("else", "Neg"))
    }
    nodes = [make_node("If", ["which"], ["t1"], **branches), make_node("Add", ["t1", "x"], ["y"])]
    check(model(nodes, feeds, [("y", FLOAT)], [("which", np.array(chosen))]), feeds, "If")
