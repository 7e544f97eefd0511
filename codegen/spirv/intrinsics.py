"""Calls that are more than a function of their arguments: synchronisation, subgroups, reinterpretation, jumps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tvm import ir, tirx
from tvm_webgpu.codegen.spirv import access, arith, calls, matrix, wide
from tvm_webgpu.codegen.spirv.conversions import coerce, convert, divide_exactly, low
from tvm_webgpu.codegen.spirv.dtypes import REPR, DType
from tvm_webgpu.codegen.spirv.fields import FIELDS
from tvm_webgpu.codegen.spirv.opcodes import SEMANTICS_WORKGROUP, Capability, Op, Scope
from tvm_webgpu.codegen.spirv.scan import ATOMICS, called
from tvm_webgpu.codegen.spirv.selection import lazy
from tvm_webgpu.codegen.spirv.values import Val, Value, const, join, lanewise, split

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter

SUBGROUP = {
    "webgpu.subgroup_shuffle": (Op.GroupNonUniformShuffle, Capability.GroupNonUniformShuffle),
    "webgpu.subgroup_shuffle_up": (Op.GroupNonUniformShuffleUp, Capability.GroupNonUniformShuffleRelative),
    "webgpu.subgroup_shuffle_down": (Op.GroupNonUniformShuffleDown, Capability.GroupNonUniformShuffleRelative),
}


def call(e: Emitter, expr: ir.Call) -> Value:
    """Any call: an intrinsic of the table `CALLS`, or a function of `calls` applied to its arguments' values."""
    short, args = called(expr)
    if short in ATOMICS:
        return access.atomic(e, short, args)
    if short in CALLS:
        return CALLS[short](e, expr, args)
    if short in SUBGROUP:
        return _subgroup(e, short, args)
    kinds = [e.dtype(a) for a in args if hasattr(a.ty, "dtype")]
    function = calls.lookup(short, any(kind.name == "float64" for kind in kinds))
    dtype = e.dtype(expr)
    if short in calls.WIDE_MATH and kinds[0].is_wide:
        value = coerce(e, e.expr(args[0]), kinds[0])
        return coerce(e, lanewise(e.b, lambda v: calls.WIDE_MATH[short](e.b, v), value), dtype)
    if function is None or any(kind.is_wide for kind in kinds):
        given = ", ".join(map(str, kinds))
        hint = "; cast its arguments to float32" if "float64" in given else ""
        raise e.unsupported(f"operation {short}({given}) -> {dtype}", f"no WebGPU form of it is known{hint}")
    if short in calls.ROUNDINGS:
        divide_exactly(e, args[0])
    values = [coerce(e, e.expr(a), e.dtype(a)) for a in args]
    if short == "popcount" and kinds[0].name in ("int8", "int16"):  # held as i32, the sign in all bits above
        values = [lanewise(e.b, lambda v: arith.convert(e.b, v, "u32", f"u{kinds[0].name}"), v) for v in values]
    result = lanewise(e.b, lambda *v: function(e.b, *v), *values)
    return coerce(e, result, dtype)


