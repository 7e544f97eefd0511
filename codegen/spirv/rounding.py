"""Floats of 8 and 16 bits that are computed as f32: what a cast to them leaves of an f32.

Rounded to nearest, ties to even; what is too large becomes infinity, or NaN in a format without one.
"""

from __future__ import annotations

from tvm_webgpu.codegen.spirv import small_floats
from tvm_webgpu.codegen.spirv.arith import binary, bitcast, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.dtypes import FLOAT8, INT_RANGE, DType
from tvm_webgpu.codegen.spirv.facts import Fact
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Lanes, Val, Value, const, join, split

# The whole numbers that each has, up to this size.
WHOLE = {"float16": 2**11, "bfloat16": 2**8, "float8_e4m3fn": 2**4, "float8_e5m2": 2**3, "float8_e8m0fnu": 1}
_HELD = {(small, large) for small in FLOAT8[:2] for large in ("float16", "bfloat16")} | {(FLOAT8[2], "bfloat16")}
TOO_LARGE = 0x477FF000
"""The bits of 65520: from here on f16 has infinity."""


def loses(source: DType, fact: Fact | None, target: DType) -> bool:
    """Whether a cast to one of these may round; `fact` is what is known of an integer."""
    if source.is_int:
        lo, hi = (fact.lo, fact.hi) if fact is not None else INT_RANGE[source.name]
        return not -WHOLE[target.name] <= lo <= hi <= WHOLE[target.name]
    return source.name != target.name and (source.name, target.name) not in _HELD


def rounded(b: Builder, value: Value, dtype: str) -> Value:
    """The nearest that the dtype has, as f32."""
    if isinstance(value, Lanes):
        return join(b, [_rounded(b, lane, dtype) for lane in value.elems])
    return _rounded(b, value, dtype)


def _rounded(b: Builder, x: Val, dtype: str) -> Val:
    if dtype == "float16":
        return _half(b, x)
    if dtype == "bfloat16":
        return bitcast(b, "f32", binary(b, "BitwiseAnd", brain_bits(b, x), const(b, "u32", 0xFFFF0000, x.lanes)))
    format = small_floats.FORMATS[dtype]
    lanes = [small_floats.decode(b, small_floats.encode(b, lane, format), format) for lane in split(b, x)]
    return join(b, lanes)  # type: ignore[return-value]


def _half(b: Builder, x: Val) -> Val:
    """By packing and unpacking two at a time; what overflows, WGSL leaves that undefined, gets its bits otherwise."""
    pair = b.vector(b.f32, 2)
    if x.lanes == 1:
        pairs = [b.op(Op.CompositeConstruct, pair, x.id, b.constant(b.f32, 0.0))]
    elif x.lanes == 2:
        pairs = [x.id]
    else:
        pairs = [b.op(Op.VectorShuffle, pair, x.id, x.id, i, min(i + 1, x.lanes - 1)) for i in range(0, x.lanes, 2)]
    halves = [b.ext(Ext.UnpackHalf2x16, pair, b.ext(Ext.PackHalf2x16, b.u32, both)) for both in pairs]
    near = [Val("f32", (b.op(Op.CompositeExtract, b.f32, half, i),)) for half in halves for i in (0, 1)][: x.lanes]
    bits = bitcast(b, "u32", x)
    size = binary(b, "BitwiseAnd", bits, const(b, "u32", 0x7FFFFFFF, x.lanes))
    beyond = binary(b, "Max", size, const(b, "u32", 0x7F800000, x.lanes))  # infinity, or the NaN that it is
    sign = binary(b, "BitwiseAnd", bits, const(b, "u32", 0x80000000, x.lanes))
    special = bitcast(b, "f32", binary(b, "BitwiseOr", beyond, sign))
    large = binary(b, "GE", size, const(b, "u32", TOO_LARGE, x.lanes))
    return select(b, large, special, join(b, near))  # type: ignore[arg-type]


def brain_bits(b: Builder, x: Val) -> Val:
    """An f32's bits whose upper half is the nearest bfloat16; a NaN stays one."""
    def word(value: int) -> Val:
        return const(b, "u32", value, x.lanes)

    bits = bitcast(b, "u32", x)
    odd = binary(b, "BitwiseAnd", binary(b, "RShift", bits, word(16)), word(1))
    nearest = binary(b, "Add", bits, binary(b, "Add", odd, word(0x7FFF)))
    size = binary(b, "BitwiseAnd", bits, word(0x7FFFFFFF))
    nan = binary(b, "GT", size, word(0x7F800000))
    return select(b, nan, binary(b, "BitwiseOr", bits, word(0x400000)), nearest)
