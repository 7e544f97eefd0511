"""Operators of ONNX Runtime's own domain, com.microsoft, that optimised and quantised models on the web are made of.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md says what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_webgpu.pipeline.frontends.onnx_body import Body, Definition
from tvm_webgpu.pipeline.frontends.onnx_qlinear import QLINEAR
from tvm_webgpu.pipeline.frontends.onnx_quantize import dynamic_quantize

DOMAIN = "com.microsoft"
FLOAT, UINT8 = 1, 2


def _unpacked(body: Body, packed: str, bits: int, rows: int) -> str:
    """Whole numbers of some bits, the lowest of each byte first: [rows, numbers] of uint8."""
    if bits == 8:
        return body.Reshape(packed, np.array([rows, -1]))
    parts = [
        body.Mod(body.Div(packed, np.array(1 << at, np.uint8)), np.array(1 << bits, np.uint8))
        for at in range(0, 8, bits)
    ]
    apart = [body.Reshape(part, np.array([rows, -1, 1])) for part in parts]
    return body.Reshape(body.Concat(*apart, axis=2), np.array([rows, -1]))


def matmul_bits(body: Body) -> Sequence[str]:
    """A times the transpose of weights of 2, 4 or 8 bits, with a scale and a zero point for each block of a column."""
    depth, columns, size = body.attr("K"), body.attr("N"), body.attr("block_size")
    bits, blocks = body.attr("bits", 4), -(-depth // size)
    if bits not in (2, 4, 8) or body.has(4):
        raise body.unsupported("weights of 2, 4 or 8 bits whose order is their own (no g_idx) can")
    shape = np.array([columns, blocks, -1])
    weights = body.Cast(body.Reshape(_unpacked(body, body.input(1), bits, columns), shape), to=FLOAT)
    scales = body.Reshape(body.Cast(body.input(2), to=FLOAT), shape)
    zero: object = np.array(1 << (bits - 1), np.float32)
    if body.has(3) and body.dtype(3) == UINT8:  # packed as the weights are, each column on its own
        numbers = _unpacked(body, body.input(3), bits, columns)
        kept = body.Slice(numbers, starts=[0], ends=[blocks], axes=[1])
        zero = body.Reshape(body.Cast(kept, to=FLOAT), shape)
    elif body.has(3):
        zero = body.Reshape(body.Cast(body.input(3), to=FLOAT), shape)
    whole = body.Reshape(body.Mul(body.Sub(weights, zero), scales), np.array([columns, -1]))
    if blocks * size > depth:
        whole = body.Slice(whole, starts=[0], ends=[depth], axes=[1])
    whole = body.Cast(body.Transpose(whole, perm=[1, 0]), to=body.dtype(0))
    product = body.MatMul(body.input(0), whole)
    return [body.Add(product, body.input(5)) if body.has(5) else product]


def fused_matmul(body: Body) -> Sequence[str]:
    """alpha times the product, of operands that may be transposed first."""
    if body.attr("transBatchA", 0) or body.attr("transBatchB", 0):
        raise body.unsupported("transposed batches can't; transposed matrices can")

    def operand(index: int, transposed: int) -> str:
        rank = len(body.dims(index)) if transposed else 0
        if rank < 2:
            return body.input(index)
        return body.Transpose(body.input(index), perm=[*range(rank - 2), rank - 1, rank - 2])

    product = body.MatMul(operand(0, body.attr("transA", 0)), operand(1, body.attr("transB", 0)))
    alpha = body.attr("alpha", 1.0)
    return [product if alpha == 1.0 else body.Mul(product, body.scalar(alpha, 0))]


def quick_gelu(body: Body) -> Sequence[str]:
    """x * sigmoid(alpha * x)."""
    x = body.input(0)
    return [body.Mul(x, body.Sigmoid(body.Mul(x, body.scalar(body.attr("alpha", 1.702), 0))))]


def _scaled_product(body: Body, a: str, b: str, zeros: tuple[str, str | None], scale: str, bias: int) -> list[str]:
    """The product of whole numbers less their zero points, as float32."""
    a_zero, b_zero = zeros
    sums = body.MatMulInteger(a, b, a_zero, *([b_zero] if b_zero else []))
    product = body.Mul(body.Cast(sums, to=FLOAT), scale)
    return [body.Add(product, body.input(bias)) if body.has(bias) else product]


def dynamic_quantize_matmul(body: Body) -> Sequence[str]:
    """A, quantised as it comes, times quantised B: A, B, B's scale and zero point, bias."""
    a, scale, zero = dynamic_quantize(body)
    both = body.Mul(scale, body.input(2))
    return _scaled_product(body, a, body.input(1), (zero, body.input(3) if body.has(3) else None), both, 4)


def matmul_integer_to_float(body: Body) -> Sequence[str]:
    """A and B, their scales, their zero points, bias."""
    zero = body.input(4) if body.has(4) else body.name(body.scalar(0, 0))
    both = body.Mul(body.input(2), body.input(3))
    return _scaled_product(body, body.input(0), body.input(1), (zero, body.input(5) if body.has(5) else None), both, 6)


CONTRIB: Mapping[str, Definition] = {
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "FusedMatMul": fused_matmul,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "MatMulNBits": matmul_bits,
    "QuickGelu": quick_gelu,
    **QLINEAR,
}
"""The definition of each."""
