"""Reductions over rows (softmax, norms, means): a PrimFunc in; one kernel, where a group of threads owns a row, out.

All reductions of the PrimFunc run over the same rows. Each thread of a group folds every threads-th element of its row
in a register, the partial results meet in workgroup memory, and the next nest reads the row again (from cache), so that
no intermediate reaches global memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

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
    """threads: of a row's group, a power of 2; rows: groups in a workgroup."""

    threads: int
    rows: int


def choose(rows: int | None, length: int | None, limits: Limits) -> Rows:
    """By the number of rows and their length (None: symbolic)."""
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
    chosen = params or choose(count if isinstance(count, int) else None, longest, limits)
    kernel = Kernel()
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
            outer = {v: self.kernel.simplify(substitute(e, self.row)) for v, e in part.mapping.items()}
            if part.fold is None:
                self._along(part, outer, self.registers)
            else:
                self._reduce(part, part.fold, outer)

    def _along(self, part: _Part, outer: dict, registers: Registers) -> None:
        """Emits the nest's body for this thread's elements of the row."""
        kernel, threads, length = self.kernel, self.chosen.threads, part.inner.extent
        whole = isinstance(length, int) and length % threads == 0
        with kernel.loop(ceil_div(length, threads), "step") as step:
            at = kernel.let("at", step * threads + self.thread)
            with kernel.when(True if whole else at < i64(length)):
                kernel.know(at, length)
                emit(kernel, part.nest.body, {**outer, **part.inner.decode(at)}, registers)

    def _reduce(self, part: _Part, fold: Fold, outer: dict) -> None:
        kernel, threads, nest = self.kernel, self.chosen.threads, part.nest
        buffer = nest.store.buffer
        dtype = str(buffer.dtype)
        held = kernel.alloc(f"{buffer.name}_own", dtype, 1, "local")
        registers = {**self.registers, buffer: (held, 0)}
        start = {**outer, **{v: i64(0) for v, _ in part.inner.iterators}}
        emit(kernel, nest.init, start, registers)
        self._along(part, outer, registers)
        meet = kernel.alloc(f"{buffer.name}_meet", dtype, threads * self.chosen.rows, "shared")
        mine = kernel.let("mine", self.group * threads + self.thread)
        kernel.store(meet, mine, kernel.load(held, 0))
        kernel.sync()
        distance = threads // 2
        while distance:
            with kernel.when(self.thread < distance):
                folded = fold(kernel.load(meet, mine), kernel.load(meet, mine + distance))
                kernel.store(meet, mine, folded)
            kernel.sync()
            distance //= 2
        kernel.store(held, 0, kernel.load(meet, self.group * threads))
        self.registers[buffer] = (held, 0)
        if buffer in self.outputs:
            with kernel.when(tvm.tirx.EQ(self.thread, i64(0))):
                offset = kernel.simplify(substitute(offset_of(buffer, list(nest.store.indices)), outer))
                kernel.store(kernel.flat(buffer), offset, kernel.load(held, 0))
