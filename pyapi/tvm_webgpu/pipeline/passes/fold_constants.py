"""Evaluates calls whose arguments are all constants, with NumPy.

TVM's own FoldConstant compiles a kernel for each such call, which takes longer than everything else for a
model with batch norms; it still runs afterwards for the operators that this table lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import SupportsInt

import ml_dtypes
import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.model import to_numpy
from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

MAX_GROWTH_BYTES = 1 << 16
"""A result larger than its arguments by more than this (a broadcast, say) is left to the device."""

Rule = Callable[..., np.ndarray | None]


def _ints(shape: Iterable[SupportsInt]) -> list[int]:
    return [int(dim) for dim in shape]  # TypeError on a symbolic dimension: the call is then left alone


RULES: dict[str, Rule] = {
    "relax.add": lambda _, a, b: a + b,
    "relax.subtract": lambda _, a, b: a - b,
    "relax.multiply": lambda _, a, b: a * b,
    "relax.divide": lambda _, a, b: a / b if a.dtype.kind == "f" else None,
    "relax.power": lambda _, a, b: np.power(a, b) if a.dtype.kind == "f" else None,
    "relax.maximum": lambda _, a, b: np.maximum(a, b),
    "relax.minimum": lambda _, a, b: np.minimum(a, b),
    "relax.negative": lambda _, a: -a,
    "relax.abs": lambda _, a: np.abs(a),
    "relax.sqrt": lambda _, a: np.sqrt(a),
    "relax.rsqrt": lambda _, a: (1 / np.sqrt(a)).astype(a.dtype),
    "relax.exp": lambda _, a: np.exp(a),
    "relax.isnan": lambda _, a: np.isnan(a),
    "relax.where": lambda _, condition, a, b: np.asarray(np.where(condition, a, b)),
    "relax.equal": lambda _, a, b: a == b,
    "relax.less": lambda _, a, b: a < b,
    "relax.greater": lambda _, a, b: a > b,
    "relax.greater_equal": lambda _, a, b: a >= b,
    "relax.less_equal": lambda _, a, b: a <= b,
    "relax.take": lambda attrs, a, index: np.take(a, index, None if attrs.axis is None else int(attrs.axis)),
    "relax.astype": lambda attrs, a: _cast(a, str(attrs.dtype)),
    "relax.reshape": lambda _, a, shape: a.reshape(_ints(shape)),
    "relax.flatten": lambda _, a: a.reshape(-1),
    "relax.permute_dims": lambda attrs, a: np.transpose(a, None if attrs.axes is None else _ints(attrs.axes)),
    "relax.expand_dims": lambda attrs, a: _expand_dims(a, _ints(attrs.axis)),
    "relax.squeeze": lambda attrs, a: np.squeeze(a, None if attrs.axis is None else tuple(_ints(attrs.axis))),
    "relax.broadcast_to": lambda _, a, shape: np.broadcast_to(a, _ints(shape)),
}


def _cast(array: np.ndarray, dtype: str) -> np.ndarray | None:
    # Out-of-range float to integer is not the same everywhere: left to the device.
    if array.dtype.kind == "f" and np.dtype(_numpy_dtype(dtype)).kind in "iu":
        return None
    return array.astype(_numpy_dtype(dtype))


def _numpy_dtype(dtype: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def _expand_dims(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    return np.expand_dims(array, tuple(axes))


def constant(array: np.ndarray) -> tvm.ir.GenericConst:
    """A Relax constant of these values."""
    array = np.array(array, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return relax.const(tvm.runtime.tensor(array.view(np.uint16))._create_view(array.shape, dtype="bfloat16"))
    return relax.const(tvm.runtime.tensor(array))


@mutator
class _Folder(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        rule = RULES.get(getattr(call.op, "name", ""))
        if rule is None:
            return call
        arguments = [self._value(argument) for argument in call.args]
        if any(argument is None for argument in arguments):
            return call
        try:
            with np.errstate(all="ignore"):
                result = rule(call.attrs, *arguments)
        except (TypeError, ValueError):
            return call
        inputs = sum(value.nbytes for value in arguments if isinstance(value, np.ndarray))
        if result is None or result.nbytes > inputs + MAX_GROWTH_BYTES:
            return call
        expected = str(call.ty.dtype)
        return constant(result if str(result.dtype) == expected else result.astype(_numpy_dtype(expected)))

    def _value(self, argument: relax.Expr) -> object:
        if isinstance(argument, relax.Var):
            argument = self.lookup_binding(argument)
        if isinstance(argument, tvm.ir.GenericConst):
            return to_numpy(argument.value)
        if isinstance(argument, relax.ShapeExpr):
            return argument.values
        if isinstance(argument, tvm.tirx.IntImm | tvm.tirx.FloatImm):
            return np.array(argument.value, _numpy_dtype(str(argument.dtype)))
        return None


@tvm.transform.module_pass(opt_level=0, name="FoldConstantsOnHost")
class FoldConstantsOnHost:
    """The pass; see the module's text."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Folder(mod), mod)
