"""Scatters as kernels of our own, which are parallel: TVM's library writes them sequentially."""

from __future__ import annotations

from collections.abc import Callable

import tvm_ffi
from tvm import relax, tirx

from tvm_webgpu.codegen.schedule import scatter
from tvm_webgpu.codegen.schedule.ordering import product_of
from tvm_webgpu.pipeline.passes.kernel_calls import Dispatcher, buffer_like, dtype_of, parameters

Describe = Callable[[list[tirx.Expr], tirx.Buffer], scatter.Updates]


def _known(*tensors: relax.Expr) -> bool:
    return all(isinstance(getattr(x.ty, "shape", None), relax.ShapeExpr) for x in tensors)


def _scatter(
    self: Dispatcher, data: relax.Expr, indices: relax.Expr, values: relax.Expr, reduction: str, describe: Describe
) -> relax.Expr:
    count = product_of(indices.ty.shape)
    if count == 0:
        return data
    dtype = dtype_of(data)
    shape = parameters(data.ty.shape)
    source, out = buffer_like("data", shape, dtype), buffer_like("out", shape, dtype)
    places = buffer_like("indices", parameters(indices.ty.shape), dtype_of(indices))
    new = buffer_like("values", parameters(values.ty.shape), dtype)
    updates = describe(shape, places)
    if not scatter.sorts(updates):
        func = scatter.walk(source, updates, new, out, reduction, self.limits)
        return self.kernel(func, "scatter", [data, indices, values], data.ty)
    total = product_of(list(indices.ty.shape)[: places_axes(updates, len(places.shape))])
    sorted_type = relax.TensorType([total], "int32")
    (size,) = parameters([total if isinstance(total, tirx.Expr) else tirx.IntImm("int64", total)])
    keys, order = buffer_like("keys", [size], "int32"), buffer_like("order", [size], "int32")
    func = scatter.destinations(source, updates, keys, self.limits)
    found = self.emit(self.kernel(func, "scatter_places", [data, indices], sorted_type))
    turn = self.emit(self.places(found))
    func = scatter.apply_sorted(source, updates.wide, keys, order, new, out, reduction, self.limits)
    return self.kernel(func, "scatter", [data, found, turn, values], data.ty)


def places_axes(updates: scatter.Updates, rank: int) -> int:
    """How many axes of the indices count updates."""
    return rank if isinstance(updates, scatter.Elements) else rank - 1


def _elements(self: Dispatcher, call: relax.Call) -> relax.Expr:
    data, indices, values = call.args
    if not _known(*call.args):
        return call
    axis = int(call.attrs.axis) % len(data.ty.shape)
    return _scatter(
        self, data, indices, values, str(call.attrs.reduction),
        lambda shape, places: scatter.Elements(shape, places, axis),
    )  # fmt: skip


def _slices(self: Dispatcher, call: relax.Call) -> relax.Expr:
    data, indices, values = call.args
    if not _known(*call.args) or not isinstance(indices.ty.shape[-1], tirx.IntImm):
        return call
    return _scatter(self, data, indices, values, str(call.attrs.reduction), scatter.Slices)


def _put(self: Dispatcher, call: relax.Call) -> relax.Expr:
    """Coordinates of every axis as tensors that broadcast to each other: the same as rows of coordinates."""
    data, indices, values = call.args
    fields = list(indices.fields) if isinstance(indices, relax.Tuple) else [indices]
    if not _known(data, values, *fields):
        return call
    emit, op = self.emit, relax.op
    shape = list(fields[0].ty.shape)
    same = all(tvm_ffi.structural_equal(relax.ShapeExpr(shape), f.ty.shape) for f in fields)
    if not same:
        if not all(isinstance(dim, tirx.IntImm) for f in fields for dim in f.ty.shape):
            return call
        shape = _broadcast([[int(dim) for dim in f.ty.shape] for f in fields])
        fields = [emit(op.broadcast_to(f, shape)) for f in fields]
    fields = [f if dtype_of(f) == "int64" else emit(op.astype(f, "int64")) for f in fields]
    rows = emit(op.concat([emit(op.expand_dims(f, [-1])) for f in fields], -1))
    wanted = [*shape, *list(data.ty.shape)[len(fields) :]]
    if not tvm_ffi.structural_equal(relax.ShapeExpr(wanted), values.ty.shape):
        values = emit(op.broadcast_to(values, wanted))
    reduction = "add" if call.attrs.accumulate else "update"
    return _scatter(self, data, rows, values, reduction, scatter.Slices)


def _broadcast(shapes: list[list[int]]) -> list[int]:
    rank = max(map(len, shapes))
    padded = [[1] * (rank - len(shape)) + shape for shape in shapes]
    return [next((n for n in sizes if n != 1), 1) for sizes in zip(*padded)]


SCATTERS: dict[str, Callable[..., relax.Expr]] = {
    "relax.scatter_elements": _elements,
    "relax.scatter_nd": _slices,
    "relax.index_put": _put,
}
