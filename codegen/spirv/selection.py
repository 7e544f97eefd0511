"""Choices between two values: both computed and one picked, or only the one that is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import tvm_ffi
from tvm import ir
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import arith, calls
from tvm_webgpu.codegen.spirv.conversions import coerce, fits, narrow
from tvm_webgpu.codegen.spirv.dtypes import DType
from tvm_webgpu.codegen.spirv.instructions import Id
from tvm_webgpu.codegen.spirv.scan import called
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
    """prim.if_then_else: only the arm taken is computed, unless both are free.

    An equal one that was computed before in this scope is taken again: no optimiser joins branches, and a formula that
    names its parts several times, as a reflected coordinate does, would grow exponentially.
    """
    condition, x, y = args
    if all(isinstance(side, prim.IntImm | prim.FloatImm | ir.Var) for side in (x, y)):
        return pick(e, expr, condition, x, y)
    regions = e.b.fn.regions
    earlier = e.choices.setdefault(tvm_ffi.structural_hash(expr), [])
    for same, region, depth, value in earlier:
        if depth < len(regions) and regions[depth] is region and tvm_ffi.structural_equal(same, expr):
            return value
    value = _branch(e, expr, condition, x, y)
    if _keeps(e, expr):
        earlier.append((expr, regions[-1], len(regions) - 1, value))
    return value


def _keeps(e: Emitter, expr: ir.Expr) -> bool:
    """Whether an expression has the same value wherever its variables have: it reads no memory that is written."""
    found: list[ir.Call | ir.TensorLoad] = []
    tvm_ffi.structural_walk(expr, [((ir.Call, ir.TensorLoad), found.append)], order="pre")
    return all(
        not e.scan.views[node.source.__chandle__()].memory.written if isinstance(node, ir.TensorLoad)
        else called(node)[0] == "if_then_else" or calls.lookup(called(node)[0]) is not None
        for node in found
    )


def _branch(e: Emitter, expr: ir.Call, condition: ir.Expr, x: ir.Expr, y: ir.Expr) -> Value:
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
