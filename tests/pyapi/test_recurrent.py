"""Recurrent layers of ONNX for any number of steps, beside ONNX Runtime; kernels do not grow with the steps."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tvm_webgpu.executor import Executor
from tvm_webgpu.pipeline.build import compile

RNG = np.random.default_rng(8)
BATCH, SIZE, UNITS = 3, 4, 6
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def values(*shape: int) -> np.ndarray:
    return RNG.normal(0, 0.6, shape).astype("float32")


def layer(op: str, ways: int, attributes: Mapping[str, object], given: tuple[str, ...]) -> onnx.ModelProto:
    """A layer of this operator with open steps and batch, and of its optional inputs those that are `given`."""
    rows = GATES[op] * UNITS
    weights = {"w": values(ways, rows, SIZE), "r": values(ways, rows, UNITS), "b": values(ways, 2 * rows)}
    weights |= {"p": values(ways, 3 * UNITS)} if "p" in given else {}
    kinds = {"x": TensorProto.FLOAT, "lengths": TensorProto.INT32, "h": TensorProto.FLOAT, "c": TensorProto.FLOAT}
    shapes = {"x": ["steps", "batch", SIZE], "lengths": ["batch"], **{name: [ways, "batch", UNITS] for name in "hc"}}
    order = ["x", "w", "r", "b", "lengths", "h", *(["c", "p"] if op == "LSTM" else [])]
    names = [name if name in ("x", "w", "r", *given) else "" for name in order]
    outputs = ["y", "y_h", *(["y_c"] if op == "LSTM" else [])]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, hidden_size=UNITS, **attributes)],
        "layer",
        [helper.make_tensor_value_info(name, kinds[name], shapes[name]) for name in kinds if name in ("x", *given)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items() if name in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=9)


CASES = {
    "bare": ("LSTM", "forward", {}, ()),
    "lstm": ("LSTM", "bidirectional", {}, ("b", "lengths", "h", "c", "p")),
    "resets the state": ("GRU", "forward", {"linear_before_reset": 0}, ("b", "lengths", "h")),
    "resets the product": (
        "GRU",
        "bidirectional",
        {"linear_before_reset": 1, "activations": ["HardSigmoid", "Softsign", "Sigmoid", "Tanh"], "clip": 0.9},
        ("b", "h"),
    ),
    "backwards": ("RNN", "reverse", {"activations": ["LeakyRelu"], "activation_alpha": [0.3]}, ("b", "lengths")),
}


@pytest.mark.parametrize("name", CASES)
def test_any_number_of_steps(name: str) -> None:
    op, direction, attributes, given = CASES[name]
    ways = 2 if direction == "bidirectional" else 1
    model = layer(op, ways, {"direction": direction, **attributes}, given)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    package = compile(model)
    assert len(package.kernels) <= 6
    with Executor(package) as executor:
        for steps in (1, 5, 12):
            inputs = {"x": values(steps, BATCH, SIZE), "h": values(ways, BATCH, UNITS), "c": values(ways, BATCH, UNITS)}
            inputs["lengths"] = np.array([steps, 1, (steps + 1) // 2], np.int32)
            inputs = {key: array for key, array in inputs.items() if key in ("x", *given)}
            found = executor.run(inputs)
            for key, expected in zip(["y", "y_h", "y_c"], session.run(None, inputs)):
                np.testing.assert_allclose(found[key], expected, 1e-5, 1e-5, err_msg=f"{key}, {steps} steps")


def test_in_half_precision() -> None:
    """Products are in float16, the kernels of the steps take float32 as before."""
    model = layer("LSTM", 1, {"direction": "forward"}, ("b",))
    package = compile(model, features=["f16"], mixed_precision=True)
    assert "shader-f16" in package.features
    assert [spec.dtype for spec in (*package.entries[0].inputs, *package.entries[0].outputs)] == ["float32"] * 4
