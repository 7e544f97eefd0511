"""Conversions of PyTorch's operators to Relax that TVM's importer lacks, or that it has wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import tvm
from tvm import relax, te, tirx

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends import torch_index
from tvm_webgpu.pipeline.frontends.torch_attention import attention
from tvm_webgpu.pipeline.frontends.torch_networks import NETWORKS
from tvm_webgpu.pipeline.frontends.torch_recurrent import RECURRENT
from tvm_webgpu.pipeline.frontends.torch_resize import resize
from tvm_webgpu.pipeline.frontends.torch_scope import Scope

Converter = Callable[[Scope], Any]


def _arithmetic(function: Callable[..., relax.Expr], compares: bool = False) -> Converter:
    """A binary operator, both operands in the dtype that PyTorch promotes them to; `alpha` times the second."""

    def convert(scope: Scope) -> Any:
        a, b = scope.args[:2]
        if not any(isinstance(value, relax.Expr) and isinstance(value.ty, relax.TensorType) for value in (a, b)):
            raise UnsupportedError("no tensor among its operands")
        operands = [value.meta["val"] if isinstance(value, torch.fx.Node) else value for value in scope.node.args[:2]]
        common = torch.result_type(*map(_plain, operands)) if compares else scope.meta().dtype
        dtype = scope.importer._convert_data_type(common)
        if scope.named.get("alpha", 1) != 1:
            b = scope.emit(relax.op.multiply(scope.cast(b, dtype), relax.const(scope.named["alpha"], dtype)))
        return scope.emit(function(scope.cast(a, dtype), scope.cast(b, dtype)))

    return convert


def _quotient(scope: Scope) -> relax.Expr:
    """A division, rounded down or towards 0."""
    a, b, rounding = *scope.args[:2], scope.named.get("rounding_mode")
    dtype = scope.dtype()
    if "int" in dtype and rounding == "floor":
        return scope.emit(relax.op.floor_divide(scope.cast(a, dtype), scope.cast(b, dtype)))
    found = relax.op.divide(scope.cast(a, dtype), scope.cast(b, dtype))
    if "float" in dtype and rounding:
        found = {"floor": relax.op.floor, "trunc": relax.op.trunc}[rounding](found)
    return scope.emit(found)


def _plain(value: Any) -> Any:
    """A number for a symbolic one: only its kind matters."""
    if isinstance(value, torch.SymInt):
        return 1
    return 1.0 if isinstance(value, torch.SymFloat) else value


def _product(scope: Scope) -> relax.Expr:
    return scope.emit(relax.op.matmul(scope.args[0], scope.args[1]))


def _linear(scope: Scope) -> relax.Expr:
    """x @ weight^T + bias; TVM's importer makes float32 of it, whatever it is."""
    x, weight, bias = scope.args[:3]
    value = relax.op.matmul(x, relax.op.permute_dims(weight) if weight.ty.ndim > 1 else weight)
    return scope.emit(value if bias is None else relax.op.add(scope.emit(value), bias))


def _product_and_sum(scope: Scope) -> relax.Expr:
    """beta * c + alpha * (a @ b); where beta is 0, c is not looked at."""
    c, a, b = scope.args[:3]
    dtype, alpha, beta = scope.dtype(), scope.named.get("alpha", 1), scope.named.get("beta", 1)
    value = relax.op.matmul(a, b)
    if alpha != 1:
        value = relax.op.multiply(value, relax.const(alpha, dtype))
    if beta == 0:
        return scope.emit(value)
    return scope.emit(relax.op.add(value, c if beta == 1 else relax.op.multiply(c, relax.const(beta, dtype))))


def _reduction(function: Callable[..., relax.Expr]) -> Converter:
    def convert(scope: Scope) -> relax.Expr:
        axes = scope.named.get("dim")
        axes = None if axes in (None, []) else axes
        return scope.emit(function(scope.args[0], axis=axes, keepdims=bool(scope.named.get("keepdim", False))))

    return convert


def _truth(function: Callable[..., relax.Expr]) -> Converter:
    """Whether any, or all, are not 0: the largest or the least of zeros and ones."""

    def convert(scope: Scope) -> relax.Expr:
        value = scope.args[0]
        if str(value.ty.dtype) != "bool":
            value = relax.op.not_equal(value, relax.const(0, str(value.ty.dtype)))
        axes = scope.named.get("dim")
        axes = None if axes in (None, []) else axes
        if axes is None and value is scope.args[0] and value.ty.ndim == 0:
            return value
        whole = function(
            relax.op.astype(scope.emit(value), "int8"), axis=axes, keepdims=scope.named.get("keepdim", False)
        )
        return scope.emit(relax.op.astype(whole, "bool"))

    return convert


