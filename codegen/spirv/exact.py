"""Functions of floats whose results are exact: quotients, remainders, neighbours, scaling by powers of 2, classes.

They go by the bits where WGSL promises too little: its fma may round twice, and NaN and infinities may be taken for
absent.
"""

from __future__ import annotations

from tvm_webgpu.codegen.spirv.arith import binary, bitcast, convert, is_nan, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.elementary import (
    NAN,
    Function,
    ext,
    float_of,
    in_f32,
    keeping_nan,
    mul,
    num,
    with_sign_of,
)  # fmt: skip
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Val, const, join, split

INFINITY = 0x7F800000


def _word(b: Builder, like: Val, value: int) -> Val:
    return const(b, "u32", value, like.lanes)


def _size_bits(b: Builder, x: Val) -> Val:
    """The bits of |x|, which are in the order of the sizes."""
    return binary(b, "BitwiseAnd", bitcast(b, "u32", x), _word(b, x, 0x7FFFFFFF))


def _parts(b: Builder, bits: Val) -> tuple[Val, Val]:
    """The significand, an integer of 24 bits, and the exponent's field of a normal number."""
    exponent = bitcast(b, "i32", binary(b, "RShift", bits, const(b, "u32", 23)))
    fraction = binary(b, "BitwiseAnd", bits, const(b, "u32", 0x7FFFFF))
    return binary(b, "BitwiseOr", fraction, const(b, "u32", 0x800000)), exponent


def _long_division(b: Builder) -> Id:
    """rest(x, y, n) = x * 2^n mod y, 8 bits a step: the shifted rest of a number of 24 bits fits in 32."""
    with b.function(b.u32, [b.u32] * 3, "rest") as (function, (x, y, n)):
        state = b.local_variable(b.u32, "remaining")
        divisor, total = Val("u32", (y,)), Val("i32", (b.op(Op.Bitcast, b.i32, n),))
        b.store(state, binary(b, "Mod", Val("u32", (x,)), divisor).id)
        with b.counted_loop(b.constant(b.i32, 0), b.constant(b.i32, 32), 1, b.i32) as step:
            left = binary(b, "Sub", total, binary(b, "LShift", Val("i32", (step,)), const(b, "i32", 3)))
            now = binary(b, "Max", binary(b, "Min", left, const(b, "i32", 8)), const(b, "i32", 0))
            shifted = binary(b, "LShift", Val("u32", (b.load(b.u32, state),)), bitcast(b, "u32", now))
            b.store(state, binary(b, "Mod", shifted, divisor).id)
        b.terminate(Op.ReturnValue, b.load(b.u32, state))
    return function


def _rest(b: Builder, x: Val, y: Val) -> Val:
    """|x| mod |y| of normal numbers, by integers: compilers reorder floats."""
    if not hasattr(b, "long_division"):
        b.long_division = _long_division(b)  # type: ignore[attr-defined]
    (whole, exponent), (divisor, least) = _parts(b, _size_bits(b, x)), _parts(b, _size_bits(b, y))
    places = bitcast(b, "u32", binary(b, "Max", binary(b, "Sub", exponent, least), const(b, "i32", 0)))
    call = b.raw(Op.FunctionCall, b.u32, b.long_division, whole.id, divisor.id, places.id)  # type: ignore[attr-defined]
    return ldexp(b, convert(b, Val("u32", (call,)), "f32", ""), binary(b, "Sub", least, const(b, "i32", 150)))


def fmod(b: Builder, x: Val, y: Val) -> Val:
    """C's fmod, exact; numbers below the least normal one are taken for 0."""
    if x.lanes > 1:
        whole = join(b, [fmod(b, p, q) for p, q in zip(split(b, x), split(b, y))])
        assert isinstance(whole, Val)
        return whole
    size, step = ext(b, Ext.FAbs, x), ext(b, Ext.FAbs, y)
    rest = select(b, binary(b, "LT", size, step), size, _rest(b, x, y))
    none = binary(b, "Or", binary(b, "GE", _size_bits(b, x), _word(b, x, INFINITY)),
                  binary(b, "LT", _size_bits(b, y), _word(b, y, 0x800000)))
    return select(b, none, float_of(b, x, NAN), with_sign_of(b, x, rest))


float_remainder = in_f32(keeping_nan(fmod))
"""TIR's truncating remainder of floats."""


