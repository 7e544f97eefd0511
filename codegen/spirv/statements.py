"""TIR statements in, instructions and structured control flow out; `STATEMENTS` gives the function for each class."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm import ir, tirx
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import access, arith
from tvm_webgpu.codegen.spirv.conversions import convert, low
from tvm_webgpu.codegen.spirv.values import Val

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter

IGNORED_ATTRIBUTES = ("reduce_scope", "storage_alignment", "volatile_scope", "realize_scope", "extern_scope",
                      "tirx.noalias", "hand_threaded", "device_scope", "fragment_shape", "fragment_layout")


def _seq(e: Emitter, stmt: tirx.SeqStmt) -> None:
    for part in stmt.seq:
        if not e.b.open:
            return
        e.stmt(part)


def _attr(e: Emitter, stmt: tirx.AttrStmt) -> None:
    if stmt.attr_key == "thread_extent":
        e.bind(stmt.node.var, _thread_var(e, stmt.node))
    elif stmt.attr_key not in IGNORED_ATTRIBUTES and not stmt.attr_key.startswith("pragma_"):
        raise e.unsupported(f"attribute {stmt.attr_key}")
    e.stmt(stmt.body)


def _thread_var(e: Emitter, iter_var: tirx.IterVar) -> Val:
    tag = iter_var.thread_tag
    if tag not in e.indices:
        raise e.unsupported(f"thread tag {tag}")
    dtype = e.dtype(iter_var.var)
    return e.indices[tag] if dtype.is_wide else convert(e, e.indices[tag], e.rep(dtype), dtype)


def _declare(e: Emitter, stmt: tirx.DeclBuffer) -> None:
    pass  # the scan has resolved it


def _allocate(e: Emitter, stmt: tirx.AllocBuffer) -> None:
    if stmt.buffer.__chandle__() in e.scan.fragments:
        return  # `matrix` declares them once it knows their shape
    memory = e.scan.views[stmt.buffer.__chandle__()].memory
    if id(memory) not in e.places:
        e.place(memory)


def _bind(e: Emitter, stmt: tirx.Bind) -> None:
    if isinstance(stmt.var.ty, ir.PointerType):
        raise e.unsupported(f"pointer variable {stmt.var.name}")
    e.bind(stmt.var, e.expr(stmt.value))


def _evaluate(e: Emitter, stmt: tirx.Evaluate) -> None:
    if type(stmt.value) is not prim.IntImm:
        e.expr(stmt.value)


def _if(e: Emitter, stmt: tirx.IfThenElse) -> None:
    condition = e.condition(stmt.condition)
    known = e.b.bool_value(condition)
    if known is not None:
        taken = stmt.then_case if known else stmt.else_case
        if taken is not None:
            e.stmt(taken)
        return
    with e.b.branch(condition, stmt.else_case is not None) as arms:
        next(arms)
        e.stmt(stmt.then_case)
        if stmt.else_case is not None:
            next(arms)
            e.stmt(stmt.else_case)


def _for(e: Emitter, stmt: tirx.For) -> None:
    b, var = e.b, stmt.loop_var
    if stmt.kind == tirx.ForKind.VECTORIZED:
        raise e.unsupported(f"vectorized loop over {var.name} that was not lowered")
    trips = stmt.extent
    extent, start = e.facts(trips), e.facts(stmt.min)
    step = int(stmt.step) if stmt.step is not None else 1
    if extent.hi <= 0:
        return
    if not start.fits_i32 or step <= 0:
        raise e.unsupported(f"loop over {var.name} from {stmt.min} by {step}: its start may exceed 32 bits")
    if start.hi + extent.hi >= 2**31:
        # Extents are products of dimensions, of which less is known. No device goes 2**31 times around a loop.
        trips = tirx.min(trips, tirx.IntImm(e.dtype(trips).name, 2**31 - 1 - max(start.hi, 0)))
        extent = e.facts(trips)
    first = low(e, stmt.min)
    if extent.lo == extent.hi == 1 and not e.scan.jumps:
        _set_index(e, var, first)
        e.stmt(stmt.body)
        return
    bound = arith.binary(b, "Add", first, low(e, trips))
    with b.counted_loop(first.id, bound.id, step, b.i32) as i:
        b.name(i, var.name)
        _set_index(e, var, Val("i32", (i,)))
        e.stmt(stmt.body)


def _set_index(e: Emitter, var: ir.Var, index: Val) -> None:
    dtype = e.dtype(var)
    e.bind(var, index if dtype.is_wide else convert(e, index, e.rep(dtype), dtype))


def _while(e: Emitter, stmt: tirx.While) -> None:
    with e.b.while_loop():
        e.b.break_unless(e.condition(stmt.condition))
        e.stmt(stmt.body)


def _break(e: Emitter, stmt: tirx.Break) -> None:
    e.b.jump("break")


def _continue(e: Emitter, stmt: tirx.Continue) -> None:
    e.b.jump("continue")


STATEMENTS: dict[type, Callable[..., None]] = {
    tirx.SeqStmt: _seq,
    tirx.AttrStmt: _attr,
    tirx.DeclBuffer: _declare,
    tirx.AllocBuffer: _allocate,
    tirx.Bind: _bind,
    tirx.Evaluate: _evaluate,
    tirx.IfThenElse: _if,
    tirx.For: _for,
    tirx.While: _while,
    tirx.BufferStore: access.store,
    tirx.Break: _break,
    tirx.Continue: _continue,
}
