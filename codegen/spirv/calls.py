"""Functions that TIR calls by name, as tables of SPIR-V forms.

Both an operator (`tirx.exp`) and what TVM's LowerIntrin makes of it (extern "exp" or "expf") are found under "exp".
Each entry takes the builder and scalar or vector `Val`s of one float representation and gives one.
"""

from __future__ import annotations

from math import log2, log10

from tvm_webgpu.codegen.spirv import elementary, elementary_double, exact, wide
from tvm_webgpu.codegen.spirv.arith import binary, bitcast, invert, select
from tvm_webgpu.codegen.spirv.builder import Builder
from tvm_webgpu.codegen.spirv.elementary import Function, add, direct, ext, in_f32, keeping_nan, mul, num
from tvm_webgpu.codegen.spirv.opcodes import Ext, Op
from tvm_webgpu.codegen.spirv.values import Val, const, rep_type


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


ROUNDINGS = ("floor", "ceil", "trunc", "round", "nearbyint", "rint")
# What drivers do well enough.
DRIVERS = {"exp": Ext.Exp, "exp2": Ext.Exp2, "log2": Ext.Log2, "sqrt": Ext.Sqrt, "rsqrt": Ext.InverseSqrt}
OURS: dict[str, Function] = {
    "erf": elementary.erf, "tanh": elementary.tanh, "sinh": elementary.sinh, "cosh": elementary.cosh,
    "asin": elementary.asin, "acos": elementary.acos, "asinh": elementary.asinh, "acosh": elementary.acosh,
    "atanh": elementary.atanh, "log1p": elementary.log1p, "fmod": exact.fmod, "tan": elementary.tan,
    "atan": elementary.atan, "atan2": elementary.atan2,
    "sin": elementary.turned(0, Ext.Sin), "cos": elementary.turned(1, Ext.Cos),
}
MATH: dict[str, Function] = {
    **{name: keeping_nan(direct(op)) for name, op in DRIVERS.items()},
    **{name: in_f32(keeping_nan(f)) for name, f in OURS.items()},
    "log": in_f32(elementary.log), "pow": in_f32(elementary.power), "sigmoid": keeping_nan(elementary.sigmoid),
    "fabs": absolute, "abs": absolute,
    "floor": whole_only(direct(Ext.Floor)), "ceil": whole_only(direct(Ext.Ceil)),
    "trunc": whole_only(direct(Ext.Trunc)),
    "round": whole_only(elementary.round_away), "nearbyint": whole_only(direct(Ext.RoundEven)),
    "rint": whole_only(direct(Ext.RoundEven)),
    "exp10": lambda b, x: ext(b, Ext.Exp2, mul(b, x, num(b, x, log2(10)))),
    "log10": lambda b, x: mul(b, ext(b, Ext.Log2, x), num(b, x, log10(2))),
    "fma": fused,
    "hypot": lambda b, x, y: ext(b, Ext.Sqrt, add(b, mul(b, x, x), mul(b, y, y))),
    "nextafter": exact.nextafter, "ldexp": exact.ldexp,
    "copysign": in_f32(elementary.copysign),
    "fmax": lambda b, x, y: binary(b, "Max", x, y), "fmin": lambda b, x, y: binary(b, "Min", x, y),
    "isnan": exact.classify("GT"), "isinf": exact.classify("EQ"), "isfinite": exact.classify("LT"),
    "clz": count_leading_zeros, "popcount": popcount, "ctpop": popcount,
    "bitwise_not": invert,
}


DOUBLES: dict[str, Function] = {
    **{name: MATH[name] for name in ("fabs", "abs", "floor", "ceil", "trunc", "round", "nearbyint", "rint", "fma",
                                     "fmax", "fmin")},
    **elementary_double.FUNCTIONS,
}
"""Those of doubles; none that computes in f32."""


WIDE_MATH: dict[str, Function] = {
    "popcount": lambda b, x: _sum(b, *(popcount(b, word) for word in wide.words(x))),
    "clz": lambda b, x: _leading_wide(b, *wide.words(x)),
}
"""Those of 64-bit integers, which give an i32."""
WIDE_MATH["ctpop"] = WIDE_MATH["popcount"]


def _sum(b: Builder, x: Val, y: Val) -> Val:
    return bitcast(b, "i32", binary(b, "Add", x, y))


def _leading_wide(b: Builder, low: Val, high: Val) -> Val:
    below = binary(b, "Add", count_leading_zeros(b, low), const(b, "i32", 32))
    return select(b, binary(b, "EQ", high, const(b, "u32", 0)), below, count_leading_zeros(b, high))


def lookup(name: str, double: bool = False) -> Function | None:
    """The function of an operator or extern name, `tirx.` and C's `f` suffix aside; `double`: of float64."""
    short, table = name.rsplit(".", 1)[-1], DOUBLES if double else MATH
    return table.get(short) or table.get(short.removesuffix("f"))
