"""Operators that TVM has not for a dtype are computed in another that holds all of its values, and cast back."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

_ORDERS = ("argmax", "argmin", "max", "min", "sort", "argsort", "topk", "cumsum", "cumprod", "median", "unique")
_BRAINS = (
    "power", "floor_mod", "mod", "isnan", "isinf", "isfinite", "log_add_exp", "nn.layer_norm",
    "nn.instance_norm", "nn.batch_norm", "image.grid_sample", "image.resize2d", "bucketize",
    "vision.roi_align", "vision.roi_pool", "nn.nll_loss", "prod", "median",
)  # fmt: skip
BORROWED: dict[str, dict[str, str]] = {
    **{f"relax.{name}": {"bool": "uint8"} for name in _ORDERS},
}
for _name in _BRAINS:
    BORROWED.setdefault(f"relax.{_name}", {})["bfloat16"] = "float32"


@mutator
class _Borrower(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        table = BORROWED.get(getattr(call.op, "name", ""), {})
        dtypes = {str(argument.ty.dtype) for argument in call.args if isinstance(argument.ty, relax.TensorType)}
        dtype = next(iter(dtypes & {*table}), None)
        if dtype is None:
            return call

        def cast(value: relax.Expr, source: str, target: str) -> relax.Expr:
            if not isinstance(value.ty, relax.TensorType) or str(value.ty.dtype) != source:
                return value
            return self.builder_.emit(relax.op.astype(value, target))

        given = [cast(argument, dtype, table[dtype]) for argument in call.args]
        result = self.builder_.emit(relax.Call(call.op, given, call.attrs))
        if not isinstance(result.ty, relax.TupleType):
            return cast(result, table[dtype], dtype)
        fields = [self.builder_.emit(relax.TupleGetItem(result, i)) for i in range(len(result.ty.fields))]
        return relax.Tuple([cast(field, table[dtype], dtype) for field in fields])


@tvm.transform.module_pass(opt_level=0, name="BorrowDtypes")
class BorrowDtypes:
    """The pass; see the module's text."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Borrower(mod), mod)
