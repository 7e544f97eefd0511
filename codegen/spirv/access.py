"""Buffer elements loaded, stored, updated atomically: TIR's indices in, accesses of declared memory (`storage`) out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tvm import ir, tirx
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv import arith, storage
from tvm_webgpu.codegen.spirv.conversions import coerce, low, low_word, unrounded
from tvm_webgpu.codegen.spirv.dtypes import DType
from tvm_webgpu.codegen.spirv.facts import is_zero_or
from tvm_webgpu.codegen.spirv.scan import ATOMICS, addressed, is_one
from tvm_webgpu.codegen.spirv.values import Val, Value, const, join, split

if TYPE_CHECKING:
    from tvm_webgpu.codegen.spirv.emitter import Emitter


def accesses(e: Emitter, buffer: ir.Var, index: ir.Expr) -> list[tuple[Val, int, int, bool]]:
    """The runs of consecutive elements an access touches: (i32 index, first lane, lanes, whole and aligned)."""
    view = e.scan.views[buffer.__chandle__()]
    b, unit = e.b, view.dtype.lanes
    offset = low(e, view.offset) if view.offset is not None else None

    def at(position: Val) -> Val:
        scaled = arith.binary(b, "Mul", position, const(b, "i32", unit)) if unit > 1 else position
        return scaled if offset is None else arith.binary(b, "Add", scaled, offset)

    def aligned(base: ir.Expr, lanes: int) -> bool:
        whole = is_zero_or(e.facts(base), lanes) or unit == lanes
        return whole and (view.offset is None or is_zero_or(e.facts(view.offset), lanes))

    if type(index) is prim.Ramp and is_one(index.stride):
        lanes = int(index.lanes) * unit
        return [(at(low(e, index.base)), 0, lanes, aligned(index.base, lanes))]
    if e.dtype(index).lanes == 1:
        return [(at(low(e, index)), 0, unit, aligned(index, unit))]
    positions = [low_word(e, p) for p in split(b, e.expr(index))]
    return [(at(p), i * unit, unit, unit == 1 or view.offset is None) for i, p in enumerate(positions)]


def store(e: Emitter, stmt: tirx.BufferStore) -> None:
    view = e.scan.views[stmt.buffer.__chandle__()]
    dtype = DType(view.dtype.name, e.dtype(stmt.value).lanes)
    place = e.places[id(view.memory)]
    rounds = type(stmt.value) is prim.Cast and storage.rounds(place)
    value = coerce(e, unrounded(e, stmt.value) if rounds else e.expr(stmt.value), dtype)
    for index, first, count, whole in accesses(e, stmt.buffer, stmt.indices[0]):
        part = value if count == value.lanes else join(e.b, split(e.b, value)[first:first + count])
        storage.store(e.b, place, dtype.name, index, part, whole)


def load(e: Emitter, expr: ir.TensorLoad) -> Value:
    view = e.scan.views[expr.source.__chandle__()]
    place, rep = e.places[id(view.memory)], e.rep(view.dtype)
    parts = [storage.load(e.b, place, view.dtype.name, rep, index, count, whole)
             for index, _, count, whole in accesses(e, expr.source, expr.indices[0])]
    return parts[0] if len(parts) == 1 else join(e.b, [x for p in parts for x in split(e.b, p)])


def atomic(e: Emitter, name: str, args: list[ir.Expr]) -> Value:
    element, dtype = addressed(args[0], e.name), e.dtype(args[1])
    view = e.scan.views[element.source.__chandle__()]
    if view.dtype.name not in ("int32", "uint32", "float32") or view.dtype.name != dtype.name:
        raise e.unsupported(f"{name} of {dtype} on a buffer of {view.dtype}", "WebGPU's atomics have 32 bits")
    index = accesses(e, element.source, element.indices[0])[0][0]
    return storage.atomic(e.b, e.places[id(view.memory)], ATOMICS[name], index, e.val(args[1]))
