"""Sorting: a tensor's shape and an axis in; a function with a few kernels that sort every row, stably, out.

Runs of up to BLOCK elements are sorted in workgroup memory by a bitonic network (Batcher 1968) over pairs of key and
place, which are all different, so that the order of equal elements is kept. Longer rows are merged run by run: every
element finds by bisection how many of the neighbouring run come before it, which is where it goes. Only places are
moved; values are read once more at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import tirx

from .axis import ceil_div
from .builder import Index, Kernel, i64
from .limits import Limits
from .ordering import KEY_BYTES, Along, key_dtype, most, order_key

BLOCK = 1024
THREADS = 256
PLACE_BYTES = 4


@dataclass(frozen=True)
class Sorted:
    """What a sort writes: values, places, or both, the first `kept` elements of every row.

    `scratch` is room for two int32 tensors of the shape that is sorted; rows known to be at most BLOCK long need none.
    """

    values: tirx.Buffer | None
    places: tirx.Buffer | None
    kept: Index
    scratch: tirx.Buffer | None = None

    def buffers(self) -> list[tirx.Buffer]:
        return [b for b in (self.values, self.places, self.scratch) if b is not None]


def run_length(dtype: str, limits: Limits) -> int:
    """How many elements of a dtype are sorted in workgroup memory."""
    room = limits.workgroup_bytes // (KEY_BYTES[key_dtype(dtype)] + PLACE_BYTES)
    return min(BLOCK, 1 << (room.bit_length() - 1))


def sort(source: tirx.Buffer, axis: int, out: Sorted, descending: bool, limits: Limits) -> tirx.PrimFunc:
    """Sorts every row of `source`; NaN comes last, first when descending."""
    along = Along.of(source.shape, axis)
    kernel = Kernel()
    _Sort(kernel, source, along, out, descending, limits).write()
    return tirx.PrimFunc([source, *out.buffers()], kernel.finish())


class _Sort:
    def __init__(
        self, kernel: Kernel, source: tirx.Buffer, along: Along, out: Sorted, descending: bool, limits: Limits
    ):
        self.kernel, self.source, self.along, self.out, self.descending = kernel, source, along, out, descending
        self.kind = key_dtype(str(source.dtype))
        self.block = run_length(str(source.dtype), limits)
        if isinstance(along.length, int):
            self.block = min(self.block, max(2, 1 << (along.length - 1).bit_length()))
        self.threads = min(THREADS, limits.threads, self.block // 2)
        self.count, self.length = along.count, along.length

    def write(self) -> None:
        places = self.out.scratch
        self._sort_runs(places)
        if places is None:
            return
        # Its two halves are read and written in turn.
        total, rounds = i64(self.count) * self.length, self._rounds()
        with self.kernel.loop(rounds, "round") as step:
            self._merge(places, step, total)
        self._finish(places, rounds, total)

    def key(self, row: Index, place: tirx.Expr) -> tirx.Expr:
        """The key of an element that is in its row."""
        kernel = self.kernel
        value = kernel.load(kernel.flat(self.source), kernel.simplify(self.along.offset(row, place)))
        return order_key(value, self.descending)

    def _sort_runs(self, places: tirx.Buffer | None) -> None:
        """A workgroup for each run of a row; straight to the outputs where there is but one."""
        kernel, block, threads = self.kernel, self.block, self.threads
        runs = ceil_div(self.length, block)
        groups = self.count * runs if isinstance(runs, int) and isinstance(self.count, int) else i64(self.count) * runs
        with kernel.threads("blockIdx.x", groups) as group, kernel.threads("threadIdx.x", threads) as thread:
            row, run = kernel.let("row", tirx.floordiv(group, runs)), kernel.let("run", tirx.floormod(group, runs))
            kernel.know(row, self.count)
            keys = kernel.alloc("keys", self.kind, block, "shared")
            held = kernel.alloc("held", "int32", block, "shared")
            for part in range(block // threads):
                slot = kernel.let("slot", thread + part * threads)
                at = kernel.let("at", run * block + slot)
                inside = at < i64(self.length)
                key = self.key(row, kernel.let("place", tvm.tirx.min(at, i64(self.length) - 1)))
                # What fills the last run up comes after all else: its place is beyond the row.
                kernel.store(keys, slot, tirx.Select(inside, key, most(self.kind)))
                kernel.store(held, slot, tirx.Cast("int32", at))
            kernel.sync()
            self._network(keys, held, thread)
            for part in range(block // threads):
                slot = kernel.let("slot", thread + part * threads)
                at = kernel.let("at", run * block + slot)
                place = kernel.load(held, slot)
                if places is None:
                    self._put(row, at, place)
                else:
                    with kernel.when(at < i64(self.length)):
                        kernel.store(kernel.flat(places), row * self.length + at, place)

    def _network(self, keys: tirx.Buffer, held: tirx.Buffer, thread: tirx.Expr) -> None:
        """Sorts the block by key and place."""
        kernel = self.kernel
        one = i64(1)
        with (
            kernel.loop(self._stages(), "stage") as stage,
            kernel.loop(kernel.simplify(i64(stage) + 1), "pass") as level,
        ):
            distance = kernel.let("distance", one << (stage - level))
            for part in range(self.block // 2 // self.threads):
                pair = kernel.let("pair", thread + part * self.threads)
                low = tirx.bitwise_and(pair, distance - 1)
                first = kernel.let("left", (pair - low) * 2 + low)
                second = kernel.let("right", first + distance)
                rising = tvm.tirx.EQ(tirx.bitwise_and(first >> (stage + 1), one), i64(0))
                a, b = kernel.hold("a", kernel.load(keys, first)), kernel.hold("b", kernel.load(keys, second))
                p, q = kernel.hold("p", kernel.load(held, first)), kernel.hold("q", kernel.load(held, second))
                with kernel.when(tvm.tirx.EQ(_before(b, q, a, p), rising)):
                    for array, at, value in ((keys, first, b), (keys, second, a), (held, first, q), (held, second, p)):
                        kernel.store(array, at, value)
            kernel.sync()

    def _stages(self) -> Index:
        """How often sorted parts of a block are doubled: of a short row only the first part has elements."""
        return self.block.bit_length() - 1 if isinstance(self.length, int) else self._doublings(1, self.block)

    def _rounds(self) -> Index:
        """How often runs must be merged."""
        if isinstance(self.length, int):
            return (ceil_div(self.length, self.block) - 1).bit_length()
        return self._doublings(self.block, 2**30)

    def _doublings(self, size: int, enough: int) -> tirx.Expr:
        """How often `size` must be doubled to reach a length that is not known, or `enough`."""
        count = i64(0)
        while size < enough:
            count, size = count + tirx.Cast("int64", self.length > size), 2 * size
        return count

    def _merge(self, places: tirx.Buffer, step: tirx.Expr, total: tirx.Expr) -> None:
        """Merges neighbouring runs of block * 2**step elements, from one half of `places` to the other."""
        kernel, threads, length = self.kernel, THREADS, i64(self.length)
        flat = kernel.flat(places)
        with (
            kernel.threads("blockIdx.x", ceil_div(total, threads)) as block,
            kernel.threads("threadIdx.x", threads) as thread,
        ):
            position = kernel.let("position", block * threads + thread)
            with kernel.when(position < total):
                row, at = tirx.floordiv(position, length), tirx.floormod(position, length)
                row, at = kernel.let("row", row), kernel.let("at", at)
                source = kernel.let("source", tirx.floormod(i64(step), i64(2)) * total + row * length)
                target = kernel.let("target", tirx.floormod(i64(step) + 1, i64(2)) * total + row * length)
                # Shifts: TVM's analysis can't tell that a run has elements, and refuses to divide by it.
                bits = kernel.let("bits", i64(step) + (self.block.bit_length() - 1))
                run, number = kernel.let("run", i64(1) << bits), kernel.let("number", at >> bits)
                start = kernel.let("start", number << bits)
                is_left = tvm.tirx.EQ(tirx.bitwise_and(number, i64(1)), i64(0))
                other = kernel.let("other", tirx.Select(is_left, start + run, start - run))
                mine = kernel.hold("mine", kernel.load(flat, source + at))
                own = kernel.hold("own", self.key(row, tirx.Cast("int64", mine)))
                bounds = kernel.alloc("bounds", "int32", 2, "local")
                kernel.store(bounds, 0, tirx.const(0, "int32"))
                size = tvm.tirx.max(tvm.tirx.min(length - other, run), i64(0))
                kernel.store(bounds, 1, tirx.Cast("int32", size))
                self._bisect(flat, source + other, row, own, mine, bounds)
                place = tvm.tirx.min(start, other) + (at - start) + tirx.Cast("int64", kernel.load(bounds, 0))
                kernel.store(flat, target + place, mine)

    def _bisect(
        self,
        flat: tirx.Buffer,
        base: tirx.Expr,
        row: tirx.Expr,
        own: tirx.Expr,
        mine: tirx.Expr,
        bounds: tirx.Buffer,
    ) -> None:
        """bounds[0] becomes how many elements of the run at `base` come before the own one."""
        kernel = self.kernel
        with kernel.loop(32 if not isinstance(self.length, int) else self.length.bit_length() + 1, "probe"):
            low, high = kernel.load(bounds, 0), kernel.load(bounds, 1)
            with kernel.when(low < high):
                at = kernel.hold("middle", (low + high) >> 1)
                there = kernel.hold("there", kernel.load(flat, base + tirx.Cast("int64", at)))
                key = kernel.let("key", self.key(row, tirx.Cast("int64", there)))
                ahead = kernel.let("ahead", _before(key, there, own, mine))
                kernel.store(bounds, 0, tirx.Select(ahead, at + 1, low))
                kernel.store(bounds, 1, tirx.Select(ahead, high, at))

    def _finish(self, places: tirx.Buffer, rounds: Index, total: tirx.Expr) -> None:
        kernel, threads, kept = self.kernel, THREADS, self.out.kept
        count = kernel.simplify(i64(self.count) * kept)
        with (
            kernel.threads("blockIdx.x", ceil_div(count, threads)) as block,
            kernel.threads("threadIdx.x", threads) as thread,
        ):
            position = kernel.let("position", block * threads + thread)
            with kernel.when(position < count):
                row = kernel.let("row", tirx.floordiv(position, i64(kept)))
                at = kernel.let("at", tirx.floormod(position, i64(kept)))
                half = tirx.floormod(i64(rounds), i64(2)) * total
                self._put(row, at, kernel.load(kernel.flat(places), half + row * self.length + at))

    def _put(self, row: tirx.Expr, at: tirx.Expr, place: tirx.Expr) -> None:
        """Writes the result at `at` of a row, where that is kept."""
        kernel, out = self.kernel, self.out
        with kernel.when(at < i64(out.kept)):
            place = tirx.Cast("int64", kernel.hold("place", place))
            target = kernel.simplify(self.along.offset(row, at, out.kept))
            if out.values is not None:
                value = kernel.load(kernel.flat(self.source), kernel.simplify(self.along.offset(row, place)))
                kernel.store(kernel.flat(out.values), target, value)
            if out.places is not None:
                kernel.store(kernel.flat(out.places), target, tirx.Cast(str(out.places.dtype), place))


def _before(key: tirx.Expr, place: tirx.Expr, other: tirx.Expr, there: tirx.Expr) -> tirx.Expr:
    """Whether a key and place come before others."""
    return tirx.Or(key < other, tirx.And(tvm.tirx.EQ(key, other), place < there))
