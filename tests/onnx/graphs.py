"""Small ONNX models for tests of the rewriting ahead of the import, and the comparison with ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
from onnx import ModelProto, numpy_helper
from onnx.helper import make_graph, make_model, make_opsetid, make_tensor_value_info, np_dtype_to_tensor_dtype
from onnx.reference import ReferenceEvaluator
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare

RANDOM = np.random.default_rng(7)


def model(nodes, feeds, outputs, constants=(), opset: int = 17) -> ModelProto:  # type: ignore[no-untyped-def]
    """`feeds` gives the inputs' types and shapes, `outputs` are (name, element type)."""
    graph = make_graph(
        nodes,
        "test",
        [make_tensor_value_info(n, np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()],
        [make_tensor_value_info(name, kind, None) for name, kind in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants],
    )
    return make_model(graph, opset_imports=[make_opsetid("", opset)], ir_version=9)


def check(before: ModelProto, feeds: dict[str, np.ndarray], gone: str, tolerance: float = 1e-5) -> ModelProto:
    """Without the operator, the model gives what ONNX Runtime gives with it."""
    after = prepare(before, {}, {})
    assert gone not in {node.op_type for node in after.graph.node}
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4
    session = onnxruntime.InferenceSession(before.SerializeToString(), quiet, providers=["CPUExecutionProvider"])
    want = session.run(None, feeds)
    got = ReferenceEvaluator(after).run(None, feeds)
    for one, other in zip(want, got, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
    return after


def floats(*shape: int) -> np.ndarray:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)
