"""64-bit integers as two u32, low word first: exact arithmetic out of 32-bit operations.

Every function takes and gives `Val`s of rep "i64" or "u64", except where its name says otherwise. Division is a
function of the module (shift and subtract), emitted when first used.
"""

from __future__ import annotations

from tvm_webgpu.codegen.spirv.arith import COMPARISONS, binary, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import WIDE, Val, rep_type


def word(id: Id) -> Val:
    return Val("u32", (id,))


def words(x: Val) -> tuple[Val, Val]:
    return word(x.ids[0]), word(x.ids[1])


def pair(rep: str, lo: Val, hi: Val) -> Val:
    return Val(rep, (lo.id, hi.id))


def u32(b: Builder, value: int) -> Val:
    return word(b.constant(b.u32, value))


def signed(b: Builder, x: Val) -> Val:
    return Val("i32", (b.op(Op.Bitcast, b.i32, x.id),)) if x.rep == "u32" else x


def unsigned(b: Builder, x: Val) -> Val:
    return word(b.op(Op.Bitcast, b.u32, x.id)) if x.rep == "i32" else x


def widen(b: Builder, x: Val, rep: str) -> Val:
    """A bool, i32 or u32 as 64 bits, by its own sign; a 64-bit value as the other signedness."""
    if x.rep in WIDE:
        return Val(rep, x.ids)
    if x.rep == "bool":
        return pair(rep, select(b, x, u32(b, 1), u32(b, 0)), u32(b, 0))
    n = b.int_value(x.id)
    if n is not None:
        return pair(rep, u32(b, n), u32(b, n >> 32))
    if x.rep == "u32":
        return pair(rep, x, u32(b, 0))
    sign = binary(b, "RShift", x, u32(b, 31))
    return pair(rep, unsigned(b, x), unsigned(b, sign))


def add(b: Builder, x: Val, y: Val) -> Val:
    (xl, xh), (yl, yh) = words(x), words(y)
    lo = binary(b, "Add", xl, yl)
    carry = select(b, binary(b, "LT", lo, xl), u32(b, 1), u32(b, 0))
    return pair(x.rep, lo, binary(b, "Add", binary(b, "Add", xh, yh), carry))


def sub(b: Builder, x: Val, y: Val) -> Val:
    (xl, xh), (yl, yh) = words(x), words(y)
    borrow = select(b, binary(b, "LT", xl, yl), u32(b, 1), u32(b, 0))
    return pair(x.rep, binary(b, "Sub", xl, yl), binary(b, "Sub", binary(b, "Sub", xh, yh), borrow))


def multiply_high(b: Builder, x: Val, y: Val) -> Val:
    """The upper word of a product of two u32, from 16-bit halves (WGSL has no extended multiply)."""
    mask, half = u32(b, 0xFFFF), u32(b, 16)
    xl, xh = binary(b, "BitwiseAnd", x, mask), binary(b, "RShift", x, half)
    yl, yh = binary(b, "BitwiseAnd", y, mask), binary(b, "RShift", y, half)
    low = binary(b, "Mul", xl, yl)
    cross = binary(b, "Add", binary(b, "Mul", xh, yl), binary(b, "RShift", low, half))
    middle = binary(b, "Add", binary(b, "Mul", xl, yh), binary(b, "BitwiseAnd", cross, mask))
    high = binary(b, "Add", binary(b, "Mul", xh, yh), binary(b, "RShift", cross, half))
    return binary(b, "Add", high, binary(b, "RShift", middle, half))


def mul(b: Builder, x: Val, y: Val) -> Val:
    (xl, xh), (yl, yh) = words(x), words(y)
    high = multiply_high(b, xl, yl)
    cross = binary(b, "Add", binary(b, "Mul", xl, yh), binary(b, "Mul", xh, yl))
    return pair(x.rep, binary(b, "Mul", xl, yl), binary(b, "Add", high, cross))


def less(b: Builder, x: Val, y: Val) -> Val:
    (xl, xh), (yl, yh) = words(x), words(y)
    heads = (signed(b, xh), signed(b, yh)) if x.rep == "i64" else (xh, yh)
    tie = binary(b, "And", binary(b, "EQ", xh, yh), binary(b, "LT", xl, yl))
    return binary(b, "Or", binary(b, "LT", *heads), tie)


