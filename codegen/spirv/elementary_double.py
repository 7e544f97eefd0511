"""Elementary functions of doubles out of SPIR-V's arithmetic on them, which the WGSL translation makes exact."""

from __future__ import annotations

from math import inf

from tvm_webgpu.codegen.spirv.arith import binary, double_of, double_words, is_nan
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.elementary import Function, div, ext, num
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Val, const


def remainder(b: Builder, x: Val, y: Val) -> Val:
    """C's fmod, exact."""
    return Val("f64", (b.op(Op.FRem, b.f64, x.id, y.id),))


def copysign(b: Builder, x: Val, y: Val) -> Val:
    (low, high), (_, other) = double_words(b, x), double_words(b, y)
    size = binary(b, "BitwiseAnd", high, const(b, "u32", 0x7FFFFFFF))
    sign = binary(b, "BitwiseAnd", other, const(b, "u32", 0x80000000))
    return double_of(b, low, binary(b, "BitwiseOr", size, sign))


def square_root(b: Builder, x: Val) -> Val:
    return ext(b, Ext.Sqrt, x)


def size(b: Builder, x: Val) -> Val:
    return ext(b, Ext.FAbs, x)


FUNCTIONS: dict[str, Function] = {
    "sqrt": square_root,
    "rsqrt": lambda b, x: div(b, num(b, x, 1.0), square_root(b, x)),
    "fmod": remainder,
    "copysign": copysign,
    "isnan": is_nan,
    "isinf": lambda b, x: binary(b, "EQ", size(b, x), num(b, x, inf)),
    "isfinite": lambda b, x: binary(b, "LT", size(b, x), num(b, x, inf)),
}
"""By the name that TIR calls them; the others have no form, and `intrinsics.call` says so."""
