"""Elementary functions of doubles out of SPIR-V's arithmetic on them, which the WGSL translation makes exact.

Each is a function of the module, emitted when first used, and polynomials are loops: an operation on doubles is some
hundred instructions, which drivers inline. tests/spirv/test_doubles.py has the errors that are allowed, up to 4 ulp; of
pow |log of the result| / 64 more. Sines take |x| up to 2**30 and give NaN beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from math import inf, log, nan, pi

from tvm_webgpu.codegen.spirv.arith import binary, bitcast, convert, double_of, double_words, is_nan, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.double_tables import (
    ATAN_SMALL,
    COS_SMALL,
    ERF_LARGE,
    ERF_SMALL,
    EXP_SMALL,
    HALF_PI,
    LN2,
    LOG_SMALL,
    PI_LOW,
    SIN_SMALL,
)
from tvm_webgpu.codegen.spirv.elementary import Function, add, div, ext, mul, neg, num, round_away, sub
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op, Storage
from tvm_webgpu.codegen.spirv.values import Val, const

Pair = tuple[Val, Val]
"""A sum of two doubles of which the second is below the last bit of the first."""


def shared(f: Callable[..., Val]) -> Function:
    """Emits `f` once as a function of the module, and calls of it."""
    @wraps(f)
    def call(b: Builder, *args: Val) -> Val:
        made: dict[str, int] = b.__dict__.setdefault("double_functions", {})
        name = f"{f.__name__.strip('_')}_f64"
        if name not in made:
            with b.function(b.f64, [b.f64] * len(args), name) as (function, params):
                b.terminate(Op.ReturnValue, f(b, *(Val("f64", (p,)) for p in params)).id)
            made[name] = function
        return Val("f64", (b.raw(Op.FunctionCall, b.f64, made[name], *(a.id for a in args)),))
    return call


def one(b: Builder) -> Val:
    return const(b, "f64", 1.0)


def polynomial(b: Builder, x: Val, coefficients: Sequence[float | Val]) -> Val:
    """Horner's scheme, highest power first, as a loop."""
    table = b.local_variable(b.array(b.f64, len(coefficients)), "coefficients")
    total = b.local_variable(b.f64, "total")

    def element(i: Id) -> Id:
        return b.op(Op.AccessChain, b.pointer(Storage.Function, b.f64), table, i)

    for i, c in enumerate(coefficients):
        b.store(element(b.constant(b.i32, i)), (c if isinstance(c, Val) else num(b, x, c)).id)
    b.store(total, b.constant(b.f64, 0.0))
    with b.counted_loop(b.constant(b.i32, 0), b.constant(b.i32, len(coefficients)), 1, b.i32) as i:
        higher, c = (Val("f64", (b.load(b.f64, place),)) for place in (total, element(i)))
        b.store(total, add(b, mul(b, higher, x), c).id)
    return Val("f64", (b.load(b.f64, total),))


def size(b: Builder, x: Val) -> Val:
    return ext(b, Ext.FAbs, x)


def below(b: Builder, x: Val, limit: float) -> Val:
    return binary(b, "LT", x, num(b, x, limit))


def scaled(b: Builder, x: Val, power: Val) -> Val:
    """x * 2**power, an i32."""
    return Val("f64", (b.ext(Ext.Ldexp, b.f64, x.id, power.id),))


def remainder(b: Builder, x: Val, y: Val) -> Val:
    """C's fmod, exact."""
    return Val("f64", (b.op(Op.FRem, b.f64, x.id, y.id),))


def copysign(b: Builder, x: Val, y: Val) -> Val:
    (low, high), (_, other) = double_words(b, x), double_words(b, y)
    sign = binary(b, "BitwiseAnd", other, const(b, "u32", 0x80000000))
    return double_of(b, low, binary(b, "BitwiseOr", binary(b, "BitwiseAnd", high, const(b, "u32", 0x7FFFFFFF)), sign))


def square_root(b: Builder, x: Val) -> Val:
    return ext(b, Ext.Sqrt, x)


def reciprocal_root(b: Builder, x: Val) -> Val:
    return div(b, one(b), square_root(b, x))


# sums and products without error ---------------------------------------------------------------------------------


def two_sum(b: Builder, x: Val, y: Val) -> Pair:
    total = add(b, x, y)
    part = sub(b, total, x)
    return total, add(b, sub(b, x, sub(b, total, part)), sub(b, y, part))


