"""Casts, and values from one representation to another: a dtype's own, or 32 bits where that is known to be enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import arith, rounding, wide
from tvm_webgpu.codegen.spirv.arith import RING
from tvm_webgpu.codegen.spirv.dtypes import INT_RANGE, DType
from tvm_webgpu.codegen.spirv.facts import Fact
from tvm_webgpu.codegen.spirv.values import WIDE, Val, Value, lanewise

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter

NARROW = {"int64": "i32", "uint64": "u32"}
"""What 64-bit integers known to fit are computed as."""


def low(e: Emitter, expr: ir.Expr) -> Val:
    """The low 32 bits as i32: all that an index needs, and exact wherever the value fits."""
    b, dtype = e.b, e.dtype(expr)
    kind = type(expr).__name__
    if dtype.is_wide and not fits(e.facts(expr), dtype):
        if kind in RING:
            return arith.binary(b, kind, low(e, expr.a), low(e, expr.b))
        if type(expr) is prim.Cast and e.dtype(expr.value).is_int:
            return low(e, expr.value)
    return low_word(e, e.val(expr))


def low_word(e: Emitter, value: Val) -> Val:
    """An integer's low 32 bits as i32."""
    if value.rep in WIDE:
        return arith.bitcast(e.b, "i32", Val("u32", (value.ids[0],)))
    return arith.convert(e.b, value, "i32", "int32")


def fits(fact: Fact, dtype: DType) -> bool:
    """Whether a 64-bit integer is known to fit in 32 bits."""
    return fact.within(*INT_RANGE["int32" if dtype.name == "int64" else "uint32"])


def narrow(e: Emitter, value: Val, dtype: DType) -> Val:
    """A 64-bit value known to fit, in 32 bits."""
    rep = NARROW[dtype.name]
    if value.rep in WIDE:
        value = Val("u32", (value.ids[0],))
    return arith.convert(e.b, value, rep, "")


def coerce(e: Emitter, value: Value, dtype: DType) -> Value:
    """A value in its dtype's own representation: 64-bit integers as pairs."""
    rep = e.rep(dtype)
    return lanewise(e.b, lambda v: convert(e, v, rep, dtype), value, rep=rep)


def convert(e: Emitter, value: Val, rep: str, dtype: DType) -> Val:
    """A value as `rep`, with the meaning of a cast to `dtype`."""
    b = e.b
    if value.rep == rep:
        return value
    if rep in WIDE:
        if value.rep in arith.FLOATS:
            return wide.from_float(b, arith.convert(b, value, "f32", "") if value.rep == "f16" else value, rep)
        return wide.widen(b, value, rep)
    if value.rep in WIDE:
        if rep == "bool":
            return arith.to_bool(b, arith.binary(b, "BitwiseOr", *wide.words(value)))
        if rep == "f64":
            return wide.to_double(b, value)
        if rep in arith.FLOATS:
            return arith.convert(b, wide.to_float(b, value), rep, "")
        value = Val("u32", (value.ids[0],))
    return arith.convert(b, value, rep, dtype.name)


def cast(e: Emitter, expr: prim.Cast) -> Value:
    """A cast, rounded to what the dtype has also where it is computed in more."""
    value, source, target = unrounded(e, expr), e.dtype(expr.value), e.dtype(expr)
    if target.name not in rounding.WHOLE or e.rep(target) != "f32":
        return value
    fact = e.facts(expr.value) if source.is_int and source.lanes == 1 else None
    return rounding.rounded(e.b, value, target.name) if rounding.loses(source, fact, target) else value


def unrounded(e: Emitter, expr: prim.Cast) -> Value:
    """A cast for one that rounds the value itself, as a store to packed elements does."""
    source, target = e.dtype(expr.value), e.dtype(expr)
    e.check(source)
    if source.is_float and target.is_int:
        divide_exactly(e, expr.value)
    rep = e.rep(target)
    if target.is_wide and target.lanes == 1 and fits(e.facts(expr), target) and source.is_int:
        return narrow(e, e.val(expr.value), target)

    def one(v: Val) -> Val:
        return arith.wrap(e.b, v, target.name) if v.rep == rep else convert(e, v, rep, target)

    return lanewise(e.b, one, e.expr(expr.value), rep=rep)


def divide_exactly(e: Emitter, expr: ir.Expr) -> None:
    """Marks the quotients that come into an expression which is rounded to an integer: the last bit decides there."""
    kind = type(expr)
    if kind is prim.Div:
        e.exact.add(expr.__chandle__())
    elif kind in (prim.Add, prim.Sub, prim.Min, prim.Max):
        divide_exactly(e, expr.a)
        divide_exactly(e, expr.b)
