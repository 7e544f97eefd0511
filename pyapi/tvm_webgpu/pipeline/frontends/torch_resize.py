"""Interpolation as PyTorch has it: by sizes, or by scales, whose inverse gives positions where sizes were rounded."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, te, tirx

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_resize import Axis, nearest, positions, taps
from tvm_webgpu.pipeline.frontends.torch_scope import Extent, Scope

BICUBIC = -0.75
BICUBIC_ANTIALIASED = -0.5
"""PyTorch's coefficients."""


def resize(mode: str, exact: bool = False, antialias: bool = False):  # type: ignore[no-untyped-def]
    """A conversion of `upsample_*.vec` or `.default`: mode is nearest, linear or cubic."""

    def convert(scope: Scope) -> relax.Expr:
        value = scope.args[0]
        after = scope.extents()[2:]
        before = list(value.ty.shape)[2:]
        axes = _rounded(scope, before, after)
        corners = bool(scope.named.get("align_corners", False))
        if mode == "nearest" and axes is None:
            return _nearest(scope, value, after, exact)
        single = corners and any(str(extent) == "1" for extent in after)  # TVM divides by the extent - 1
        if axes is None and not antialias and not single:
            return _by_tvm(scope, value, after, mode, corners)
        if axes is None:
            axes = _static(before, after)
        axes = [axis for axis in axes if axis.before != axis.after or not axis.whole]
        coordinates = "align_corners" if corners else "half_pixel"
        if mode == "nearest":
            coordinates = "half_pixel" if exact else "asymmetric"
        for axis in axes:
            at = positions(axis, coordinates)
            if mode == "nearest":
                elements = np.clip(nearest(at, "round_prefer_ceil" if exact else "floor"), 0, axis.before - 1)
                value = scope.emit(relax.op.take(value, relax.const(elements, "int64"), axis=axis.number))
            else:
                cubic = BICUBIC_ANTIALIASED if antialias else BICUBIC
                value = _weighted(scope, value, axis.number, *taps(axis, at, mode, cubic, antialias, antialias))
        return value

    return convert


def _rounded(scope: Scope, before: list[Extent], after: list[Extent]) -> list[Axis] | None:
    """The axes, where a scale was given of which the extents are not an exact multiple."""
    names = ("scale_factors", "scales_d", "scales_h", "scales_w", "scales")
    given = [scope.named[name] for name in names if scope.named.get(name) is not None]
    if not given:
        return None
    scales = list(given[0]) if isinstance(given[0], list | tuple) else given
    whole = all(float(scale).is_integer() for scale in scales)
    if whole or scope.named.get("align_corners"):
        return None
    axes = _static(before, after, scales)
    return None if all(axis.whole for axis in axes) else axes


def _static(before: list[Extent], after: list[Extent], scales: list[float] | None = None) -> list[Axis]:
    if not all(isinstance(extent, int | tirx.IntImm) for extent in (*before, *after)):
        raise UnsupportedError("resizing by a scale that is no whole number, or with antialiasing, wants known extents")
    pairs = [(int(first), int(last)) for first, last in zip(before, after, strict=True)]
    return [Axis(2 + i, first, last, scales[i] if scales else last / first) for i, (first, last) in enumerate(pairs)]


def _nearest(scope: Scope, value: relax.Expr, after: list[Extent], exact: bool) -> relax.Expr:
    """In whole numbers, which no device rounds."""

    def gather(x: te.Tensor) -> te.Tensor:
        def element(*at: tvm.tirx.Var) -> tvm.tirx.Expr:
            found = [
                tirx.floordiv((2 * i + 1) * first, 2 * last) if exact else tirx.floordiv(i * first, last)
                for i, first, last in zip(at[2:], x.shape[2:], after, strict=True)
            ]
            return x(*at[:2], *found)

        return te.compute([*x.shape[:2], *after], element, name="nearest")

    return scope.compute(gather, value, name="resize_nearest")


def _by_tvm(scope: Scope, value: relax.Expr, after: list[Extent], mode: str, corners: bool) -> relax.Expr:
    coordinates = "align_corners" if corners else "half_pixel"
    if len(after) == 3:
        return scope.emit(
            relax.op.image.resize3d(value, tuple(after), method=mode, coordinate_transformation_mode=coordinates)
        )
    line = len(after) == 1
    if line:
        value = scope.emit(relax.op.expand_dims(value, 2))
        after = [1, *after]
    value = scope.emit(
        relax.op.image.resize2d(
            value, tuple(after), method=mode, coordinate_transformation_mode=coordinates, cubic_alpha=BICUBIC
        )
    )
    return scope.emit(relax.op.squeeze(value, 2)) if line else value


def _weighted(scope: Scope, value: relax.Expr, axis: int, elements: np.ndarray, weights: np.ndarray) -> relax.Expr:
    """The sum over the taps of elements times weights."""
    rank, dtype = value.ty.ndim, str(value.ty.dtype)
    wide = scope.cast(value, "float32") if dtype in ("float16", "bfloat16") else value
    kind = str(wide.ty.dtype)
    gathered = scope.emit(relax.op.take(wide, relax.const(elements, "int64"), axis=axis))
    shaped = relax.const(weights.reshape(*weights.shape, *[1] * (rank - 1 - axis)).astype(kind), kind)
    total = scope.emit(relax.op.sum(relax.op.multiply(gathered, shaped), axis=axis + 1))
    return scope.cast(total, dtype)
