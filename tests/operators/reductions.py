"""Rows of reductions, arg-reductions, scans and sorting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from tvm import relax

from . import reference as ref
from .spec import EVERY, FLOATS, INTEGERS, NUMBERS, In, Row

R = relax.op
# Along the last axis, an inner one, all, short and long, odd, of one element.
FORMS = (((4, 37), -1), ((5, 9, 6), 1), ((3, 11), None), ((2, 1500), -1), ((1, 1), 0), ((7, 3, 2), (0, 2)))
ONE_AXIS = tuple((shape, axis) for shape, axis in FORMS if not isinstance(axis, tuple))
SUMS = (*FLOATS, *INTEGERS)


def _same(reduce: Callable) -> Callable:
    """NumPy widens small integers; these reductions keep the dtype."""
    return lambda x, axis, **rest: reduce(x, axis=axis, **({"dtype": x.dtype} if x.dtype.kind in "iu" else {}), **rest)


def _reduction(
    name: str, build: Callable, reduce: Callable, dtypes: tuple[str, ...], values: str = "any", **rest
) -> list[Row]:
    return [
        Row(
            name,
            lambda x, axis=axis: build(x, axis),
            lambda x, axis=axis: reduce(x, axis),
            dtypes,
            (In(shape, values),),
            **rest,
        )
        for shape, axis in FORMS
    ]


def _arg(name: str, build: Callable, reduce: Callable) -> list[Row]:
    def reference(axis: int | None) -> Callable:
        return lambda x: reduce(x, axis=axis).astype("int64")

    rows = [
        Row(name, lambda x, axis=axis: build(x, axis), reference(axis), EVERY, (In(shape, values),))
        for shape, axis in ONE_AXIS
        for values in ("ties", "wide")
    ]
    return [
        *rows,
        Row(
            name,
            lambda x: build(x, 1, True),
            lambda x: reduce(x, axis=1, keepdims=True),
            NUMBERS,
            (In((3, 70, 5), "ties"),),
        ),
    ]


def _scan(name: str, build: Callable, scan: Callable, values: str) -> list[Row]:
    def reference(axis: int | None, exclusive: bool) -> Callable:
        def run(x: np.ndarray) -> np.ndarray:
            along = 0 if axis is None else axis
            x = x.ravel() if axis is None else x
            out = scan(x, axis=along, **({"dtype": x.dtype} if x.dtype.kind in "iu" else {}))
            if exclusive:
                start = np.full_like(np.take(x, [0], along), name == "cumprod")
                out = np.concatenate([start, np.delete(out, -1, along)], along)
            return out

        return run

    forms = [*ONE_AXIS, ((2, 2, 3000), -1), ((2, 300, 2), 1), ((70000,), 0)]
    return [
        Row(
            name,
            lambda x, axis=axis, e=exclusive: build(x, axis, exclusive=e),
            reference(axis, exclusive),
            SUMS,
            (In(shape, values),),
            max(64, max(shape)),  # each step may round
            scaled=True,
        )
        for shape, axis in forms
        for exclusive in (False, True)
    ]


def _sorting() -> list[Row]:
    forms = (((5, 37), -1), ((6, 9, 4), 1), ((3000,), 0), ((1,), 0), ((2, 128), -1), ((1500, 3), 0))
    rows = []
    for shape, axis in forms:
        for down in (False, True):
            for values in ("ties", "wide"):
                given = (In(shape, values),)
                rows.append(
                    Row(
                        "sort",
                        lambda x, axis=axis, down=down: R.sort(x, axis, down),
                        lambda x, axis=axis, down=down: np.take_along_axis(x, ref.order(x, axis, down), axis),
                        EVERY,
                        given,
                        0,
                    )
                )
                rows.append(
                    Row(
                        "argsort",
                        lambda x, axis=axis, down=down: R.argsort(x, axis, down, "int64"),
                        lambda x, axis=axis, down=down: ref.order(x, axis, down),
                        EVERY,
                        given,
                    )
                )

    def topk(x: np.ndarray, k: int, axis: int, largest: bool) -> tuple[np.ndarray, np.ndarray]:
        index = np.take(ref.order(x, axis, largest), range(min(k, x.shape[axis])), axis)
        return np.take_along_axis(x, index, axis), index

    rows += [
        Row(
            "topk",
            lambda x, k=k, axis=axis, largest=largest: R.topk(x, k, axis, "both", largest, "int64"),
            lambda x, k=k, axis=axis, largest=largest: topk(x, k, axis, largest),
            NUMBERS,
            (In(shape, "ties"),),
            0,
        )
        for shape, axis, k in (((4, 37), -1, 5), ((3, 9, 4), 1, 9), ((1, 4000), -1, 10), ((2, 300, 3), 1, 1))
        for largest in (True, False)
    ]
    return rows


ROWS: tuple[Row, ...] = tuple(
    row
    for rows in (
        _reduction("sum", R.sum, _same(np.sum), SUMS, rounding=256, scaled=True),
        _reduction("prod", R.prod, _same(np.prod), SUMS, "small", rounding=64, scaled=True),
        _reduction("max", R.max, np.max, EVERY, "wide", rounding=1),
        _reduction("min", R.min, np.min, EVERY, "wide", rounding=1),
        _reduction("mean", R.mean, np.mean, FLOATS, rounding=256, scaled=True),
        _reduction("variance", R.variance, np.var, FLOATS, rounding=64, scaled=True),
        _reduction("std", R.std, np.std, FLOATS, rounding=64, scaled=True),
        _arg("argmax", R.argmax, np.argmax),
        _arg("argmin", R.argmin, np.argmin),
        [Row("argmax", lambda x: R.argmax(x, -1), lambda x: np.argmax(x, -1), NUMBERS, (In((2, 40000), "wide"),))],
        _scan("cumsum", R.cumsum, np.cumsum, "any"),
        _scan("cumprod", R.cumprod, np.cumprod, "unit_or_one"),
        _sorting(),
        [Row("median", lambda x: R.median(x, [-1]), lambda x: _median(x), FLOATS, (In((5, 37), "any"),), 0)],
        [
            Row(
                "bucketize",
                lambda x, b: R.bucketize(x, b),
                lambda x, b: np.searchsorted(b, x, "left").astype("int64"),
                ("float32", "int32", "int64"),
                (In((40,)), In((17,), "increasing")),
            )
        ],
        [
            Row(
                "bucketize",
                lambda x, b: R.bucketize(x, b, out_int32=True, right=True),
                lambda x, b: np.searchsorted(b, x, "right").astype("int32"),
                ("float32", "int32"),
                (In((40,)), In((17,), "increasing")),
            )
        ],
    )
    for row in rows
)


def _median(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = np.take(np.argsort(x, -1, kind="stable"), (x.shape[-1] - 1) // 2, -1)
    return np.take_along_axis(x, middle[:, None], -1)[:, 0], middle
