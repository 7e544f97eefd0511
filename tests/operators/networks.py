"""Rows of the operators of neural networks: products, convolutions, pools, norms, softmax, attention, resizing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from . import reference as ref
from .spec import FLOATS, INTEGERS, In, Row

R = relax.op
# TVM refuses float64 for some, or computes them in float32.
NOT_DOUBLE = FLOATS[:3]
LONG = {"rounding": 64, "scaled": True}
PRODUCTS = (*FLOATS, *INTEGERS)


def _matmul(a: tuple[int, ...], b: tuple[int, ...]) -> Row:
    return Row("matmul", R.matmul, np.matmul, PRODUCTS, (In(a, "small"), In(b, "small")), **LONG)


def _conv(dims: int, x: tuple[int, ...], w: tuple[int, ...], **how: int) -> Row:
    op = {1: R.nn.conv1d, 2: R.nn.conv2d, 3: R.nn.conv3d}[dims]
    given = {"strides": how.get("stride", 1), "padding": how.get("pad", 0), "dilation": how.get("dilation", 1)}
    kind = "grouped " if "groups" in how else "dilated " if "dilation" in how else ""
    kind = "depthwise " if how.get("groups", 1) == x[1] else kind
    return Row(
        f"{kind}conv{dims}d",
        lambda a, b: op(a, b, groups=how.get("groups", 1), **given),
        lambda a, b: ref.conv(a, b, **how),
        FLOATS,
        (In(x, "small"), In(w, "small")),
        **LONG,
    )


def _transpose(dims: int, x: tuple[int, ...], w: tuple[int, ...], **how: int) -> Row:
    op = {1: R.nn.conv1d_transpose, 2: R.nn.conv2d_transpose, 3: R.nn.conv3d_transpose}[dims]
    given = {"strides": how.get("stride", 1), "padding": how.get("pad", 0), "output_padding": how.get("extra", 0)}
    return Row(
        f"conv{dims}d_transpose",
        lambda a, b: op(a, b, groups=how.get("groups", 1), **given),
        lambda a, b: ref.conv_transpose(a, b, **how),
        FLOATS,
        (In(x, "small"), In(w, "small")),
        **LONG,
    )


def _pools(dims: int, shape: tuple[int, ...]) -> list[Row]:
    max_op = {1: R.nn.max_pool1d, 2: R.nn.max_pool2d, 3: R.nn.max_pool3d}[dims]
    avg_op = {1: R.nn.avg_pool1d, 2: R.nn.avg_pool2d, 3: R.nn.avg_pool3d}[dims]
    adaptive = {1: R.nn.adaptive_avg_pool1d, 2: R.nn.adaptive_avg_pool2d, 3: R.nn.adaptive_avg_pool3d}[dims]
    sizes = (2, 3, 2)[:dims]
    x = (In(shape),)
    return [
        Row(
            f"max_pool{dims}d",
            lambda a: max_op(a, 3, 2, 1),
            lambda a: ref.max_pool(a, 3, 2, 1),
            (*FLOATS, "int8", "uint8", "int32"),
            x,
            0,
        ),
        Row(f"avg_pool{dims}d", lambda a: avg_op(a, 2, 2), lambda a: ref.avg_pool(a, 2, 2), FLOATS, x, **LONG),
        Row(
            f"avg_pool{dims}d",
            lambda a: avg_op(a, 3, 2, 1, count_include_pad=True),
            lambda a: ref.avg_pool(a, 3, 2, 1, True),
            FLOATS,
            x,
            **LONG,
        ),
        Row(
            f"avg_pool{dims}d",
            lambda a: avg_op(a, 3, 1, 1, count_include_pad=False),
            lambda a: ref.avg_pool(a, 3, 1, 1),
            FLOATS,
            x,
            **LONG,
        ),
        Row(
            f"adaptive_avg_pool{dims}d",
            lambda a: adaptive(a, sizes),
            lambda a: ref.adaptive_pool(a, sizes),
            FLOATS,
            x,
            **LONG,
        ),
    ]


def _resize(dims: int, shape: tuple[int, ...], sizes: tuple[int, ...], method: str, mode: str) -> Row:
    op = {2: R.image.resize2d, 3: R.image.resize3d}[dims]
    layout = {2: "NCHW", 3: "NCDHW"}[dims]
    rounding = "floor" if method == "nearest_neighbor" else ""
    region = {"roi": (0.0,) * 2 * dims} if dims == 2 else {}
    how = {"layout": layout, "method": method, "coordinate_transformation_mode": mode, "rounding_method": rounding}

    def build(x: relax.Var) -> relax.Expr:
        return op(x, sizes, cubic_alpha=-0.5, **how, **region)

    # TVM resizes float64 in float32.
    dtypes = NOT_DOUBLE if method != "nearest_neighbor" else (*NOT_DOUBLE, "int32", "uint8")
    return Row(
        f"resize{dims}d {method} {mode}",
        build,
        lambda x: ref.resize(x, sizes, method, mode),
        dtypes,
        (In(shape),),
        **LONG,
    )


def _softmax(name: str, build: Callable, reference: Callable) -> list[Row]:
    return [
        Row(
            name,
            lambda x, axis=axis: build(x, axis),
            lambda x, axis=axis: reference(x, axis),
            FLOATS,
            (In(shape),),
            **LONG,
        )
        for shape, axis in (((5, 37), -1), ((3, 6, 5), 1), ((2, 1000), -1), ((1, 1), 0))
    ]


def _batch_norm(x: np.ndarray, g: np.ndarray, b: np.ndarray, m: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (x - m[:, None]) / np.sqrt(v[:, None] + 1e-5) * g[:, None] + b[:, None]


def _group_norm(x: np.ndarray, g: np.ndarray, b: np.ndarray) -> np.ndarray:
    grouped = ref.normalise(x.reshape(2, 3, 2, 7), (2, 3), 1e-5).reshape(x.shape)
    return grouped * g[:, None] + b[:, None]


def _attention(
    q: tuple[int, ...], k: tuple[int, ...], bias: tuple[int, ...] | None = None, causal: str | None = None
) -> Row:
    inputs = [In(q, "small"), In(k, "small"), In(k, "small")] + ([In(bias)] if bias else [])
    return Row(
        "attention" + (" causal" if causal else " bias" if bias else ""),
        lambda *x: R.nn.attention(*x, causal_mask=causal),
        lambda *x: ref.attention(*x, causal=causal),
        NOT_DOUBLE,
        inputs,
        128,
        True,
    )


ROWS: tuple[Row, ...] = (
    _matmul((5, 7), (7, 9)),
    _matmul((64, 64), (64, 64)),
    _matmul((1, 130), (130, 33)),
    _matmul((3, 5, 7), (3, 7, 4)),
    _matmul((2, 1, 5, 7), (3, 7, 4)),
    _matmul((7,), (7, 4)),
    _matmul((3, 7), (7,)),
    _matmul((1, 1), (1, 1)),
    Row(
        "matmul transposed",
        lambda a, b: R.matmul(a, R.permute_dims(b, [0, 2, 1])),
        lambda a, b: a @ b.transpose(0, 2, 1),
        PRODUCTS,
        (In((2, 9, 17), "small"), In((2, 5, 17), "small")),
        **LONG,
    ),
    Row(
        "matmul transposed",
        lambda a, b: R.matmul(R.permute_dims(a), b),
        lambda a, b: a.T @ b,
        PRODUCTS,
        (In((17, 9), "small"), In((17, 5), "small")),
        **LONG,
    ),
    Row(
        "matmul to int32",
        lambda a, b: R.matmul(a, b, "int32"),
        lambda a, b: a.astype("int32") @ b.astype("int32"),
        ("int8", "uint8"),
        (In((6, 40), "wide"), In((40, 5), "wide")),
    ),
    Row(
        "linear",
        lambda x, w, b: R.add(R.matmul(x, R.permute_dims(w)), b),
        lambda x, w, b: x @ w.T + b,
        FLOATS,
        (In((5, 33), "small"), In((12, 33), "small"), In((12,))),
        **LONG,
    ),
    Row(
        "einsum",
        lambda a, b: R.einsum((a, b), "bij,bkj->bik"),
        lambda a, b: np.einsum("bij,bkj->bik", a, b),
        FLOATS,
        (In((2, 3, 5), "small"), In((2, 4, 5), "small")),
        **LONG,
    ),
    Row("outer", R.outer, np.outer, PRODUCTS, (In((7,), "small"), In((5,), "small")), **LONG),
    _conv(1, (2, 3, 17), (4, 3, 3), pad=1),
    _conv(1, (2, 4, 17), (4, 1, 3), groups=4, stride=2),
    _conv(2, (2, 3, 9, 11), (5, 3, 3, 3), pad=1),
    _conv(2, (1, 16, 7, 7), (32, 16, 1, 1)),
    _conv(2, (1, 3, 13, 13), (4, 3, 5, 5), stride=2, pad=2),
    _conv(2, (1, 4, 9, 9), (6, 2, 3, 3), groups=2, pad=1),
    _conv(2, (1, 6, 9, 9), (6, 1, 3, 3), groups=6, pad=1),
    _conv(2, (1, 3, 12, 12), (4, 3, 3, 3), dilation=2, pad=2),
    _conv(3, (1, 2, 5, 6, 7), (3, 2, 3, 3, 3), pad=1),
    _conv(3, (1, 4, 5, 5, 5), (4, 1, 2, 2, 2), groups=4, stride=2),
    _transpose(1, (2, 3, 9), (3, 4, 3), stride=2, pad=1),
    _transpose(2, (1, 3, 6, 5), (3, 4, 3, 3), stride=2, pad=1, extra=1),
    _transpose(2, (1, 4, 5, 5), (4, 2, 2, 2), stride=2, groups=2),
    _transpose(3, (1, 2, 3, 4, 3), (2, 3, 2, 2, 2), stride=2),
    *_pools(1, (2, 3, 12)),
    *_pools(2, (2, 3, 9, 11)),
    *_pools(3, (1, 2, 6, 7, 6)),
    Row(
        "max_pool2d ceil",
        lambda x: R.nn.max_pool2d(x, 3, 2, 0, ceil_mode=True),
        lambda x: ref.max_pool(np.pad(x, [(0, 0), (0, 0), (0, 1), (0, 1)], constant_values=-np.inf), 3, 2),
        FLOATS,
        (In((1, 2, 8, 8)),),
        0,
    ),
    Row(
        "batch_norm",
        lambda x, g, b, m, v: R.nn.batch_norm(x, g, b, m, v, 1, training=False)[0],
        _batch_norm,
        FLOATS,
        (In((2, 6, 7)), In((6,)), In((6,)), In((6,)), In((6,), "positive")),
        **LONG,
    ),
    Row(
        "layer_norm",
        lambda x, g, b: R.nn.layer_norm(x, g, b, [-1]),
        lambda x, g, b: ref.normalise(x, (-1,), 1e-5) * g + b,
        NOT_DOUBLE,
        (In((5, 64)), In((64,)), In((64,))),
        **LONG,
    ),
    Row(
        "layer_norm",
        lambda x, g, b: R.nn.layer_norm(x, g, b, [-2, -1]),
        lambda x, g, b: ref.normalise(x, (-2, -1), 1e-5) * g + b,
        NOT_DOUBLE,
        (In((3, 5, 7)), In((5, 7)), In((5, 7))),
        **LONG,
    ),
    Row(
        "group_norm",
        lambda x, g, b: R.nn.group_norm(x, g, b, 3, 1, [2]),
        _group_norm,
        ("float32", "float16"),  # bfloat16 is refused by TVM
        (In((2, 6, 7)), In((6,)), In((6,))),
        **LONG,
    ),
    Row(
        "instance_norm",
        lambda x, g, b: R.nn.instance_norm(x, g, b, 1, [2, 3]),
        lambda x, g, b: ref.normalise(x, (2, 3), 1e-5) * g[:, None, None] + b[:, None, None],
        NOT_DOUBLE,
        (In((2, 3, 5, 7)), In((3,)), In((3,))),
        **LONG,
    ),
    Row(
        "rms_norm",
        lambda x, g: R.nn.rms_norm(x, g, [-1]),
        lambda x, g: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * g,
        NOT_DOUBLE,
        (In((5, 64)), In((64,))),
        **LONG,
    ),
    *_softmax("softmax", R.nn.softmax, ref.softmax),
    *_softmax("log_softmax", R.nn.log_softmax, ref.log_softmax),
    _attention((2, 9, 2, 8), (2, 9, 2, 8)),
    _attention((2, 5, 2, 8), (2, 9, 2, 8), (2, 2, 5, 9)),
    _attention((1, 7, 2, 16), (1, 7, 2, 16), None, "TopLeft"),
    _attention((1, 3, 2, 16), (1, 7, 2, 16), None, "BottomRight"),
    *(
        _resize(2, (1, 2, 5, 6), sizes, method, mode)
        for method in ("nearest_neighbor", "linear", "cubic")
        for mode in ("half_pixel", "align_corners", "asymmetric")
        for sizes in ((9, 13), (3, 4))
        if not (method == "nearest_neighbor" and mode != "asymmetric")
    ),
    _resize(3, (1, 1, 3, 4, 5), (6, 7, 4), "linear", "half_pixel"),
    _resize(3, (1, 1, 3, 4, 5), (6, 8, 10), "nearest_neighbor", "asymmetric"),
    Row(
        "cross_entropy",
        R.nn.cross_entropy_with_logits,
        lambda p, t: -np.mean(np.sum(p * t, -1)),
        FLOATS,
        (In((4, 7)), In((4, 7), "positive")),
        **LONG,
    ),
)
