"""Scatters: a tensor, updates and where each goes in; the tensor with all updates applied, in their order, out.

Exact where places repeat, and the same in every run: one thread applies all updates to one place, one after the other.
Either the updates that may meet are few or their sets many, and a thread walks each set (`walk`); or their places are
sorted first, stably, so that those to one place become neighbours (`destinations`, a sort, `apply_sorted`).
Updates whose place lies outside of the tensor are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx

from .axis import ceil_div
from .builder import Index, Kernel, i64
from .direct import VECTOR, VECTOR_DTYPES
from .limits import Limits
from .ordering import Along, product_of

THREADS = 64
# A set of updates up to this long is not worth a sort; from so many sets on, a thread for each keeps the GPU busy.
SHORT, MANY = 16, 8192
# The key of an update that goes nowhere.
NOWHERE = 2**31 - 1

Combine = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
# What becomes of the old and the new value; None: the new one.
REDUCTIONS: dict[str, Combine | None] = {
    "update": None,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "min": tvm.tirx.min,
    "max": tvm.tirx.max,
}


@dataclass(frozen=True)
class Place:
    """Where an update goes: an offset, right where `inside` holds."""

    offset: tirx.Expr
    inside: tirx.Expr


class Elements:
    """Updates of the shape of `indices`, which replace the coordinate along `axis` by what stands there."""

    def __init__(self, shape: Sequence[tirx.Expr], indices: tirx.Buffer, axis: int):
        self.shape, self.indices, self.axis = tuple(shape), indices, axis
        self.updates = Along.of(indices.shape, axis)
        # Sets of updates that may meet, and the updates of each.
        self.sets, self.each = self.updates.count, self.updates.length
        # Updates that are sorted, and the elements of each.
        self.sorted, self.wide = product_of(indices.shape), 1

    def nth(self, group: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        """The offset, among all updates' elements, of update `at` of a set."""
        return self.updates.offset(group, at)

    def place(self, kernel: Kernel, update: tirx.Expr) -> Place:
        """Where the element at an offset among the updates goes."""
        offset, rest, position = i64(0), i64(1), update
        inside = None
        for i in reversed(range(len(self.shape))):
            size = self.indices.shape[i]
            at = position if i == 0 else tirx.floormod(position, size)
            position = tirx.floordiv(position, size)
            if i == self.axis:
                at, inside = _wrapped(kernel, kernel.load(kernel.flat(self.indices), update), self.shape[i])
            offset, rest = offset + at * rest, rest * self.shape[i]
        assert inside is not None
        return Place(offset, inside)


