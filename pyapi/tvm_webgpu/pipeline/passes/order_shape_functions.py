"""Orders the stores of each shape function by the slot they fill; TVM's order changes from run to run.

A shape function computes slots of the shape heap from slots that it does not write, so that any order is right;
with one order a model always gives the same bytes.
"""

from __future__ import annotations

import tvm
from tvm import tirx


@tvm.transform.module_pass(opt_level=0, name="OrderShapeFunctions")
class OrderShapeFunctions:
    """The pass; wants VMShapeLower to have run."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        functions = {}
        for gvar, func in mod.functions.items():
            if isinstance(func, tirx.PrimFunc) and func.attrs and func.attrs.get("tirx.is_host_func", False):
                func = _ordered(func)
            functions[gvar] = func
        return tvm.IRModule(functions, attrs=mod.attrs)


def _slot(stmt: tirx.Stmt) -> int | None:
    if isinstance(stmt, tirx.BufferStore) and len(stmt.indices) == 1 and isinstance(stmt.indices[0], tirx.IntImm):
        return int(stmt.indices[0])
    return None


def _ordered(func: tirx.PrimFunc) -> tirx.PrimFunc:
    stores = list(func.body.seq) if isinstance(func.body, tirx.SeqStmt) else []
    by_slot = {slot: store for store in stores if (slot := _slot(store)) is not None}
    if not stores or len(by_slot) != len(stores):
        return func
    return func.with_body(tirx.SeqStmt([by_slot[slot] for slot in sorted(by_slot)]))
