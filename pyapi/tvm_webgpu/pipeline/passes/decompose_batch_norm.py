"""Writes batch norms of inference as arithmetic on the running statistics, which other passes can fold.

TVM's DecomposeOpsForInference does so too, but for batch norms in training mode as well, whose results differ.
"""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax import op
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions


@mutator
class _Decomposer(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        if getattr(call.op, "name", "") != "relax.nn.batch_norm" or call.attrs.training:
            return call
        data, gamma, beta, mean, variance = call.args
        axes = [axis for axis in range(data.ty.ndim) if axis != int(call.attrs.axis) % data.ty.ndim]

        def along_axis(vector: relax.Expr) -> relax.Expr:
            return self.builder_.emit(op.expand_dims(vector, axes))

        emit = self.builder_.emit
        epsilon = relax.const(float(call.attrs.epsilon), str(data.ty.dtype))
        deviation = emit(op.sqrt(emit(op.add(variance, epsilon))))
        result = emit(op.divide(emit(op.subtract(data, along_axis(mean))), along_axis(deviation)))
        if call.attrs.scale:
            result = emit(op.multiply(result, along_axis(gamma)))
        if call.attrs.center:
            result = emit(op.add(result, along_axis(beta)))
        return relax.Tuple([result, mean, variance])


@tvm.transform.module_pass(opt_level=0, name="DecomposeBatchNorm")
class DecomposeBatchNorm:
    """The pass; see the module's text."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Decomposer(mod), mod)
