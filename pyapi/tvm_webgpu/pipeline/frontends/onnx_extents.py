"""Arithmetic on shapes while a model is imported: what `Shape` gives is known but for symbols, and stays known.

Exporters write a reshape to [batch, -1] as Shape, Gather, Unsqueeze, Concat, Reshape, and an expansion with Equal and
Where besides. Values here are arrays of numbers and of expressions of the inputs' symbols, which are never negative. An
operator that is not in `RULES`, or whose result can't be told, is left to the importer: its operands become tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax, te, tirx

MAX_ELEMENTS = 64
"""Longer vectors are data."""

Extents = np.ndarray
"""Of ints and PrimExprs (dtype object)."""


class Unknown(Exception):
    """A comparison that depends on what the symbols are."""


class Arithmetic:
    """Rules over the symbols of one model."""

    def __init__(self) -> None:
        self.analyzer = tvm.sym.Analyzer()
        self._bound: set[int] = set()

    def simplify(self, value: Any) -> Any:
        """A number where the value is one."""
        if not isinstance(value, tvm.ir.Expr):
            return int(value)
        for symbol in tirx.analysis.undefined_vars(value):
            if symbol.__chandle__() not in self._bound:
                self._bound.add(symbol.__chandle__())
                self.analyzer.bind(symbol, tvm.ir.Range.from_min_extent(tirx.IntImm("int64", 0), 2**31))
        value = self.analyzer.simplify(value)
        return int(value) if isinstance(value, tirx.IntImm) else value

    def decide(self, condition: Any) -> bool:
        """Whether it holds; Unknown if that depends."""
        if not isinstance(condition, tvm.ir.Expr):
            return bool(condition)
        self.simplify(condition)
        if self.analyzer.can_prove(condition):
            return True
        if self.analyzer.can_prove(tirx.Not(condition)):
            return False
        raise Unknown

    def settle(self, condition: Any) -> Any:
        """True, False, or the condition where that depends."""
        try:
            return self.decide(condition)
        except Unknown:
            return condition

    def choose(self, condition: Any, then: Any, otherwise: Any) -> Any:
        """`then` where the condition holds."""
        if not isinstance(condition, tvm.ir.Expr):
            return then if condition else otherwise
        if isinstance(condition, tirx.EQ):
            for a, b in ((condition.a, condition.b), (condition.b, condition.a)):
                if tvm_ffi.structural_equal(a, _wide(then)) and tvm_ffi.structural_equal(b, _wide(otherwise)):
                    return otherwise  # n == 1 ? 1 : n
        return self.simplify(tirx.Select(condition, _wide(then), _wide(otherwise)))

    def proves(self, condition: Any) -> bool:
        """Whether it holds whatever the symbols are."""
        try:
            return self.decide(condition)
        except Unknown:
            return False

    def each(self, function: Callable[..., Any], *arrays: Extents) -> Extents:
        """The function of every element, operands broadcast."""
        return _each(lambda *values: self.simplify(function(*map(_wide, values))), arrays)


def _each(function: Callable[..., Any], arrays: Sequence[Extents]) -> Extents:
    spread = np.broadcast_arrays(*arrays)
    result = np.empty(spread[0].shape, object)
    for place in np.ndindex(result.shape):
        result[place] = function(*(array[place] for array in spread))
    return result


def _wide(value: Any) -> Any:
    return tirx.IntImm("int64", int(value)) if isinstance(value, int | np.integer | bool | np.bool_) else value


def _elementwise(function: Callable[..., Any]) -> Callable[..., Extents]:
    return lambda rules, inputs, _: rules.each(function, *inputs)


def _compare(function: Callable[[Any, Any], Any]) -> Callable[..., Extents]:
    return lambda rules, inputs, _: _each(lambda *values: rules.settle(function(*map(_wide, values))), inputs)


def _gather(_: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
    return np.asarray(np.take(inputs[0], inputs[1].astype(np.int64), axis=attrs.get("axis", 0)), object)


def _slice(_: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
    if len(inputs) < 3:
        starts, ends, axes = attrs["starts"], attrs["ends"], attrs.get("axes", range(len(attrs["starts"])))
        steps: Any = [1] * len(starts)
    else:
        starts, ends = inputs[1].astype(np.int64), inputs[2].astype(np.int64)
        axes = inputs[3].astype(np.int64) if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
        steps = inputs[4].astype(np.int64) if len(inputs) > 4 else [1] * len(starts)
    value = inputs[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        ahead = [slice(None)] * (int(axis) % value.ndim)
        value = value[(*ahead, slice(int(start), int(end) if step > 0 or end >= -(2**31) else None, int(step)))]
    return value


def _axes(inputs: Sequence[Extents], attrs: Mapping) -> tuple[int, ...] | None:
    if len(inputs) > 1 and inputs[1] is not None:
        return tuple(int(axis) for axis in inputs[1].reshape(-1))
    return tuple(attrs["axes"]) if "axes" in attrs else None


def _squeeze(_: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
    return np.squeeze(inputs[0], _axes(inputs, attrs))


def _unsqueeze(_: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
    return np.expand_dims(inputs[0], _axes(inputs, attrs) or ())


def _reshape(_: Arithmetic, inputs: Sequence[Extents], __: Mapping) -> Extents:
    shape = [int(n) for n in inputs[1]]
    return inputs[0].reshape([inputs[0].shape[i] if n == 0 else n for i, n in enumerate(shape)])


def _where(rules: Arithmetic, inputs: Sequence[Extents], _: Mapping) -> Extents:
    return _each(rules.choose, inputs)


def _divide(rules: Arithmetic, inputs: Sequence[Extents], _: Mapping) -> Extents:
    """Towards 0; of numbers that are not negative rounded down, of which more is known."""

    def quotient(a: Any, b: Any) -> Any:
        plain = rules.proves(a >= 0) and rules.proves(b > 0)
        return tirx.floordiv(a, b) if plain else tirx.truncdiv(a, b)

    return rules.each(quotient, *inputs)


def _not(_: Arithmetic, inputs: Sequence[Extents], __: Mapping) -> Extents:
    if any(isinstance(value, tvm.ir.Expr) for value in inputs[0].reshape(-1)):
        raise Unknown
    return np.logical_not(inputs[0].astype(bool)).astype(object)


def _reduce(function: Callable[[Any, Any], Any]) -> Callable[..., Extents]:
    def total(rules: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
        if inputs[0].ndim != 1:
            raise Unknown
        value = rules.simplify(reduce(function, map(_wide, inputs[0])))
        return np.array([value] if attrs.get("keepdims", 1) else value, object)

    return total


def _cast(_: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
    from onnx import TensorProto

    if attrs.get("to") not in (TensorProto.INT64, TensorProto.INT32):
        raise Unknown
    return inputs[0]


def _constant_of_shape(_: Arithmetic, inputs: Sequence[Extents], attrs: Mapping) -> Extents:
    from onnx import numpy_helper

    value = numpy_helper.to_array(attrs["value"]) if "value" in attrs else np.zeros(1, np.float32)
    shape = tuple(int(n) for n in inputs[0])  # a symbol is no int: the result is a tensor
    if value.dtype.kind != "i" or np.prod(shape) > MAX_ELEMENTS:
        raise Unknown
    return np.full(shape, int(value.reshape(-1)[0]), object)


RULES: dict[str, Callable[..., Extents]] = {
    "Identity": lambda _, inputs, __: inputs[0],
    "Cast": _cast,
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Concat": lambda _, inputs, attrs: np.concatenate(inputs, attrs["axis"]),
    "Where": _where,
    "ConstantOfShape": _constant_of_shape,
    "Add": _elementwise(lambda a, b: a + b),
    "Sub": _elementwise(lambda a, b: a - b),
    "Mul": _elementwise(lambda a, b: a * b),
    "Div": _divide,
    "Mod": _elementwise(tirx.floormod),
    "Neg": _elementwise(lambda a: -a),
    "Max": _elementwise(lambda *of: reduce(tirx.max, of)),
    "Min": _elementwise(lambda *of: reduce(tirx.min, of)),
    "Equal": _compare(lambda a, b: tirx.EQ(a, b)),
    "Less": _compare(lambda a, b: tirx.LT(a, b)),
    "LessOrEqual": _compare(lambda a, b: tirx.LE(a, b)),
    "Greater": _compare(lambda a, b: tirx.GT(a, b)),
    "GreaterOrEqual": _compare(lambda a, b: tirx.GE(a, b)),
    "Not": _not,
    "ReduceProd": _reduce(lambda a, b: a * b),
    "ReduceSum": _reduce(lambda a, b: a + b),
}


def constant(value: relax.Expr | None) -> Extents | None:
    """What a small constant of integers or truth values holds."""
    if not isinstance(value, tvm.ir.GenericConst) or not isinstance(value.ty, relax.TensorType):
        return None
    array = value.value.numpy()
    return array.astype(object) if array.dtype.kind in "ib" and array.size <= MAX_ELEMENTS else None


def _is_truth(value: Any) -> bool:
    return str(value.ty.dtype) == "bool" if isinstance(value, tvm.ir.Expr) else isinstance(value, bool | np.bool_)


def as_tensor(bb: relax.BlockBuilder, array: Extents) -> relax.Expr:
    """The values as an int64 tensor (bool of truth values), computed on the device where there are symbols."""
    truth = bool(array.size) and all(_is_truth(value) for value in array.reshape(-1))
    if all(not isinstance(value, tvm.ir.Expr) for value in array.reshape(-1)):
        return relax.const(array.astype(np.bool_ if truth else np.int64), "bool" if truth else "int64")

    def wide(value: Any) -> Any:
        return tirx.const(bool(value), "bool") if truth and not isinstance(value, tvm.ir.Expr) else _wide(value)

    places = list(np.ndindex(array.shape))
    symbolic = [place for place in places if isinstance(array[place], tvm.ir.Expr)]

    def fill(*values: Any) -> te.Tensor:
        # The kernel's own names of the symbols, by which they are its arguments.
        given = {place: wide(array[place]) for place in places} | dict(zip(symbolic, values, strict=True))

        def element(*at: tirx.Var) -> tirx.Expr:
            value = given[places[-1]]
            for place in reversed(places[:-1]):
                here = reduce(tirx.And, [tirx.EQ(i, n) for i, n in zip(at, place, strict=True)])
                value = tirx.Select(here, given[place], value)
            return value

        return te.compute(array.shape, element, name="extents")

    return bb.emit_te(fill, *(array[place] for place in symbolic), primfunc_name_hint="extents")
