"""Operators as functions of simpler ones, where neither TVM's importer nor ONNX has a form that can be imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tvm_webgpu.pipeline.frontends.onnx_body import Body, Definition
from tvm_webgpu.pipeline.frontends.onnx_fourier import dft, stft
from tvm_webgpu.pipeline.frontends.onnx_quantize import (
    conv_integer,
    dequantize,
    dynamic_quantize,
    qlinear_conv,
    qlinear_matmul,
    quantize,
)
from tvm_webgpu.pipeline.frontends.onnx_resize import resize

FLOAT, INT64 = 1, 7
LARGEST_FLOAT8 = {17: 448.0, 19: 57344.0}
"""The largest finite value of FLOAT8E4M3FN and FLOAT8E5M2, by ONNX's number of the type."""


def _floating(elem_type: int) -> bool:
    from onnx import TensorProto

    return elem_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def one_hot(body: Body) -> Sequence[str]:
    """Also with a depth and values that are not constants."""
    rank = len(body.dims(0))
    axis = body.attr("axis", -1) % (rank + 1)
    depth = body.Cast(body.Reshape(body.input(1), np.array([-1])), to=INT64)
    indices = body.Cast(body.input(0), to=INT64)
    indices = body.Where(body.Less(indices, np.array(0)), body.Add(indices, depth), indices)
    classes = body.Range(np.array(0), body.Squeeze(depth, axes=[0]), np.array(1))
    hot = body.Equal(
        body.Unsqueeze(indices, axes=[axis]), body.Unsqueeze(classes, axes=list(range(1, rank + 1 - axis)))
        if axis < rank
        else classes,
    )
    off, on = (body.Gather(body.input(2), np.array(index), axis=0) for index in (0, 1))
    return [body.Where(hot, on, off)]


def saturating_cast(body: Body) -> Sequence[str] | None:
    """To floats of 8 bits, where values beyond the largest become the largest unless `saturate` is 0; NaN stays."""
    like = body.node.op_type == "CastLike"
    if like and not body.knows(1):
        return None
    to = body.dtype(1) if like else body.attr("to", FLOAT)
    if to not in LARGEST_FLOAT8 or not body.attr("saturate", 1):
        return None
    largest = np.array(LARGEST_FLOAT8[to], np.float32)
    x = body.Cast(body.input(0), to=FLOAT)
    return [body.Cast(body.Where(body.IsNaN(x), x, body.Clip(x, -largest, largest)), to=to, saturate=0)]


def power(body: Body) -> Sequence[str] | None:
    """Base and exponent of different types, of which the result has the base's, and whole numbers."""
    if not body.knows(0, 1):
        return None
    base, exponent = body.input(0), body.input(1)
    kinds = body.dtype(0), body.dtype(1)
    floating = [_floating(kind) for kind in kinds]
    if floating[0]:
        return None if kinds[0] == kinds[1] else [body.Pow(base, body.Cast(exponent, to=kinds[0]))]
    if floating[1]:
        return [body.Cast(body.Pow(body.Cast(base, to=kinds[1]), exponent), to=kinds[0])]
    # By squaring, which is exact: one factor for each bit that an exponent may have.
    result, two = body.name(body.scalar(1, 0)), np.array(2, np.int64)
    exponent = body.Cast(exponent, to=INT64)
    for _ in range(6):
        odd = body.Equal(body.Mod(exponent, two), np.array(1, np.int64))
        result = body.Where(odd, body.Mul(result, base), result)
        base, exponent = body.Mul(base, base), body.Div(exponent, two)
    return [result]


def lp_normalization(body: Body) -> Sequence[str]:
    """Zero where the norm is."""
    x, axes = body.input(0), [body.attr("axis", -1)]
    if body.attr("p", 2) == 1:
        norm = body.ReduceSum(body.Abs(x), axes=axes, keepdims=1)
    else:
        norm = body.Sqrt(body.ReduceSum(body.Mul(x, x), axes=axes, keepdims=1))
    zero = body.scalar(0.0, 0)
    return [body.Where(body.Equal(norm, zero), zero, body.Div(x, norm))]


