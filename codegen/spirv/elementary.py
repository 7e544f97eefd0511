"""Elementary functions of floats out of SPIR-V's operations: exponentials, logarithms, trigonometry, powers.

A driver's own function is used where WGSL's bound for it suffices; the others are worked out here, because drivers
overflow (tanh), lose all digits near a zero (log near 1, sin beyond pi), or have none (erf). Every function keeps NaN.
tests/operators/accuracy.py measures their errors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log as log_of
from math import pi

from tvm_webgpu.codegen.spirv.arith import binary, bitcast, convert, is_nan, select
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

SIN_SMALL = (-0.00019516654720064253, 0.008332173340022564, -0.16666655242443085)  # (sin(x) / x - 1) / x**2 of x**2
COS_SMALL = (2.4437727915938012e-05, -0.001388736185617745,
             0.04166664555668831)  # (cos(x) - 1 + x**2 / 2) / x**4 of x**2, both |x| <= pi / 4
LOG_SMALL = (0.23584255576133728, 0.2853720486164093, 0.4000033736228943,
             0.6666666269302368)  # (2 atanh(s) / s - 2) / s**2 of s**2, |s| <= 0.172
# pi / 2 in pieces whose products with a number of 15 bits are exact, and the rest.
HALF_PI = (1.5703125, 0.00048351287841796875, 3.1385570764541626e-07, 6.07710062827671e-11)
FAR = 32768.0  # beyond, quarter turns have more than 15 bits: left to the driver
LN2 = (0.693145751953125, 1.428606765330187e-06)  # the first of 15 bits
LEAST_NORMAL = 2.0**-126
NAN, INFINITY, MINUS_INFINITY = 0x7FC00000, 0x7F800000, 0xFF800000

ATAN_SMALL = (0.0029745735228061676, -0.01658111810684204, 0.0435534343123436,
              -0.07580569386482239, 0.10678936541080475, -0.14214208722114563,
              0.19994136691093445, -0.3333316743373871)  # (atan(x) / x - 1) / x**2 of x**2, |x| <= 1

ATANH_SMALL = (1 / 11, 1 / 9, 1 / 7, 1 / 5, 1 / 3)  # (atanh(x) / x - 1) / x**2 of x**2: Taylor, for |x| <= 0.2


def float_of(b: Builder, like: Val, bits: int) -> Val:
    """A number that WGSL has no constant for, by its bits as f32."""
    one = b.opaque_float(bits)
    type = rep_type(b, "f32", like.lanes)
    return Val("f32", (one if like.lanes == 1 else b.op(Op.CompositeConstruct, type, *[one] * like.lanes),), like.lanes)


def keeping_nan(f: Function) -> Function:
    """Gives a NaN among the arguments back instead of what `f` makes of it; f16 is left to the driver."""
    def wrapped(b: Builder, *args: Val) -> Val:
        result = f(b, *args)
        for x in args if result.rep == "f32" else ():
            result = select(b, is_nan(b, x), x, result)
        return result
    return wrapped


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
    # Beyond, where the square overflows, asinh(x) is log(2 x).
    huge = add(b, log(b, size), num(b, x, log_of(2)))
    value = select(b, binary(b, "LT", size, num(b, x, 1e9)), log1p(b, add(b, size, more)), huge)
    return with_sign_of(b, x, value)


def acosh(b: Builder, x: Val) -> Val:
    over = sub(b, x, num(b, x, 1.0))
    root = ext(b, Ext.Sqrt, mul(b, over, add(b, x, num(b, x, 1.0))))
    return defined(b, binary(b, "GE", x, num(b, x, 1.0)), log1p(b, add(b, over, root)))


def defined(b: Builder, where: Val, value: Val) -> Val:
    """The value, NaN outside of where the function is defined."""
    return select(b, where, value, float_of(b, value, NAN))


def atan2(b: Builder, y: Val, x: Val) -> Val:
    """The angle of the point (x, y), error 2 ulp: drivers leave the origin and the infinities undefined."""
    high, wide = ext(b, Ext.FAbs, y), ext(b, Ext.FAbs, x)
    steep = binary(b, "GT", high, wide)
    more, less = select(b, steep, high, wide), select(b, steep, wide, high)
    one, zero = num(b, x, 1.0), num(b, x, 0.0)
    ratio = select(b, binary(b, "EQ", more, less), one, div(b, less, more))
    ratio = select(b, binary(b, "EQ", less, zero), zero, ratio)
    angle = odd_series(b, ratio, ATAN_SMALL)
    angle = select(b, steep, sub(b, num(b, x, pi / 2), angle), angle)
    left = binary(b, "LT", bitcast(b, "i32", x), const(b, "i32", 0, x.lanes))
    return copysign(b, select(b, left, sub(b, num(b, x, pi), angle), angle), y)


def atan(b: Builder, x: Val) -> Val:
    return atan2(b, x, num(b, x, 1.0))


def other_leg(b: Builder, x: Val) -> Val:
    """sqrt(1 - x**2)."""
    one = num(b, x, 1.0)
    return ext(b, Ext.Sqrt, mul(b, sub(b, one, x), add(b, one, x)))


def asin(b: Builder, x: Val) -> Val:
    inside = binary(b, "LE", ext(b, Ext.FAbs, x), num(b, x, 1.0))
    return defined(b, inside, atan2(b, x, other_leg(b, x)))


def acos(b: Builder, x: Val) -> Val:
    inside = binary(b, "LE", ext(b, Ext.FAbs, x), num(b, x, 1.0))
    return defined(b, inside, atan2(b, other_leg(b, x), x))


def round_away(b: Builder, x: Val) -> Val:
    """C's round: halves away from zero (GLSL's and WGSL's round is to even)."""
    whole = ext(b, Ext.Trunc, x)
    rest = ext(b, Ext.FAbs, sub(b, x, whole))
    return select(b, binary(b, "GE", rest, num(b, x, 0.5)), add(b, whole, ext(b, Ext.FSign, x)), whole)


