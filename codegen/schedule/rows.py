"""Reductions over rows (softmax, norms, means): a PrimFunc in; one kernel, where a group of threads owns a row, out.

All reductions of the PrimFunc run over the same rows. Each thread of a group folds every threads-th element of its row
in a register, the partial results meet in workgroup memory, and the next nest reads the row again (from cache), so that
no intermediate reaches global memory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import tvm
from tvm import tirx

from .axis import Axis, ceil_div
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .nest import Nest, Registers, emit, loads_of, nests_of, offset_of, substitute, uses

# Shorter rows are left to one thread each.
MIN_ROW = 32
# Elements read per element of the operands: beyond, as in convolutions, rows overlap and one thread per result that
# keeps its operands in cache is better than a group that meets for every result.
MAX_REUSE = 4
TYPICAL_ROW = 256


@dataclass(frozen=True)
class Rows:
    """threads: of a row's group, a power of 2; rows: groups in a workgroup; radix: partial results that a thread folds
    between two barriers, a power of 2; parts: of a row, each by a workgroup of its own, if there are several (a second
    kernel folds their results)."""

    threads: int
    rows: int
    radix: int = 8
    parts: int = 1


# Elements of a row below which it is not worth two launches, and of a part of a long one. 8M elements take 8 us in 528
# or 1056 parts and 29 in 264, and 3 us for their results; by one workgroup 772.
MIN_PARTED, PART = 16384, 4096


# On software GPUs a row for each lane of a vector: nobody waits for others. A layer norm of 128x384 takes 5 ms of
# SwiftShader's processors so, and at least 30 with groups of 64 threads.
SOFTWARE = Rows(1, 8)


def choose(rows: int | None, length: int | None, limits: Limits) -> Rows:
    """By the number of rows and their length (None: symbolic)."""
    if limits.software:
        return SOFTWARE if rows is None or rows >= SOFTWARE.rows else Rows(SOFTWARE.rows, 1)
    length = TYPICAL_ROW if length is None else length
    # About 8 elements a thread where there are enough rows to fill the GPU, else 2.
    share = 8 if rows is None or rows >= 2 * limits.cores else 2
    threads = 8
    while threads * share < length and threads < min(256, limits.threads):
        threads *= 2
    together = max(1, min(128, limits.threads) // threads)
    if rows is not None:
        together = max(1, min(together, rows // limits.cores))
    return Rows(threads, together)


Fold = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
_FOLDS: dict[type, Fold] = {
    tirx.Add: lambda a, b: a + b,
    tirx.Mul: lambda a, b: a * b,
    tirx.Max: tvm.tirx.max,
    tirx.Min: tvm.tirx.min,
}


@dataclass(frozen=True)
class _Part:
    """A nest placed on the rows: its iterators' values in terms of the row's, and what it walks along within a row."""

    nest: Nest
    mapping: dict[tirx.Var, tirx.Expr]
    inner: Axis
    fold: Fold | None


def schedule(func: tirx.PrimFunc, limits: Limits, params: Rows | None = None) -> tirx.PrimFunc:
    """Raises NotApplicable where the nests do not share rows, or rows are too short to share."""
    nests = nests_of(func)
    row, parts = _arrange(func, nests)
    lengths = [p.inner.extent for p in parts if p.fold is not None]
    if all(isinstance(n, int) and n < MIN_ROW for n in lengths):
        raise NotApplicable("short rows")
    if any(_reuse(row, part) > MAX_REUSE for part in parts if part.fold):
        raise NotApplicable("rows share their elements")
    count = row.extent
    if isinstance(count, int) and count >= 32 * limits.cores and not any(_contiguous(p) for p in parts if p.fold):
        raise NotApplicable("neighbouring rows are contiguous, not elements of a row")
    longest = None if any(not isinstance(n, int) for n in lengths) else max(lengths)
    chosen = params or _parted(choose(count if isinstance(count, int) else None, longest, limits), row, parts, limits)
    kernel = Kernel()
    if chosen.parts > 1:
        _write_parted(kernel, func, chosen, row, parts)
        return func.with_body(kernel.finish())
    with (
        kernel.threads("blockIdx.x", ceil_div(count, chosen.rows)) as block,
        kernel.threads("threadIdx.y", chosen.rows) as group,
        kernel.threads("threadIdx.x", chosen.threads) as thread,
    ):
        position = block * chosen.rows + group
        if not (isinstance(count, int) and count % chosen.rows == 0) and chosen.rows > 1:
            # Barriers must be reached by all: groups past the end do the last row again.
            position = tvm.tirx.min(position, i64(count) - 1)
        position = kernel.let("row", position)
        kernel.know(position, count)
        _Body(kernel, func, chosen, row.decode(position), group, thread).write(parts)
    return func.with_body(kernel.finish())


def _parted(chosen: Rows, row: Axis, parts: list[_Part], limits: Limits) -> Rows:
    """With as many parts as occupy all cores, where a few long rows have one reduction and little else is done."""
    rows, (first, *rest) = row.extent, parts
    length = first.inner.extent
    known = isinstance(rows, int) and isinstance(length, int) and rows > 0 and not limits.software
    if not known or first.fold is None or any(part.fold or part.inner.extent != 1 for part in rest):
        return chosen
    if length < MIN_PARTED or 2 * rows > limits.cores:
        return chosen
    count = min(-(-length // PART), 8 * limits.cores // rows)
    return replace(chosen, threads=min(256, limits.threads), rows=1, parts=count)


def _write_parted(kernel: Kernel, func: tirx.PrimFunc, chosen: Rows, row: Axis, parts: list[_Part]) -> None:
    """Two kernels: one folds the parts of rows, the other their results."""
    first, *rest = parts
    assert first.fold is not None  # _parted saw to it
    count = int(row.extent)
    partial = tirx.decl_buffer((count * chosen.parts,), str(first.nest.store.buffer.dtype), "partial")
    kernel.allocate(partial)
    for last in (False, True):
        with (
            kernel.threads("blockIdx.x", count if last else count * chosen.parts) as block,
            kernel.threads("threadIdx.x", chosen.threads) as thread,
        ):
            at = block if last else kernel.let("row", tvm.tirx.floordiv(block, i64(chosen.parts)))
            kernel.know(at, count)
            body = _Body(kernel, func, chosen, row.decode(at), i64(0), thread)
            if last:
                body.fold_parts(first, first.fold, partial, block)
                body.write(rest)
            else:
                body.write_part(first, first.fold, partial, block)


def _arrange(func: tirx.PrimFunc, nests: list[Nest]) -> tuple[Axis, list[_Part]]:
    first = next((n for n in nests if n.reduces), None)
    if first is None:
        raise NotApplicable("no reduction")
    row, outputs = first.spatial, set(func.params)
    statistics: dict[tirx.Buffer, tuple[tirx.Expr, ...]] = {}
    parts = []
    for nest in nests:
        if nest.reduces:
            part = _Part(nest, _by_position(nest.spatial, row), nest.reduced, _fold_of(nest))
        elif nest.store.buffer in outputs:
            part = _elementwise(nest, row, statistics)
        else:
            raise NotApplicable("an elementwise result is read again")
        _check_reads(nest, part.mapping, statistics)
        if nest.reduces:
            indices = [substitute(i, part.mapping) for i in nest.store.indices]
            statistics[nest.store.buffer] = tuple(tvm.sym.Analyzer().simplify(i) for i in indices)
        parts.append(part)
    return row, parts


def _wide(axis: Axis) -> list[tuple[tirx.Var, tirx.Expr]]:
    return [(v, e) for v, e in axis.iterators if not (isinstance(e, tirx.IntImm) and int(e) == 1)]


def _by_position(axis: Axis, row: Axis) -> dict[tirx.Var, tirx.Expr]:
    """The axis's iterators as those of `row`, where both have the same extents in order."""
    mine, theirs = _wide(axis), _wide(row)
    analyzer = tvm.sym.Analyzer()
    if len(mine) != len(theirs) or not all(analyzer.can_prove_equal(a, b) for (_, a), (_, b) in zip(mine, theirs)):
        raise NotApplicable("reductions over different rows")
    mapping: dict[tirx.Var, tirx.Expr] = {v: i64(0) for v, _ in axis.iterators}
    mapping.update({a: b for (a, _), (b, _) in zip(mine, theirs)})
    return mapping


