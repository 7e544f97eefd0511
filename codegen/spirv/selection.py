"""Choices between two values: both computed and one picked, or only the one that is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import arith
from tvm_webgpu.codegen.spirv.conversions import coerce, fits, narrow
from tvm_webgpu.codegen.spirv.dtypes import DType
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.values import Lanes, Val, Value, join, split

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter


def pick(e: Emitter, expr: ir.Expr, condition: ir.Expr, x: ir.Expr, y: ir.Expr) -> Value:
    """Eager select."""
    dtype, b = e.dtype(expr), e.b
    values = [_arm(e, side, expr, dtype) for side in (x, y)]
    chosen = e.expr(condition)
    if isinstance(values[0], Lanes) or isinstance(values[1], Lanes) or isinstance(chosen, Lanes):
        conditions = split(b, chosen) * (dtype.lanes // chosen.lanes)
        return join(b, [arith.select(b, c, p, q)
                        for c, p, q in zip(conditions, *(split(b, v) for v in values))])
    return arith.select(b, chosen, values[0], values[1])


def _arm(e: Emitter, arm: ir.Expr, whole: ir.Expr, dtype: DType) -> Value:
    if dtype.is_wide and dtype.lanes == 1 and fits(e.facts(whole), dtype):
        return narrow(e, e.val(arm), dtype)
    return coerce(e, e.expr(arm), dtype)


def lazy(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    """prim.if_then_else: only the arm taken is computed, unless both are free."""
    condition, x, y = args
    if all(isinstance(side, prim.IntImm | prim.FloatImm | ir.Var) for side in (x, y)):
        return pick(e, expr, condition, x, y)
    b, dtype = e.b, e.dtype(expr)
    test = e.condition(condition)
    shapes: list[Value] = []

    def arm(side: ir.Expr) -> Callable[[], tuple[Id, ...]]:
        def make() -> tuple[Id, ...]:
            value = _arm(e, side, expr, dtype)
            shapes.append(value)
            return value.ids if isinstance(value, Val) else tuple(i for v in value.elems for i in v.ids)
        return make

    ids = b.choose(test, arm(x), arm(y))
    like = shapes[0]
    if isinstance(like, Val):
        return Val(like.rep, ids, like.lanes)
    step = len(like.elems[0].ids)
    return Lanes(tuple(Val(like.rep, ids[i:i + step]) for i in range(0, len(ids), step)))
