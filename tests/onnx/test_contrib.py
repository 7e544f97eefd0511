"""Operators of com.microsoft as functions of ONNX's, which give what ONNX Runtime gives."""

import numpy as np
import onnxruntime
import pytest
import tvm_webgpu
from onnx import ModelProto, TensorProto
from onnx.helper import make_node, make_opsetid
from onnx.reference import ReferenceEvaluator
from tvm_webgpu.pipeline.frontends.onnx_prepare import prepare

from .graphs import RANDOM, check, floats, model

DOMAIN = "com.microsoft"
# Weights of bytes stay within 7 bits: ONNX Runtime's sums of pairs saturate at 16 bits on some processors.


def contrib(nodes, feeds, constants=()) -> ModelProto:  # type: ignore[no-untyped-def]
    made: ModelProto = model(nodes, feeds, [("y", TensorProto.FLOAT)], constants)
    made.opset_import.append(make_opsetid(DOMAIN, 1))
    return made


@pytest.mark.parametrize(("bits", "zeros"), [(4, True), (4, False), (8, True)])
def test_weights_of_few_bits(bits: int, zeros: bool) -> None:
    depth, columns, size = 72, 5, 32  # the last block is not full
    blocks = -(-depth // size)
    constants = [
        ("b", RANDOM.integers(0, 256, (columns, blocks, size * bits // 8)).astype(np.uint8)),
        ("s", RANDOM.uniform(0.01, 0.1, columns * blocks).astype(np.float32)),
    ]
    if zeros:
        constants.append(("z", RANDOM.integers(0, 256, columns * -(-blocks * bits // 8)).astype(np.uint8)))
    node = make_node(
        "MatMulNBits",
        ["x", *(name for name, _ in constants)],
        ["y"],
        domain=DOMAIN,
        K=depth,
        N=columns,
        bits=bits,
        block_size=size,
    )
    feeds = {"x": floats(3, depth)}
    before = contrib([node], feeds, constants)
    after = check(before, feeds, "MatMulNBits", 1e-4)
    if bits == 4:
        before.graph.output[0].type.tensor_type.shape.dim.add(dim_value=3)
        before.graph.output[0].type.tensor_type.shape.dim.add(dim_value=columns)
        (got,) = tvm_webgpu.load(tvm_webgpu.compile(before)).run(feeds).values()
        (want,) = ReferenceEvaluator(after).run(None, feeds)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 0)])
def test_fused_product(a: int, b: int) -> None:
    feeds = {"p": floats(2, 4, 4), "q": floats(2, 4, 4)}
    node = make_node("FusedMatMul", ["p", "q"], ["y"], domain=DOMAIN, transA=a, transB=b, alpha=0.5)
    check(contrib([node], feeds), feeds, "FusedMatMul")


def test_quick_gelu() -> None:
    feeds = {"x": floats(3, 7) * 4}
    check(contrib([make_node("QuickGelu", ["x"], ["y"], domain=DOMAIN, alpha=1.5)], feeds), feeds, "QuickGelu")


def test_products_quantised_as_they_come() -> None:
    constants = [
        ("w", RANDOM.integers(-63, 64, (8, 5)).astype(np.int8)),
        ("s", RANDOM.uniform(0.01, 0.1, 5).astype(np.float32)),
        ("z", RANDOM.integers(-9, 9, 5).astype(np.int8)),
        ("bias", floats(5)),
    ]
    node = make_node("DynamicQuantizeMatMul", ["x", *(name for name, _ in constants)], ["y"], domain=DOMAIN)
    feeds = {"x": floats(3, 8)}
    check(contrib([node], feeds, constants), feeds, "DynamicQuantizeMatMul", 1e-4)


def test_products_of_whole_numbers_as_floats() -> None:
    feeds = {"a": RANDOM.integers(0, 256, (3, 8)).astype(np.uint8)}
    constants = [
        ("w", RANDOM.integers(-63, 64, (8, 5)).astype(np.int8)),
        ("sa", np.float32(0.02)),
        ("sw", RANDOM.uniform(0.01, 0.1, 5).astype(np.float32)),
        ("za", np.uint8(128)),
        ("zw", np.zeros(5, np.int8)),
        ("bias", floats(5)),
    ]
    node = make_node("MatMulIntegerToFloat", ["a", *(name for name, _ in constants)], ["y"], domain=DOMAIN)
    check(contrib([node], feeds, constants), feeds, "MatMulIntegerToFloat", 1e-4)


SCALES = {"x": 0.02, "a": 0.03, "y": 0.05}
QUANTISED = [(f"{name}_s", np.float32(scale)) for name, scale in SCALES.items()]
QUANTISED += [(f"{name}_z", np.uint8(zero)) for name, zero in zip(SCALES, (128, 120, 100), strict=True)]
X, A, Y = (["x", "x_s", "x_z"], ["a", "a_s", "a_z"], ["y_s", "y_z"])


def within_a_step(before: ModelProto, feeds: dict[str, np.ndarray], gone: str) -> None:
    """What ONNX Runtime gives, but for ties of rounding."""
    before.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    before.opset_import[0].version = 21
    after = prepare(before, {}, {})
    assert gone not in {node.op_type for node in after.graph.node}
    session = onnxruntime.InferenceSession(before.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,), (got,) = session.run(None, feeds), ReferenceEvaluator(after).run(None, feeds)
    assert got.dtype == want.dtype and got.shape == want.shape and np.ptp(want) > 0
    gap = np.abs(got.astype(int) - want)
    assert gap.max() <= 1 and (gap > 0).mean() < 0.1


@pytest.mark.parametrize(
    ("name", "inputs", "attrs"),
    [
        ("QLinearAdd", [*X, *A, *Y], {}),
        ("QLinearMul", [*X, *A, *Y], {}),
        ("QLinearSigmoid", [*X, *Y], {}),
        ("QLinearLeakyRelu", [*X, *Y], {"alpha": 0.1}),
        ("QLinearSoftmax", [*X, *Y], {"axis": 1, "opset": 13}),
        ("QLinearGlobalAveragePool", [*X, *Y], {"channels_last": 0}),
        ("QLinearAveragePool", [*X, *Y], {"kernel_shape": [2, 2], "strides": [1, 2]}),
        ("QLinearConcat", [*Y, *X, *A], {"axis": 1}),
    ],
)
def test_operators_on_quantised_numbers(name: str, inputs: list[str], attrs: dict) -> None:
    feeds = {key: RANDOM.integers(0, 256, (1, 3, 4, 5)).astype(np.uint8) for key in ("x", "a") if key in inputs}
    node = make_node(name, inputs, ["y"], domain=DOMAIN, **attrs)
    before = contrib([node], feeds, QUANTISED)
    within_a_step(before, feeds, name)


@pytest.mark.parametrize("quantised", [True, False])
def test_quantised_gemm(quantised: bool) -> None:
    constants = [
        *QUANTISED,
        ("w", RANDOM.integers(-63, 64, (4, 6)).astype(np.int8)),
        ("w_s", RANDOM.uniform(0.01, 0.05, 4).astype(np.float32)),
        ("w_z", np.zeros(4, np.int8)),
        ("bias", RANDOM.integers(-500, 500, 4).astype(np.int32)),
    ]
    names = [*X, "w", "w_s", "w_z", "bias", *(Y if quantised else [])]
    feeds = {"x": RANDOM.integers(0, 256, (3, 6)).astype(np.uint8)}
    before = contrib([make_node("QGemm", names, ["y"], domain=DOMAIN, transB=1)], feeds, constants)
    before.opset_import[0].version = 21
    if quantised:
        within_a_step(before, feeds, "QGemm")
    else:
        check(before, feeds, "QGemm", 1e-4)