def _fold_of(nest: Nest) -> Fold:
    value = nest.store.value
    if type(value) not in _FOLDS:
        raise NotApplicable("a reduction that is not a sum, product, maximum or minimum")
    accumulated = value.a
    if not (isinstance(accumulated, tvm.ir.TensorLoad) and accumulated.source.same_as(nest.store.buffer)):
        raise NotApplicable("not a plain reduction")
    if any(load.source.same_as(nest.store.buffer) for load in loads_of(value.b)):
        raise NotApplicable("not a plain reduction")
    return _FOLDS[type(value)]


def _elementwise(nest: Nest, row: Axis, statistics: dict[tirx.Buffer, tuple[tirx.Expr, ...]]) -> _Part:
    """Splits the iterators into those of the row, as the reads of statistics tell, and those within it."""
    own = {v for v, _ in _wide(nest.spatial)}
    mapping: dict[tirx.Var, tirx.Expr] = {}
    for load in loads_of(nest.store.value):
        pairs = zip(load.indices, statistics.get(load.source, ()))
        mapping.update({mine: theirs for mine, theirs in pairs if isinstance(mine, tirx.Var) and mine in own})
    covered = {v for e in mapping.values() for v in tirx.analysis.undefined_vars(e)}
    if not {v for v, _ in _wide(row)} <= covered:
        raise NotApplicable("an elementwise block does not say its row")
    inner = Axis(tuple((v, e) for v, e in nest.spatial.iterators if v not in mapping))
    return _Part(nest, mapping, inner, None)