def equal(b: Builder, x: Val, y: Val) -> Val:
    (xl, xh), (yl, yh) = words(x), words(y)
    return binary(b, "And", binary(b, "EQ", xl, yl), binary(b, "EQ", xh, yh))


def negation(b: Builder, x: Val) -> Val:
    return Val("bool", (b.op(Op.LogicalNot, b.bool, x.id),))


def bitwise(kind: str, b: Builder, x: Val, y: Val) -> Val:
    (xl, xh), (yl, yh) = words(x), words(y)
    return pair(x.rep, binary(b, kind, xl, yl), binary(b, kind, xh, yh))


def invert(b: Builder, x: Val) -> Val:
    return Val(x.rep, tuple(b.op(Op.Not, b.u32, i) for i in x.ids))


def _by_words(b: Builder, amount: Val) -> tuple[Val, Val, Val, Val]:
    """A shift amount as (amount modulo 32, 31 minus that, whether it is 32 or more, whether it is 64 or more)."""
    low, high = words(amount)
    within = binary(b, "BitwiseAnd", low, u32(b, 31))
    far = binary(b, "Or", binary(b, "GE", low, u32(b, 64)), binary(b, "NE", high, u32(b, 0)))
    return within, binary(b, "Sub", u32(b, 31), within), binary(b, "GE", low, u32(b, 32)), far


def shift_left(b: Builder, x: Val, y: Val) -> Val:
    xl, xh = words(x)
    n, rest, big, far = _by_words(b, y)
    zero = u32(b, 0)
    # A shift by 32 - n is undefined for n = 0, so it goes in two steps.
    carried = binary(b, "RShift", binary(b, "RShift", xl, u32(b, 1)), rest)
    lo, hi = binary(b, "LShift", xl, n), binary(b, "BitwiseOr", binary(b, "LShift", xh, n), carried)
    return select(b, far, pair(x.rep, zero, zero), pair(x.rep, select(b, big, zero, lo), select(b, big, lo, hi)))


def shift_right(b: Builder, x: Val, y: Val) -> Val:
    xl, xh = words(x)
    n, rest, big, far = _by_words(b, y)
    carried = binary(b, "LShift", binary(b, "LShift", xh, u32(b, 1)), rest)
    lo = binary(b, "BitwiseOr", binary(b, "RShift", xl, n), carried)
    if x.rep == "i64":
        head = signed(b, xh)
        hi, fill = unsigned(b, binary(b, "RShift", head, n)), unsigned(b, binary(b, "RShift", head, u32(b, 31)))
    else:
        hi, fill = binary(b, "RShift", xh, n), u32(b, 0)
    return select(b, far, pair(x.rep, fill, fill), pair(x.rep, select(b, big, hi, lo), select(b, big, fill, hi)))


def negative(b: Builder, x: Val) -> Val:
    return binary(b, "LT", signed(b, word(x.ids[1])), Val("i32", (b.constant(b.i32, 0),)))


def negate(b: Builder, x: Val) -> Val:
    return sub(b, pair(x.rep, u32(b, 0), u32(b, 0)), x)


def magnitude(b: Builder, x: Val) -> Val:
    """|x| as u64; -2**63 gives 2**63."""
    if x.rep == "u64":
        return x
    return Val("u64", select(b, negative(b, x), negate(b, x), x).ids)


def divide_unsigned(b: Builder, x: Val, y: Val) -> tuple[Val, Val]:
    """Quotient and remainder of u64; by zero gives all ones and x."""
    low, high = (b.int_value(i) for i in y.ids)
    if high == 0 and low is not None and 0 < low < 2**16:
        return _by_short(b, x, u32(b, low))
    vec4 = b.vector(b.u32, 4)
    if not hasattr(b, "divide_u64"):
        b.divide_u64 = _emit_division(b, vec4)  # type: ignore[attr-defined]
    result = b.raw(Op.FunctionCall, vec4, b.divide_u64, *x.ids, *y.ids)  # type: ignore[attr-defined]
    parts = [b.op(Op.CompositeExtract, b.u32, result, i) for i in range(4)]
    return Val("u64", (parts[0], parts[1])), Val("u64", (parts[2], parts[3]))


