"""Quantised products, convolutions and casts as functions of whole numbers: exact sums, one rounding at the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tvm_webgpu.pipeline.frontends.onnx_body import Body

FLOAT, UINT8, INT32, DOUBLE = 1, 2, 6, 11
FLOAT8 = (17, 19)
"""FLOAT8E4M3FN and FLOAT8E5M2, which TVM's importer neither quantises to nor from."""


def _centred(body: Body, value: int, zero: int, shape: Sequence[int] | None = None) -> str:
    """A quantised input less its zero point, in int32."""
    number = body.Cast(body.input(value), to=INT32)
    if not body.has(zero):
        return number
    point = body.Cast(body.input(zero), to=INT32)
    return body.Sub(number, body.Reshape(point, np.array(shape)) if shape and body.dims(zero) else point)


def _convolved(body: Body, x: str, weight: int, weight_zero: int) -> str:
    """In int32, which is exact; zero points are taken away first, so that padding counts as them."""
    per_channel = [-1, *[1] * (len(body.dims(weight)) - 1)]
    kept = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    attrs = {name: body.attr(name) for name in kept if name in body.attrs}
    return body.Conv(x, _centred(body, weight, weight_zero, per_channel), **attrs)


def _requantised(body: Body, sums: str, scale: str, y_scale: int, y_zero: int, like: int) -> str:
    """round(sums * scale / y_scale) + zero point, within the bounds of the type."""
    kind = body.dtype(y_zero if body.has(y_zero) else like)
    factor = body.Div(scale, body.Cast(body.input(y_scale), to=FLOAT))
    value = body.Round(body.Mul(body.Cast(sums, to=FLOAT), factor))
    if body.has(y_zero):
        value = body.Add(value, body.Cast(body.input(y_zero), to=FLOAT))
    return _saturated(body, value, kind)


def _saturated(body: Body, value: str, kind: int) -> str:
    from onnx import helper

    bounds = np.iinfo(helper.tensor_dtype_to_np_dtype(kind))
    low, high = (np.array(bound, np.float32) for bound in (bounds.min, bounds.max))
    return body.Cast(body.Min(body.Max(value, low), high), to=kind)


def conv_integer(body: Body) -> Sequence[str]:
    """int32 sums of x and w less their zero points."""
    return [_convolved(body, _centred(body, 0, 2), 1, 3)]


def qlinear_conv(body: Body) -> Sequence[str]:
    """The scale and zero point of the weights may be one for each output channel."""
    channels = [1, -1, *[1] * (len(body.dims(3)) - 2)]
    sums = _convolved(body, _centred(body, 0, 2), 3, 5)
    if body.has(8):
        sums = body.Add(sums, body.Reshape(body.input(8), np.array(channels)))
    scale = body.Mul(body.input(1), body.Reshape(body.input(4), np.array(channels)))
    return [_requantised(body, sums, scale, 6, 7, like=0)]


def qlinear_matmul(body: Body) -> Sequence[str]:
    """Scales and zero points of rows of a and y, and of columns of b, where they are vectors."""

    def rows(index: int) -> list[int] | None:
        return [-1, 1] if len(body.dims(index)) == 1 and body.extent(index, 0) > 1 else None

    def scale(index: int) -> str:
        value = body.Cast(body.input(index), to=FLOAT)
        return body.Reshape(value, np.array(rows(index))) if index == 1 and rows(index) else value

    sums = body.MatMul(_centred(body, 0, 2, rows(2)), _centred(body, 3, 5))
    return [_requantised(body, sums, body.Mul(scale(1), scale(4)), 6, 7, like=0)]


def _of_blocks(body: Body, index: int) -> str:
    """A scale or zero point for each element, from those of its block."""
    axis = body.attr("axis", 1) % len(body.dims(0))
    blocks = np.arange(body.extent(0, axis)) // body.attr("block_size")
    return body.Gather(body.input(index), blocks, axis=axis)


def _of_axis(body: Body, index: int) -> str:
    """A scale or zero point of the whole tensor, or of each slice of an axis, as one that spreads over the tensor."""
    rank, axis = len(body.dims(0)), body.attr("axis", 1)
    if body.dims(index) in ([], [1]):
        return body.Reshape(body.input(index), np.array([], np.int64))
    return body.Reshape(body.input(index), np.array([-1 if i == axis % rank else 1 for i in range(rank)]))


def _spread(body: Body, index: int) -> str:
    of = _of_blocks if body.attr("block_size", 0) else _of_axis
    return body.Cast(of(body, index), to=FLOAT)


def dequantize(body: Body) -> Sequence[str] | None:
    """Scales and zero points of blocks along an axis, or floats of 8 bits; TVM has whole numbers and whole axes."""
    if not body.attr("block_size", 0) and (not body.knows(0) or body.dtype(0) not in FLOAT8):
        return None
    kind = body.attr("output_dtype", 0) or body.dtype(1)
    value = body.Cast(body.input(0), to=FLOAT)
    if body.has(2):
        value = body.Sub(value, _spread(body, 2))
    return [body.Cast(body.Mul(value, _spread(body, 1)), to=kind)]


def quantize(body: Body) -> Sequence[str] | None:
    """To whole numbers of 8 and 16 bits and floats of 8; halves go to the even number, where TVM's go away from 0."""
    from onnx import TensorProto

    if body.has(2) and not body.knows(2):
        return None
    kind = body.dtype(2) if body.has(2) else body.attr("output_dtype", 0) or TensorProto.UINT8
    whole = kind in (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16)
    if kind not in FLOAT8 and not whole:
        return None
    value = body.Div(body.Cast(body.input(0), to=FLOAT), _spread(body, 1))
    if whole:
        value = body.Round(value)
    if body.has(2):
        value = body.Add(value, _spread(body, 2))
    if whole:
        return [_saturated(body, value, kind)]
    return [body.Cast(value, to=kind, saturate=body.attr("saturate", 1))]


def dynamic_quantize(body: Body) -> Sequence[str]:
    """To the range of the values and 0. The scale goes through doubles, so that it is the nearest float32: a GPU's
    division may be the next one, and values halfway between two steps then go the other way."""
    x, zero = body.input(0), np.array(0, np.float32)
    high, low = (extreme(zero, reduce(x, keepdims=0)) for extreme, reduce in
                 ((body.Max, body.ReduceMax), (body.Min, body.ReduceMin)))
    steps = body.Div(body.Cast(body.Sub(high, low), to=DOUBLE), np.array(255, np.float64))
    scale = body.Cast(steps, to=FLOAT)
    point = _saturated(body, body.Round(body.Div(body.Neg(low), scale)), UINT8)
    return [body.QuantizeLinear(x, scale, point), scale, point]
