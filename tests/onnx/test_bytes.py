"""Whole numbers of 2 and 4 bits become bytes ahead of the import, with the values that ONNX Runtime has."""

import ml_dtypes
import numpy as np
import pytest
import tvm_webgpu
from onnx import TensorProto
from onnx.helper import make_node
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_shapes
from tvm_webgpu.pipeline.frontends.onnx_bytes import SMALL
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare

from .graphs import RANDOM, check, floats, model


def test_weights_of_4_bits_in_blocks() -> None:
    feeds = {"x": floats(3, 8)}
    weights = RANDOM.integers(-8, 8, (8, 5)).astype(ml_dtypes.int4)
    constants = [("w", weights), ("s", RANDOM.uniform(0.1, 1, (4, 5)).astype(np.float32)),
                 ("z", RANDOM.integers(-8, 8, (4, 5)).astype(ml_dtypes.int4))]
    nodes = [
        make_node("DequantizeLinear", ["w", "s", "z"], ["wide"], axis=0, block_size=2),
        make_node("MatMul", ["x", "wide"], ["y"]),
    ]
    before = model(nodes, feeds, [("y", TensorProto.FLOAT)], constants, opset=21)
    after = check(before, feeds, "DequantizeLinear")
    assert not any(tensor.data_type in SMALL for tensor in after.graph.initializer)
    (got,) = tvm_webgpu.load(tvm_webgpu.compile(infer_shapes(before))).run(feeds).values()
    (want,) = ReferenceEvaluator(after).run(None, feeds)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["int4", "uint4"])
def test_quantised_to_4_bits(name: str) -> None:
    feeds = {"x": np.concatenate([floats(60) * 20, np.float32([1e9, -1e9, 2.5, -3.5])])}
    constants = [("s", np.float32(1.0)), ("z", np.array(3, getattr(ml_dtypes, name)))]
    nodes = [
        make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    before = model(nodes, feeds, [("y", TensorProto.FLOAT)], constants, opset=21)
    check(before, feeds, "none")
    (got,) = tvm_webgpu.load(tvm_webgpu.compile(infer_shapes(before))).run(feeds).values()
    (want,) = ReferenceEvaluator(prepare(before, {}, {})).run(None, feeds)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("kind", "name"), [(22, "int4"), (21, "uint4"), (26, "int2"), (25, "uint2")])
def test_casts_keep_the_low_bits(kind: int, name: str) -> None:
    values = np.arange(-40, 40, dtype=np.int8)
    nodes = [make_node("Cast", ["x"], ["q"], to=kind), make_node("Cast", ["q"], ["y"], to=TensorProto.INT32)]
    before = model(nodes, {"x": values}, [("q", kind), ("y", TensorProto.INT32)], opset=25)
    after = prepare(before, {}, {})
    q, y = ReferenceEvaluator(after).run(None, {"x": values})
    assert q.dtype == ("uint8" if name.startswith("u") else "int8")
    np.testing.assert_array_equal(y, values.astype(getattr(ml_dtypes, name)).astype(np.int32))
    np.testing.assert_array_equal(q, y)


def test_a_model_without_them_stays_as_it_is() -> None:
    feeds = {"x": floats(3)}
    before = model([make_node("Relu", ["x"], ["y"])], feeds, [("y", TensorProto.FLOAT)])
    assert [node.op_type for node in prepare(before, {}, {}).graph.node] == ["Relu"]
