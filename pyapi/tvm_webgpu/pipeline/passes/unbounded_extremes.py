"""Maxima of floats start at -infinity and minima at infinity; TVM's start at the largest finite number.

The maximum of nothing, or of nothing but -infinity, would be finite then; by it models tell a row that a mask hides.
"""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.ir.prim import expr as prim

STARTS: dict[type, tuple[float, float]] = {prim.Max: (-1.0, -math.inf), prim.Min: (1.0, math.inf)}
"""Of each reduction the sign of what TVM starts at, and what it starts at here."""


@tvm.transform.module_pass(opt_level=0, name="UnboundedExtremes")
class UnboundedExtremes:
    """The pass; wants operators to be TIR functions. Scheduled ones stay: TVM knows reductions by their start."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        functions = {
            gvar: func.with_body(tvm_ffi.structural_map(func.body, (s_tir.SBlock, _unbounded), order="post"))
            if isinstance(func, tirx.PrimFunc) and not func.attrs.get("tirx.is_scheduled", False)
            else func
            for gvar, func in mod.functions.items()
        }
        return tvm.IRModule(functions, attrs=mod.attrs)


def _unbounded(block: s_tir.SBlock) -> s_tir.SBlock:
    init, body = block.init, block.body
    if not isinstance(init, tirx.BufferStore) or not isinstance(body, tirx.BufferStore):
        return block
    start, value = STARTS.get(type(body.value)), init.value
    if start is None or not isinstance(value, prim.FloatImm):
        return block
    sign, infinity = start
    if abs(value.value) != tirx.max_value(value.ty.dtype).value or math.copysign(1, value.value) != sign:
        return block
    return s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        body,
        tirx.BufferStore(init.buffer, prim.FloatImm(value.ty.dtype, infinity), init.indices),
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
