"""What is done to ONNX models before TVM's importer sees them."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.helper import (
    make_function,
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
)
from onnx.reference import ReferenceEvaluator
from tvm_webgpu.errors import InputError
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def model(nodes, inputs, outputs, initializers=(), functions=(), opset: int = 21) -> ModelProto:  # type: ignore[no-untyped-def]
    """Inputs and outputs are (name, element type, shape)."""
    graph = make_graph(
        nodes,
        "test",
        [make_tensor_value_info(*each) for each in inputs],
        [make_tensor_value_info(*each) for each in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    imports = [make_opsetid("", opset), make_opsetid("own", 1)]
    return make_model(graph, opset_imports=imports, functions=list(functions))


def flattening() -> ModelProto:
    """[n, 3, 4] to [n, 12], by arithmetic on shapes as exporters write it."""
    nodes = [
        make_node("Shape", ["x"], ["shape"]),
        make_node("Gather", ["shape", "zero"], ["n"]),
        make_node("Gather", ["shape", "one"], ["c"]),
        make_node("Gather", ["shape", "two"], ["w"]),
        make_node("Mul", ["c", "w"], ["cw"]),
        make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        make_node("Unsqueeze", ["cw", "axes"], ["cw1"]),
        make_node("Concat", ["n1", "cw1"], ["to"], axis=0),
        make_node("Reshape", ["x", "to"], ["y"]),
    ]
    numbers = [(name, np.array(value)) for name, value in (("zero", 0), ("one", 1), ("two", 2), ("axes", [0]))]
    return model(nodes, [("x", FLOAT, ["n", 3, 4])], [("y", FLOAT, ["n", 12])], numbers)


def ops(proto: ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def constants(proto: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def same(before: ModelProto, after: ModelProto, **feeds: np.ndarray) -> None:
    want, got = (ReferenceEvaluator(each).run(None, feeds) for each in (before, after))
    for one, other in zip(want, got, strict=True):
        np.testing.assert_array_equal(one, other)


def test_static_parts_of_a_symbolic_shape_are_folded() -> None:
    before = flattening()
    after = prepare(before, {}, {})
    assert "Mul" not in ops(after) and constants(after)["cw1"].tolist() == [12]
    assert ops(after)[:1] == ["Shape"], "n stays"
    same(before, after, x=np.arange(24, dtype=np.float32).reshape(2, 3, 4))


def test_a_shape_that_is_given_is_folded_whole() -> None:
    after = prepare(flattening(), {}, {"x": [2, 3, 4]})
    assert ops(after) == ["Reshape"] and constants(after)["to"].tolist() == [2, 12]


def test_the_model_itself_stays_as_it_was() -> None:
    before = flattening()
    text = before.SerializeToString()
    prepare(before, {}, {"x": [2, 3, 4]})
    assert before.SerializeToString() == text


def test_a_models_own_functions_are_inlined() -> None:
    double = make_function("own", "Double", ["a"], ["b"], [make_node("Add", ["a", "a"], ["b"])], [make_opsetid("", 21)])
    nodes = [make_node("Double", ["x"], ["t"], domain="own"), make_node("Double", ["t"], ["y"], domain="own")]
    before = model(nodes, [("x", FLOAT, [2])], [("y", FLOAT, [2])], functions=[double])
    after = prepare(before, {}, {})
    assert ops(after) == ["Add", "Add"]
    same(before, after, x=np.array([1, 2], np.float32))


def test_operators_without_importer_become_what_defines_them() -> None:
    nodes = [
        make_node("NegativeLogLikelihoodLoss", ["t", "c"], ["y"], reduction="none"),
    ]
    nodes.insert(0, make_node("Celu", ["x"], ["t"], alpha=2.0))
    before = model(nodes, [("x", FLOAT, [3, 5]), ("c", INT64, [3])], [("y", FLOAT, [3])])
    after = prepare(before, {}, {})
    assert {"Celu", "NegativeLogLikelihoodLoss"}.isdisjoint(ops(after))
    same(before, after, x=np.linspace(-2, 2, 15, dtype=np.float32).reshape(3, 5), c=np.array([0, 4, 2]))


def test_random_numbers_are_not_constants() -> None:
    nodes = [make_node("RandomNormal", [], ["r"], shape=[2]), make_node("Add", ["x", "r"], ["y"])]
    after = prepare(model(nodes, [("x", FLOAT, [2])], [("y", FLOAT, [2])]), {}, {})
    assert ops(after) == ["RandomNormal", "Add"]


def test_large_weights_stay_data() -> None:
    weight = np.ones((256, 256), np.float32)
    nodes = [make_node("Transpose", ["w"], ["t"]), make_node("MatMul", ["x", "t"], ["y"])]
    before = model(nodes, [("x", FLOAT, [1, 256])], [("y", FLOAT, [1, 256])], [("w", weight)])
    after = prepare(before, {}, {})
    assert ops(after) == ["Transpose", "MatMul"] and list(constants(after)) == ["w"]
    assert [value.name for value in after.graph.input] == ["x"]


def test_inputs_may_be_fixed() -> None:
    nodes = [make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)]
    before = model(nodes, [("x", FLOAT, [2, 3]), ("axes", INT64, [1])], [("y", FLOAT, None)])
    after = prepare(before, {"axes": np.array([1])}, {})
    assert [value.name for value in after.graph.input] == ["x"] and constants(after)["axes"].tolist() == [1]
    with pytest.raises(InputError, match="no input named axis; the model has axes, x"):
        prepare(before, {"axis": np.array([1])}, {})