def _check_reads(nest: Nest, mapping: dict, statistics: dict[tirx.Buffer, tuple[tirx.Expr, ...]]) -> None:
    analyzer = tvm.sym.Analyzer()
    for load in loads_of(nest.store.value):
        for mine, theirs in zip(load.indices, statistics.get(load.source, ())):
            if not analyzer.can_prove_equal(substitute(mine, mapping), theirs):
                raise NotApplicable("a row's result is read from another row")


def _reuse(row: Axis, part: _Part) -> float:
    """Elements that the reduction reads per element of what it reads, open extents taken for 1."""
    buffers = {load.source for load in loads_of(part.nest.store.value)} - set(part.nest.writes)
    sizes = [math.prod(int(d) for d in b.shape if isinstance(d, tirx.IntImm)) for b in buffers]
    return row.factor * part.inner.factor / max(1, sum(sizes))


def _contiguous(part: _Part) -> bool:
    """Whether some operand's elements lie next to each other along the row."""
    iterators = _wide(part.inner)
    if not iterators:
        return False
    last = iterators[-1][0]
    analyzer = tvm.sym.Analyzer()
    for load in loads_of(part.nest.store.value):
        offset = offset_of(load.source, list(load.indices))
        if uses(offset, last):
            step = analyzer.simplify(substitute(offset, {last: last + 1}) - offset)
            if isinstance(step, tirx.IntImm) and int(step) == 1:
                return True
    return False


