"""Products and convolutions of a float32 graph in float16, accumulated in float32."""

from __future__ import annotations

import functools

import tvm
from tvm import relax
from tvm.relax import transform
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

FOLLOW = 1
"""TVM's policy for operators that compute in float16 where their inputs are (include/tvm/relax/op_attr_types.h)."""

UNDECIDED = ("relax.clip", "relax.triu", "relax.tril", "relax.one_hot")
"""Operators that TVM gives no policy: it fails on those of their arguments that are no tensors."""

KERNEL_CALLS = ("relax.call_tir", "relax.call_tir_inplace")
"""Likewise, but what they call takes the dtypes that it takes."""

HIDDEN = "tvm_webgpu.hidden."


@functools.cache
def _decide() -> None:
    for name in UNDECIDED:
        if tvm.ir.Op.get(name).get_attr("TMixedPrecisionPolicy") is None:
            tvm.ir.register_op_attr(name, "TMixedPrecisionPolicy", FOLLOW)


@mutator
class _Hider(PyExprMutator):
    """Calls of kernels as calls of external functions, whose arguments TVM's pass casts to what they were."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        name = getattr(call.op, "name", "")
        if name not in KERNEL_CALLS:
            return call
        return relax.Call(relax.ExternFunc(HIDDEN + name), call.args, call.attrs, call.ty_args)


@mutator
class _Shower(PyExprMutator):
    """The calls as they were."""

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        name = getattr(call.op, "global_symbol", "")
        if not name.startswith(HIDDEN):
            return call
        return relax.Call(tvm.ir.Op.get(name.removeprefix(HIDDEN)), call.args, call.attrs, call.ty_args)


@tvm.transform.module_pass(opt_level=0, name="MixedPrecision")
class _MixedPrecision:
    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        mod = transform.ToMixedPrecision(out_dtype="float32")(rewrite_functions(_Hider(mod), mod))
        return rewrite_functions(_Shower(mod), mod)


def to_mixed_precision() -> tvm.transform.Pass:
    """The pass; interfaces and parameters keep their dtypes until constants are folded, and so do kernels' calls."""
    _decide()
    return _MixedPrecision()
