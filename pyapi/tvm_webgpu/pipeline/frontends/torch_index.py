"""PyTorch's indexing by tensors: taking, putting and reducing at places that are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.torch_scope import Scope


def nonzero(scope: Scope) -> relax.Expr:
    """[places, rank]."""
    value = scope.args[0]
    if str(value.ty.dtype) != "bool":
        value = scope.emit(relax.op.not_equal(value, relax.const(0, str(value.ty.dtype))))
    return scope.emit(relax.op.permute_dims(scope.emit(relax.op.nonzero(value)), [1, 0]))


def index(scope: Scope) -> relax.Expr:
    """value[indices], of which some may be None (everything) and some masks."""
    value, axes, indices = _places(scope, scope.args[0], scope.args[1])
    if len(axes) == 1:
        return scope.emit(relax.op.take(value, indices[0], axis=axes[0]))
    rank = value.ty.ndim
    rest = [axis for axis in range(rank) if axis not in axes]
    first = scope.emit(relax.op.permute_dims(value, [*axes, *rest])) if axes != list(range(len(axes))) else value
    found = scope.emit(relax.op.index_tensor(first, indices))
    common = found.ty.ndim - len(rest)
    beside = axes == list(range(axes[0], axes[0] + len(axes)))
    ahead = axes[0] if beside else 0
    if not ahead:
        return found
    order = [*range(common, common + ahead), *range(common), *range(common + ahead, found.ty.ndim)]
    return scope.emit(relax.op.permute_dims(found, order))


def index_put(scope: Scope) -> relax.Expr:
    """The tensor with values, which are broadcast, at value[indices], or added there."""
    value, indices, updates, accumulate = scope.args[:4]
    if len(indices) == 1 and str(indices[0].ty.dtype) == "bool" and updates.ty.ndim == 0 and not accumulate:
        mask = indices[0]
        spare = list(range(mask.ty.ndim, value.ty.ndim))
        mask = scope.emit(relax.op.expand_dims(mask, spare)) if spare else mask
        return scope.emit(relax.op.where(mask, updates, value))
    value, axes, indices = _places(scope, value, indices)
    rank = value.ty.ndim
    rest = [axis for axis in range(rank) if axis not in axes]
    beside = axes == list(range(axes[0], axes[0] + len(axes)))
    if rest and not (beside and axes[0] == 0) and updates.ty.ndim > 1:
        raise UnsupportedError("values of more than one axis behind an axis that is not indexed")
    order = [*axes, *rest]
    first = scope.emit(relax.op.permute_dims(value, order)) if order != list(range(rank)) else value
    # The places' common shape, by adding them up: broadcasting is what addition does.
    total = indices[0]
    for other in indices[1:]:
        total = scope.emit(relax.op.add(total, other))
    common = list(total.ty.shape)
    spread = [scope.emit(relax.op.broadcast_to(one, common)) for one in indices]
    places = scope.emit(relax.op.stack(spread, axis=-1))
    wanted = [*common, *list(first.ty.shape)[len(axes) :]]
    values = scope.emit(relax.op.broadcast_to(scope.cast(updates, str(value.ty.dtype)), wanted))
    put = scope.emit(relax.op.scatter_nd(first, places, values, "add" if accumulate else "update"))
    back = [int(axis) for axis in np.argsort(order)]
    return put if back == list(range(rank)) else scope.emit(relax.op.permute_dims(put, back))


def index_copy(scope: Scope) -> relax.Expr:
    """The tensor with rows of another at the places along an axis."""
    value, axis, places, source = scope.args[:4]
    return _scatter(scope, value, axis % value.ty.ndim, _along(scope, places, axis, source), source, "update")


def scatter_add(scope: Scope) -> relax.Expr:
    """The tensor with another added at places along an axis."""
    value, axis, places, source = scope.args[:4]
    return _scatter(scope, value, axis % value.ty.ndim, places, source, "add")


REDUCTIONS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min", "mean": "add"}


def scatter_reduce(scope: Scope) -> relax.Expr:
    """The tensor reduced with another at places along an axis, or there with the other's elements alone."""
    value, axis, places, source, kind = scope.args[:5]
    axis, dtype = axis % value.ty.ndim, str(value.ty.dtype)
    limits = np.iinfo(dtype) if "int" in dtype else np.finfo(dtype)
    least, most = (limits.min, limits.max) if "int" in dtype else (-np.inf, np.inf)
    neutral: Any = {"sum": 0, "prod": 1, "amax": least, "amin": most, "mean": 0}[kind]

    def alike(number: float, like: relax.Expr = source) -> relax.Expr:
        return scope.emit(relax.op.broadcast_to(relax.const(number, dtype), list(like.ty.shape)))

    if not scope.named["include_self"]:
        value = _scatter(scope, value, axis, places, alike(neutral), "update")
    found = _scatter(scope, value, axis, places, source, REDUCTIONS[kind])
    if kind != "mean":
        return found
    if "int" in dtype:
        raise UnsupportedError("the mean of whole numbers")
    start = alike(1 if scope.named["include_self"] else 0, value)
    count = _scatter(scope, start, axis, places, alike(1), "add")
    return scope.emit(relax.op.divide(found, relax.op.maximum(count, relax.const(1, dtype))))


def _scatter(
    scope: Scope, value: relax.Expr, axis: int, places: relax.Expr, source: relax.Expr, reduction: str
) -> relax.Expr:
    """PyTorch takes of the source only as much as there are places."""
    shape = list(places.ty.shape)
    same = all(tvm_ffi.structural_equal(a, b) for a, b in zip(shape, source.ty.shape, strict=True))
    if not same:
        axes = list(range(len(shape)))
        source = scope.emit(relax.op.strided_slice(source, axes, [0] * len(shape), shape))
    return scope.emit(relax.op.scatter_elements(value, places, source, axis=axis, reduction=reduction))


def _along(scope: Scope, places: relax.Expr, axis: int, like: relax.Expr) -> relax.Expr:
    """Places along an axis, spread over the shape of another tensor."""
    rank = like.ty.ndim
    spare = [other for other in range(rank) if other != axis % rank]
    shaped = scope.emit(relax.op.expand_dims(places, spare)) if spare else places
    return scope.emit(relax.op.broadcast_to(shaped, list(like.ty.shape)))


def _places(
    scope: Scope, value: relax.Expr, indices: Sequence[relax.Expr | None]
) -> tuple[relax.Expr, list[int], list[relax.Expr]]:
    """The indexed axes and the place in each, none negative; a mask is where it is true."""
    axes: list[int] = []
    found: list[relax.Expr] = []
    axis = 0
    for one in indices:
        if one is None:
            axis += 1
        elif str(one.ty.dtype) in ("bool", "uint8"):
            rows = scope.emit(relax.op.nonzero(one))
            for row in range(one.ty.ndim):
                found.append(scope.emit(relax.op.take(rows, relax.const(row, "int64"), axis=0)))
                axes.append(axis)
                axis += 1
        else:
            found.append(_inside(scope, one, list(value.ty.shape)[axis]))
            axes.append(axis)
            axis += 1
    return value, axes, found


def _inside(scope: Scope, one: relax.Expr, extent: object) -> relax.Expr:
    """Negative places count from the end."""
    wide = scope.cast(one, "int64")
    if isinstance(one, tvm.ir.GenericConst) and (one.value.numpy() >= 0).all():
        return wide
    if not isinstance(extent, tvm.tirx.IntImm):
        return wide
    zero = relax.const(0, "int64")
    return scope.emit(
        relax.op.where(relax.op.less(wide, zero), relax.op.add(wide, relax.const(int(extent), "int64")), wide)
    )