def _by_short(b: Builder, x: Val, y: Val) -> tuple[Val, Val]:
    """Division by a number of 16 bits, digit by digit of as many: every partial dividend fits in 32 bits."""
    lo, hi = words(x)
    mask, half = u32(b, 0xFFFF), u32(b, 16)
    rest = binary(b, "Mod", hi, y)
    digits = []
    for digit in (binary(b, "RShift", lo, half), binary(b, "BitwiseAnd", lo, mask)):
        part = binary(b, "BitwiseOr", binary(b, "LShift", rest, half), digit)
        digits.append(binary(b, "Div", part, y))
        rest = binary(b, "Mod", part, y)
    low = binary(b, "BitwiseOr", binary(b, "LShift", digits[0], half), digits[1])
    return pair("u64", low, binary(b, "Div", hi, y)), pair("u64", rest, u32(b, 0))


def _emit_division(b: Builder, vec4: Id) -> Id:
    """vec4(quotient, remainder) = divide_u64(x, y): one bit of the quotient a step, from the top."""
    with b.function(vec4, [b.u32] * 4, "divide_u64") as (function, (xl, xh, yl, yh)):
        state = b.local_variable(vec4, "quotient_remainder")
        zero = b.constant(b.u32, 0)
        b.store(state, b.op(Op.CompositeConstruct, vec4, xl, xh, zero, zero))
        divisor = Val("u64", (yl, yh))
        with b.counted_loop(b.constant(b.i32, 0), b.constant(b.i32, 64), 1, b.i32):
            old = b.load(vec4, state)
            parts = [b.op(Op.CompositeExtract, b.u32, old, i) for i in range(4)]
            quotient, rest = Val("u64", (parts[0], parts[1])), Val("u64", (parts[2], parts[3]))
            top = binary(b, "RShift", word(parts[1]), u32(b, 31))
            overflow = binary(b, "RShift", word(parts[3]), u32(b, 31))
            one = pair("u64", u32(b, 1), u32(b, 0))
            quotient, rest = shift_left(b, quotient, one), shift_left(b, rest, one)
            rest = pair("u64", binary(b, "BitwiseOr", word(rest.ids[0]), top), word(rest.ids[1]))
            fits = binary(b, "Or", binary(b, "NE", overflow, u32(b, 0)), negation(b, less(b, rest, divisor)))
            rest = select(b, fits, sub(b, rest, divisor), rest)
            quotient = pair("u64", binary(b, "BitwiseOr", word(quotient.ids[0]),
                                          select(b, fits, u32(b, 1), u32(b, 0))), word(quotient.ids[1]))
            b.store(state, b.op(Op.CompositeConstruct, vec4, *quotient.ids, *rest.ids))
        b.terminate(Op.ReturnValue, b.load(vec4, state))
    return function


def divide(kind: str, b: Builder, x: Val, y: Val) -> Val:
    """Div, Mod, FloorDiv or FloorMod."""
    quotient, rest = divide_unsigned(b, magnitude(b, x), magnitude(b, y))
    if x.rep == "u64":
        return quotient if kind in ("Div", "FloorDiv") else rest
    x_negative, y_negative = negative(b, x), negative(b, y)
    opposite = binary(b, "NE", x_negative, y_negative)
    quotient, rest = Val("i64", quotient.ids), Val("i64", rest.ids)
    quotient = select(b, opposite, negate(b, quotient), quotient)
    rest = select(b, x_negative, negate(b, rest), rest)
    if kind in ("Div", "Mod"):
        return quotient if kind == "Div" else rest
    zero, one = pair("i64", u32(b, 0), u32(b, 0)), pair("i64", u32(b, 1), u32(b, 0))
    fix = binary(b, "And", opposite, negation(b, equal(b, rest, zero)))
    if kind == "FloorDiv":
        return select(b, fix, sub(b, quotient, one), quotient)
    return select(b, fix, add(b, rest, y), rest)


def compare(kind: str, b: Builder, x: Val, y: Val) -> Val:
    swap, negated, f = {"EQ": (False, False, equal), "NE": (False, True, equal), "LT": (False, False, less),
                        "GE": (False, True, less), "GT": (True, False, less), "LE": (True, True, less)}[kind]
    result = f(b, y, x) if swap else f(b, x, y)
    return negation(b, result) if negated else result


