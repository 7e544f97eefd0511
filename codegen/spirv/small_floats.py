"""Floats of 8 bits: their bits in, an f32 out, and back with one rounding to nearest, as ml_dtypes has them.

What is too large becomes infinity, or NaN in the formats without one; `float8_e8m0fnu` has powers of two only: zero and
negative numbers become NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm_webgpu.codegen.spirv.arith import binary, bitcast, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.opcodes import Op
from tvm_webgpu.codegen.spirv.values import Val, const

NAN = 0x7FC00000


@dataclass(frozen=True, slots=True)
class Format:
    """Bits of the mantissa, the exponent's bias, the largest finite number's bits, and those of all that is larger."""

    mantissa: int
    bias: int
    largest: int
    beyond: int
    nan: int
    sign: int = 0x80  # 0: there is none


FORMATS = {
    "float8_e4m3fn": Format(3, 7, 0x7E, 0x7F, 0x7F),
    "float8_e5m2": Format(2, 15, 0x7B, 0x7C, 0x7E),
    "float8_e8m0fnu": Format(0, 127, 0xFE, 0xFF, 0xFF, sign=0),
}


def _u32(b: Builder, value: int) -> Val:
    return const(b, "u32", value)


def _f32(b: Builder, bits: Val) -> Val:
    return bitcast(b, "f32", bits)


def _bit(b: Builder, kind: str, x: Val, n: int) -> Val:
    return binary(b, kind, x, _u32(b, n))


def encode(b: Builder, x: Val, format: Format) -> Val:
    """The 8 bits of an f32 as u32."""
    bits = bitcast(b, "u32", x)
    size = _bit(b, "BitwiseAnd", bits, 0x7FFFFFFF)
    drop = 23 - format.mantissa
    # Ties go to even; between powers of two, up.
    odd = _bit(b, "BitwiseAnd", _bit(b, "RShift", size, drop), 1) if format.mantissa else _u32(b, 1)
    rounded = _bit(b, "RShift", binary(b, "Add", size, _bit(b, "Add", odd, (1 << (drop - 1)) - 1)), drop)
    result = _bit(b, "Sub", rounded, (127 - format.bias) << format.mantissa)
    if format.bias < 127:
        # Below the normal numbers: added to what has the least one for its last bit, it is rounded to that.
        least = 2.0 ** (1 - format.bias - format.mantissa + 23)
        anchor = const(b, "f32", least)
        tiny = binary(b, "Sub", bitcast(b, "u32", binary(b, "Add", _f32(b, size), anchor)), bitcast(b, "u32", anchor))
        result = select(b, _bit(b, "LT", size, (128 - format.bias) << 23), tiny, result)
    result = select(b, _bit(b, "GT", result, format.largest), _u32(b, format.beyond), result)
    result = select(b, _bit(b, "GT", size, 0x7F800000), _u32(b, format.nan), result)
    if not format.sign:
        none = binary(b, "Or", _bit(b, "EQ", size, 0), _bit(b, "GE", bits, 0x80000000))
        return select(b, none, _u32(b, format.nan), result)
    return binary(b, "BitwiseOr", result, _bit(b, "BitwiseAnd", _bit(b, "RShift", bits, 24), format.sign))


def decode(b: Builder, bits: Val, format: Format) -> Val:
    """The f32 of 8 bits in a u32."""
    if not format.sign:
        least = select(b, _bit(b, "EQ", bits, 0), _u32(b, 0x400000), _bit(b, "LShift", bits, 23))
        return _f32(b, select(b, _bit(b, "EQ", bits, format.nan), _u32(b, NAN), least))
    size = _bit(b, "BitwiseAnd", bits, 0x7F)
    sign = _bit(b, "LShift", _bit(b, "BitwiseAnd", bits, format.sign), 24)
    exponent = _bit(b, "RShift", size, format.mantissa)
    normal = _bit(b, "Add", _bit(b, "LShift", size, 23 - format.mantissa), (127 - format.bias) << 23)
    step = const(b, "f32", 2.0 ** (1 - format.bias - format.mantissa))
    count = Val("f32", (b.op(Op.ConvertUToF, b.f32, size.id),))
    tiny = bitcast(b, "u32", binary(b, "Mul", count, step))
    value = select(b, _bit(b, "EQ", exponent, 0), tiny, normal)
    special = _u32(b, NAN)
    if format.beyond != format.nan:
        special = select(b, _bit(b, "EQ", size, format.beyond), _u32(b, 0x7F800000), special)
    value = select(b, _bit(b, "GT", size, format.largest), special, value)
    return _f32(b, binary(b, "BitwiseOr", value, sign))


def field(format: Format) -> tuple[Callable[[Builder, Val, Val], Val], Callable[[Builder, Val], Val]]:
    """How a byte of a word is read as an f32, and an f32 written as one: a row of `fields.FIELDS`."""
    def get(b: Builder, word: Val, offset: Val) -> Val:
        byte = Val("u32", (b.op(Op.BitFieldUExtract, b.u32, word.id, offset.id, b.constant(b.u32, 8)),))
        return decode(b, byte, format)

    return get, lambda b, x: encode(b, x, format)
