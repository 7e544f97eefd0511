"""Rows of operators that move data: transposes, slices, joins, splits, padding, tiling, filling."""

from __future__ import annotations

import numpy as np
from tvm import relax

from .spec import EVERY, FLOATS, In, Row

R = relax.op
X = (In((4, 6, 5), "wide"),)


def _slice(begin: list[int], end: list[int], step: list[int]) -> Row:
    axes = list(range(len(begin)))
    where = tuple(slice(b, e if abs(e) < 1000 else None, s) for b, e, s in zip(begin, end, step))
    return Row("strided_slice", lambda x: R.strided_slice(x, axes, begin, end, step), lambda x: x[where], EVERY, X, 0)


def _concat(count: int, axis: int) -> Row:
    inputs = tuple(In((3, 2 + i % 3) if axis == 1 else (2 + i % 3, 3), "wide") for i in range(count))
    return Row(
        f"concat of {count}", lambda *x: R.concat(list(x), axis), lambda *x: np.concatenate(x, axis), EVERY, inputs, 0
    )


def _split(sections: int | list[int], shape: tuple[int, ...], axis: int) -> Row:
    count = sections if isinstance(sections, int) else len(sections) + 1
    return Row(
        f"split into {count}",
        lambda x: R.split(x, sections, axis),
        lambda x: tuple(np.split(x, sections, axis)),
        EVERY,
        (In(shape, "wide"),),
        0,
    )


def _pad(mode: str, width: list[int], value: float = 0) -> Row:
    pairs = list(zip(width[::2], width[1::2]))
    rest = {"constant_values": value} if mode == "constant" else {}
    return Row(
        f"pad {mode}",
        lambda x: R.nn.pad(x, width, mode, value),
        lambda x: np.pad(
            x,
            pairs,
            {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode],
            **rest,
        ),
        EVERY,
        X,
        0,
    )


def _reverse(x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    out = x.copy()
    for b, n in enumerate(lengths):
        out[:n, b] = x[:n, b][::-1]
    return out


ROWS: tuple[Row, ...] = (
    Row("permute_dims", lambda x: R.permute_dims(x, [2, 0, 1]), lambda x: x.transpose(2, 0, 1), EVERY, X, 0),
    Row("permute_dims", R.permute_dims, np.transpose, EVERY, (In((33, 65), "wide"),), 0),
    Row("reshape", lambda x: R.reshape(x, (6, 20)), lambda x: x.reshape(6, 20), EVERY, X, 0),
    Row("flatten", R.flatten, np.ravel, EVERY, X, 0),
    Row("expand_dims", lambda x: R.expand_dims(x, [0, 2]), lambda x: x[None, :, None], EVERY, X, 0),
    Row("squeeze", lambda x: R.squeeze(x, [1]), lambda x: x[:, 0], EVERY, (In((3, 1, 5), "wide"),), 0),
    Row(
        "broadcast_to",
        lambda x: R.broadcast_to(x, (2, 3, 5)),
        lambda x: np.broadcast_to(x, (2, 3, 5)),
        EVERY,
        (In((3, 1), "wide"),),
        0,
    ),
    Row("repeat", lambda x: R.repeat(x, 3, 1), lambda x: np.repeat(x, 3, 1), EVERY, X, 0),
    Row("tile", lambda x: R.tile(x, (2, 1, 3)), lambda x: np.tile(x, (2, 1, 3)), EVERY, X, 0),
    Row("flip", lambda x: R.flip(x, 1), lambda x: np.flip(x, 1), EVERY, X, 0),
    Row(
        "reverse_sequence",
        lambda x, n: R.reverse_sequence(x, n, 0, 1),
        _reverse,
        EVERY,
        (In((6, 3), "wide"), In((3,), "index:6", "int64")),
        0,
    ),
    Row("tril", lambda x: R.tril(x, -1), lambda x: np.tril(x, -1), EVERY, X, 0),
    Row("triu", lambda x: R.triu(x, 2), lambda x: np.triu(x, 2), EVERY, X, 0),
    _slice([0, 1, 2], [4, 6, 5], [1, 1, 1]),
    _slice([3, 5, 4], [-5000, -5000, -5000], [-1, -2, -1]),
    _slice([0, -4, 1], [5000, -1, 4], [3, 1, 2]),
    _concat(2, 0),
    _concat(3, 1),
    _concat(20, 1),
    Row("stack", lambda *x: R.stack(list(x), 1), lambda *x: np.stack(x, 1), EVERY, (In((4, 3), "wide"),) * 3, 0),
    _split(2, (4, 6), 1),
    _split([1, 4], (4, 6), 1),
    _split(8, (16, 3), 0),
    _split(12, (3, 24), 1),
    _pad("constant", [0, 0, 1, 2, 3, 0], 1),
    _pad("reflect", [1, 1, 2, 1, 0, 3]),
    _pad("replicate", [1, 1, 2, 1, 0, 3]),
    _pad("circular", [1, 1, 2, 1, 0, 3]),
    Row(
        "layout_transform",
        lambda x: R.layout_transform(x, lambda n, c, h: (n, c // 2, h, c % 2)),
        lambda x: x.reshape(4, 3, 2, 5).transpose(0, 1, 3, 2),
        FLOATS,
        X,
        0,
    ),
    Row("zeros_like", R.zeros_like, np.zeros_like, EVERY, X, 0),
    Row("ones_like", R.ones_like, np.ones_like, EVERY, X, 0),
    Row("eye_like", lambda x: R.eye_like(x, 1), lambda x: np.eye(4, 6, 1), EVERY, (In((4, 6)),), 0),
    Row(
        "meshgrid",
        lambda x, y: R.meshgrid([x, y], "ij"),
        lambda x, y: tuple(np.meshgrid(x, y, indexing="ij")),
        EVERY,
        (In((4,), "wide"), In((5,), "wide")),
        0,
    ),
)
