"""Along one axis of a tensor: where its rows lie, and how its elements compare, for sorting, arg-reductions and scans.

A row is the elements along the axis at fixed places of all others. Elements are compared as integers whose order is
theirs: a NaN is above every number and -0 equals 0, as in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx

from .builder import Index, i64

# What an element is compared as; floats go by their bits (`order_key`).
KEYS = {
    "float32": "int32", "float16": "int32", "bfloat16": "int32", "int64": "int64", "uint64": "uint64",
    "uint32": "uint32", "float64": "int64",
}  # fmt: skip
KEY_BYTES = {"int32": 4, "uint32": 4, "int64": 8, "uint64": 8}


@dataclass(frozen=True)
class Along:
    """The rows of a tensor of this shape along an axis: `count` rows of `length` elements."""

    shape: tuple[tirx.Expr, ...]
    axis: int

    @staticmethod
    def of(shape: Sequence[tirx.Expr], axis: int) -> Along:
        """`axis` may be negative."""
        return Along(tuple(shape), axis % len(shape))

    @property
    def length(self) -> Index:
        return _plain(self.shape[self.axis])

    @property
    def inner(self) -> Index:
        """Distance between neighbours of a row."""
        return product_of(self.shape[self.axis + 1 :])

    @property
    def count(self) -> Index:
        return product_of([*self.shape[: self.axis], *self.shape[self.axis + 1 :]])

    def offset(self, row: Index, at: Index, length: Index | None = None) -> tirx.Expr:
        """Where element `at` of a row is, in a tensor whose rows have `length` elements (by default, this one)."""
        length, inner, row = self.length if length is None else length, i64(self.inner), i64(row)
        if isinstance(self.inner, int) and self.inner == 1:
            return row * length + at
        return (tirx.floordiv(row, inner) * length + at) * inner + tirx.floormod(row, inner)


def _plain(extent: tirx.Expr) -> Index:
    return int(extent) if isinstance(extent, tirx.IntImm) else extent


def product_of(extents: Sequence[tirx.Expr]) -> Index:
    """The product, a number where all extents are."""
    total = i64(1)
    for extent in extents:
        total = total * extent
    return _plain(tvm.sym.Analyzer().simplify(total))


def key_dtype(dtype: str) -> str:
    """The dtype of `order_key`'s result."""
    return KEYS.get(dtype, "int32")


def order_key(value: tirx.Expr, descending: bool = False, nan_first: bool | None = None) -> tirx.Expr:
    """An integer that grows with the value, or falls where `descending`.

    NaN has the largest key, or where `nan_first` the least; by default it is above every number, so it comes last when
    ascending and first when descending.
    """
    dtype = str(value.ty.dtype)
    kind = key_dtype(dtype)
    if "float" not in dtype:
        key = value if dtype == kind else tirx.Cast(kind, value)
        return tirx.bitwise_not(key) if descending else key
    first = descending if nan_first is None else nan_first
    infinity = 0x7FF << 52 if kind == "int64" else 0xFF << 23
    wide = value if dtype in ("float32", "float64") else tirx.Cast("float32", value)
    bits = tirx.call_intrin(kind, "tirx.reinterpret", wide)
    size = tirx.bitwise_and(bits, tvm.tirx.max_value(kind))
    # Negative floats grow as their bits fall.
    key = tirx.Select(bits < 0, -size, size)
    if descending:
        key = -key
    return tirx.Select(size > tirx.const(infinity, kind), least(kind) if first else most(kind), key)


def least(dtype: str) -> tirx.Expr:
    """The least value of a key's dtype."""
    return tvm.tirx.min_value(dtype)


def most(dtype: str) -> tirx.Expr:
    """The largest value of a key's dtype."""
    return tvm.tirx.max_value(dtype)