def _quotient(b: Builder) -> Id:
    """quotient(x, y): the float32 that is nearest to x / y; as the driver has it where that is no normal number.

    The significands' quotient is worked out to 25 bits, as an integer: the float gives all but the last few, and what
    it leaves of the dividend, which fits in 32 bits, tells these. Half a unit can't be left.
    """
    with b.function(b.f32, [b.f32] * 2, "quotient") as (function, ids):
        x, y = (Val("f32", (i,)) for i in ids)
        sizes = _size_bits(b, x), _size_bits(b, y)
        (dividend, above), (divisor, below) = (_parts(b, bits) for bits in sizes)
        less = binary(b, "LT", dividend, divisor)
        places = select(b, less, const(b, "u32", 25), const(b, "u32", 24))
        scale = select(b, less, const(b, "f32", 2.0**25), const(b, "f32", 2.0**24))
        ratio = binary(b, "Div", convert(b, dividend, "f32", ""), convert(b, divisor, "f32", ""))
        near = Val("u32", (b.op(Op.ConvertFToU, b.u32, mul(b, ratio, scale).id),))
        rest = binary(b, "Sub", binary(b, "LShift", dividend, places), binary(b, "Mul", near, divisor))
        margin = 16  # of units of the 25 bits, by which the float may be wrong
        steps = binary(b, "Div", binary(b, "Add", rest, binary(b, "Mul", divisor, const(b, "u32", margin))), divisor)
        digits = binary(b, "Sub", binary(b, "Add", near, steps), const(b, "u32", margin))
        significand = binary(b, "RShift", binary(b, "Add", digits, const(b, "u32", 1)), const(b, "u32", 1))
        exponent = binary(b, "Sub", above, binary(b, "Add", below, select(b, less, const(b, "i32", 1),
                                                                          const(b, "i32", 0))))
        exponent = binary(b, "Add", exponent, const(b, "i32", 126))  # one less: the significand has a bit there
        field = binary(b, "LShift", bitcast(b, "u32", exponent), const(b, "u32", 23))
        sign = binary(b, "BitwiseAnd", binary(b, "BitwiseXor", bitcast(b, "u32", x), bitcast(b, "u32", y)),
                      const(b, "u32", 0x80000000))
        found = bitcast(b, "f32", binary(b, "BitwiseOr", binary(b, "Add", field, significand), sign))
        given = binary(b, "And", _normal(b, sizes[0]), _normal(b, sizes[1]))
        normal = binary(b, "And", _between(b, exponent, 0, 253), given)
        b.terminate(Op.ReturnValue, select(b, normal, found, binary(b, "Div", x, y)).id)
    return function


def _between(b: Builder, x: Val, low: int, high: int) -> Val:
    return binary(b, "And", binary(b, "GE", x, const(b, "i32", low)), binary(b, "LE", x, const(b, "i32", high)))


def _normal(b: Builder, size: Val) -> Val:
    return binary(b, "And", binary(b, "GE", size, const(b, "u32", 0x800000)),
                  binary(b, "LT", size, const(b, "u32", INFINITY)))


def divide(b: Builder, x: Val, y: Val) -> Val:
    """x / y of f32, rounded once, which WGSL does not promise; for what is rounded to an integer next."""
    if not hasattr(b, "quotient"):
        b.quotient = _quotient(b)  # type: ignore[attr-defined]
    lanes = [Val("f32", (b.raw(Op.FunctionCall, b.f32, b.quotient, p.id, q.id),))  # type: ignore[attr-defined]
             for p, q in zip(split(b, x), split(b, y))]
    whole = join(b, lanes)
    assert isinstance(whole, Val)
    return whole


def nextafter(b: Builder, x: Val, y: Val) -> Val:
    """The float32 beside x on the way to y; y where they are equal."""
    bits, top = bitcast(b, "u32", x), _word(b, x, 0x80000000)
    outward = binary(b, "EQ", binary(b, "LT", x, y), binary(b, "GT", x, num(b, x, 0.0)))
    one = _word(b, x, 1)
    moved = select(b, outward, binary(b, "Add", bits, one), binary(b, "Sub", bits, one))
    least = binary(b, "BitwiseOr", binary(b, "BitwiseAnd", bitcast(b, "u32", y), top), one)
    moved = select(b, binary(b, "EQ", x, num(b, x, 0.0)), least, moved)
    beside = select(b, binary(b, "EQ", x, y), y, bitcast(b, "f32", moved))
    return select(b, is_nan(b, y), y, select(b, is_nan(b, x), x, beside))


def ldexp(b: Builder, x: Val, exponent: Val) -> Val:
    """x * 2^exponent, by two factors since one may be out of range where the result is not."""
    def integer(value: int) -> Val:
        return const(b, "i32", value, x.lanes)

    def power(n: Val) -> Val:
        return bitcast(b, "f32", binary(b, "LShift", bitcast(b, "u32", binary(b, "Add", n, integer(127))),
                                        _word(b, x, 23)))

    n = binary(b, "Max", binary(b, "Min", convert(b, exponent, "i32", "int32"), integer(252)), integer(-252))
    half = binary(b, "RShift", n, integer(1))
    return mul(b, mul(b, x, power(half)), power(binary(b, "Sub", n, half)))


def classify(kind: str) -> Function:
    """NaN and infinity by their bits: WGSL compilers may assume that there are none."""
    return in_f32(lambda b, x: binary(b, kind, _size_bits(b, x), _word(b, x, INFINITY)))