def sigmoid(b: Builder, x: Val) -> Val:
    one = num(b, x, 1.0)
    return div(b, one, add(b, one, ext(b, Ext.Exp, neg(b, x))))


def direct(op: Ext) -> Function:
    """A function of the driver's."""
    return lambda b, *args: ext(b, op, *args)


def log(b: Builder, x: Val) -> Val:
    """Error of 1 ulp: x = 2**e (1 + f) has f - (f**2 / 2 - s (f**2 / 2 + R)) + e ln 2, with s = f / (2 + f) and R
    for the higher terms of 2 atanh(s). The leading term is exact, so the error stays relative near 1."""
    one, half = num(b, x, 1.0), num(b, x, 0.5)
    tiny = binary(b, "LT", x, num(b, x, LEAST_NORMAL))
    scaled = select(b, tiny, mul(b, x, num(b, x, 2.0**24)), x)
    bits = bitcast(b, "i32", scaled)
    # The mantissa is taken from [sqrt(1/2), sqrt(2)): these are the bits of sqrt(1/2).
    from_root = binary(b, "Sub", bits, const(b, "i32", 0x3F3504F3, x.lanes))
    exponent = binary(b, "RShift", from_root, const(b, "i32", 23, x.lanes))
    mantissa = bitcast(b, "f32", binary(b, "Sub", bits, binary(b, "LShift", exponent, const(b, "i32", 23, x.lanes))))
    e = sub(b, convert(b, exponent, "f32", ""), select(b, tiny, num(b, x, 24.0), num(b, x, 0.0)))
    f = sub(b, mantissa, one)
    s = div(b, f, add(b, num(b, x, 2.0), f))
    square, half_square = mul(b, s, s), mul(b, mul(b, half, f), f)
    rest = mul(b, s, add(b, half_square, mul(b, square, polynomial(b, square, LOG_SMALL))))
    low = add(b, rest, mul(b, e, num(b, x, LN2[1])))
    value = add(b, mul(b, e, num(b, x, LN2[0])), sub(b, f, sub(b, half_square, low)))
    zero = num(b, x, 0.0)
    value = select(b, binary(b, "EQ", x, zero), float_of(b, x, MINUS_INFINITY), value)
    value = select(b, binary(b, "LT", x, zero), float_of(b, x, NAN), value)
    # Infinity and NaN are their own logarithms.
    special = binary(b, "GE", bitcast(b, "i32", x), const(b, "i32", INFINITY, x.lanes))
    return select(b, special, x, value)