def halves(b: Builder, x: Val) -> Pair:
    low, high = double_words(b, x)
    head = double_of(b, binary(b, "BitwiseAnd", low, const(b, "u32", 0xF8000000)), high)
    return head, sub(b, x, head)


def two_product(b: Builder, x: Val, y: Val) -> Pair:
    product, (xh, xl), (yh, yl) = mul(b, x, y), halves(b, x), halves(b, y)
    rest = add(b, add(b, sub(b, mul(b, xh, yh), product), mul(b, xh, yl)), mul(b, xl, yh))
    return product, add(b, rest, mul(b, xl, yl))


# exponentials ----------------------------------------------------------------------------------------------------


def _split_exponent(b: Builder, x: Val, low: Val | None = None) -> tuple[Val, Val, Val]:
    """(k, r, t) with exp(x + low) = 2**k (1 + r + t), |r| <= 0.35 and t small."""
    x = select(b, below(b, x, -800.0), num(b, x, -800.0), select(b, below(b, x, 800.0), x, num(b, x, 800.0)))
    turns = ext(b, Ext.RoundEven, mul(b, x, num(b, x, 1 / log(2))))
    high, rest = sub(b, x, mul(b, turns, num(b, x, LN2[0]))), mul(b, turns, num(b, x, LN2[1]))
    rest = rest if low is None else sub(b, rest, low)
    r = sub(b, high, rest)
    lost = sub(b, sub(b, high, r), rest)
    tail = mul(b, mul(b, r, r), polynomial(b, r, EXP_SMALL))
    return convert(b, turns, "i32", ""), r, add(b, tail, add(b, lost, mul(b, lost, r)))


def _nan_kept(b: Builder, x: Val, value: Val) -> Val:
    return select(b, is_nan(b, x), x, value)


@shared
def exp(b: Builder, x: Val) -> Val:
    k, r, tail = _split_exponent(b, x)
    return _nan_kept(b, x, scaled(b, add(b, one(b), add(b, r, tail)), k))


@shared
def expm1(b: Builder, x: Val) -> Val:
    k, r, tail = _split_exponent(b, x)
    change = add(b, r, tail)
    grown = add(b, scaled(b, change, k), sub(b, scaled(b, one(b), k), one(b)))
    value = select(b, binary(b, "EQ", k, const(b, "i32", 0)), change, grown)
    value = select(b, below(b, x, -40.0), num(b, x, -1.0), value)
    value = select(b, below(b, x, 709.0), value, exp(b, x))
    return _nan_kept(b, x, value)


@shared
def tanh(b: Builder, x: Val) -> Val:
    bounded = size(b, x)
    bounded = select(b, below(b, bounded, 22.0), bounded, num(b, x, 22.0))
    grown = expm1(b, add(b, bounded, bounded))
    return _nan_kept(b, x, copysign(b, div(b, grown, add(b, grown, num(b, x, 2.0))), x))


def _half_squared(b: Builder, x: Val) -> Val:
    """exp(x) / 2, which overflows later than exp(x)."""
    root = exp(b, mul(b, x, num(b, x, 0.5)))
    return mul(b, mul(b, root, num(b, x, 0.5)), root)


@shared
def sinh(b: Builder, x: Val) -> Val:
    far, grown = size(b, x), expm1(b, size(b, x))
    near = mul(b, num(b, x, 0.5), add(b, grown, div(b, grown, add(b, grown, one(b)))))
    return copysign(b, select(b, below(b, far, 22.0), near, _half_squared(b, far)), x)


@shared
def cosh(b: Builder, x: Val) -> Val:
    far, half = size(b, x), num(b, x, 0.5)
    grown = exp(b, far)
    near = add(b, mul(b, half, grown), div(b, half, grown))
    return select(b, below(b, far, 22.0), near, _half_squared(b, far))


@shared
def sigmoid(b: Builder, x: Val) -> Val:
    small = exp(b, neg(b, size(b, x)))
    whole = add(b, one(b), small)
    return _nan_kept(b, x, select(b, below(b, x, 0.0), div(b, small, whole), div(b, one(b), whole)))


# logarithms ------------------------------------------------------------------------------------------------------


