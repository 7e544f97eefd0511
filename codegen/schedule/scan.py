"""Cumulative sums and products: a tensor's shape and an axis in; a function with one kernel out.

Where there are many rows, a thread walks each. Else a workgroup does: it takes a chunk of the row at a time, every
thread a few neighbours, adds up the threads' totals in workgroup memory (Hillis and Steele 1986), and carries the
chunk's total to the next. One kernel, whatever the length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import tirx

from .axis import ceil_div
from .builder import Index, Kernel, i64
from .limits import Limits
from .ordering import Along

# From this number of rows on, a thread for each keeps the GPU busy.
MANY_ROWS = 8192
# Rows up to this length are not worth a group's barriers.
SHORT = 64
EACH = 4


@dataclass(frozen=True)
class Operation:
    """An associative operation and its neutral element."""

    apply: Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
    neutral: int


OPERATIONS = {"sum": Operation(lambda a, b: a + b, 0), "prod": Operation(lambda a, b: a * b, 1)}


def scan(
    source: tirx.Buffer, axis: int, out: tirx.Buffer, operation: Operation, exclusive: bool, limits: Limits
) -> tirx.PrimFunc:
    """Writes to `out`, of `source`'s shape, what comes of every element of a row and those before it.

    `exclusive` leaves the element itself out. Sums are made in the dtype of `out`, those of 16-bit floats in float32.
    """
    along = Along.of(source.shape, axis)
    kernel = Kernel()
    writer = _Scan(kernel, source, out, along, operation, exclusive)
    many = isinstance(along.count, int) and along.count >= MANY_ROWS
    short = isinstance(along.length, int) and along.length <= SHORT
    if many or short:
        writer.by_threads(min(64, limits.threads))
    else:
        writer.by_groups(min(256, limits.threads))
    return tirx.PrimFunc([source, out], kernel.finish())


class _Scan:
    def __init__(
        self,
        kernel: Kernel,
        source: tirx.Buffer,
        out: tirx.Buffer,
        along: Along,
        operation: Operation,
        exclusive: bool,
    ):
        self.kernel, self.source, self.out, self.along = kernel, source, out, along
        self.apply, self.exclusive = operation.apply, exclusive
        dtype = str(out.dtype)
        self.kind = "float32" if dtype in ("float16", "bfloat16") else dtype
        self.neutral = tirx.const(operation.neutral, self.kind)

    def value(self, row: Index, at: Index) -> tirx.Expr:
        loaded = self.kernel.load(self.kernel.flat(self.source), self.kernel.simplify(self.along.offset(row, at)))
        return loaded if str(loaded.ty.dtype) == self.kind else tirx.Cast(self.kind, loaded)

    def put(self, row: Index, at: Index, value: tirx.Expr) -> None:
        dtype = str(self.out.dtype)
        value = value if dtype == self.kind else tirx.Cast(dtype, value)
        self.kernel.store(self.kernel.flat(self.out), self.kernel.simplify(self.along.offset(row, at)), value)

    def by_threads(self, threads: int) -> None:
        """A thread for each row."""
        kernel, count = self.kernel, self.along.count
        with (
            kernel.threads("blockIdx.x", ceil_div(count, threads)) as block,
            kernel.threads("threadIdx.x", threads) as thread,
        ):
            row = kernel.let("row", block * threads + thread)
            with kernel.when(row < i64(count)):
                kernel.know(row, count)
                total = kernel.alloc("total", self.kind, 2, "local")
                kernel.store(total, 0, self.neutral)
                with kernel.loop(self.along.length, "at") as at:
                    kernel.store(total, 1, self.apply(kernel.load(total, 0), self.value(row, at)))
                    self.put(row, at, kernel.load(total, 0 if self.exclusive else 1))
                    kernel.store(total, 0, kernel.load(total, 1))

    def by_groups(self, threads: int) -> None:
        """A workgroup for each row."""
        kernel, length, chunk = self.kernel, self.along.length, threads * EACH
        with (
            kernel.threads("blockIdx.x", self.along.count) as row,
            kernel.threads("threadIdx.x", threads) as thread,
        ):
            kernel.know(row, self.along.count)
            own = kernel.alloc("own", self.kind, EACH + 1, "local")
            other = kernel.alloc("other", self.kind, 1, "local")
            carry = kernel.alloc("carry", self.kind, 1, "local")
            totals = kernel.alloc("totals", self.kind, threads, "shared")
            kernel.store(carry, 0, self.neutral)
            with kernel.loop(ceil_div(length, chunk), "chunk") as step:
                first = kernel.let("first", step * chunk + thread * EACH)
                # own[j] is what comes before neighbour j, own[EACH] all of them.
                kernel.store(own, 0, self.neutral)
                for j in range(EACH):
                    at = tvm.tirx.min(first + j, i64(length) - 1)
                    inside = first + j < i64(length)
                    value = tirx.Select(inside, self.value(row, kernel.let("at", at)), self.neutral)
                    kernel.store(own, j + 1, self.apply(kernel.load(own, j), value))
                self._add_up(totals, own, other, thread, threads)
                before = tvm.tirx.max(thread - 1, i64(0))
                known = tirx.Select(thread > 0, kernel.load(totals, before), self.neutral)
                kernel.store(other, 0, self.apply(kernel.load(carry, 0), known))
                for j in range(EACH):
                    with kernel.when(first + j < i64(length)):
                        sum_ = self.apply(kernel.load(other, 0), kernel.load(own, j if self.exclusive else j + 1))
                        self.put(row, first + j, sum_)
                kernel.store(carry, 0, self.apply(kernel.load(carry, 0), kernel.load(totals, threads - 1)))
                kernel.sync()

    def _add_up(
        self, totals: tirx.Buffer, own: tirx.Buffer, other: tirx.Buffer, thread: tirx.Expr, threads: int
    ) -> None:
        """totals[t] becomes what comes of own[EACH] of the threads up to t."""
        kernel = self.kernel
        kernel.store(totals, thread, kernel.load(own, EACH))
        kernel.sync()
        distance = 1
        while distance < threads:
            before = kernel.load(totals, tvm.tirx.max(thread - distance, i64(0)))
            kernel.store(other, 0, tirx.Select(thread >= distance, before, self.neutral))
            kernel.sync()
            kernel.store(totals, thread, self.apply(kernel.load(other, 0), kernel.load(totals, thread)))
            kernel.sync()
            distance *= 2
