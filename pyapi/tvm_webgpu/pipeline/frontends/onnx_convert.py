"""Conversions of ONNX nodes to Relax that replace TVM's, or that it lacks: of what no other ONNX operators express."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tvm
from tvm import relax, te, topi
from tvm.relax.frontend.onnx.onnx_frontend import get_type

from tvm_webgpu.errors import UnsupportedError
from tvm_webgpu.pipeline.frontends.onnx_recurrent import CELLS, recurrent
from tvm_webgpu.pipeline.frontends.onnx_suppress import suppress

Converter = Callable[[relax.BlockBuilder, Sequence[relax.Expr | None], dict], relax.Expr | None]


def _constant(value: relax.Expr | None) -> np.ndarray | None:
    return value.value.numpy() if isinstance(value, tvm.ir.GenericConst) else None


def _bound(value: relax.Expr | None, default: float) -> float | None:
    if value is None:
        return default
    known = _constant(value)
    if known is None:
        return None
    return default if math.isnan(float(known)) else float(known)


def _clip(_: relax.BlockBuilder, inputs: Sequence[relax.Expr | None], attrs: dict) -> relax.Expr | None:
    """TVM's importer gives two opaque kernels, which no later pass sees through; constant bounds are `R.clip`."""
    low = _bound(inputs[1], -math.inf) if len(inputs) > 1 else float(attrs.get("min", -math.inf))
    high = _bound(inputs[2], math.inf) if len(inputs) > 2 else float(attrs.get("max", math.inf))
    value = inputs[0]
    if value is None or low is None or high is None or "float" not in str(value.ty.dtype):
        return None
    return relax.op.clip(value, low, high)


def _bit_cast(bb: relax.BlockBuilder, inputs: Sequence[relax.Expr | None], attrs: dict) -> relax.Expr:
    """The same bits as another type of the same width."""
    wanted = get_type(attrs["to"])

    def cast(x: te.Tensor) -> te.Tensor:
        return te.compute(x.shape, lambda *at: tvm.tirx.reinterpret(wanted, x(*at)), name="bit_cast")

    return bb.emit_te(cast, inputs[0], primfunc_name_hint="bit_cast")


def _cumulative_product(bb: relax.BlockBuilder, inputs: Sequence[relax.Expr | None], attrs: dict) -> relax.Expr:
    """Along an axis that must be a constant."""
    axis = _constant(inputs[1])
    if axis is None:
        raise UnsupportedError("the axis must be a constant, or be fixed (params=...)")
    along, value = int(axis.reshape(())), inputs[0]
    if attrs.get("reverse", 0):
        value = bb.emit_te(topi.flip, value, axis=along)
    value = bb.emit(relax.op.cumprod(value, along, exclusive=bool(attrs.get("exclusive", 0))))
    return bb.emit_te(topi.flip, value, axis=along) if attrs.get("reverse", 0) else value


def _non_max_suppression(bb: relax.BlockBuilder, inputs: Sequence[relax.Expr | None], attrs: dict) -> relax.Expr:
    boxes, scores, most, overlap, least = [*inputs, *[None] * 3][:5]
    assert boxes is not None and scores is not None
    count = 0 if most is None else _constant(most)
    if count is None:
        raise UnsupportedError("max_output_boxes_per_class must be a constant, or be fixed (params=...)")
    return suppress(
        bb,
        boxes,
        scores,
        int(np.asarray(count).reshape(())),
        _number(bb, overlap, 0.0),
        _number(bb, least, -math.inf),
        bool(attrs.get("center_point_box", 0)),
    )


def _number(bb: relax.BlockBuilder, value: relax.Expr | None, default: float) -> relax.Expr:
    return relax.const([default], "float32") if value is None else bb.emit(relax.op.reshape(value, [1]))


CONVERTERS: Mapping[str, Converter] = {
    "BitCast": _bit_cast,
    "Clip": _clip,
    "CumProd": _cumulative_product,
    "NonMaxSuppression": _non_max_suppression,
    **{kind: recurrent(kind) for kind in CELLS},
}
"""One that gives None leaves the node to TVM's."""