class Slices:
    """Updates whose places are rows of coordinates, the last axis of `indices`; the tensor's other axes go along."""

    def __init__(self, shape: Sequence[tirx.Expr], indices: tirx.Buffer):
        self.shape, self.indices = tuple(shape), indices
        self.depth = int(indices.shape[-1])
        self.sets = self.wide = product_of(list(shape)[self.depth :])
        self.each = self.sorted = product_of(list(indices.shape)[:-1])

    def nth(self, group: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        return at * i64(self.wide) + group

    def key(self, kernel: Kernel, update: tirx.Expr) -> Place:
        """Where an update goes, counted in slices."""
        offset, inside = i64(0), tirx.const(True, "bool")
        for i in range(self.depth):
            loaded = kernel.load(kernel.flat(self.indices), update * self.depth + i)
            at, within = _wrapped(kernel, loaded, self.shape[i])
            offset, inside = offset * self.shape[i] + at, tirx.And(inside, within)
        return Place(offset, inside)

    def place(self, kernel: Kernel, element: tirx.Expr) -> Place:
        wide = i64(self.wide)
        found = self.key(kernel, tirx.floordiv(element, wide))
        return Place(found.offset * wide + tirx.floormod(element, wide), found.inside)


Updates = Elements | Slices


def sorts(updates: Updates) -> bool:
    """Whether the updates are to be sorted."""
    short = isinstance(updates.each, int) and updates.each <= SHORT
    many = isinstance(updates.sets, int) and updates.sets >= MANY
    return not (short or many)


def walk(
    data: tirx.Buffer, updates: Updates, values: tirx.Buffer, out: tirx.Buffer, reduction: str, limits: Limits
) -> tirx.PrimFunc:
    """A thread for each set of updates that may meet."""
    kernel, combine = Kernel(), REDUCTIONS[reduction]
    _copy(kernel, data, out, limits)
    target = kernel.flat(out)
    with _each(kernel, updates.sets, limits) as group, kernel.loop(updates.each, "at") as at:
        source = kernel.let("source", updates.nth(group, i64(at)))
        place = updates.place(kernel, source)
        with kernel.when(place.inside):
            offset = kernel.let("offset", place.offset)
            new = kernel.load(kernel.flat(values), source)
            kernel.store(target, offset, combine(kernel.load(target, offset), new) if combine else new)
    return tirx.PrimFunc([data, updates.indices, values, out], kernel.finish())


def destinations(data: tirx.Buffer, updates: Updates, keys: tirx.Buffer, limits: Limits) -> tirx.PrimFunc:
    """Writes to `keys`, of int32, where every update goes: what is sorted. Of `data` only the shape is taken."""
    kernel = Kernel()
    with _each(kernel, updates.sorted, limits) as update:
        place = updates.key(kernel, update) if isinstance(updates, Slices) else updates.place(kernel, update)
        key = tirx.Select(place.inside, tirx.Cast("int32", place.offset), tirx.const(NOWHERE, "int32"))
        kernel.store(kernel.flat(keys), update, key)
    return tirx.PrimFunc([data, updates.indices, keys], kernel.finish())


def apply_sorted(
    data: tirx.Buffer,
    wide: Index,
    keys: tirx.Buffer,
    order: tirx.Buffer,
    values: tirx.Buffer,
    out: tirx.Buffer,
    reduction: str,
    limits: Limits,
) -> tirx.PrimFunc:
    """A thread for each place that is updated, and for each of the `wide` elements there; `order` sorts `keys`."""
    kernel = Kernel()
    _copy(kernel, data, out, limits)
    run = _Run(kernel, wide, keys, order, values)
    with _each(kernel, kernel.simplify(run.count * run.wide), limits) as thread:
        at = kernel.let("at", tirx.floordiv(thread, run.wide))
        element = kernel.let("element", tirx.floormod(thread, run.wide))
        combine = REDUCTIONS[reduction]
        if combine is None:
            run.last(at, element, out)
        else:
            run.fold(at, element, data, out, combine)
    return tirx.PrimFunc([data, keys, order, values, out], kernel.finish())


class _Run:
    """The neighbours among the sorted updates that go to one place."""

    def __init__(self, kernel: Kernel, wide: Index, keys: tirx.Buffer, order: tirx.Buffer, values: tirx.Buffer):
        self.kernel, self.keys, self.order, self.values = kernel, keys, order, values
        self.count, self.wide = i64(keys.shape[0]), i64(wide)

    def nth(self, at: tirx.Expr) -> tirx.Expr:
        return tirx.Cast("int64", self.kernel.load(self.kernel.flat(self.order), at))

    def key(self, at: tirx.Expr) -> tirx.Expr:
        return self.kernel.load(self.kernel.flat(self.keys), self.nth(at))

    def value(self, at: tirx.Expr, element: tirx.Expr) -> tirx.Expr:
        return self.kernel.load(self.kernel.flat(self.values), self.nth(at) * self.wide + element)

    def at_end(self, at: tirx.Expr, key: tirx.Expr, beyond: tirx.Expr, neighbour: tirx.Expr) -> tirx.Expr:
        """Whether the update goes somewhere and its neighbour, if there is one, elsewhere."""
        alone = tvm.tirx.if_then_else(beyond, True, tvm.tirx.NE(self.key(neighbour), key))
        return tirx.And(tvm.tirx.NE(key, tirx.const(NOWHERE, "int32")), alone)

    def last(self, at: tirx.Expr, element: tirx.Expr, out: tirx.Buffer) -> None:
        """The last update of a place stays."""
        kernel = self.kernel
        key = kernel.let("key", self.key(at))
        with kernel.when(self.at_end(at, key, at >= self.count - 1, at + 1)):
            kernel.store(kernel.flat(out), tirx.Cast("int64", key) * self.wide + element, self.value(at, element))

    def fold(self, at: tirx.Expr, element: tirx.Expr, data: tirx.Buffer, out: tirx.Buffer, combine: Combine) -> None:
        """The thread of a place's first update takes all of them, 16-bit floats in float32."""
        kernel, dtype = self.kernel, str(out.dtype)
        kind = "float32" if dtype in ("float16", "bfloat16") else dtype
        key = kernel.let("key", self.key(at))
        with kernel.when(self.at_end(at, key, at <= 0, at - 1)):
            offset = kernel.let("offset", tirx.Cast("int64", key) * self.wide + element)
            total, place = kernel.alloc("total", kind, 1, "local"), kernel.alloc("place", "int64", 1, "local")
            kernel.store(total, 0, _cast(kernel.load(kernel.flat(data), offset), kind))
            kernel.store(place, 0, at)
            current = kernel.load(place, 0)
            more = tvm.tirx.if_then_else(current < self.count, tvm.tirx.EQ(self.key(current), key), False)
            with kernel.repeat(more):
                new = _cast(self.value(current, element), kind)
                kernel.store(total, 0, combine(kernel.load(total, 0), new))
                kernel.store(place, 0, current + 1)
            kernel.store(kernel.flat(out), offset, _cast(kernel.load(total, 0), dtype))


@contextlib.contextmanager
def _each(kernel: Kernel, count: Index, limits: Limits) -> Iterator[tirx.Expr]:
    """A thread for each of so many positions."""
    threads = min(THREADS, limits.threads)
    with (
        kernel.threads("blockIdx.x", ceil_div(count, threads)) as block,
        kernel.threads("threadIdx.x", threads) as thread,
    ):
        position = kernel.let("position", block * threads + thread)
        with kernel.when(position < i64(count)):
            kernel.know(position, count)
            yield position


def _copy(kernel: Kernel, data: tirx.Buffer, out: tirx.Buffer, limits: Limits) -> None:
    """What no update goes to stays."""
    count = product_of(data.shape)
    lanes = VECTOR if isinstance(count, int) and count % VECTOR == 0 and str(data.dtype) in VECTOR_DTYPES else 1
    with (
        _each(kernel, count // lanes if isinstance(count, int) else count, limits) as position,
        kernel.vectorized(lanes) as lane,
    ):
        at = position * lanes + lane
        kernel.store(kernel.flat(out), at, kernel.load(kernel.flat(data), at))


def _wrapped(kernel: Kernel, index: tirx.Expr, size: tirx.Expr) -> tuple[tirx.Expr, tirx.Expr]:
    """A coordinate, negative ones from the end, and whether it lies within the axis."""
    given = kernel.let("index", _cast(index, "int64"))
    at = kernel.let("coordinate", tirx.Select(given < 0, given + size, given))
    return at, tirx.And(at >= 0, at < size)


def _cast(value: tirx.Expr, dtype: str) -> tirx.Expr:
    return value if str(value.ty.dtype) == dtype else tirx.Cast(dtype, value)