def wide_binary(b: Builder, kind: str, x: Val, y: Val) -> Val:
    """x `kind` y on 64-bit values; comparisons give a bool."""
    if kind in COMPARISONS:
        return compare(kind, b, x, y)
    if kind in ("Min", "Max"):
        keep_x = less(b, x, y) if kind == "Min" else less(b, y, x)
        return select(b, keep_x, x, y)
    if kind in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        return bitwise(kind, b, x, y)
    if kind in ("Div", "Mod", "FloorDiv", "FloorMod"):
        return divide(kind, b, x, y)
    return {"Add": add, "Sub": sub, "Mul": mul, "LShift": shift_left, "RShift": shift_right}[kind](b, x, y)


def to_float(b: Builder, x: Val) -> Val:
    """The nearest f32: the top 32 significant bits with a sticky last one are converted, then scaled exactly."""
    value = magnitude(b, x)
    lo, hi = words(value)
    has_high = binary(b, "NE", hi, u32(b, 0))
    msb = b.ext(Ext.FindUMsb, b.u32, binary(b, "BitwiseOr", hi, u32(b, 1)).id)
    up = binary(b, "Sub", u32(b, 31), word(msb))
    shifted = shift_left(b, value, pair("u64", up, u32(b, 0)))
    sticky = select(b, binary(b, "NE", word(shifted.ids[0]), u32(b, 0)), u32(b, 1), u32(b, 0))
    top = select(b, has_high, binary(b, "BitwiseOr", word(shifted.ids[1]), sticky), lo)
    # 2**(32 - up) as the bits of a float.
    exponent = binary(b, "LShift", binary(b, "Sub", u32(b, 32 + 127), up), u32(b, 23))
    scale = b.op(Op.Select, b.f32, has_high.id, b.op(Op.Bitcast, b.f32, exponent.id), b.constant(b.f32, 1.0))
    result = b.op(Op.FMul, b.f32, b.op(Op.ConvertUToF, b.f32, top.id), scale)
    if x.rep == "i64":
        result = b.op(Op.Select, b.f32, negative(b, x).id, b.op(Op.FNegate, b.f32, result), result)
    return Val("f32", (result,))


def to_double(b: Builder, x: Val) -> Val:
    """The nearest double: both words are doubles, so that only their sum is rounded."""
    lo, hi = words(x)
    high = b.op(Op.ConvertSToF, b.f64, signed(b, hi).id) if x.rep == "i64" else b.op(Op.ConvertUToF, b.f64, hi.id)
    low = b.op(Op.ConvertUToF, b.f64, lo.id)
    return Val("f64", (b.op(Op.FAdd, b.f64, b.op(Op.FMul, b.f64, high, b.constant(b.f64, 2.0**32)), low),))


def from_float(b: Builder, x: Val, rep: str) -> Val:
    """A float or double truncated towards zero; beyond the range its end, and 0 for NaN."""
    type = rep_type(b, x.rep)

    def less_than(value: Id, limit: float) -> Val:
        return Val("bool", (b.op(Op.FOrdLessThan, b.bool, value, b.constant(type, limit)),))

    top = 2.0**63 if rep == "i64" else 2.0**64
    size = b.ext(Ext.Trunc, type, b.ext(Ext.FAbs, type, x.id))
    high = b.ext(Ext.Floor, type, b.op(Op.FMul, type, size, b.constant(type, 2.0**-32)))
    low = b.op(Op.FSub, type, size, b.op(Op.FMul, type, high, b.constant(type, 2.0**32)))
    value = Val(rep, (b.op(Op.ConvertFToU, b.u32, low), b.op(Op.ConvertFToU, b.u32, high)))
    is_negative, inside = less_than(x.id, 0.0), less_than(size, top)
    zero, ones = u32(b, 0), u32(b, 2**32 - 1)
    if rep == "u64":
        value = select(b, inside, value, pair(rep, ones, ones))
        value = select(b, is_negative, pair(rep, zero, zero), value)
    else:
        value = select(b, is_negative, negate(b, value), value)
        ends = select(b, is_negative, pair(rep, zero, u32(b, 2**31)), pair(rep, ones, u32(b, 2**31 - 1)))
        value = select(b, inside, value, ends)
    return select(b, binary(b, "EQ", x, x), value, pair(rep, zero, zero))
