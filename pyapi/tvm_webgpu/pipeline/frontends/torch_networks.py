"""Layers of networks that TVM's importer lacks, or that it has wrong: pools, norms, transposed convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tvm import relax, te, tirx

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.torch_scope import Scope

NORMALISED = ("float32", "float16")
"""What TVM's normalisations take; bfloat16 is computed as float32, float64 by its definition."""


def _pool(rank: int, function: Callable[..., relax.Expr], places: bool = False) -> Callable[[Scope], Any]:
    """A pool over the last axes; without strides windows lie side by side. Of places of extremes nothing is known."""

    def convert(scope: Scope) -> Any:
        value, named = scope.args[0], scope.named
        size = _spread(named["kernel_size"], rank)
        alone = value.ty.ndim == rank + 1
        options: dict[str, Any] = {"ceil_mode": bool(named.get("ceil_mode", False))}
        if "dilation" in named:
            options["dilation"] = _spread(named["dilation"], rank)
        if "count_include_pad" in named:
            options["count_include_pad"] = bool(named["count_include_pad"])
        if named.get("divisor_override"):
            raise UnsupportedError("divisor_override")
        pads = _spread(named.get("padding", 0), rank)
        found = function(
            relax.op.expand_dims(value, 0) if alone else value,
            pool_size=size,
            strides=_spread(named.get("stride") or size, rank),
            padding=[*pads, *pads],
            **options,
        )
        found = scope.emit(relax.op.squeeze(found, 0) if alone else found)
        if not places:
            return found
        if any(user.args[1] == 1 and user.users for user in scope.node.users):
            raise UnsupportedError("the places of the largest elements")
        return (found,)

    return convert


