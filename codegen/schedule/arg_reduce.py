"""Argmax and argmin: a shape and an axis in; a function with one kernel, where a group of threads owns a row, out.

Each thread of the group looks at every threads-th element of its row; the winners meet in workgroup memory. Of equal
elements the first wins, and a NaN wins against every number, as in NumPy.
"""

from __future__ import annotations

import tvm
from tvm import tirx

from .axis import ceil_div
from .builder import Index, Kernel, i64
from .limits import Limits
from .ordering import Along, key_dtype, least, order_key
from .rows import Rows, choose

# Rows up to this length are left to one thread each, where there are many.
SHORT = 32
NOWHERE = 2**31 - 1


def arg_reduce(source: tirx.Buffer, axis: int, out: tirx.Buffer, largest: bool, limits: Limits) -> tirx.PrimFunc:
    """Writes to `out`, an integer tensor, the position of the largest or least element of every row of `source`."""
    along = Along.of(source.shape, axis)
    chosen = _choose(along, limits)
    kernel = Kernel()
    with (
        kernel.threads("blockIdx.x", ceil_div(along.count, chosen.rows)) as block,
        kernel.threads("threadIdx.y", chosen.rows) as group,
        kernel.threads("threadIdx.x", chosen.threads) as thread,
    ):
        # Barriers must be reached by all: groups past the end do the last row again.
        row = kernel.let("row", tvm.tirx.min(block * chosen.rows + group, i64(along.count) - 1))
        kernel.know(row, along.count)
        _Search(kernel, source, along, chosen, largest).write(row, group, thread, out)
    return tirx.PrimFunc([source, out], kernel.finish())


def _choose(along: Along, limits: Limits) -> Rows:
    count = along.count if isinstance(along.count, int) else None
    length = along.length if isinstance(along.length, int) else None
    if length is not None and length <= SHORT:
        return Rows(1, min(64, limits.threads))
    return choose(count, length, limits)


class _Search:
    """The statements inside the thread loops; `best` is a key and a place, in registers."""

    def __init__(self, kernel: Kernel, source: tirx.Buffer, along: Along, chosen: Rows, largest: bool):
        self.kernel, self.source, self.along, self.chosen, self.largest = kernel, source, along, chosen, largest
        self.kind = key_dtype(str(source.dtype))
        self.best = kernel.alloc("best", self.kind, 1, "local")
        self.place = kernel.alloc("place", "int32", 1, "local")

    def write(self, row: tirx.Expr, group: tirx.Expr, thread: tirx.Expr, out: tirx.Buffer) -> None:
        kernel, threads = self.kernel, self.chosen.threads
        kernel.store(self.best, 0, least(self.kind))
        kernel.store(self.place, 0, tirx.const(NOWHERE, "int32"))
        self._own(row, thread)
        if threads > 1:
            self._meet(group, thread)
        with kernel.when(tvm.tirx.EQ(thread, i64(0))):
            kernel.store(kernel.flat(out), row, tirx.Cast(str(out.dtype), kernel.load(self.place, 0)))

    def _own(self, row: tirx.Expr, thread: tirx.Expr) -> None:
        kernel, threads, length = self.kernel, self.chosen.threads, self.along.length
        whole = isinstance(length, int) and length % threads == 0
        with kernel.loop(ceil_div(length, threads), "step") as step:
            at = kernel.let("at", step * threads + thread)
            with kernel.when(True if whole else at < i64(length)):
                kernel.know(at, length)
                value = kernel.load(kernel.flat(self.source), kernel.simplify(self.along.offset(row, at)))
                key = kernel.let("key", order_key(value, descending=not self.largest, nan_first=False))
                self._keep(key, tirx.Cast("int32", at))

    def _keep(self, key: tirx.Expr, place: tirx.Expr) -> None:
        """The better of what is held and another: the larger key, then the earlier place."""
        kernel = self.kernel
        held, where = kernel.load(self.best, 0), kernel.load(self.place, 0)
        with kernel.when(tirx.Or(key > held, tirx.And(tvm.tirx.EQ(key, held), place < where))):
            kernel.store(self.best, 0, key)
            kernel.store(self.place, 0, place)

    def _meet(self, group: tirx.Expr, thread: tirx.Expr) -> None:
        kernel, threads = self.kernel, self.chosen.threads
        keys = kernel.alloc("keys", self.kind, threads * self.chosen.rows, "shared")
        places = kernel.alloc("places", "int32", threads * self.chosen.rows, "shared")
        mine: Index = kernel.let("mine", group * threads + thread)
        distance = threads // 2
        while distance:
            kernel.store(keys, mine, kernel.load(self.best, 0))
            kernel.store(places, mine, kernel.load(self.place, 0))
            kernel.sync()
            with kernel.when(thread < distance):
                key = kernel.hold("key", kernel.load(keys, mine + distance))
                self._keep(key, kernel.hold("where", kernel.load(places, mine + distance)))
            kernel.sync()
            distance //= 2
