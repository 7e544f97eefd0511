"""TIR expressions in, values out; the table `EXPRESSIONS` gives the function for each class of node."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import access, arith, elementary_double, intrinsics, wide
from tvm_webgpu.codegen.spirv.arith import COMPARISONS, RING
from tvm_webgpu.codegen.spirv.conversions import NARROW, cast, coerce, convert, fits, low, narrow
from tvm_webgpu.codegen.spirv.dtypes import DType
from tvm_webgpu.codegen.spirv.exact import divide, float_remainder
from tvm_webgpu.codegen.spirv.instructions import float_bits
from tvm_webgpu.codegen.spirv.selection import pick
from tvm_webgpu.codegen.spirv.terms import BINARY
from tvm_webgpu.codegen.spirv.values import WIDE, Val, Value, const, join, lanewise, split

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter


SHIFTS = ("LShift", "RShift")


def _int(e: Emitter, expr: prim.IntImm) -> Value:
    dtype = e.dtype(expr)
    rep = e.rep(dtype)
    if dtype.is_wide and fits(e.facts(expr), dtype):
        rep = NARROW[dtype.name]
    return const(e.b, rep, expr.value)


def _float(e: Emitter, expr: prim.FloatImm) -> Value:
    rep = e.rep(e.dtype(expr))
    if rep == "f64":
        return const(e.b, rep, expr.value)
    bits = float_bits(expr.value, 32)
    if bits & 0x7F800000 != 0x7F800000:
        return const(e.b, rep, expr.value)
    return arith.convert(e.b, Val("f32", (e.b.opaque_float(bits),)), rep, "")


def _var(e: Emitter, expr: ir.Var) -> Value:
    value = e.env.get(expr.__chandle__())
    if value is None:
        raise e.unsupported(f"variable {expr.name} is not defined in the kernel")
    return value


def _binary(e: Emitter, expr: ir.Expr) -> Value:
    left, right, kind = expr.a, expr.b, type(expr).__name__
    b, dtype = e.b, e.dtype(left)
    if dtype.is_wide:
        return _wide_binary(e, expr, kind, dtype)
    fx, fy = (e.facts(left), e.facts(right)) if dtype.is_int and dtype.lanes == 1 else (None, None)
    x, y = e.expr(left), e.expr(right)

    far = kind in SHIFTS and not (fy is not None and fy.within(0, 31))

    def one(p: Val, q: Val) -> Val:
        if kind == "Div" and p.rep == "f32" and expr.__chandle__() in e.exact:
            return divide(b, p, q)
        if kind == "Mod" and p.rep in arith.FLOATS:
            return elementary_double.remainder(b, p, q) if p.rep == "f64" else float_remainder(b, p, q)
        result = arith.shift(b, kind, p, q) if far else arith.binary(b, kind, p, q, fx, fy)
        return result if result.rep == "bool" else arith.wrap(b, result, dtype.name)

    return lanewise(b, one, x, y)


def _wide_binary(e: Emitter, expr: ir.Expr, kind: str, dtype: DType) -> Value:
    b, left, right = e.b, expr.a, expr.b
    if dtype.lanes > 1:
        rep = e.rep(dtype)
        return lanewise(b, lambda p, q: wide.wide_binary(b, kind, wide.widen(b, p, rep), wide.widen(b, q, rep)),
                        e.expr(left), e.expr(right))
    fx, fy = e.facts(left), e.facts(right)
    compares = kind in COMPARISONS
    small = compares or fits(e.facts(expr), dtype)
    if small and not compares and kind in RING:
        result = arith.binary(b, kind, low(e, left), low(e, right))
        return arith.bitcast(b, NARROW[dtype.name], result)
    # Shifts by 32 and more are defined for 64 bits only, whatever fits in fewer.
    if small and fits(fx, dtype) and fits(fy, dtype) and (kind not in SHIFTS or fy.within(0, 31)):
        x, y = narrow(e, e.val(left), dtype), narrow(e, e.val(right), dtype)
        return arith.binary(b, kind, x, y, fx, fy)
    rep = e.rep(dtype)
    x, y = convert(e, e.val(left), rep, dtype), convert(e, e.val(right), rep, dtype)
    result = wide.wide_binary(b, kind, x, y)
    return narrow(e, result, dtype) if small and not compares else result


def _not(e: Emitter, expr: ir.Expr) -> Value:
    b, dtype = e.b, e.dtype(expr.a)

    def one(x: Val) -> Val:
        return wide.invert(b, x) if x.rep in WIDE else arith.wrap(b, arith.invert(b, x), dtype.name)

    return lanewise(b, one, e.expr(expr.a))


def _select(e: Emitter, expr: prim.Select) -> Value:
    return pick(e, expr, expr.condition, expr.true_value, expr.false_value)


def _let(e: Emitter, expr: prim.Let) -> Value:
    e.bind(expr.var, e.expr(expr.value))
    return e.expr(expr.body)


def _ramp(e: Emitter, expr: prim.Ramp) -> Value:
    b, dtype = e.b, e.dtype(expr)
    rep = e.rep(dtype)
    base, stride = (convert(e, e.val(part), rep, dtype) for part in (expr.base, expr.stride))
    f = wide.wide_binary if dtype.is_wide else arith.binary
    return join(b, [f(b, "Add", base, f(b, "Mul", stride, const(b, rep, i)))
                    for i in range(dtype.lanes)])


def _broadcast(e: Emitter, expr: prim.Broadcast) -> Value:
    dtype = e.dtype(expr)
    value = coerce(e, e.expr(expr.value), DType(dtype.name))
    lanes = split(e.b, value)
    return join(e.b, lanes * (dtype.lanes // len(lanes)))


def _shuffle(e: Emitter, expr: prim.Shuffle) -> Value:
    dtype = e.dtype(expr)
    lanes = [x for v in expr.vectors for x in split(e.b, coerce(e, e.expr(v), e.dtype(v)))]
    if not all(isinstance(i, prim.IntImm) for i in expr.indices):
        raise e.unsupported(f"shuffle of {dtype} by indices that are not constant")
    return join(e.b, [lanes[int(i)] for i in expr.indices])


EXPRESSIONS: dict[type, Callable[..., Value]] = {
    **dict.fromkeys(BINARY, _binary),
    prim.IntImm: _int,
    prim.FloatImm: _float,
    ir.Var: _var,
    prim.Not: _not,
    prim.BitwiseNot: _not,
    prim.Cast: cast,
    ir.TensorLoad: access.load,
    prim.Select: _select,
    prim.Let: _let,
    prim.Ramp: _ramp,
    prim.Broadcast: _broadcast,
    prim.Shuffle: _shuffle,
    ir.Call: intrinsics.call,
}
