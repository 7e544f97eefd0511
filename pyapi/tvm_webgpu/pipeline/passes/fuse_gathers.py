"""Lets gathers be fused: operators that choose by values where to read, such as an embedding's.

TVM's AnnotateTIROpPattern calls a function opaque where the place that it reads is not a function of the place that it
writes alone, and FuseOps leaves it by itself. But if each result is computed on its own, and stored at its own place, a
gather can be a part of a kernel like any other operator of that kind.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from tvm_webgpu.pipeline.passes.patterns import INJECTIVE, OPAQUE, PATTERN

SEQUENTIAL = (tirx.While, tirx.IfThenElse, tirx.Bind, tirx.AttrStmt)
"""What code has that is more than one store in loops."""


@tvm.transform.module_pass(opt_level=0, name="FuseGathers")
def FuseGathers(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
    """A pass between AnnotateTIROpPattern and FuseOps."""
    marked = {
        gvar: func.with_attr(PATTERN, INJECTIVE)
        for gvar, func in mod.functions.items()
        if isinstance(func, tirx.PrimFunc) and (func.attrs or {}).get(PATTERN) == OPAQUE and _is_gather(func)
    }
    return tvm.IRModule({**mod.functions, **marked}, attrs=mod.attrs) if marked else mod


def _is_gather(func: tirx.PrimFunc) -> bool:
    """Whether a function is one block that stores each result once, at the place that its iterators are."""
    blocks: list[s_tir.SBlock] = []
    others: list[tirx.Stmt] = []
    tvm_ffi.structural_walk(func.body, [(s_tir.SBlock, blocks.append), (SEQUENTIAL, others.append)])
    inner = [block for block in blocks if block.iter_vars]
    if others or len(inner) != 1 or any(block.alloc_buffers for block in blocks):
        return False
    (block,) = inner
    store = block.body
    if block.init is not None or not isinstance(store, tirx.BufferStore):
        return False
    own = [it.var for it in block.iter_vars if it.iter_type == tirx.IterVar.DataPar]
    places = list(store.indices)
    return len(own) == len(block.iter_vars) == len(places) and all(a.same_as(b) for a, b in zip(own, places))