def _open(b: Builder, x: Val) -> Pair:
    """(e, m) with x = 2**e m and m in [sqrt(1/2), sqrt(2))."""
    tiny = below(b, x, 2.0**-1022)
    low, high = double_words(b, select(b, tiny, mul(b, x, num(b, x, 2.0**54)), x))
    word = bitcast(b, "i32", high)
    # The upper bits of sqrt(1/2).
    exponent = binary(b, "RShift", binary(b, "Sub", word, const(b, "i32", 0x3FE6A09E)), const(b, "i32", 20))
    mantissa = binary(b, "Sub", word, binary(b, "LShift", exponent, const(b, "i32", 20)))
    e = binary(b, "Sub", exponent, select(b, tiny, const(b, "i32", 54), const(b, "i32", 0)))
    return convert(b, e, "f64", ""), double_of(b, low, bitcast(b, "u32", mantissa))


def _log_ends(b: Builder, x: Val, value: Val) -> Val:
    value = select(b, binary(b, "EQ", x, num(b, x, 0.0)), num(b, x, -inf), value)
    value = select(b, below(b, x, 0.0), num(b, x, nan), value)
    return select(b, below(b, x, inf), value, x)


@shared
def logarithm(b: Builder, x: Val) -> Val:
    """The leading term f is exact, so that the error stays relative near 1; see `elementary.log`."""
    e, m = _open(b, x)
    f = sub(b, m, one(b))
    s = div(b, f, add(b, num(b, x, 2.0), f))
    square, half_square = mul(b, s, s), mul(b, mul(b, num(b, x, 0.5), f), f)
    rest = mul(b, s, add(b, half_square, mul(b, square, polynomial(b, square, LOG_SMALL))))
    low = add(b, rest, mul(b, e, num(b, x, LN2[1])))
    value = add(b, mul(b, e, num(b, x, LN2[0])), sub(b, f, sub(b, half_square, low)))
    return _log_ends(b, x, value)


@shared
def log1p(b: Builder, x: Val) -> Val:
    whole = add(b, one(b), x)
    lost = div(b, sub(b, x, sub(b, whole, one(b))), whole)
    value = add(b, logarithm(b, whole), lost)
    value = select(b, below(b, size(b, x), 2.0**-54), x, value)
    return select(b, binary(b, "And", below(b, whole, inf), binary(b, "GT", whole, num(b, x, 0.0))), value,
                  logarithm(b, whole))


def _two_logarithm(b: Builder, x: Val) -> Pair:
    """log(x) of a positive number as a pair, to 2**-59: s = f / (2 + f) with its rest, then 2 atanh(s)."""
    e, m = _open(b, x)
    f = sub(b, m, one(b))
    whole, cut = two_sum(b, num(b, x, 2.0), f)
    s = div(b, f, whole)
    back, lost = two_product(b, s, whole)
    low = div(b, sub(b, sub(b, sub(b, f, back), lost), mul(b, s, cut)), whole)
    square = mul(b, s, s)
    series = mul(b, mul(b, s, square), polynomial(b, square, LOG_SMALL))
    high, first = two_sum(b, mul(b, e, num(b, x, LN2[0])), add(b, s, s))
    high, second = two_sum(b, high, series)
    more = add(b, add(b, low, low), mul(b, e, num(b, x, LN2[1])))
    return two_sum(b, high, add(b, add(b, first, second), more))


@shared
def power(b: Builder, x: Val, y: Val) -> Val:
    """C's pow."""
    zero = num(b, x, 0.0)
    high, low = _two_logarithm(b, size(b, x))
    product, lost = two_product(b, y, high)
    k, r, tail = _split_exponent(b, product, add(b, lost, mul(b, y, low)))
    value = scaled(b, add(b, one(b), add(b, r, tail)), k)
    # Where the logarithm or its product is no number: 0, infinity and what overflows.
    grows = binary(b, "EQ", binary(b, "GT", size(b, x), one(b)), binary(b, "GT", y, zero))
    ends = select(b, grows, num(b, x, inf), zero)
    extreme = binary(b, "Or", binary(b, "EQ", x, zero), binary(b, "EQ", size(b, x), num(b, x, inf)))
    extreme = binary(b, "Or", extreme, binary(b, "GE", size(b, product), num(b, x, 800.0)))
    extreme = binary(b, "Or", extreme, binary(b, "EQ", size(b, y), num(b, x, inf)))
    value = select(b, extreme, ends, value)
    half = mul(b, y, num(b, y, 0.5))
    whole = binary(b, "EQ", ext(b, Ext.Trunc, y), y)
    odd = binary(b, "And", whole, binary(b, "NE", ext(b, Ext.Trunc, half), half))
    value = select(b, odd, copysign(b, value, x), value)
    inside = binary(b, "And", below(b, x, 0.0), binary(b, "GT", x, num(b, x, -inf)))
    fraction = binary(b, "EQ", whole, Val("bool", (b.constant(b.bool, False),)))
    value = select(b, binary(b, "And", inside, fraction), num(b, x, nan), value)
    value = select(b, is_nan(b, y), y, _nan_kept(b, x, value))
    # -1 to an infinite power, 1 to any, any to 0.
    level = binary(b, "And", binary(b, "EQ", size(b, x), one(b)), binary(b, "EQ", size(b, y), num(b, x, inf)))
    level = binary(b, "Or", level, binary(b, "EQ", x, one(b)))
    return select(b, binary(b, "Or", level, binary(b, "EQ", y, zero)), one(b), value)


