"""Conversions of the ONNX operators that take a shape, of numbers and symbols, as an operand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from tvm_webgpu.pipeline.frontends.onnx_extents import Arithmetic

Shaped = Callable[[relax.BlockBuilder, Arithmetic, Sequence[Any], Mapping], relax.Expr | None]
"""`inputs` are Relax expressions, and arrays of extents where these are known; None leaves the operator to TVM."""


def _known(*arrays: Any) -> bool:
    return all(isinstance(array, np.ndarray) for array in arrays)


def _dims(value: relax.Expr) -> list[Any] | None:
    shape = value.ty.shape
    return [int(dim) if isinstance(dim, tirx.IntImm) else dim for dim in shape] if shape is not None else None


def _product(values: Sequence[Any]) -> Any:
    total: Any = 1
    for value in values:
        total = value * total
    return total


def _reshape(bb: relax.BlockBuilder, rules: Arithmetic, inputs: Sequence[Any], attrs: Mapping) -> relax.Expr | None:
    """0 is the operand's extent, -1 what is left."""
    value, shape = inputs
    dims = _dims(value) if not _known(value) else None
    if not _known(shape) or dims is None:
        return None
    wanted = list(shape)
    if not attrs.get("allowzero", 0):
        wanted = [dims[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(wanted)]
    rest = [i for i, n in enumerate(wanted) if isinstance(n, int) and n == -1]
    if rest:
        others = _product([n for i, n in enumerate(wanted) if i != rest[0]])
        total = _product(dims)
        if isinstance(others, int) and others == 0:
            return None
        left = rules.simplify(
            tirx.floordiv(total, others)
            if not isinstance(total, int) or not isinstance(others, int)
            else total // others
        )
        wanted[rest[0]] = left
    return relax.op.reshape(value, wanted)


def _expand(bb: relax.BlockBuilder, rules: Arithmetic, inputs: Sequence[Any], _: Mapping) -> relax.Expr | None:
    """Broadcast both ways: an extent of 1 in the shape keeps the operand's."""
    value, shape = inputs
    dims = _dims(value) if not _known(value) else None
    if not _known(shape) or dims is None:
        return None
    rank = max(len(dims), shape.size)
    before = [1] * (rank - len(dims)) + dims
    wanted = [1] * (rank - shape.size) + list(shape)
    both = [
        ours if isinstance(given, int) and given == 1 else given for ours, given in zip(before, wanted, strict=True)
    ]
    return value if both == dims else relax.op.broadcast_to(value, both)


def _constant_of_shape(
    bb: relax.BlockBuilder, _: Arithmetic, inputs: Sequence[Any], attrs: Mapping
) -> relax.Expr | None:
    from onnx import numpy_helper

    if not _known(inputs[0]):
        return None
    value = numpy_helper.to_array(attrs["value"]).reshape(()) if "value" in attrs else np.float32(0)
    return relax.op.broadcast_to(relax.const(value, str(value.dtype)), list(inputs[0]))


def _range(bb: relax.BlockBuilder, rules: Arithmetic, inputs: Sequence[Any], _: Mapping) -> relax.Expr | None:
    if not _known(*inputs):
        return None
    start, limit, step = (array.reshape(())[()] for array in inputs)
    if not isinstance(step, int):
        return None
    gap = limit - start if step > 0 else start - limit
    count = rules.simplify(
        tirx.floordiv(gap + abs(step) - 1, abs(step)) if not isinstance(gap, int) else -(-gap // abs(step))
    )
    extent = rules.simplify(tirx.max(count, tirx.IntImm("int64", 0))) if not isinstance(count, int) else max(count, 0)

    def places(first: Any) -> te.Tensor:
        return te.compute([extent], lambda i: tirx.Cast("int64", i) * tirx.IntImm("int64", step) + first, name="range")

    first = tirx.IntImm("int64", start) if isinstance(start, int) else start
    return bb.emit_te(places, first, primfunc_name_hint="range")


def _tile(bb: relax.BlockBuilder, _: Arithmetic, inputs: Sequence[Any], __: Mapping) -> relax.Expr | None:
    value, repeats = inputs
    dims = _dims(value) if not _known(value) else None
    if not _known(repeats) or dims is None or all(isinstance(n, int) for n in repeats):
        return None
    pairs = list(zip(repeats, dims, strict=True))
    apart = bb.emit(relax.op.reshape(value, [n for _, dim in pairs for n in (1, dim)]))
    spread = bb.emit(relax.op.broadcast_to(apart, [n for pair in pairs for n in pair]))
    return relax.op.reshape(spread, [count * dim for count, dim in pairs])


def _resize(bb: relax.BlockBuilder, rules: Arithmetic, inputs: Sequence[Any], attrs: Mapping) -> relax.Expr | None:
    """Planes of open extents, to sizes or by whole scales; nearest neighbours are found in whole numbers."""
    value, _, scales, sizes = (inputs[i] if i < len(inputs) else None for i in range(4))
    dims = _dims(value)
    mode = attrs.get("mode", b"nearest").decode()
    coordinates = attrs.get("coordinate_transformation_mode", b"half_pixel").decode()
    plain = not any(attrs.get(name) for name in ("antialias", "axes", "exclude_outside"))
    plain = plain and attrs.get("keep_aspect_ratio_policy", b"stretch") == b"stretch"
    if dims is None or len(dims) != 4 or not plain:
        return None
    if isinstance(sizes, np.ndarray) and sizes.size == 4:
        after = list(sizes)
    elif isinstance(scales, relax.Expr) and isinstance(scales, tvm.ir.GenericConst):
        factors = scales.value.numpy()
        if factors.size != 4 or any(not float(factor).is_integer() for factor in factors):
            return None
        after = [rules.simplify(dim * int(factor)) for dim, factor in zip(dims, factors, strict=True)]
    else:
        return None
    if any(not rules.proves(_equal(a, b)) for a, b in zip(dims[:2], after[:2], strict=True)):
        return None
    if mode != "nearest":
        if coordinates not in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
            return None
        method, cubic = {"linear": "linear", "cubic": "cubic"}[mode], attrs.get("cubic_coeff_a", -0.75)
        return relax.op.image.resize2d(
            value, tuple(after[2:]), method=method, coordinate_transformation_mode=coordinates, cubic_alpha=cubic
        )
    rounding = attrs.get("nearest_mode", b"round_prefer_floor").decode()
    place = NEAREST.get((coordinates, rounding))
    if place is None:
        return None

    def gather(x: te.Tensor) -> te.Tensor:
        def element(*at: tirx.Var) -> tirx.Expr:
            found = [
                tirx.max(tirx.min(place(i, before, last), before - 1), tirx.IntImm("int64", 0))
                for i, before, last in zip(at[2:], x.shape[2:], after[2:], strict=True)
            ]
            return x(*at[:2], *found)

        return te.compute([*x.shape[:2], *after[2:]], element, name="nearest")

    return bb.emit_te(gather, value, primfunc_name_hint="resize_nearest")


BROADCAST = {
    "Add", "Sub", "Mul", "Div", "Mod", "Pow", "Min", "Max", "Mean", "Sum", "And", "Or", "Xor", "Equal", "Less",
    "LessOrEqual", "Greater", "GreaterOrEqual", "Where", "PRelu", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
}  # fmt: skip


class Same(Exception):
    """Two symbols of the inputs' shapes that must be one: (this, that)."""


def align(bb: relax.BlockBuilder, rules: Arithmetic, operator: str, values: Sequence[relax.Expr], axis: int) -> list:
    """The operands of a broadcast or a concatenation, extents that must be equal but can't be shown to be made so.

    2 * (h // 2) and h, or the batches of two inputs, meet there: the package checks them when it runs.
    """
    found = [_dims(value) if isinstance(value.ty, relax.TensorType) else None for value in values]
    shapes = [dims for dims in found if dims is not None]
    if len(shapes) < len(found):
        return list(values)
    rank = max(map(len, shapes))
    agreed: list[Any] = [1] * rank
    for shape in shapes:
        for i, dim in enumerate(shape, rank - len(shape)):
            if _is(agreed[i], 1) or _tells_more(dim, agreed[i]):
                agreed[i] = dim
    made = []
    for value, shape in zip(values, shapes, strict=True):
        first = rank - len(shape)
        joined = axis % rank if operator == "Concat" else None
        wanted = [
            dim if i == joined or _is(dim, 1) or _settled(rules, dim, agreed[i]) else agreed[i]
            for i, dim in enumerate(shape, first)
        ]
        for dim, ours in zip(wanted, shape, strict=True):
            if dim is not ours and isinstance(dim, tvm.ir.Var) and isinstance(ours, tvm.ir.Var):
                raise Same(ours, dim)
        same = all(a is b for a, b in zip(wanted, shape, strict=True))
        made.append(value if same else bb.match_cast(value, relax.TensorType(wanted, value.ty.dtype)))
    return made


def _is(extent: Any, number: int) -> bool:
    return isinstance(extent, int) and extent == number


def _tells_more(a: Any, b: Any) -> bool:
    """Numbers before expressions before symbols: TVM takes a symbol in a cast for one that the cast defines."""
    rank = {int: 2, tvm.ir.Var: 0}
    return not _is(a, 1) and rank.get(type(a), 1) > rank.get(type(b), 1)


def _settled(rules: Arithmetic, a: Any, b: Any) -> bool:
    """Whether nothing is open: both are numbers, or they are known to be equal."""
    return (isinstance(a, int) and isinstance(b, int)) or rules.proves(_equal(a, b))


def _equal(a: Any, b: Any) -> Any:
    return (
        a == b
        if isinstance(a, int) and isinstance(b, int)
        else tirx.EQ(*(tirx.IntImm("int64", n) if isinstance(n, int) else n for n in (a, b)))
    )


NEAREST: dict[tuple[str, str], Callable[[Any, Any, Any], Any]] = {
    ("asymmetric", "floor"): lambda i, before, after: tirx.floordiv(i * before, after),
    ("asymmetric", "ceil"): lambda i, before, after: tirx.floordiv(i * before + after - 1, after),
    ("half_pixel", "round_prefer_ceil"): lambda i, before, after: tirx.floordiv((2 * i + 1) * before, 2 * after),
    ("half_pixel", "round_prefer_floor"): lambda i, before, after: (
        tirx.floordiv((2 * i + 1) * before + 2 * after - 1, 2 * after) - 1
    ),
}
"""The element taken for place i, of coordinates and rounding; in whole numbers, which no device rounds."""

SHAPED: dict[str, Shaped] = {
    "Reshape": _reshape,
    "Expand": _expand,
    "ConstantOfShape": _constant_of_shape,
    "Range": _range,
    "Tile": _tile,
    "Resize": _resize,
}