def _extreme(places: Callable[..., relax.Expr], values: Callable[..., relax.Expr]) -> Converter:
    """The extreme along an axis and where it is first."""

    def convert(scope: Scope) -> relax.Expr:
        value, axis, kept = scope.args[0], scope.named["dim"], bool(scope.named["keepdim"])
        if value.ty.ndim == 0:
            return scope.emit(relax.Tuple([value, relax.const(0, "int64")]))
        found = scope.emit(values(value, axis=axis, keepdims=kept))
        return scope.emit(relax.Tuple([found, scope.emit(places(value, axis=axis, keepdims=kept))]))

    return convert


def _pad(index: Callable[[Any, Any], Any]) -> Converter:
    """Padding of the last axes by the elements that `index` finds."""

    def convert(scope: Scope) -> relax.Expr:
        value, pads = scope.args[0], scope.args[1]
        extents = scope.extents()
        count = len(pads) // 2
        before = [pads[2 * i] for i in reversed(range(count))]

        def gather(x: te.Tensor) -> te.Tensor:
            kept = len(x.shape) - count

            def element(*at: tirx.Var) -> tirx.Expr:
                ends = zip(at[kept:], before, x.shape[kept:], strict=True)
                return x(*at[:kept], *(index(i - first, extent) for i, first, extent in ends))

            return te.compute(extents, element, name="pad")

        return scope.compute(gather, value, name="pad")

    return convert


def _reflected(i: Any, extent: Any) -> Any:
    last = extent - 1
    return last - tirx.abs(last - tirx.abs(i))


def _nearest_inside(i: Any, extent: Any) -> Any:
    return tirx.max(tirx.min(i, extent - 1), tirx.const(0, "int64"))


def _affine_grid(scope: Scope) -> relax.Expr:
    """Positions in [-1, 1], the outermost at the centres of the outermost elements or at their edges."""
    theta, size, corners = scope.args[:3]
    n, *_, height, width = [scope.extents()[0], 0, *scope.extents()[1:-1]]
    if len(size) != 4:
        raise UnsupportedError("grids of volumes")

    def grid(t: te.Tensor) -> te.Tensor:
        def place(i: Any, extent: Any) -> Any:
            whole = tirx.Cast("float32", extent) if isinstance(extent, tvm.ir.Expr) else tirx.const(float(extent))
            at = tirx.Cast("float32", i)
            if corners:
                return tirx.if_then_else(whole > 1, at * 2.0 / tirx.max(whole - 1.0, tirx.const(1.0)) - 1.0, 0.0)
            return (at * 2.0 + 1.0) / whole - 1.0

        def element(b: Any, y: Any, x: Any, k: Any) -> Any:
            return t(b, k, 0) * place(x, width) + t(b, k, 1) * place(y, height) + t(b, k, 2)

        return te.compute([n, height, width, 2], element, name="affine_grid")

    return scope.compute(grid, theta, name="affine_grid")


def _grid_sample(scope: Scope) -> relax.Expr:
    """TVM's wants the coordinates in the second axis."""
    value, grid, mode, padding, corners = scope.args[:5]
    return scope.emit(
        relax.op.image.grid_sample(
            value,
            relax.op.permute_dims(grid, [0, 3, 1, 2]),
            method=("bilinear", "nearest", "bicubic")[mode],
            layout="NCHW",
            padding_mode=("zeros", "border", "reflection")[padding],
            align_corners=bool(corners),
        )
    )


def _distances(scope: Scope) -> relax.Expr:
    """Between each two rows of a and b, by the norm p."""
    a, b, p = scope.args[:3]
    gap = relax.op.abs(relax.op.subtract(relax.op.expand_dims(a, -2), relax.op.expand_dims(b, -3)))
    gap = scope.emit(gap)
    if p == float("inf"):
        return scope.emit(relax.op.max(gap, axis=-1))
    if p == 0:
        return scope.emit(relax.op.sum(relax.op.astype(relax.op.not_equal(gap, relax.const(0.0)), "float32"), axis=-1))
    if p == 1:
        return scope.emit(relax.op.sum(gap, axis=-1))
    if p == 2:
        return scope.emit(relax.op.sqrt(relax.op.sum(relax.op.multiply(gap, gap), axis=-1)))
    power = relax.const(float(p), str(gap.ty.dtype))
    total = scope.emit(relax.op.sum(relax.op.power(gap, power), axis=-1))
    return scope.emit(relax.op.power(total, relax.const(1 / float(p), str(gap.ty.dtype))))


def _hypotenuse(scope: Scope) -> relax.Expr:
    a, b = (scope.cast(value, scope.dtype()) for value in scope.args[:2])
    return scope.emit(relax.op.sqrt(relax.op.add(relax.op.multiply(a, a), relax.op.multiply(b, b))))


def _filled(scope: Scope) -> relax.Expr:
    """TVM's own `full` can't be legalised for infinity, nor its `full_like`."""
    value = next(scope.named[name] for name in ("fill_value", "value") if name in scope.named)
    return scope.emit(relax.op.broadcast_to(scope.cast(value, scope.dtype()), scope.extents()))