# circular functions ----------------------------------------------------------------------------------------------


def turned(quarters: int) -> Callable[[Builder, Val], Val]:
    """The sine of x and so many quarter turns."""
    def function(b: Builder, x: Val) -> Val:
        turns = ext(b, Ext.RoundEven, mul(b, x, num(b, x, 2 / pi)))
        head = sub(b, sub(b, x, mul(b, turns, num(b, x, HALF_PI[0]))), mul(b, turns, num(b, x, HALF_PI[1])))
        head, lost = two_sum(b, head, neg(b, mul(b, turns, num(b, x, HALF_PI[2]))))
        r, low = two_sum(b, head, sub(b, lost, mul(b, turns, num(b, x, HALF_PI[3]))))
        square = mul(b, r, r)
        half_square = mul(b, num(b, x, 0.5), square)
        bend = add(b, mul(b, mul(b, r, square), polynomial(b, square, SIN_SMALL)),
                   mul(b, low, sub(b, one(b), half_square)))
        top = sub(b, one(b), half_square)
        rest = sub(b, mul(b, mul(b, square, square), polynomial(b, square, COS_SMALL)), mul(b, r, low))
        cosine = add(b, top, add(b, sub(b, sub(b, one(b), top), half_square), rest))
        quadrant = binary(b, "Add", convert(b, turns, "i32", ""), const(b, "i32", quarters))
        zero, unit, two = (const(b, "i32", n) for n in (0, 1, 2))
        odd = binary(b, "NE", binary(b, "BitwiseAnd", quadrant, unit), zero)
        under = binary(b, "NE", binary(b, "BitwiseAnd", quadrant, two), zero)
        # The sine of -0 is -0.
        sine = select(b, binary(b, "EQ", r, num(b, x, 0.0)), r, add(b, r, bend))
        value = select(b, odd, cosine, sine)
        value = select(b, under, neg(b, value), value)
        return select(b, below(b, size(b, x), 2.0**30), value, num(b, x, nan))
    return function


def sine(b: Builder, x: Val) -> Val:
    return select(b, binary(b, "EQ", x, num(b, x, 0.0)), x, turned(0)(b, x))


def cosine(b: Builder, x: Val) -> Val:
    return turned(1)(b, x)


sin, cos = shared(sine), shared(cosine)


@shared
def tan(b: Builder, x: Val) -> Val:
    return div(b, sin(b, x), cos(b, x))


@shared
def atan(b: Builder, x: Val) -> Val:
    far = size(b, x)
    steep = binary(b, "GT", far, one(b))
    t = select(b, steep, div(b, one(b), far), far)
    # atan(t) = pi / 4 + atan((t - 1) / (t + 1)) beyond tan(pi / 8).
    wide = binary(b, "GT", t, num(b, x, 0.4142135623730951))
    u = select(b, wide, div(b, sub(b, t, one(b)), add(b, t, one(b))), t)
    square = mul(b, u, u)
    bend = mul(b, mul(b, u, square), polynomial(b, square, ATAN_SMALL))
    angle = select(b, wide, add(b, num(b, x, pi / 4), add(b, u, add(b, bend, num(b, x, PI_LOW / 4)))), add(b, u, bend))
    turned_ = sub(b, num(b, x, pi / 2), sub(b, angle, num(b, x, PI_LOW / 2)))
    return copysign(b, select(b, steep, turned_, angle), x)


