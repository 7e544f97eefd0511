"""Elements narrower than a word: their bits out of a u32 and into one; the table of codecs is `FIELDS`."""

from __future__ import annotations

from collections.abc import Callable

from tvm_webgpu.codegen.spirv import rounding, small_floats, wide
from tvm_webgpu.codegen.spirv.arith import binary, bitcast, convert, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Val


def _get_int(b: Builder, word: Val, offset: Val, bits: int, signed: bool) -> Val:
    rep = "i32" if signed else "u32"
    op = Op.BitFieldSExtract if signed else Op.BitFieldUExtract
    return Val(rep, (b.op(op, getattr(b, rep), bitcast(b, rep, word).id, offset.id, b.constant(b.u32, bits)),))


def _put_int(b: Builder, x: Val, bits: int) -> Val:
    return binary(b, "BitwiseAnd", bitcast(b, "u32", x), wide.u32(b, 2**bits - 1))


def _get_half(b: Builder, word: Val, offset: Val) -> Val:
    bits = binary(b, "RShift", word, offset)
    both = b.ext(Ext.UnpackHalf2x16, b.vector(b.f32, 2), bits.id)
    return Val("f32", (b.op(Op.CompositeExtract, b.f32, both, 0),))


def _put_half(b: Builder, x: Val) -> Val:
    """Nearest f16; WGSL leaves packing of what overflows and of NaN undefined, so these are put in by their bits."""
    both = b.op(Op.CompositeConstruct, b.vector(b.f32, 2), x.id, b.constant(b.f32, 0.0))
    packed = Val("u32", (b.ext(Ext.PackHalf2x16, b.u32, both),))
    bits = bitcast(b, "u32", x)
    size = binary(b, "BitwiseAnd", bits, wide.u32(b, 0x7FFFFFFF))
    sign = binary(b, "BitwiseAnd", binary(b, "RShift", bits, wide.u32(b, 16)), wide.u32(b, 0x8000))
    nan = binary(b, "GT", size, wide.u32(b, 0x7F800000))
    special = binary(b, "BitwiseOr", sign, select(b, nan, wide.u32(b, 0x7E00), wide.u32(b, 0x7C00)))
    return select(b, binary(b, "GE", size, wide.u32(b, rounding.TOO_LARGE)), special, packed)


def _get_brain(b: Builder, word: Val, offset: Val) -> Val:
    bits = binary(b, "LShift", binary(b, "RShift", word, offset), wide.u32(b, 16))
    return bitcast(b, "f32", bits)


def _put_brain(b: Builder, x: Val) -> Val:
    return binary(b, "RShift", rounding.brain_bits(b, x), wide.u32(b, 16))


Get = Callable[[Builder, Val, Val], Val]
Put = Callable[[Builder, Val], Val]
FIELDS: dict[str, tuple[Get, Put]] = {
    "bool": (lambda b, w, o: convert(b, _get_int(b, w, o, 8, False), "bool", "bool"),
             lambda b, x: convert(b, x, "u32", "uint32")),
    "int8": (lambda b, w, o: _get_int(b, w, o, 8, True), lambda b, x: _put_int(b, x, 8)),
    "uint8": (lambda b, w, o: _get_int(b, w, o, 8, False), lambda b, x: _put_int(b, x, 8)),
    "int16": (lambda b, w, o: _get_int(b, w, o, 16, True), lambda b, x: _put_int(b, x, 16)),
    "uint16": (lambda b, w, o: _get_int(b, w, o, 16, False), lambda b, x: _put_int(b, x, 16)),
    "float16": (_get_half, _put_half),
    "bfloat16": (_get_brain, _put_brain),
    **{name: small_floats.field(format) for name, format in small_floats.FORMATS.items()},
}
