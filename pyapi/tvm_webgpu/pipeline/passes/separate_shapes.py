"""Keeps functions out of fusion whose shapes are said in other words than those of the tensors of their calls.

FuseTIR makes one buffer of what a function stores and the next one loads, and wants both to have the very same shape. A
graph may know more of its symbols than a function does, such as that n is m // 2, after which one says `2 * n` and the
other `m // 2 * 2`. FuseOps again can't write down the type of a fused function whose extents choose between values.
"""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import relax, tirx

from tvm_webgpu.codegen.schedule.nest import substitute
from tvm_webgpu.pipeline.passes.patterns import CALL_TIR, OPAQUE, PATTERN


@tvm.transform.module_pass(opt_level=0, name="SeparateShapes")
def SeparateShapes(mod: tvm.IRModule, _ctx: tvm.transform.PassContext) -> tvm.IRModule:
    """A pass between AnnotateTIROpPattern and FuseOps."""
    apart: set[tvm.ir.GlobalVar] = set()

    def visit(call: tvm.ir.Call) -> None:
        if call.op == CALL_TIR and not _fits(mod[call.args[0]], call):
            apart.add(call.args[0])

    for func in mod.functions.values():
        if isinstance(func, relax.Function):
            tvm_ffi.structural_walk(func, (tvm.ir.Call, visit))
    if not apart:
        return mod
    marked = {gvar: mod[gvar].with_attr(PATTERN, OPAQUE) for gvar in apart}
    return tvm.IRModule({**mod.functions, **marked}, attrs=mod.attrs)


def _fits(func: tirx.PrimFunc, call: tvm.ir.Call) -> bool:
    """Whether the buffers have the shapes of the call's tensors, once the call's values stand for the symbols."""
    if not isinstance(call.args[1], relax.Tuple):
        return True
    out = call.ty_args[0]
    outputs = list(out.fields) if isinstance(out, relax.TupleType) else [out]
    values: dict[tirx.Var, tirx.Expr] = {}
    shapes: list[tuple[tirx.Expr, tirx.Expr]] = []
    for param, given in zip(func.params, [*call.args[1].fields, *outputs], strict=False):
        kind = given if isinstance(given, relax.TensorType) else given.ty
        if not isinstance(kind, relax.TensorType):
            values.setdefault(param, given)
        elif isinstance(kind.shape, relax.ShapeExpr):
            shapes += zip(param.ty.shape, kind.shape, strict=True)
    for dim, extent in shapes:
        if isinstance(dim, tirx.Var):
            values.setdefault(dim, extent)
    return all(
        tvm_ffi.structural_equal(substitute(dim, values), extent) and not _chooses(extent) for dim, extent in shapes
    )


def _chooses(extent: tirx.Expr) -> bool:
    """Whether an extent is more than arithmetic, such as `if_then_else`."""
    found: list[tvm.ir.Call] = []
    tvm_ffi.structural_walk(extent, (tvm.ir.Call, found.append))
    return bool(found)
