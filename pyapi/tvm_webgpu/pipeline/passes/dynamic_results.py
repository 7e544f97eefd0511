"""Rewrites operators whose results' shapes depend on values into ones of known shape and a count that the host reads.

TVM gives `nonzero` and `unique` to functions of its CPU runtime. Here they are sums, sorts and searches on the GPU;
only the number of results comes to the host, where it becomes a symbol for all that follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tvm
from tvm import relax
from tvm.relax.expr_functor import PyExprMutator, mutator

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.passes.rewrite import rewrite_functions

INDEX = "int64"
MOST_COLUMNS = 64
"""Rows of more values than this are not sorted: each column is a sort of its own."""


class _Writer:
    """Emits operators one by one; every result is a variable."""

    def __init__(self, builder: relax.BlockBuilder):
        self.builder = builder

    def __call__(self, expr: relax.Expr) -> relax.Var:
        return self.builder.emit(expr)

    def extent(self, count: relax.Expr, name: str) -> tvm.tirx.Var:
        """A tensor of one integer as a symbol."""
        symbol = tvm.tirx.Var(name, INDEX)
        self.builder.match_cast(self(relax.op.tensor_to_shape(count)), relax.ShapeType([symbol]))
        return symbol

    def groups(self, ranks: relax.Expr, length: tvm.tirx.Expr, name: str) -> tuple[tvm.tirx.Var, relax.Var, relax.Var]:
        """For ranks 1, 1, 2, 3, 3, ... (or 0, 0, 1, ...): the last, and where each from 1 on begins and ends."""
        # A 0 in front, for where there are no ranks at all.
        known = self(relax.op.concat([relax.const([0], INDEX), ranks], axis=0))
        last = self(relax.op.strided_slice(known, [0], [length], [length + 1]))
        count = self.extent(last, name)
        wanted = self(relax.op.arange(1, count + 1, 1, INDEX))
        begins = self(relax.op.bucketize(wanted, ranks, out_int32=False, right=False))
        ends = self(relax.op.bucketize(wanted, ranks, out_int32=False, right=True))
        return count, begins, ends


def _dims(value: relax.Expr, op: str) -> list[tvm.tirx.Expr]:
    if not isinstance(value.ty.shape, relax.ShapeExpr):
        raise UnsupportedError(f"{op} of a tensor whose shape is known only after its values: {value.ty}")
    return list(value.ty.shape.values)


def _nonzero(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """Row i holds the indices along axis i: [rank, count], in order."""
    emit, value = _Writer(builder), call.args[0]
    dims = _dims(value, "nonzero")
    total = math.prod(dims, start=tvm.tirx.IntImm(INDEX, 1))
    flat = emit(relax.op.reshape(value, [total]))
    dtype = str(value.ty.dtype)
    if dtype != "bool":
        flat = emit(relax.op.not_equal(flat, relax.const(0, dtype)))
    ranks = emit(relax.op.cumsum(emit(relax.op.astype(flat, INDEX)), axis=0, dtype=INDEX))
    _, found, _ = emit.groups(ranks, total, "nonzero")
    rows: list[relax.Expr] = []
    stride = tvm.tirx.IntImm(INDEX, 1)
    for dim in reversed(dims):
        along = emit(relax.op.floor_divide(found, _scalar(stride))) if rows else found
        rows.insert(0, emit(relax.op.floor_mod(along, _scalar(dim))) if len(rows) + 1 < len(dims) else along)
        stride = stride * dim
    return relax.op.stack(rows, axis=0)


def _scalar(value: tvm.tirx.Expr) -> relax.Expr:
    value = tvm.sym.Analyzer().simplify(value)
    if not isinstance(value, tvm.tirx.IntImm):
        raise UnsupportedError(f"nonzero of a tensor whose inner extent {value} is not a number")
    return relax.const(int(value), INDEX)


def _flag(value: relax.Expr) -> bool:
    return bool(int(value.value if hasattr(value, "value") else value))


def _unique(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """The distinct slices along an axis (or elements), where each was first, which is where, and how often."""
    emit, value = _Writer(builder), call.args[0]
    in_order, *wanted = (_flag(argument) for argument in call.args[1:5])
    axis = None if len(call.args) < 6 else int(call.args[5].value if hasattr(call.args[5], "value") else call.args[5])
    dims = _dims(value, "unique")
    if axis is None:
        value, dims, axis = emit(relax.op.reshape(value, [math.prod(dims, start=tvm.tirx.IntImm(INDEX, 1))])), [], 0
        rest: list[tvm.tirx.Expr] = []
        length = value.ty.shape.values[0]
    else:
        axis = axis % len(dims)
        length, rest = dims[axis], dims[:axis] + dims[axis + 1 :]
        value = emit(relax.op.permute_dims(value, [axis, *(i for i in range(len(dims)) if i != axis)]))
    columns = math.prod(map(int, rest)) if all(isinstance(dim, tvm.tirx.IntImm) for dim in rest) else MOST_COLUMNS + 1
    if columns > MOST_COLUMNS:
        raise UnsupportedError(f"unique along an axis whose slices have more than {MOST_COLUMNS} elements")
    table = emit(relax.op.reshape(value, [length, tvm.tirx.IntImm(INDEX, columns)]))
    order = _sorted_rows(emit, table, columns)
    table = emit(relax.op.take(table, order, axis=0))
    above = emit(relax.op.strided_slice(table, [0], [0], [length - 1]))
    below = emit(relax.op.strided_slice(table, [0], [1], [length]))
    differs = emit(relax.op.astype(emit(relax.op.not_equal(above, below)), INDEX))
    differs = emit(relax.op.max(differs, axis=[1]))
    begins_group = emit(relax.op.concat([relax.const([1], INDEX), differs], axis=0))
    ranks = emit(relax.op.cumsum(begins_group, axis=0, dtype=INDEX))
    count, begins, ends = emit.groups(ranks, length, "unique")
    first = emit(relax.op.take(order, begins, axis=0))
    number = emit(relax.op.subtract(ranks, relax.const(1, INDEX)))
    counts = emit(relax.op.subtract(ends, begins))
    inverse = emit(relax.op.scatter_elements(number, order, number, axis=0))
    if not in_order:
        # The sort is stable: where a group begins, its first element stands.
        new = emit(relax.op.scatter_elements(begins_group, order, begins_group, axis=0))
        appeared = emit(relax.op.cumsum(new, axis=0, dtype=INDEX))
        place = emit(relax.op.subtract(emit(relax.op.take(appeared, first, axis=0)), relax.const(1, INDEX)))
        wanted_places = emit(relax.op.arange(1, count + 1, 1, INDEX))
        first = emit(relax.op.bucketize(wanted_places, appeared, out_int32=False, right=False))
        groups = emit(relax.op.take(inverse, first, axis=0))
        begins, counts = (emit(relax.op.take(each, groups, axis=0)) for each in (begins, counts))
        inverse = emit(relax.op.take(place, inverse, axis=0))
    found = emit(relax.op.reshape(emit(relax.op.take(table, begins, axis=0)), [count, *rest]))
    if rest:
        found = emit(relax.op.permute_dims(found, [*range(1, axis + 1), 0, *range(axis + 1, len(rest) + 1)]))
    results = [found, *(each for each, flag in zip((first, inverse, counts), wanted) if flag)]
    return relax.Tuple(results) if len(results) > 1 else found


def _sorted_rows(emit: _Writer, table: relax.Expr, columns: int) -> relax.Var:
    """The stable order of the rows: sorted by the last column, then by the one before it, ..."""
    order = None
    for column in reversed(range(columns)):
        keys = emit(relax.op.take(table, relax.const(column, INDEX), axis=1))
        if order is not None:
            keys = emit(relax.op.take(keys, order, axis=0))
        step = emit(relax.op.argsort(keys, axis=0, dtype=INDEX))
        order = step if order is None else emit(relax.op.take(order, step, axis=0))
    assert order is not None
    return order


def _by_tvm(builder: relax.BlockBuilder, call: relax.Call) -> relax.Expr:
    """TVM's own form. Its constant folding would make it too, but forget the function that computes the shape."""
    return call.op.get_attr("FLegalize")(builder, call)


Rule = Callable[[relax.BlockBuilder, relax.Call], relax.Expr]

RULES: dict[str, Rule] = {
    "relax.nonzero": _nonzero,
    "relax.unique": _unique,
    "relax.dynamic_strided_slice": _by_tvm,
}


@mutator
class _Rewriter(PyExprMutator):
    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = super().visit_call_(call)
        rule = RULES.get(getattr(call.op, "name", ""))
        return call if rule is None else rule(self.builder_, call)


@tvm.transform.module_pass(opt_level=0, name="CountResults")
class CountResults:
    """The pass; see the module's text."""

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        return rewrite_functions(_Rewriter(mod), mod)
