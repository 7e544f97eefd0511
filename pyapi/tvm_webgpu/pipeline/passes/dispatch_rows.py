"""Operators along an axis that have no good form as loop nests get kernels of their own: sorts, arg-reductions, scans.

TVM's library writes them sequentially, or for GPUs with other limits and 64-bit arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator
from tvm.target import Target

from tvm_webgpu.codegen.schedule import Limits
from tvm_webgpu.codegen.schedule.arg_reduce import arg_reduce
from tvm_webgpu.codegen.schedule.scan import OPERATIONS, scan
from tvm_webgpu.codegen.schedule.sort import Sorted, run_length, sort
from tvm_webgpu.pipeline.passes.dispatch_scatter import SCATTERS
from tvm_webgpu.pipeline.passes.kernel_calls import buffer_like, dtype_of, parameters
from tvm_webgpu.pipeline.passes.patterns import OPAQUE, PATTERN
from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions


@mutator
class _Dispatcher(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, limits: Limits):
        super().__init__(mod)
        self.limits = limits

    def emit(self, value: relax.Expr) -> relax.Var:
        """A name for a value."""
        return self.builder_.emit(value)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        rewrite = REWRITES.get(getattr(call.op, "name", ""))
        known = bool(call.args) and isinstance(getattr(call.args[0].ty, "shape", None), relax.ShapeExpr)
        if rewrite is None or not known:
            return call
        if len(call.args[0].ty.shape) == 0 and getattr(call.attrs, "axis", None) is not None:
            return call
        return rewrite(self, call)

    def kernel(self, func: tirx.PrimFunc, name: str, args: list[relax.Expr], out: object) -> relax.Expr:
        """A call of a finished kernel; `out` is what it gives."""
        attributes = {"tirx.is_scheduled": True, "tirx.noalias": True, "tvm_webgpu.schedule": name}
        # RewriteDataflowReshape insists on a block.
        root = s_tir.SBlockRealize([], True, s_tir.SBlock([], [], [], "root", func.body))
        marked = func.with_body(root).with_attr({**attributes, PATTERN: OPAQUE})
        fields = out.fields if isinstance(out, relax.TupleType) else [out]
        return relax.call_tir(self.builder_.add_func(marked, name), args, list(fields))

    def rows(self, call: relax.Call) -> tuple[relax.Expr, int]:
        """The operand and the axis, the operand flat where there is no axis."""
        operand, axis = call.args[0], call.attrs.axis
        if axis is not None:
            return operand, int(axis) % len(operand.ty.shape)
        return self.builder_.emit(relax.op.flatten(operand)) if len(operand.ty.shape) != 1 else operand, 0

    def comparable(self, operand: relax.Expr) -> relax.Expr:
        """bfloat16 as float32, whose order is the same."""
        return self.builder_.emit(relax.op.astype(operand, "float32")) if dtype_of(operand) == "bfloat16" else operand

    def arg_reduce(self, call: relax.Call, largest: bool) -> relax.Expr:
        operand, axis = self.rows(call)
        operand = self.comparable(operand)
        shape = parameters(operand.ty.shape)
        if isinstance(shape[axis], tirx.IntImm) and int(shape[axis]) == 0:
            return call
        rest = [*shape[:axis], *shape[axis + 1 :]]
        dtype, one = dtype_of(call), tirx.IntImm("int64", 1)
        if call.attrs.keepdims:
            rest = [one] * len(call.ty.shape) if call.attrs.axis is None else [*rest[:axis], one, *rest[axis:]]
        func = arg_reduce(
            buffer_like("x", shape, dtype_of(operand)), axis, buffer_like("place", rest, dtype), largest, self.limits
        )
        return self.kernel(func, "argmax" if largest else "argmin", [operand], call.ty)

    def scan(self, call: relax.Call, operation: str) -> relax.Expr:
        operand, axis = self.rows(call)
        shape = parameters(operand.ty.shape)
        source, out = buffer_like("x", shape, dtype_of(operand)), buffer_like("out", shape, dtype_of(call))
        exclusive = bool(call.attrs.exclusive)
        func = scan(source, axis, out, OPERATIONS[operation], exclusive, self.limits)
        return self.kernel(func, f"cum{operation}", [operand], call.ty)

    def sort(self, call: relax.Call) -> relax.Expr:
        return self._sorted(call, bool(call.attrs.descending), "values", None)

    def argsort(self, call: relax.Call) -> relax.Expr:
        return self._sorted(call, bool(call.attrs.descending), "indices", None)

    def places(self, keys: relax.Expr) -> relax.Expr:
        """The order, of int32, in which the elements of a vector rise; equal ones keep theirs."""
        order = self.emit(relax.op.argsort(keys, 0, False, "int32"))
        # What was emitted is not visited again.
        return self.argsort(self.builder_.lookup_binding(order))

    def topk(self, call: relax.Call) -> relax.Expr:
        first = call.ty.fields[0] if isinstance(call.ty, relax.TupleType) else call.ty
        operand, axis = self.rows(call)
        kept = first.shape[axis] if isinstance(first.shape, relax.ShapeExpr) else None
        if not isinstance(kept, tirx.IntImm):
            # All elements, or as many as there are at run time.
            kept = None if kept is not None and tvm_ffi.structural_equal(kept, operand.ty.shape[axis]) else False
        return call if kept is False else self._sorted(call, bool(call.attrs.largest), str(call.attrs.ret_type), kept)

    def _sorted(self, call: relax.Call, descending: bool, wanted: str, kept: tirx.IntImm | None) -> relax.Expr:
        operand, axis = self.rows(call)
        if any(isinstance(dim, tirx.IntImm) and int(dim) == 0 for dim in operand.ty.shape):
            types = list(call.ty.fields) if isinstance(call.ty, relax.TupleType) else [call.ty]
            empty = [relax.op.zeros(t.shape, str(t.dtype)) for t in types]
            return relax.Tuple(empty) if isinstance(call.ty, relax.TupleType) else empty[0]
        operand = self.comparable(operand) if wanted == "indices" else operand
        shape = parameters(operand.ty.shape)
        count = shape[axis] if kept is None else kept
        results = [*shape[:axis], count, *shape[axis + 1 :]]
        types = list(call.ty.fields) if isinstance(call.ty, relax.TupleType) else [call.ty]
        values = buffer_like("values", results, dtype_of(operand)) if wanted in ("values", "both") else None
        places = buffer_like("places", results, str(types[-1].dtype)) if wanted in ("indices", "both") else None
        scratch, length = None, shape[axis]
        if not isinstance(length, tirx.IntImm) or int(length) > run_length(dtype_of(operand), self.limits):
            scratch = buffer_like("scratch", [tirx.IntImm("int64", 2), *shape], "int32")
        out = Sorted(values, places, int(count) if isinstance(count, tirx.IntImm) else count, scratch)
        func = sort(buffer_like("x", shape, dtype_of(operand)), axis, out, descending, self.limits)
        if scratch is None:
            return self.kernel(func, "sort", [operand], call.ty)
        room = relax.TensorType([2, *list(operand.ty.shape)], "int32")
        found = self.builder_.emit(self.kernel(func, "sort", [operand], relax.TupleType([*types, room])))
        kept_results = [relax.TupleGetItem(found, index) for index in range(len(types))]
        return relax.Tuple(kept_results) if isinstance(call.ty, relax.TupleType) else kept_results[0]

    def median(self, call: relax.Call) -> relax.Expr:
        """The middle of the sorted row, the lower one of two."""
        emit, operand = self.builder_.emit, call.args[0]
        axes = call.attrs.axis
        if axes is not None and len(axes) > 1:
            return call
        whole = axes is None or len(axes) == 0
        rank = len(operand.ty.shape)
        if whole:
            operand, axis = emit(relax.op.flatten(operand)), 0
        else:
            axis = int(axes[0]) % rank
        length = operand.ty.shape[axis]
        if not isinstance(length, tirx.IntImm):
            return call
        middle = (int(length) - 1) // 2
        order = emit(relax.op.argsort(operand, axis, False, "int64"))
        # What was emitted is not visited again.
        order = emit(self.argsort(self.builder_.lookup_binding(order)))
        place = emit(relax.op.strided_slice(order, [axis], [middle], [middle + 1]))
        value = emit(relax.op.gather_elements(operand, place, axis))
        if whole:
            return relax.op.reshape(value, call.ty.shape)
        value, place = (emit(relax.op.reshape(v, t.shape)) for v, t in zip((value, place), call.ty.fields))
        return relax.Tuple([value, place])


REWRITES: dict[str, Callable[[_Dispatcher, relax.Call], relax.Expr]] = {
    "relax.argmax": lambda self, call: self.arg_reduce(call, True),
    "relax.argmin": lambda self, call: self.arg_reduce(call, False),
    "relax.cumsum": lambda self, call: self.scan(call, "sum"),
    "relax.cumprod": lambda self, call: self.scan(call, "prod"),
    "relax.sort": lambda self, call: self.sort(call),
    "relax.argsort": lambda self, call: self.argsort(call),
    "relax.topk": lambda self, call: self.topk(call),
    "relax.median": lambda self, call: self.median(call),
    **SCATTERS,
}


@tvm.transform.module_pass(opt_level=0, name="DispatchRows")
class DispatchRows:
    """The pass, for a target's limits. Operators whose shape is not known at all are left as they are."""

    def __init__(self, target: Target):
        self.limits = Limits.of(target)

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Dispatcher(mod, self.limits), mod)