def reverse_sequence(body: Body) -> Sequence[str]:
    """The first elements of each sequence, as many as its length says, the other way round."""
    x, lengths = body.input(0), body.Cast(body.input(1), to=INT64)
    time_axis = body.attr("time_axis", 0)
    steps = body.Range(np.array(0), body.Squeeze(_extent_of(body, 0, time_axis), axes=[0]), np.array(1))
    if time_axis == 0:
        steps, lengths = body.Unsqueeze(steps, axes=[1]), body.Unsqueeze(lengths, axes=[0])
    else:
        lengths = body.Unsqueeze(lengths, axes=[1])
    last = body.Sub(lengths, np.array(1))
    where = body.Where(body.Less(steps, lengths), body.Sub(last, steps), body.Add(steps, body.Sub(lengths, lengths)))
    rank = len(body.dims(0))
    if rank > 2:
        where = body.Expand(body.Unsqueeze(where, axes=list(range(2, rank))), body.Shape(x))
    return [body.GatherElements(x, where, axis=time_axis)]


def _extent_of(body: Body, index: int, axis: int) -> str:
    return body.Slice(body.Shape(body.input(index)), starts=[axis], ends=[axis + 1], axes=[0])


def binarizer(body: Body) -> Sequence[str]:
    """1 above the threshold, else 0."""
    threshold = body.scalar(body.attr("threshold", 0.0), 0)
    return [body.Cast(body.Greater(body.input(0), threshold), to=body.dtype(0))]


def array_feature_extractor(body: Body) -> Sequence[str]:
    """Columns by number."""
    return [body.Gather(body.input(0), body.Reshape(body.input(1), np.array([-1])), axis=-1)]


def eye_like(body: Body) -> Sequence[str] | None:
    """Of the type that the attribute names; the extents must be known."""
    from onnx import helper

    if "dtype" not in body.attrs or body.attr("dtype") == body.dtype(0):
        return None
    kind = helper.tensor_dtype_to_np_dtype(body.attr("dtype"))
    return [body.Identity(np.eye(body.extent(0, 0), body.extent(0, 1), body.attr("k", 0)).astype(kind))]


def dropout(body: Body) -> Sequence[str] | None:
    """The mask of inference; in training only what drops nothing, since the rest is random."""
    if body.has(2) and not body.is_constant(2):
        raise body.unsupported("whether it trains must be a constant, or be fixed (params=...)")
    if body.has(2) and bool(body.value(2).reshape(())):
        ratio = float(body.value(1).reshape(())) if body.has(1) else 0.5
        if ratio:
            raise body.unsupported("it is in training mode, and so random: export for inference")
    elif len(body.node.output) == 1:
        return None
    x = body.input(0)
    return [x, body.Expand(np.array(True), body.Shape(x))]