@shared
def atan2(b: Builder, y: Val, x: Val) -> Val:
    high, wide = size(b, y), size(b, x)
    ratio = select(b, binary(b, "EQ", high, wide), one(b), div(b, high, wide))
    ratio = select(b, binary(b, "EQ", high, num(b, y, 0.0)), high, ratio)
    angle = atan(b, ratio)
    left = binary(b, "GE", double_words(b, x)[1], const(b, "u32", 0x80000000))
    back = sub(b, num(b, x, pi), sub(b, angle, num(b, x, PI_LOW)))
    angle = copysign(b, select(b, left, back, angle), y)
    return select(b, is_nan(b, x), x, _nan_kept(b, y, angle))


def other_leg(b: Builder, x: Val) -> Val:
    return square_root(b, mul(b, sub(b, one(b), x), add(b, one(b), x)))


def asin(b: Builder, x: Val) -> Val:
    return atan2(b, x, other_leg(b, x))


def acos(b: Builder, x: Val) -> Val:
    return atan2(b, other_leg(b, x), x)


def asinh(b: Builder, x: Val) -> Val:
    far = size(b, x)
    square = mul(b, far, far)
    more = div(b, square, add(b, one(b), square_root(b, add(b, one(b), square))))
    huge = add(b, logarithm(b, far), num(b, x, log(2)))
    return copysign(b, select(b, below(b, far, 1e150), log1p(b, add(b, far, more)), huge), x)


def acosh(b: Builder, x: Val) -> Val:
    over = sub(b, x, one(b))
    root = square_root(b, mul(b, over, add(b, x, one(b))))
    huge = add(b, logarithm(b, x), num(b, x, log(2)))
    return select(b, below(b, x, 1e150), log1p(b, add(b, over, root)), huge)


def atanh(b: Builder, x: Val) -> Val:
    far = size(b, x)
    ratio = div(b, add(b, far, far), sub(b, one(b), far))
    return copysign(b, mul(b, num(b, x, 0.5), log1p(b, ratio)), x)


@shared
def erf(b: Builder, x: Val) -> Val:
    far = size(b, x)
    square = mul(b, x, x)
    near = mul(b, x, polynomial(b, square, ERF_SMALL))
    bounded = select(b, below(b, far, 5.9), far, num(b, x, 5.9))
    step = ext(b, Ext.Floor, bounded)
    u = sub(b, bounded, add(b, step, num(b, x, 0.5)))
    row: list[float | Val] = []
    for choices in zip(*ERF_LARGE):
        coefficient = num(b, x, choices[-1])
        for i in range(len(choices) - 1, 0, -1):
            coefficient = select(b, below(b, step, i + 0.5), num(b, x, choices[i - 1]), coefficient)
        row.append(coefficient)
    value = polynomial(b, u, row)
    value = select(b, below(b, far, 5.9), value, one(b))
    return _nan_kept(b, x, select(b, below(b, far, 1.0), near, copysign(b, value, x)))


FUNCTIONS: dict[str, Function] = {
    "sqrt": square_root, "rsqrt": reciprocal_root, "fmod": remainder, "copysign": copysign, "round": round_away,
    "isnan": is_nan,
    "isinf": lambda b, x: binary(b, "EQ", size(b, x), num(b, x, inf)),
    "isfinite": lambda b, x: binary(b, "LT", size(b, x), num(b, x, inf)),
    "exp": exp, "expm1": expm1, "tanh": tanh, "sinh": sinh, "cosh": cosh, "sigmoid": sigmoid,
    "log": logarithm, "log1p": log1p, "pow": power,
    "exp2": lambda b, x: power(b, num(b, x, 2.0), x), "exp10": lambda b, x: power(b, num(b, x, 10.0), x),
    "log2": lambda b, x: div(b, logarithm(b, x), num(b, x, log(2))),
    "log10": lambda b, x: div(b, logarithm(b, x), num(b, x, log(10))),
    "sin": sin, "cos": cos, "tan": tan, "atan": atan, "atan2": atan2, "asin": asin, "acos": acos,
    "asinh": asinh, "acosh": acosh, "atanh": atanh, "erf": erf,
}
"""By the name that TIR calls them; the others have no form, and `intrinsics.call` says so."""
