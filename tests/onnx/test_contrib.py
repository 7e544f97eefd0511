"""Operators of com.microsoft as functions of ONNX's, which give what ONNX Runtime gives."""

import numpy as np
import pytest
import tvm_webgpu
from onnx import ModelProto, TensorProto
from onnx.helper import make_node, make_opsetid
from onnx.reference import ReferenceEvaluator

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
        "MatMulNBits", ["x", *(name for name, _ in constants)], ["y"], domain=DOMAIN, K=depth, N=columns, bits=bits,
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
