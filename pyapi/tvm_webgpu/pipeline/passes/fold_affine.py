"""Folds per-channel scales and shifts (batch norm in inference, layer scales, chains of biases) into the weights
of the convolution or matrix product before them, so that at most one bias remains.

`(x * W) . c` becomes `x * (W c)`, `(x * W + b) . c` becomes `x * (W c) + b c`, `(x * W + b) + d` becomes
`x * W + (b + d)`; W, b, c, d are constants, and c and d vary along the output channel only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.pipeline.model import to_numpy
from tvm_webgpu.pipeline.passes.fold_constants import constant
from tvm_webgpu.pipeline.passes.uses import count_uses


@dataclass(frozen=True)
class Linear:
    """Where an operator that is linear in its constant second argument keeps its output channel."""

    weight_axis: Callable[[relax.Call], int]
    output_axis: Callable[[relax.Call], int]
    foldable: Callable[[relax.Call], bool] = lambda call: True


def _by_layout(channel_of_weight: str = "O", **options: Callable[[relax.Call], bool]) -> Linear:
    return Linear(
        lambda call: str(call.attrs.kernel_layout).find(channel_of_weight),
        lambda call: str(call.attrs.out_layout or call.attrs.data_layout).find("C"),
        **options,
    )


def _ungrouped(call: relax.Call) -> bool:
    return int(call.attrs.groups) == 1


LINEAR: dict[str, Linear] = {
    "relax.nn.conv1d": _by_layout(),
    "relax.nn.conv2d": _by_layout(),
    "relax.nn.conv3d": _by_layout(),
    "relax.nn.conv1d_transpose": _by_layout(foldable=_ungrouped),
    "relax.nn.conv2d_transpose": _by_layout(foldable=_ungrouped),
    "relax.nn.conv3d_transpose": _by_layout(foldable=_ungrouped),
    "relax.matmul": Linear(lambda call: 1, lambda call: -1, lambda call: call.args[1].ty.ndim == 2),
}

SHIFTS = {"relax.add": 1.0, "relax.subtract": -1.0}
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relax.multiply": lambda value: value,
    "relax.divide": lambda value: 1 / value,
}


def _op_name(expr: relax.Expr | None) -> str:
    return getattr(expr.op, "name", "") if isinstance(expr, relax.Call) else ""


@mutator
class _Folder(PyExprMutator):
    def __init__(self, mod: tvm.IRModule, uses: Counter[relax.Var]):
        super().__init__(mod)
        self.uses = uses

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        new = super().visit_call_(call)
        name = _op_name(new)
        if name not in SHIFTS and name not in SCALES:
            return new
        source, value = self._split(call, new)
        if value is None:
            return new
        producer = self.lookup_binding(source)
        if name in SHIFTS:
            return self._shift(new, producer, SHIFTS[name] * value)
        with np.errstate(all="ignore"):
            factor = SCALES[name](value)
        return self._scale(new, producer, factor) if np.isfinite(factor).all() else new

    def _split(self, old: relax.Call, new: relax.Call) -> tuple[relax.Var, np.ndarray | None]:
        """The variable that only this call uses, and the constant it is combined with."""
        for index in (0, 1) if _op_name(new) in ("relax.add", "relax.multiply") else (0,):
            variable, other = new.args[index], new.args[1 - index]
            if (
                isinstance(variable, relax.Var)
                and isinstance(old.args[index], relax.Var)
                and self.uses[old.args[index]] == 1
                and isinstance(other, tvm.ir.GenericConst)
                and "float" in str(other.ty.dtype)
            ):
                return variable, to_numpy(other.value)
        return new.args[0], None

    def _channel_vector(self, linear: relax.Call, value: np.ndarray) -> np.ndarray | None:
        """The constant as one number per output channel; None if it varies along another axis."""
        rule, ndim = LINEAR[_op_name(linear)], linear.ty.ndim
        axis = rule.output_axis(linear) % ndim
        weight_axis = rule.weight_axis(linear)
        if value.ndim > ndim or weight_axis < 0 or not isinstance(linear.args[1], tvm.ir.GenericConst):
            return None
        shape = (1,) * (ndim - value.ndim) + value.shape
        if any(size != 1 for index, size in enumerate(shape) if index != axis):
            return None
        channels = int(linear.args[1].ty.shape[weight_axis])
        return np.broadcast_to(value.reshape(-1), (channels,)) if value.size in (1, channels) else None

    def _linear(self, expr: relax.Expr) -> relax.Call | None:
        rule = LINEAR.get(_op_name(expr))
        return expr if rule is not None and rule.foldable(expr) else None

    def _scaled(self, linear: relax.Call, vector: np.ndarray) -> relax.Call:
        weight = linear.args[1]
        axis = LINEAR[_op_name(linear)].weight_axis(linear)
        values = to_numpy(weight.value)
        factor = vector.reshape([-1 if index == axis else 1 for index in range(values.ndim)])
        scaled = constant((values * factor.astype(values.dtype)).astype(values.dtype))
        return self.builder_.normalize(relax.Call(linear.op, [linear.args[0], scaled], linear.attrs, linear.ty_args))

    def _bias(self, linear: relax.Call, vector: np.ndarray) -> tvm.ir.GenericConst:
        axis = LINEAR[_op_name(linear)].output_axis(linear) % linear.ty.ndim
        shape = [-1] + [1] * (linear.ty.ndim - 1 - axis)
        return constant(vector.reshape(shape).astype(to_numpy(linear.args[1].value).dtype))

    def _biased(self, expr: relax.Expr) -> tuple[relax.Call, np.ndarray] | None:
        """`linear + bias` whose linear part has no other use, as its two halves."""
        if _op_name(expr) != "relax.add":
            return None
        variable, bias = expr.args
        if not isinstance(variable, relax.Var) or not isinstance(bias, tvm.ir.GenericConst) or self.uses[variable] > 1:
            return None
        linear = self._linear(self.lookup_binding(variable))
        if linear is None or (vector := self._channel_vector(linear, to_numpy(bias.value))) is None:
            return None
        return linear, vector

    def _shift(self, call: relax.Call, producer: relax.Expr, value: np.ndarray) -> relax.Expr:
        if (linear := self._linear(producer)) is not None:
            if (vector := self._channel_vector(linear, value)) is None:
                return call
            source = call.args[0] if isinstance(call.args[0], relax.Var) else call.args[1]
            return relax.op.add(source, self._bias(linear, vector))
        if (halves := self._biased(producer)) is not None:
            linear, bias = halves
            if (vector := self._channel_vector(linear, value)) is not None:
                return relax.op.add(producer.args[0], self._bias(linear, bias + vector))
        return call

    def _scale(self, call: relax.Call, producer: relax.Expr, value: np.ndarray) -> relax.Expr:
        if (linear := self._linear(producer)) is not None:
            vector = self._channel_vector(linear, value)
            return call if vector is None else self._scaled(linear, vector)
        if (halves := self._biased(producer)) is not None:
            linear, bias = halves
            if (vector := self._channel_vector(linear, value)) is not None:
                product = self.builder_.emit(self._scaled(linear, vector))
                return relax.op.add(product, self._bias(linear, bias * vector))
        return call


@tvm.transform.module_pass(opt_level=0, name="FoldAffine")
class FoldAffine:
    """The pass; see the module's text. Wants batch norms decomposed and constants folded."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        for gvar in mod.get_global_vars():
            func = mod[gvar]
            if isinstance(func, relax.Function):
                folder = _Folder(mod, count_uses(func))
                mod = tvm.IRModule({**mod.functions, gvar: folder.visit_expr(func)}, attrs=mod.attrs)
        return mod