def _joined(scope: Scope) -> relax.Expr:
    """Tensors along an axis. A vector of no elements is left out, whatever the others' rank: caches begin as one."""
    tensors, dtype = scope.named["tensors"], scope.dtype()
    parts = [scope.cast(value, dtype) for value in tensors if not _is_nothing(value)] or tensors[:1]
    return scope.emit(relax.op.concat(parts, axis=scope.named["dim"])) if len(parts) > 1 else parts[0]


def _is_nothing(value: relax.Expr) -> bool:
    extents = list(value.ty.shape or ())
    return len(extents) == 1 and isinstance(extents[0], tirx.IntImm) and extents[0].value == 0


def _unfold(scope: Scope) -> relax.Expr:
    """Windows along an axis, their elements behind the last axis."""
    value, axis, _, step = scope.args[:4]
    axis %= max(value.ty.ndim, 1)
    extents = scope.extents()

    def windows(x: te.Tensor) -> te.Tensor:
        return te.compute(
            extents, lambda *at: x(*at[:axis], at[axis] * step + at[-1], *at[axis + 1 : -1]), name="unfold"
        )

    return scope.compute(windows, value, name="unfold")


def _log_base(base: float) -> Converter:
    def convert(scope: Scope) -> relax.Expr:
        dtype = scope.dtype()
        return scope.emit(relax.op.divide(relax.op.log(scope.cast(scope.args[0], dtype)), relax.const(base, dtype)))

    return convert


CONVERTERS: dict[str, Converter] = {
    **NETWORKS,
    **{
        f"{name}.{kind}": _arithmetic(function)
        for name, function in {
            "add": relax.op.add,
            "sub": relax.op.subtract,
            "mul": relax.op.multiply,
            "div": relax.op.divide,
            "maximum": relax.op.maximum,
            "minimum": relax.op.minimum,
            "remainder": relax.op.floor_mod,
            "fmod": relax.op.mod,
            "atan2": relax.op.atan2,
        }.items()
        for kind in ("Tensor", "Scalar", "default", "Scalar_Tensor")
    },
    **{
        f"{name}.{kind}": _arithmetic(function, compares=True)
        for name, function in {
            "eq": relax.op.equal,
            "ne": relax.op.not_equal,
            "lt": relax.op.less,
            "le": relax.op.less_equal,
            "gt": relax.op.greater,
            "ge": relax.op.greater_equal,
        }.items()
        for kind in ("Tensor", "Scalar")
    },
    **{f"div.{kind}_mode": _quotient for kind in ("Tensor", "Scalar")},
    **dict.fromkeys(("mm.default", "bmm.default", "matmul.default"), _product),
    "linear.default": _linear,
    **dict.fromkeys(("addmm.default", "baddbmm.default"), _product_and_sum),
    "amax.default": _reduction(relax.op.max),
    "amin.default": _reduction(relax.op.min),
    **{f"any.{kind}": _truth(relax.op.max) for kind in ("default", "dim", "dims")},
    **{f"all.{kind}": _truth(relax.op.min) for kind in ("default", "dim", "dims")},
    "max.dim": _extreme(relax.op.argmax, relax.op.max),
    "min.dim": _extreme(relax.op.argmin, relax.op.min),
    **{f"reflection_pad{n}d.default": _pad(_reflected) for n in (1, 2, 3)},
    **{f"replication_pad{n}d.default": _pad(_nearest_inside) for n in (1, 2, 3)},
    **{f"upsample_nearest{n}d.{kind}": resize("nearest") for n in (1, 2, 3) for kind in ("vec", "default")},
    **{
        f"_upsample_nearest_exact{n}d.{k}": resize("nearest", exact=True) for n in (1, 2, 3) for k in ("vec", "default")
    },
    **{
        f"upsample_{name}.{kind}": resize(mode)
        for name, mode in (
            ("linear1d", "linear"),
            ("bilinear2d", "linear"),
            ("trilinear3d", "linear"),
            ("bicubic2d", "cubic"),
        )
        for kind in ("vec", "default")
    },
    **{f"_upsample_bilinear2d_aa.{kind}": resize("linear", antialias=True) for kind in ("vec", "default")},
    **{f"_upsample_bicubic2d_aa.{kind}": resize("cubic", antialias=True) for kind in ("vec", "default")},
    "affine_grid_generator.default": _affine_grid,
    "grid_sampler_2d.default": _grid_sample,
    "_cdist_forward.default": _distances,
    **dict.fromkeys(("full.default", "full_like.default", "fill.Scalar"), _filled),
    "scaled_dot_product_attention.default": attention,
    "cat.default": _joined,
    "unfold.default": _unfold,
    "hypot.default": _hypotenuse,
    "log2.default": _log_base(0.6931471805599453),
    "log10.default": _log_base(2.302585092994046),
    "nonzero.default": torch_index.nonzero,
    "index.Tensor": torch_index.index,
    "index_put.default": torch_index.index_put,
    "index_copy.default": torch_index.index_copy,
    "scatter_reduce.two": torch_index.scatter_reduce,
    "scatter_add.default": torch_index.scatter_add,
    **RECURRENT,
}
