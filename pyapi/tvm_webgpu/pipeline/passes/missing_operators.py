"""Operators of Relax that TVM has no code for, or none that WGSL takes, become others."""

from __future__ import annotations

from collections.abc import Callable

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

Emit = Callable[[relax.Expr], relax.Var]


def _fused(emit: Emit, call: relax.Call) -> relax.Expr:
    x, y, z = call.args
    return relax.op.add(emit(relax.op.multiply(x, y)), z)


def _pixel_shuffle(emit: Emit, call: relax.Call) -> relax.Expr:
    """[..., c * r * r, h, w] to [..., c, h * r, w * r]."""
    (x,), r = call.args, int(call.attrs.upscale_factor)
    *lead, channels, height, width = list(x.ty.shape)
    at = len(lead)
    apart = emit(relax.op.reshape(x, [*lead, tvm.tirx.floordiv(channels, r * r), r, r, height, width]))
    turned = emit(relax.op.permute_dims(apart, [*range(at + 1), at + 3, at + 1, at + 4, at + 2]))
    return relax.op.reshape(turned, call.ty.shape)


def _multinomial(emit: Emit, call: relax.Call) -> relax.Expr:
    """How many of a row's cumulative probabilities a uniform number reaches; TVM's kernel has barriers in branches."""
    op = relax.op
    probabilities, uniform, rows = call.args
    sums = emit(op.cumsum(probabilities, axis=1))
    chosen = emit(op.take(sums, emit(op.reshape(rows, [rows.ty.shape[0]])), axis=0))
    reached = emit(op.astype(emit(op.less_equal(chosen, uniform)), "int32"))
    count = emit(op.astype(emit(op.sum(reached, axis=[1], keepdims=True)), str(call.attrs.dtype)))
    if not isinstance(width := probabilities.ty.shape[1], tvm.tirx.IntImm):
        return count
    return op.minimum(count, relax.const(int(width) - 1, str(call.attrs.dtype)))  # sums may end a little below 1


RULES: dict[str, Callable[[Emit, relax.Call], relax.Expr]] = {
    "relax.ewise_fma": _fused,
    "relax.multinomial_from_uniform": _multinomial,
    "relax.nn.pixel_shuffle": _pixel_shuffle,
}


@mutator
class _Writer(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        rule = RULES.get(getattr(call.op, "name", ""))
        known = all(isinstance(getattr(x.ty, "shape", None), relax.ShapeExpr) for x in call.args) if rule else False
        return rule(self.builder_.emit, call) if rule and known else call


@tvm.transform.module_pass(opt_level=0, name="MissingOperators")
class MissingOperators:
    """The pass; operators of unknown rank are left as they are."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Writer(mod), mod)