def _spread(value: Any, rank: int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * rank if len(values) == 1 else values


def _adaptive_max_pool(rank: int) -> Callable[[Scope], Any]:
    """The largest of each window, from floor(i * before / after) to ceil((i + 1) * before / after)."""

    def convert(scope: Scope) -> Any:
        value = scope.args[0]
        after = scope.extents()[-rank:]
        before = list(value.ty.shape)[-rank:]
        if not all(isinstance(extent, int | tirx.IntImm) for extent in (*after, *before)):
            raise UnsupportedError("adaptive pools want known extents")
        if any(user.args[1] == 1 and user.users for user in scope.node.users):
            raise UnsupportedError("the places of the largest elements")
        pairs = [(int(first), int(last)) for first, last in zip(before, after, strict=True)]
        widest = [max(-(-(i + 1) * first // last) - i * first // last for i in range(last)) for first, last in pairs]

        def pool(x: te.Tensor) -> te.Tensor:
            lead = len(x.shape) - rank
            steps = [te.reduce_axis((0, width), f"k{i}") for i, width in enumerate(widest)]

            def element(*at: tirx.Var) -> tirx.Expr:
                # What lies beyond a window's end is its last element again, which changes no maximum.
                found = [
                    tirx.min(tirx.floordiv(i * first, last) + step, tirx.floordiv((i + 1) * first + last - 1, last) - 1)
                    for i, step, (first, last) in zip(at[lead:], steps, pairs, strict=True)
                ]
                return te.max(x(*at[:lead], *found), axis=steps)

            return te.compute([*x.shape[:lead], *[last for _, last in pairs]], element, name="adaptive_max_pool")

        return (scope.compute(pool, value, name="adaptive_max_pool"),)

    return convert


def _layer_norm(scope: Scope) -> Any:
    value, shape, weight, bias, epsilon = (scope.args[i] for i in range(5))
    axes = list(range(value.ty.ndim - len(shape), value.ty.ndim))
    dtype = str(value.ty.dtype)
    kind = "float32" if dtype == "bfloat16" else dtype
    wide = scope.cast(value, kind)
    extents = list(value.ty.shape)[-len(shape) :]
    scale = scope.cast(weight, kind) if weight is not None else scope.emit(relax.op.ones(extents, kind))
    shift = scope.cast(bias, kind) if bias is not None else scope.emit(relax.op.zeros(extents, kind))
    if kind in NORMALISED:
        found = relax.op.nn.layer_norm(wide, scale, shift, axes=axes, epsilon=epsilon)
    else:
        found = relax.op.add(relax.op.multiply(_standardised(scope, wide, axes, epsilon), scale), shift)
    return (scope.cast(scope.emit(found), dtype),)


def _group_norm(scope: Scope) -> Any:
    """Of groups of channels, over these and all positions."""
    value, weight, bias = scope.args[:3]
    groups, epsilon = scope.args[6:8]
    dtype, rank = str(value.ty.dtype), value.ty.ndim
    kind = "float32" if dtype == "bfloat16" else dtype
    extents = list(value.ty.shape)
    wide = scope.cast(value, kind)
    scale = scope.cast(weight, kind) if weight is not None else scope.emit(relax.op.ones([extents[1]], kind))
    shift = scope.cast(bias, kind) if bias is not None else scope.emit(relax.op.zeros([extents[1]], kind))
    if kind in NORMALISED:
        found = relax.op.nn.group_norm(
            wide, scale, shift, num_groups=groups, channel_axis=1, axes=list(range(2, rank)), epsilon=epsilon
        )
        return (scope.cast(scope.emit(found), dtype),)
    parted = scope.emit(relax.op.reshape(wide, [extents[0], groups, extents[1] // groups, *extents[2:]]))
    whole = relax.op.reshape(_standardised(scope, parted, list(range(2, rank + 1)), epsilon), extents)
    column = [1, extents[1], *[1] * (rank - 2)]
    found = relax.op.add(relax.op.multiply(whole, relax.op.reshape(scale, column)), relax.op.reshape(shift, column))
    return (scope.emit(found),)


def _standardised(scope: Scope, value: relax.Expr, axes: list[int], epsilon: float) -> relax.Expr:
    dtype = str(value.ty.dtype)
    gap = scope.emit(relax.op.subtract(value, relax.op.mean(value, axes, keepdims=True)))
    spread = relax.op.mean(relax.op.multiply(gap, gap), axes, keepdims=True)
    return scope.emit(relax.op.divide(gap, relax.op.sqrt(relax.op.add(spread, relax.const(epsilon, dtype)))))


def _convolution(scope: Scope) -> Any:
    """TVM's importer has all but the transposed one of volumes."""
    value, weight, bias, stride, padding, dilation, transposed, more, groups = scope.args[:9]
    if not transposed or value.ty.ndim != 5:
        return scope.importer._convolution(scope.node)
    found = relax.op.nn.conv3d_transpose(
        value,
        weight,
        strides=_spread(stride, 3),
        padding=_spread(padding, 3),
        output_padding=_spread(more, 3),
        dilation=_spread(dilation, 3),
        groups=groups,
    )
    if bias is None:
        return scope.emit(found)
    return scope.emit(relax.op.add(found, relax.op.reshape(bias, [1, -1, 1, 1, 1])))


def _variance(scope: Scope) -> relax.Expr:
    """The mean of squared distances from the mean, over n - correction."""
    value, named = scope.args[0], scope.named
    axes = named.get("dim")
    axes = list(range(value.ty.ndim)) if axes in (None, []) else [axis % value.ty.ndim for axis in axes]
    found = relax.op.variance(value, axes, keepdims=bool(named.get("keepdim", False)))
    correction = 1 if named.get("correction") is None else named["correction"]
    if correction == 0:
        return scope.emit(found)
    count: Any = 1
    for axis in axes:
        count = count * value.ty.shape[axis]
    dtype = str(value.ty.dtype)
    if isinstance(count, tirx.IntImm):
        left = int(count) - correction
        return scope.emit(relax.op.multiply(found, relax.const(int(count) / left if left > 0 else float("nan"), dtype)))

    def ratio(elements: Any) -> te.Tensor:
        whole = tirx.Cast(dtype, elements)
        return te.compute([], lambda: whole / (whole - tirx.const(float(correction), dtype)), name="ratio")

    return scope.emit(relax.op.multiply(found, scope.compute(ratio, count, name="ratio")))


def _elu(scope: Scope) -> relax.Expr:
    """TVM's importer leaves out both scales, with which PyTorch makes selu of it."""
    value, named, dtype = scope.args[0], scope.named, scope.dtype()
    alpha, scale, inner = (relax.const(named[name], dtype) for name in ("alpha", "scale", "input_scale"))
    below = relax.op.minimum(value, relax.const(0, dtype))
    curve = relax.op.subtract(relax.op.exp(relax.op.multiply(below, inner)), relax.const(1, dtype))
    found = relax.op.where(relax.op.greater(value, relax.const(0, dtype)), value, relax.op.multiply(curve, alpha))
    return scope.emit(relax.op.multiply(found, scale))


NETWORKS: dict[str, Callable[[Scope], Any]] = {
    "max_pool1d.default": _pool(1, relax.op.nn.max_pool1d),
    "max_pool2d.default": _pool(2, relax.op.nn.max_pool2d),
    "max_pool3d.default": _pool(3, relax.op.nn.max_pool3d),
    "max_pool2d_with_indices.default": _pool(2, relax.op.nn.max_pool2d, places=True),
    "max_pool3d_with_indices.default": _pool(3, relax.op.nn.max_pool3d, places=True),
    "avg_pool1d.default": _pool(1, relax.op.nn.avg_pool1d),
    "avg_pool2d.default": _pool(2, relax.op.nn.avg_pool2d),
    "avg_pool3d.default": _pool(3, relax.op.nn.avg_pool3d),
    "adaptive_max_pool2d.default": _adaptive_max_pool(2),
    "adaptive_max_pool3d.default": _adaptive_max_pool(3),
    "native_layer_norm.default": _layer_norm,
    "native_group_norm.default": _group_norm,
    "convolution.default": _convolution,
    "elu.default": _elu,
    "var.correction": _variance,
}