def space_to_depth(body: Body) -> Sequence[str] | None:
    """The channels of a block together, as TVM's has it, or apart (CRD)."""
    if body.attr("mode", "DCR") == "DCR":
        return None
    b, (_, c, h, w) = body.attr("blocksize"), [0, *(body.extent(0, axis) for axis in (1, 2, 3))]
    split = body.Reshape(body.input(0), np.array([0, c, h // b, b, w // b, b]))
    moved = body.Transpose(split, perm=[0, 1, 3, 5, 2, 4])
    return [body.Reshape(moved, np.array([0, c * b * b, h // b, w // b]))]


def conv_transpose(body: Body) -> Sequence[str] | None:
    """The padding that gives the shape that is asked for; what it lacks is padded at the end."""
    if "output_shape" not in body.attrs:
        return None
    spatial = len(body.dims(0)) - 2
    wanted = body.attr("output_shape")[-spatial:]
    kernel = body.attr("kernel_shape") or [body.extent(1, 2 + i) for i in range(spatial)]
    strides, dilations = body.attr("strides", [1] * spatial), body.attr("dilations", [1] * spatial)
    extra = list(body.attr("output_padding", [0] * spatial))
    total = [
        strides[i] * (body.extent(0, 2 + i) - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 - wanted[i]
        for i in range(spatial)
    ]
    extra = [extra[i] + max(0, -total[i]) for i in range(spatial)]
    less = [max(0, each) // 2 for each in total]
    more = [max(0, each) - half for each, half in zip(total, less)]
    pads = [*less, *more] if body.attr("auto_pad") == "SAME_UPPER" else [*more, *less]
    kept = {name: value for name, value in body.attrs.items() if name not in ("output_shape", "auto_pad", "pads")}
    inputs = [body.input(i) for i in range(len(body.inputs))]
    return [body.ConvTranspose(*inputs, **kept | {"pads": pads, "output_padding": extra})]


def modulo(body: Body) -> Sequence[str] | None:
    """The sign of the divisor, for floats, where TVM's has NaN for infinite divisors."""
    if body.attr("fmod", 0) or not body.knows(0) or not _floating(body.dtype(0)):
        return None
    x, y, zero = body.input(0), body.input(1), body.scalar(0.0, 0)
    rest = body.Mod(x, y, fmod=1)
    other_sign = body.Xor(body.Less(rest, zero), body.Less(y, zero))
    wrong = body.And(other_sign, body.Not(body.Equal(rest, zero)))
    return [body.Where(wrong, body.Add(rest, y), rest)]


def is_infinite(body: Body) -> Sequence[str] | None:
    """Of one sign only."""
    signs = body.attr("detect_negative", 1), body.attr("detect_positive", 1)
    if signs == (1, 1):
        return None
    infinite, zero = body.IsInf(body.input(0)), body.scalar(0.0, 0)
    wanted = {(1, 0): body.Less, (0, 1): body.Greater}.get(signs)
    right = wanted(body.input(0), zero) if wanted else np.array(False)
    return [body.And(infinite, right)]


def expand(body: Body) -> Sequence[str] | None:
    """To a shape that is not known: an extent of 1 there means the input's own."""
    if body.is_constant(1):
        return None
    shape, own = body.input(1), body.Shape(body.input(0))
    more = body.extent(1, 0) - len(body.dims(0))
    if more > 0:
        own = body.Concat(np.ones(more, np.int64), own, axis=0)
    elif more < 0:
        shape = body.Concat(np.ones(-more, np.int64), shape, axis=0)
    whole = body.Where(body.Equal(shape, np.ones(1, np.int64)), own, shape)
    x = body.Reshape(body.input(0), own) if more > 0 else body.input(0)
    return [body.Expand(x, whole)]


def elu(body: Body) -> Sequence[str] | None:
    """In other types than float32, for which TVM's importer mixes types."""
    if not body.knows(0) or body.dtype(0) == FLOAT:
        return None
    x, zero = body.input(0), body.scalar(0.0, 0)
    below = body.Mul(body.scalar(body.attr("alpha", 1.0), 0), body.Sub(body.Exp(x), body.scalar(1.0, 0)))
    return [body.Where(body.Less(x, zero), below, x)]


def rms_normalization(body: Body) -> Sequence[str] | None:
    """Over all axes, which TVM's operator does not take."""
    if body.attr("axis", -1) % len(body.dims(0)):
        return None
    x = body.Cast(body.input(0), to=FLOAT)
    mean = body.ReduceMean(body.Mul(x, x), keepdims=1)
    deviation = body.Sqrt(body.Add(mean, np.array(body.attr("epsilon", 1e-5), np.float32)))
    return [body.Mul(body.Cast(body.Div(x, deviation), to=body.dtype(0)), body.input(1))]


def roi_align(body: Body) -> None:
    """TVM's, but for maxima, where it takes those of interpolated values and ONNX of weighted corners."""
    if body.attr("mode", "avg") == "max":
        raise body.unsupported("mode 'max'; 'avg' is there")


def tensor_scatter(body: Body) -> Sequence[str]:
    """A cache with an update written along an axis, for each item of the batch from a position of its own on."""
    rank, axis = len(body.dims(0)), body.attr("axis", -2) % len(body.dims(0))
    update = body.input(1)
    steps = body.Range(np.array(0), body.Squeeze(_extent_of(body, 1, axis), axes=[0]), np.array(1))
    places = body.Reshape(steps, np.array([-1 if i == axis else 1 for i in range(rank)]))
    if body.has(2):
        starts = body.Cast(body.input(2), to=INT64)
        places = body.Add(places, body.Reshape(starts, np.array([-1, *[1] * (rank - 1)])))
    if body.attr("mode", "linear") == "circular":
        places = body.Mod(places, _extent_of(body, 0, axis))
    return [body.ScatterElements(body.input(0), body.Expand(places, body.Shape(update)), update, axis=axis)]


DEFINED: Mapping[str, Definition] = {
    "ArrayFeatureExtractor": array_feature_extractor,
    "Binarizer": binarizer,
    "Cast": saturating_cast,
    "CastLike": saturating_cast,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "DFT": dft,
    "DequantizeLinear": dequantize,
    "Dropout": dropout,
    "DynamicQuantizeLinear": dynamic_quantize,
    "Elu": elu,
    "Expand": expand,
    "EyeLike": eye_like,
    "IsInf": is_infinite,
    "LpNormalization": lp_normalization,
    "Mod": modulo,
    "OneHot": one_hot,
    "Pow": power,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize,
    "RMSNormalization": rms_normalization,
    "Resize": resize,
    "RoiAlign": roi_align,
    "ReverseSequence": reverse_sequence,
    "STFT": stft,
    "SpaceToDepth": space_to_depth,
    "TensorScatter": tensor_scatter,
    "Upsample": resize,
}
"""The definition of each operator, of ONNX's own domains."""