class _Body:
    """The statements inside the thread loops."""

    def __init__(
        self, kernel: Kernel, func: tirx.PrimFunc, chosen: Rows, row: dict, group: tirx.Expr, thread: tirx.Expr
    ):
        self.kernel, self.chosen, self.row = kernel, chosen, row
        self.group, self.thread = group, thread
        self.outputs = set(func.params)
        self.registers: Registers = {}

    def write(self, parts: list[_Part]) -> None:
        """All nests in order."""
        for part in parts:
            outer = self._outer(part)
            if part.fold is None:
                self._along(part, outer, self.registers)
            else:
                self._reduce(part, part.fold, outer)

    def write_part(self, part: _Part, fold: Fold, partial: tirx.Buffer, block: tirx.Expr) -> None:
        """Folds the workgroup's part of a row into its place in `partial`."""
        outer = self._outer(part)
        share = ceil_div(part.inner.extent, self.chosen.parts)
        start = self.kernel.let("start", tvm.tirx.floormod(block, i64(self.chosen.parts)) * share)
        held = self._start(part, outer)
        self._along(part, outer, {**self.registers, part.nest.store.buffer: (held, 0)}, start, share)
        self._meet(held, fold)
        with self.kernel.when(tvm.tirx.EQ(self.thread, i64(0))):
            self.kernel.store(self.kernel.flat(partial), block, self.kernel.load(held, 0))

    def fold_parts(self, part: _Part, fold: Fold, partial: tirx.Buffer, block: tirx.Expr) -> None:
        """Folds what `write_part` gave for a row."""
        kernel, chosen, outer = self.kernel, self.chosen, self._outer(part)
        held = self._start(part, outer)
        with kernel.loop(ceil_div(chosen.parts, chosen.threads), "step") as step:
            at = kernel.let("at", step * chosen.threads + self.thread)
            with kernel.when(True if chosen.parts % chosen.threads == 0 else at < chosen.parts):
                value = kernel.load(kernel.flat(partial), block * chosen.parts + at)
                kernel.store(held, 0, fold(kernel.load(held, 0), value))
        self._meet(held, fold)
        self._keep(part, held, outer)

    def _outer(self, part: _Part) -> dict[tirx.Var, tirx.Expr]:
        return {v: self.kernel.simplify(substitute(e, self.row)) for v, e in part.mapping.items()}

    def _along(
        self,
        part: _Part,
        outer: dict,
        registers: Registers,
        start: tirx.Expr | int = 0,
        count: int | tirx.Expr | None = None,
    ) -> None:
        """Emits the nest's body for this thread's elements of the row, or of the `count` from `start`."""
        kernel, threads, length = self.kernel, self.chosen.threads, part.inner.extent
        share = length if count is None else count
        whole = isinstance(share, int) and share % threads == 0
        with kernel.loop(ceil_div(share, threads), "step") as step:
            mine = kernel.let("at", step * threads + self.thread)
            at = mine if count is None else kernel.let("at", start + mine)
            inside = True if whole else mine < i64(share)
            if count is not None and not (isinstance(length, int) and length % count == 0):
                inside = at < i64(length) if inside is True else tvm.tirx.all(inside, at < i64(length))
            with kernel.when(inside):
                kernel.know(at, length)
                emit(kernel, part.nest.body, {**outer, **part.inner.decode(at)}, registers)

    def _reduce(self, part: _Part, fold: Fold, outer: dict) -> None:
        held = self._start(part, outer)
        self._along(part, outer, {**self.registers, part.nest.store.buffer: (held, 0)})
        self._meet(held, fold)
        self._keep(part, held, outer)

    def _start(self, part: _Part, outer: dict) -> tirx.Buffer:
        """A register with the reduction's first value."""
        nest = part.nest
        buffer = nest.store.buffer
        held = self.kernel.alloc(f"{buffer.name}_own", str(buffer.dtype), 1, "local")
        first = {**outer, **{v: i64(0) for v, _ in part.inner.iterators}}
        emit(self.kernel, nest.init, first, {**self.registers, buffer: (held, 0)})
        return held

    def _meet(self, held: tirx.Buffer, fold: Fold) -> None:
        """Folds what the threads of a group hold; all get the result."""
        kernel, threads = self.kernel, self.chosen.threads
        if threads == 1:
            return
        meet = kernel.alloc(f"{held.name}_meet", str(held.dtype), threads * self.chosen.rows, "shared")
        first = kernel.let("first", self.group * threads)
        kernel.store(meet, first + self.thread, kernel.load(held, 0))
        kernel.sync()
        count = threads
        while count > self.chosen.radix:
            count //= self.chosen.radix
            with kernel.when(self.thread < count):
                places = [first + self.thread + i * count for i in range(self.chosen.radix)]
                kernel.store(meet, places[0], functools.reduce(fold, (kernel.load(meet, place) for place in places)))
            kernel.sync()
        # What is left every thread folds itself.
        kernel.store(held, 0, functools.reduce(fold, (kernel.load(meet, first + i) for i in range(count))))

    def _keep(self, part: _Part, held: tirx.Buffer, outer: dict) -> None:
        """The result is in a register from here on, and in memory where it is an output."""
        kernel, buffer = self.kernel, part.nest.store.buffer
        self.registers[buffer] = (held, 0)
        if buffer in self.outputs:
            with kernel.when(tvm.tirx.EQ(self.thread, i64(0))):
                offset = kernel.simplify(substitute(offset_of(buffer, list(part.nest.store.indices)), outer))
                kernel.store(kernel.flat(buffer), offset, kernel.load(held, 0))
