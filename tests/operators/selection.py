"""Rows of operators that select: where, gather, scatter, take, one-hot."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from . import reference as ref
from .spec import EVERY, FLOATS, INTEGERS, NUMBERS, In, Row

R = relax.op
INDEX = ("int32", "int64")


def _take(shape: tuple[int, ...], index: tuple[int, ...], axis: int, kind: str) -> Row:
    return Row(
        "take",
        lambda x, i: R.take(x, i, axis),
        lambda x, i: np.take(x, i, axis),
        EVERY,
        (In(shape, "wide"), In(index, f"index:{shape[axis]}", kind)),
        0,
    )


def _scatter_elements(kind: str, shape: tuple[int, ...], axis: int, dtypes: tuple[str, ...], index: str) -> Row:
    update = tuple(n - 1 if i != axis else n for i, n in enumerate(shape))
    return Row(
        f"scatter_elements {kind}",
        lambda x, i, u: R.scatter_elements(x, i, u, axis, kind),
        lambda x, i, u: ref.scatter_elements(x, i, u, axis, kind),
        dtypes,
        (In(shape), In(update, f"signed_index:{shape[axis]}", index), In(update)),
        16,
        scaled=True,
    )


def _scatter_nd(kind: str, shape: tuple[int, ...], count: tuple[int, ...], depth: int, dtypes: tuple[str, ...]) -> Row:
    bound = min(shape[:depth])
    return Row(
        f"scatter_nd {kind}",
        lambda x, i, u: R.scatter_nd(x, i, u, kind),
        lambda x, i, u: ref.scatter_nd(x, i, u, kind),
        dtypes,
        (In(shape), In((*count, depth), f"signed_index:{bound}", "int64"), In((*count, *shape[depth:]))),
        16,
        scaled=True,
    )


def _pick(condition: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> Row:
    return Row("where", R.where, np.where, EVERY, (In(condition, "bits", "bool"), In(a, "wide"), In(b, "wide")), 0)


def _put(x: np.ndarray, i: np.ndarray, u: np.ndarray, accumulate: bool) -> np.ndarray:
    out = x.copy()
    if accumulate:
        np.add.at(out, i, u)
    else:
        out[i] = u
    return out


def _tuple(build: Callable) -> Callable:
    return lambda x, i, u: build(x, (i,), u)


ROWS: tuple[Row, ...] = (
    _pick((99,), (99,), (99,)),
    _pick((96,), (96,), (96,)),
    _pick((4, 1), (1, 5), (4, 5)),
    _take((7, 5), (4,), 0, "int64"),
    _take((7, 5), (2, 3), 1, "int32"),
    _take((3, 7, 2), (4,), 1, "int64"),
    *(
        Row(
            "gather_elements",
            lambda x, i, axis=axis: R.gather_elements(x, i, axis),
            lambda x, i, axis=axis: np.take_along_axis(x, i.astype("int64"), axis),
            EVERY,
            (In((5, 6), "wide"), In((5, 6), "index:5", kind)),
            0,
        )
        for axis in (0, 1)
        for kind in INDEX
    ),
    Row(
        "gather_nd",
        lambda x, i: R.gather_nd(x, i),
        lambda x, i: ref.gather_nd(x, i, 0),
        EVERY,
        (In((4, 5, 3), "wide"), In((7, 2), "index:4", "int64")),
        0,
    ),
    Row(
        "gather_nd",
        lambda x, i: R.gather_nd(x, i, 1),
        lambda x, i: ref.gather_nd(x, i, 1),
        EVERY,
        (In((2, 4, 3), "wide"), In((2, 5, 1), "index:4", "int64")),
        0,
    ),
    *(
        _scatter_elements(kind, shape, axis, NUMBERS if kind != "update" else EVERY, index)
        for kind in ("update", "add", "mul", "min", "max")
        for shape, axis, index in (((6, 5), 0, "int64"), ((4, 70), 1, "int32"), ((2500,), 0, "int64"))
    ),
    *(
        _scatter_nd(kind, shape, count, depth, NUMBERS if kind != "update" else EVERY)
        for kind in ("update", "add", "mul", "min", "max")
        for shape, count, depth in (((6, 5), (9,), 1), ((4, 5, 3), (2, 14), 2), ((300,), (1500,), 1))
    ),
    Row(
        "index_tensor",
        lambda x, i: R.index_tensor(x, (i,)),
        lambda x, i: x[i],
        EVERY,
        (In((6, 3), "wide"), In((4, 2), "index:6", "int64")),
        0,
    ),
    *(
        Row(
            "index_put",
            lambda x, i, u, add=add: R.index_put(x, (i,), u, add),
            lambda x, i, u, add=add: _put(x, i, u, add),
            NUMBERS,
            (In((9,)), In((20,), "index:9", "int64"), In((20,))),
            16,
            scaled=True,
        )
        for add in (True, False)
    ),
    Row(
        "one_hot",
        lambda i: R.one_hot(i, 3, 0, 7, -1),
        lambda i: ref.one_hot(i, 7, 3, 0).astype("int64"),
        INDEX,
        (In((5, 3), "index:7"),),
    ),
    Row(
        "slice_scatter",
        lambda x, u: R.slice_scatter(x, u, 1, 7, 2),
        lambda x, u: _slice_put(x, u),
        EVERY,
        (In((9, 4), "wide"), In((3, 4), "wide")),
        0,
    ),
    Row(
        "masked fill",
        lambda m, x: R.where(m, x, R.zeros_like(x)),
        lambda m, x: np.where(m, x, np.zeros_like(x)),
        EVERY,
        (In((33,), "bits", "bool"), In((33,), "wide")),
        0,
    ),
)


def _slice_put(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    out = x.copy()
    out[1:7:2] = u
    return out


__all__ = ["FLOATS", "INTEGERS", "ROWS"]