def _barrier(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    scope = str(args[0].value)
    if scope not in ("shared", "shared.dyn"):
        raise e.unsupported(f"synchronisation of {scope} memory", "WebGPU synchronises within a workgroup only")
    b = e.b
    workgroup = b.constant(b.u32, Scope.Workgroup)
    b.effect(Op.ControlBarrier, workgroup, workgroup, b.constant(b.u32, SEMANTICS_WORKGROUP))
    return const(b, "i32", 0)


def _subgroup(e: Emitter, name: str, args: list[ir.Expr]) -> Value:
    if not e.limits.subgroups:
        raise e.unsupported(name, "the target needs feature.subgroups")
    e.features.add("subgroups")
    b, (op, capability) = e.b, SUBGROUP[name]
    b.capabilities |= {Capability.GroupNonUniform, capability}
    value, lane = e.expr(args[0]), arith.bitcast(b, "u32", low(e, args[1]))
    scope = b.constant(b.u32, Scope.Subgroup)

    def one(v: Val) -> Val:
        type = b.u32 if len(v.ids) == 2 else b.type_of(v.id)
        return Val(v.rep, tuple(b.raw(op, type, scope, i, lane.id) for i in v.ids), v.lanes)

    return lanewise(b, one, value)


def _warp_shuffle(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    """tvm_warp_shuffle{,_up,_down}(mask, value, lane or delta, width, warp size)."""
    kind = str(expr.op.name).removeprefix("tirx.tvm_warp_shuffle")
    return _subgroup(e, "webgpu.subgroup_shuffle" + kind, args[1:3])


def _first(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    return e.expr(args[0])


def _nothing(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    return const(e.b, "i32", 0)


def _dp4a(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    """acc + dot of two vectors of four 8-bit integers."""
    b, rep = e.b, e.rep(e.dtype(expr))
    x, y = (split(b, e.expr(a)) for a in args[:2])
    total = e.val(args[2])
    for p, q in zip(x, y):
        product = arith.binary(b, "Mul", arith.bitcast(b, rep, p), arith.bitcast(b, rep, q))
        total = arith.binary(b, "Add", total, product)
    return total


def _reinterpret(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    source, target = e.dtype(args[0]), e.dtype(expr)
    value, rep = coerce(e, e.expr(args[0]), source), e.rep(target)
    same = {"int32", "uint32", "float32"}
    if source.lanes == target.lanes and {source.name, target.name} <= same:
        return lanewise(e.b, lambda v: arith.bitcast(e.b, rep, v), value)
    if source.lanes == target.lanes and source.name in FIELDS and target.name in FIELDS:
        def one(v: Val) -> Val:
            bits = FIELDS[source.name][1](e.b, convert(e, v, REPR[source.name], source))
            back = FIELDS[target.name][0](e.b, bits, wide.u32(e.b, 0))
            return convert(e, back, rep, target)
        return join(e.b, [one(v) for v in split(e.b, value)])
    if source.is_wide and target.is_wide:
        return lanewise(e.b, lambda v: Val(rep, v.ids), value)
    if source.is_wide and rep == "f64":
        return lanewise(e.b, lambda v: arith.double_of(e.b, *wide.words(v)), value)
    if source.name == "float64" and target.is_wide:
        return lanewise(e.b, lambda v: wide.pair(rep, *arith.double_words(e.b, v)), value)
    raise e.unsupported(f"reinterpret of {source} as {target}")


def _break_call(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    e.b.jump("break" if getattr(expr.op, "name", "").endswith("break_loop") else "continue")
    return const(e.b, "i32", 0)


def _multiply_shift(e: Emitter, expr: ir.Call, args: list[ir.Expr]) -> Value:
    """q_multiply_shift(x, y, q, s): the product of fixed-point numbers of q digits over 2**s, rounded half up."""
    dtype = e.dtype(expr)
    wide_type = str(DType("int64", dtype.lanes))
    x, y, digits, shift = (tirx.Cast(wide_type, arg) for arg in args)
    one = tirx.const(1, wide_type)
    half = one << (digits + shift - one)
    return e.expr(tirx.Cast(str(dtype), (x * y + half) >> (digits + shift)))


CALLS: dict[str, Callable[[Emitter, ir.Call, list[ir.Expr]], Value]] = {
    "if_then_else": lazy,
    "tvm_storage_sync": _barrier,
    "tvm_thread_invariant": _first,
    "likely": _first,
    "assume": _nothing,
    "tvm_warp_activemask": _nothing,
    "tvm_warp_shuffle": _warp_shuffle,
    "tvm_warp_shuffle_up": _warp_shuffle,
    "tvm_warp_shuffle_down": _warp_shuffle,
    "dp4a": _dp4a,
    "q_multiply_shift": _multiply_shift,
    "reinterpret": _reinterpret,
    "break_loop": _break_call,
    "continue_loop": _break_call,
    **matrix.CALLS,
}
