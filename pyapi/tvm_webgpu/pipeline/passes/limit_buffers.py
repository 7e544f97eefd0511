"""Keeps operators within a number of storage buffers: joining many tensors becomes a tree of concatenations."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions


@mutator
class _Splitter(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, width: int):
        super().__init__(mod)
        self.width = width

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        name = getattr(call.op, "name", "")
        if name not in ("relax.concat", "relax.stack"):
            return call
        parts = call.args[0]
        if isinstance(parts, relax.Var):
            parts = self.lookup_binding(parts)
        if not isinstance(parts, relax.Tuple) or len(parts.fields) <= self.width:
            return call
        fields, axis = list(parts.fields), call.attrs.axis
        if name == "relax.stack":
            axis = axis if axis is not None else 0
            fields = [self.builder_.emit(relax.op.expand_dims(field, [axis])) for field in fields]
        while len(fields) > self.width:
            groups = [fields[start : start + self.width] for start in range(0, len(fields), self.width)]
            fields = [self._concat(group, axis) for group in groups]
        return relax.op.concat(fields, axis)

    def _concat(self, group: list[relax.Expr], axis: int) -> relax.Expr:
        return group[0] if len(group) == 1 else self.builder_.emit(relax.op.concat(group, axis))


@tvm.transform.module_pass(opt_level=0, name="LimitConcat")
class LimitConcat:
    """The pass; `width` is the largest number of tensors that one concatenation may read."""

    def __init__(self, width: int):
        self.width = width

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Splitter(mod, self.width), mod)
