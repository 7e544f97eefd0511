"""Fuses operators into kernels, none of which touches more tensors than a kernel may bind.

TVM's FuseOps knows no such limit for WebGPU. A group that came out too wide is taken apart again and fused to a
smaller depth; the other groups stay.
"""

from __future__ import annotations

from collections.abc import Set

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

DEPTHS = (8, 4, 2, 1)
"""Lengths of chains to try; 1 fuses nothing."""


def tensors(ty: tvm.ir.Type) -> int:
    """The number of tensors that a value of the type is."""
    if isinstance(ty, relax.TupleType):
        return sum(tensors(field) for field in ty.fields)
    return int(isinstance(ty, relax.TensorType))


def _wide(mod: tvm.IRModule, limit: int) -> set[str]:
    """The names of the fused functions that touch more tensors than the limit."""
    return {
        gvar.name_hint
        for gvar, func in mod.functions.items()
        if isinstance(func, relax.Function)
        and func.attrs
        and func.attrs.get("Primitive", 0)
        and sum(tensors(param.ty) for param in func.params) + tensors(func.ret_ty) > limit
    }


@mutator
class Inliner(PyExprMutator):
    """Puts the bodies of the named functions where they are called."""

    def __init__(self, mod: tvm.IRModule, names: Set[str]):
        super().__init__(mod)
        self.mod, self.names = mod, names

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if not isinstance(call.op, tvm.ir.GlobalVar) or call.op.name_hint not in self.names:
            return call
        func = relax.utils.copy_with_new_vars(self.mod[call.op])
        bound = func.bind_params(dict(zip(func.params, call.args)))
        for block in bound.body.blocks:
            for binding in block.bindings:
                self.visit_binding(binding)
        return self.visit_expr(bound.body.body)


def _inline(mod: tvm.IRModule, names: Set[str]) -> tvm.IRModule:
    functions = {}
    for gvar, func in mod.functions.items():
        if gvar.name_hint in names:
            continue
        if isinstance(func, relax.Function) and not func.attrs.get("Primitive", 0):
            func = Inliner(mod, names).visit_expr(func)
        functions[gvar] = func
    return tvm.IRModule(functions, attrs=mod.attrs)


@tvm.transform.module_pass(opt_level=0, name="FuseWithinLimit")
class FuseWithinLimit:
    """The pass; `limit` is the number of tensors, inputs and outputs, that one kernel may touch."""

    def __init__(self, limit: int):
        self.limit = limit

    def transform_module(self, mod: tvm.IRModule, context: tvm.transform.PassContext) -> tvm.IRModule:
        mod = relax.transform.FuseOps()(mod)
        for depth in DEPTHS:
            wide = _wide(mod, self.limit)
            if not wide:
                break
            config = {**context.config, "relax.FuseOps.max_depth": depth}
            with tvm.transform.PassContext(opt_level=context.opt_level, config=config):
                mod = relax.transform.FuseOps()(_inline(mod, wide))
        return mod