def pinned(b: Builder, x: Val) -> Val:
    """The same value, which no compiler takes apart: drivers may join x - n a - n b to x - n (a + b)."""
    zero = bitcast(b, "u32", float_of(b, x, 0))
    return bitcast(b, "f32", binary(b, "BitwiseOr", bitcast(b, "u32", x), zero))


def turned(quarters: int, op: Ext) -> Function:
    """The sine of x and so many quarter turns, with an error of 2**-23 where |x| < FAR; `op` is the driver's own."""
    def function(b: Builder, x: Val) -> Val:
        turns = ext(b, Ext.RoundEven, mul(b, x, num(b, x, 2 / pi)))
        r = x
        for piece in HALF_PI:
            r = pinned(b, sub(b, r, mul(b, turns, num(b, x, piece))))
        square = mul(b, r, r)
        sine = add(b, r, mul(b, mul(b, r, square), polynomial(b, square, SIN_SMALL)))
        cosine = add(b, sub(b, num(b, x, 1.0), mul(b, num(b, x, 0.5), square)),
                     mul(b, mul(b, square, square), polynomial(b, square, COS_SMALL)))
        quadrant = binary(b, "Add", convert(b, turns, "i32", ""), const(b, "i32", quarters, x.lanes))
        zero, one, two = (const(b, "i32", n, x.lanes) for n in (0, 1, 2))
        odd = binary(b, "NE", binary(b, "BitwiseAnd", quadrant, one), zero)
        below = binary(b, "NE", binary(b, "BitwiseAnd", quadrant, two), zero)
        value = select(b, odd, cosine, sine)
        value = select(b, below, neg(b, value), value)
        return select(b, binary(b, "LT", ext(b, Ext.FAbs, x), num(b, x, FAR)), value, ext(b, op, x))
    return function


def tan(b: Builder, x: Val) -> Val:
    return div(b, turned(0, Ext.Sin)(b, x), turned(1, Ext.Cos)(b, x))


def log1p(b: Builder, x: Val) -> Val:
    """By atanh's series near 0, where log(1 + x) has no digits left; else the logarithm."""
    s = div(b, x, add(b, num(b, x, 2.0), x))
    near = mul(b, num(b, x, 2.0), odd_series(b, s, ATANH_SMALL))
    small = binary(b, "And", binary(b, "GT", x, num(b, x, -0.3)), binary(b, "LT", x, num(b, x, 0.45)))
    return select(b, small, near, log(b, add(b, num(b, x, 1.0), x)))


def atanh(b: Builder, x: Val) -> Val:
    size = ext(b, Ext.FAbs, x)
    ratio = div(b, add(b, size, size), sub(b, num(b, x, 1.0), size))
    value = with_sign_of(b, x, mul(b, num(b, x, 0.5), log1p(b, ratio)))
    return defined(b, binary(b, "LE", size, num(b, x, 1.0)), value)


def power(b: Builder, x: Val, y: Val) -> Val:
    """C's pow for every finite x: GLSL leaves a negative base and 0**0 undefined."""
    zero, one = num(b, x, 0.0), num(b, x, 1.0)
    size = keeping_nan(direct(Ext.Pow))(b, ext(b, Ext.FAbs, x), y)
    half = mul(b, y, num(b, y, 0.5))
    odd = binary(b, "NE", ext(b, Ext.Floor, half), half)
    whole = binary(b, "EQ", ext(b, Ext.Floor, y), y)
    signed_ = select(b, odd, neg(b, size), size)
    below = select(b, whole, signed_, float_of(b, x, NAN))
    result = select(b, binary(b, "LT", x, zero), below, size)
    return select(b, binary(b, "EQ", y, zero), one, result)


def copysign(b: Builder, x: Val, y: Val) -> Val:
    def part(value: Val, mask: int) -> Val:
        return binary(b, "BitwiseAnd", bitcast(b, "u32", value), const(b, "u32", mask, x.lanes))

    return bitcast(b, "f32", binary(b, "BitwiseOr", part(x, 0x7FFFFFFF), part(y, 0x80000000)))
