"""Functions that TIR calls by name, as tables of SPIR-V forms.

Both an operator (`tirx.exp`) and what TVM's LowerIntrin makes of it (extern "exp" or "expf") are found under "exp".
Each entry takes the builder and scalar or vector `Val`s of one float representation and gives one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log2, log10

from tvm_webgpu.codegen.spirv.arith import binary, bitcast, convert, invert, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Val, const, rep_type

Function = Callable[..., Val]


def num(b: Builder, like: Val, value: float) -> Val:
    return const(b, like.rep, value, like.lanes)


def ext(b: Builder, op: Ext, *args: Val) -> Val:
    x = args[0]
    return Val(x.rep, (b.ext(op, rep_type(b, x.rep, x.lanes), *[a.id for a in args]),), x.lanes)


def neg(b: Builder, x: Val) -> Val:
    return Val(x.rep, (b.op(Op.FNegate, rep_type(b, x.rep, x.lanes), x.id),), x.lanes)


def add(b: Builder, x: Val, y: Val) -> Val:
    return binary(b, "Add", x, y)


def sub(b: Builder, x: Val, y: Val) -> Val:
    return binary(b, "Sub", x, y)


def mul(b: Builder, x: Val, y: Val) -> Val:
    return binary(b, "Mul", x, y)


def div(b: Builder, x: Val, y: Val) -> Val:
    return binary(b, "Div", x, y)


def polynomial(b: Builder, x: Val, coefficients: tuple[float, ...]) -> Val:
    """Horner's scheme, highest power first."""
    result = num(b, x, coefficients[0])
    for c in coefficients[1:]:
        result = add(b, mul(b, result, x), num(b, x, c))
    return result


def in_f32(f: Function) -> Function:
    """Computes in f32 whatever the representation: for forms that need its range or its bits."""
    def wrapped(b: Builder, *args: Val) -> Val:
        result = f(b, *[convert(b, a, "f32", "float32") for a in args])
        return convert(b, result, args[0].rep, "") if result.rep == "f32" else result
    return wrapped


# Minimax fits by weighted least squares in double precision, rounded to f32; the errors named are those of the whole
# form evaluated in f32.
ERF_SMALL = (7.889119297033176e-05, -0.0008020841050893068, 0.005189535208046436, -0.026854444295167923,
             0.11283600330352783, -0.3761262595653534, 1.1283791065216064)  # erf(x) / x of x**2, |x| <= 1
ERF_LARGE = (-2.1686850232072175e-05, 0.00044133636401966214, -0.004204561933875084, 0.025208257138729095,
             -0.10841857641935349, -0.6332198977470398, -1.1295784711837769,
             0.00018804021237883717)  # log(erfc(x)), 1 <= x <= 4
TANH_SMALL = (-0.006113193463534117, 0.021010084077715874, -0.053854070603847504, 0.13332794606685638,
              -0.333333283662796)  # (tanh(x) / x - 1) / x**2 of x**2, |x| <= 0.625
SINH_SMALL = (2.806309566949494e-06, 0.0001983809779630974, 0.008333339355885983,
              0.1666666716337204)  # (sinh(x) / x - 1) / x**2 of x**2, |x| <= 1

ATANH_SMALL = (1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3)  # (atanh(x) / x - 1) / x**2 of x**2: Taylor, for |x| <= 0.2


def with_sign_of(b: Builder, x: Val, size: Val) -> Val:
    return select(b, binary(b, "LT", x, num(b, x, 0.0)), neg(b, size), size)


def erf(b: Builder, x: Val) -> Val:
    """Relative error 2e-7."""
    size, one = ext(b, Ext.FAbs, x), num(b, x, 1.0)
    near = mul(b, x, polynomial(b, mul(b, x, x), ERF_SMALL))
    tail = ext(b, Ext.Exp, polynomial(b, binary(b, "Min", size, num(b, x, 4.0)), ERF_LARGE))
    return select(b, binary(b, "LT", size, one), near, with_sign_of(b, x, sub(b, one, tail)))


def odd_series(b: Builder, x: Val, coefficients: tuple[float, ...]) -> Val:
    square = mul(b, x, x)
    return add(b, x, mul(b, mul(b, x, square), polynomial(b, square, coefficients)))


def tanh(b: Builder, x: Val) -> Val:
    """Relative error 2e-7; the exponential can't overflow, as it does in GLSL's sinh(x) / cosh(x)."""
    size, one, two = ext(b, Ext.FAbs, x), num(b, x, 1.0), num(b, x, 2.0)
    grown = ext(b, Ext.Exp, mul(b, two, binary(b, "Min", size, num(b, x, 10.0))))
    far = sub(b, one, div(b, two, add(b, grown, one)))
    return select(b, binary(b, "LT", size, num(b, x, 0.625)), odd_series(b, x, TANH_SMALL), with_sign_of(b, x, far))


