"""From an ONNX model to results on a device, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm_webgpu
from onnx import TensorProto, helper, numpy_helper
from tvm_webgpu.errors import InputError
from tvm_webgpu.executor import Executor
from tvm_webgpu.pipeline.build import compile
from tvm_webgpu.pipeline.target import resolve_target

from tests.pyapi.models import mlp, model

RNG = np.random.default_rng(3)


def values(*shape: int) -> np.ndarray:
    return RNG.normal(0, 1, shape).astype("float32")


def check(made: onnx.ModelProto, *cases: dict[str, np.ndarray], tolerance: float = 1e-5) -> tvm_webgpu.Package:
    """Compiles once, runs every case, compares all outputs with ONNX Runtime."""
    package = compile(made)
    session = onnxruntime.InferenceSession(made.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    with Executor(package) as executor:
        for inputs in cases:
            actual = executor.run(inputs)
            for name, expected in zip(names, session.run(None, inputs)):
                assert actual[name].dtype == expected.dtype
                np.testing.assert_allclose(actual[name], expected, tolerance, tolerance, err_msg=name)
    return package


def test_dynamic_batch() -> None:
    package = check(mlp(), {"x": values(1, 8)}, {"x": values(7, 8)}, {"x": values(300, 8)})
    assert [param.shape for param in package.params] == [(8, 16), (16,), (16, 3)]
    assert "first.bias" in [param.name for param in package.params]
    assert package.entries[0].storage == ("64 * batch", "12 * batch", "batch * 12")


def test_same_model_same_bytes() -> None:
    assert compile(mlp()).files() == compile(mlp()).files()


def test_more_tensors_than_a_kernel_can_bind() -> None:
    names = [f"x{i}" for i in range(12)]
    nodes = [helper.make_node("Sum", names, ["total"]), helper.make_node("Concat", [*names, "total"], ["y"], axis=1)]
    made = model(nodes, dict.fromkeys(names, ("n", 4)), {"y": ("n", 52)})
    package = check(made, {name: values(3, 4) for name in names})
    assert max(len(kernel.bindings) for kernel in package.kernels) <= 8


def test_integers_and_booleans() -> None:
    nodes = [
        helper.make_node("ArgMax", ["x"], ["index"], axis=1, keepdims=0),
        helper.make_node("Gather", ["table", "index"], ["rows"], axis=0),
        helper.make_node("Greater", ["x", "zero"], ["positive"]),
        helper.make_node("Where", ["positive", "x", "zero"], ["clipped"]),
        helper.make_node("Add", ["ids", "big"], ["far"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 6)),
        helper.make_tensor_value_info("ids", TensorProto.INT64, ("n",)),
    ]
    outputs = [
        helper.make_tensor_value_info("index", TensorProto.INT64, ("n",)),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, ("n", 3)),
        helper.make_tensor_value_info("positive", TensorProto.BOOL, ("n", 6)),
        helper.make_tensor_value_info("clipped", TensorProto.FLOAT, ("n", 6)),
        helper.make_tensor_value_info("far", TensorProto.INT64, ("n",)),
    ]
    weights = {"table": values(6, 3), "zero": np.float32(0), "big": np.int64(2**40 + 5)}
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    check(made, *({"x": values(n, 6), "ids": RNG.integers(-(2**50), 2**50, n)} for n in (1, 5)))


def test_an_output_as_large_as_its_values_say() -> None:
    node = helper.make_node("NonZero", ["x"], ["y"])
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n",))]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT64, (1, "k"))]
    made = helper.make_model(
        helper.make_graph([node], "g", inputs, outputs), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 9
    check(made, *({"x": values(n).round()} for n in (1, 9, 300)))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("llvm", "'llvm' is not webgpu"),
        ("webgpux", "not a target"),
        ({"kind": "webgpu", "feature.warp": True}, "unknown target feature feature.warp; known are feature.f16"),
    ],
)
def test_bad_target(target: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile(mlp(), target)


def test_matrix_units_come_with_their_workgroup_memory() -> None:
    assert resolve_target(features=["f16"]).attrs["max_shared_memory_per_block"] == 16384
    target = resolve_target(features=["f16", "subgroups", "subgroup_matrix"])
    assert target.attrs["feature.workgroup_memory"] == target.attrs["max_shared_memory_per_block"] == 32768
    less = resolve_target({"kind": "webgpu", "feature.workgroup_memory": 16384}, ["subgroup_matrix"])
    assert less.attrs["max_shared_memory_per_block"] == 16384


def test_mixed_precision(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the target feature f16"):
        compile(mlp(), mixed_precision=True)
    package = compile(mlp(), features=["f16"], mixed_precision=True)
    assert package.features == ("shader-f16",)
    assert [spec.dtype for spec in (*package.entries[0].inputs, *package.entries[0].outputs)] == ["float32"] * 2
    assert "float16" in {param.dtype for param in package.params}
    x = values(4, 8)
    (expected,) = onnxruntime.InferenceSession(mlp().SerializeToString()).run(None, {"x": x})
    with Executor(package) as executor:
        np.testing.assert_allclose(executor.run({"x": x})["y"], expected, 2e-2, 2e-3)