def sinh(b: Builder, x: Val) -> Val:
    size, half = ext(b, Ext.FAbs, x), num(b, x, 0.5)
    # exp(x / 2) twice: exp(x) overflows before sinh(x) does.
    root = ext(b, Ext.Exp, mul(b, half, size))
    far = sub(b, mul(b, mul(b, half, root), root), div(b, half, mul(b, root, root)))
    return select(b, binary(b, "LT", size, num(b, x, 1.0)), odd_series(b, x, SINH_SMALL), with_sign_of(b, x, far))


def cosh(b: Builder, x: Val) -> Val:
    half = num(b, x, 0.5)
    root = ext(b, Ext.Exp, mul(b, half, ext(b, Ext.FAbs, x)))
    return add(b, mul(b, mul(b, half, root), root), div(b, half, mul(b, root, root)))


def asinh(b: Builder, x: Val) -> Val:
    size, one = ext(b, Ext.FAbs, x), num(b, x, 1.0)
    square = mul(b, size, size)
    more = div(b, square, add(b, one, ext(b, Ext.Sqrt, add(b, one, square))))
    return with_sign_of(b, x, log1p(b, add(b, size, more)))


def acosh(b: Builder, x: Val) -> Val:
    over = sub(b, x, num(b, x, 1.0))
    root = ext(b, Ext.Sqrt, mul(b, over, add(b, x, num(b, x, 1.0))))
    return log1p(b, add(b, over, root))


def asin(b: Builder, x: Val) -> Val:
    one = num(b, x, 1.0)
    return ext(b, Ext.Atan2, x, ext(b, Ext.Sqrt, mul(b, sub(b, one, x), add(b, one, x))))


def acos(b: Builder, x: Val) -> Val:
    one = num(b, x, 1.0)
    return ext(b, Ext.Atan2, ext(b, Ext.Sqrt, mul(b, sub(b, one, x), add(b, one, x))), x)


def round_away(b: Builder, x: Val) -> Val:
    """C's round: halves away from zero (GLSL's and WGSL's round is to even)."""
    whole = ext(b, Ext.Trunc, x)
    rest = ext(b, Ext.FAbs, sub(b, x, whole))
    return select(b, binary(b, "GE", rest, num(b, x, 0.5)), add(b, whole, ext(b, Ext.FSign, x)), whole)


def sigmoid(b: Builder, x: Val) -> Val:
    one = num(b, x, 1.0)
    return div(b, one, add(b, one, ext(b, Ext.Exp, neg(b, x))))


def log1p(b: Builder, x: Val) -> Val:
    """By atanh's series near 0, where log(1 + x) has no digits left; else the logarithm."""
    s = div(b, x, add(b, num(b, x, 2.0), x))
    near = mul(b, num(b, x, 2.0), odd_series(b, s, ATANH_SMALL))
    small = binary(b, "And", binary(b, "GT", x, num(b, x, -0.3)), binary(b, "LT", x, num(b, x, 0.45)))
    return select(b, small, near, ext(b, Ext.Log, add(b, num(b, x, 1.0), x)))


def atanh(b: Builder, x: Val) -> Val:
    size = ext(b, Ext.FAbs, x)
    ratio = div(b, add(b, size, size), sub(b, num(b, x, 1.0), size))
    return with_sign_of(b, x, mul(b, num(b, x, 0.5), log1p(b, ratio)))


def power(b: Builder, x: Val, y: Val) -> Val:
    """C's pow for every finite x: GLSL leaves a negative base and 0**0 undefined."""
    zero, one = num(b, x, 0.0), num(b, x, 1.0)
    size = ext(b, Ext.Pow, ext(b, Ext.FAbs, x), y)
    half = mul(b, y, num(b, y, 0.5))
    odd = binary(b, "NE", ext(b, Ext.Floor, half), half)
    whole = binary(b, "EQ", ext(b, Ext.Floor, y), y)
    signed_ = select(b, odd, neg(b, size), size)
    one_nan = b.opaque_float(0x7FC00000)
    lanes = (one_nan,) if x.lanes == 1 else (b.op(Op.CompositeConstruct, rep_type(b, "f32", x.lanes),
                                                  *[one_nan] * x.lanes),)
    nan = Val("f32", lanes, x.lanes)
    below = select(b, whole, signed_, nan)
    result = select(b, binary(b, "LT", x, zero), below, size)
    return select(b, binary(b, "EQ", y, zero), one, result)


def _bits(b: Builder, x: Val) -> Val:
    return binary(b, "BitwiseAnd", bitcast(b, "u32", x), const(b, "u32", 0x7FFFFFFF, x.lanes))


def fmod(b: Builder, x: Val, y: Val) -> Val:
    """C's fmod while x / y has no more digits than a float: the rest by a fused multiply, one step off put right."""
    size, step = ext(b, Ext.FAbs, x), ext(b, Ext.FAbs, y)
    rest = ext(b, Ext.Fma, neg(b, ext(b, Ext.Trunc, div(b, size, step))), step, size)
    rest = select(b, binary(b, "LT", rest, num(b, x, 0.0)), add(b, rest, step), rest)
    rest = select(b, binary(b, "GE", rest, step), sub(b, rest, step), rest)
    return with_sign_of(b, x, rest)


def classify(kind: str) -> Function:
    """NaN and infinity by their bits: WGSL compilers may assume that there are none."""
    return in_f32(lambda b, x: binary(b, kind, _bits(b, x), const(b, "u32", 0x7F800000, x.lanes)))


def copysign(b: Builder, x: Val, y: Val) -> Val:
    top = const(b, "u32", 0x80000000, x.lanes)
    sign = binary(b, "BitwiseAnd", bitcast(b, "u32", y), top)
    return bitcast(b, "f32", binary(b, "BitwiseOr", _bits(b, x), sign))


def absolute(b: Builder, x: Val) -> Val:
    return ext(b, Ext.SAbs if x.rep == "i32" else Ext.FAbs, x) if x.rep != "u32" else x


def count_leading_zeros(b: Builder, x: Val) -> Val:
    top = ext(b, Ext.FindUMsb, bitcast(b, "u32", x))  # all ones for 0
    return bitcast(b, "i32", binary(b, "Sub", const(b, "u32", 31, x.lanes), top))


def popcount(b: Builder, x: Val) -> Val:
    return Val(x.rep, (b.op(Op.BitCount, rep_type(b, x.rep, x.lanes), x.id),), x.lanes)


def fused(b: Builder, x: Val, y: Val, z: Val) -> Val:
    """Products and sums: compilers fuse them where that is faster."""
    return add(b, mul(b, x, y), z)


def whole_only(f: Function) -> Function:
    """Integers pass through: rounding leaves them as they are."""
    return lambda b, x: x if x.rep in ("i32", "u32", "bool") else f(b, x)


def direct(op: Ext) -> Function:
    return lambda b, *args: ext(b, op, *args)


MATH: dict[str, Function] = {
    name: direct(op) for name, op in {
        "exp": Ext.Exp, "exp2": Ext.Exp2, "log": Ext.Log, "log2": Ext.Log2, "sqrt": Ext.Sqrt,
        "rsqrt": Ext.InverseSqrt, "sin": Ext.Sin, "cos": Ext.Cos, "tan": Ext.Tan, "atan": Ext.Atan,
        "atan2": Ext.Atan2,
    }.items()
} | {
    "fabs": absolute, "abs": absolute,
    "floor": whole_only(direct(Ext.Floor)), "ceil": whole_only(direct(Ext.Ceil)),
    "trunc": whole_only(direct(Ext.Trunc)),
    "round": whole_only(round_away), "nearbyint": whole_only(direct(Ext.RoundEven)),
    "rint": whole_only(direct(Ext.RoundEven)),
    "exp10": lambda b, x: ext(b, Ext.Exp2, mul(b, x, num(b, x, log2(10)))),
    "log10": lambda b, x: mul(b, ext(b, Ext.Log2, x), num(b, x, log10(2))),
    "erf": in_f32(erf), "tanh": in_f32(tanh), "sinh": in_f32(sinh), "cosh": in_f32(cosh),
    "asin": in_f32(asin), "acos": in_f32(acos), "asinh": in_f32(asinh), "acosh": in_f32(acosh),
    "sigmoid": sigmoid, "log1p": in_f32(log1p), "atanh": in_f32(atanh),
    "pow": in_f32(power), "fma": fused,
    "fmod": in_f32(fmod),
    "hypot": lambda b, x, y: ext(b, Ext.Sqrt, add(b, mul(b, x, x), mul(b, y, y))),
    "copysign": in_f32(copysign),
    "fmax": lambda b, x, y: binary(b, "Max", x, y), "fmin": lambda b, x, y: binary(b, "Min", x, y),
    "isnan": classify("GT"), "isinf": classify("EQ"), "isfinite": classify("LT"),
    "clz": count_leading_zeros, "popcount": popcount, "ctpop": popcount,
    "bitwise_not": invert,
}


def lookup(name: str) -> Function | None:
    """The function of an operator or extern name, `tirx.` and C's `f` suffix aside."""
    short = name.rsplit(".", 1)[-1]
    return MATH.get(short) or MATH.get(short.removesuffix("f"))
