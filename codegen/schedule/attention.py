"""Attention in one kernel: softmax(f(Q K^T)) V, f being any elementwise work (scale, mask, bias); dynamic lengths.

A workgroup owns some queries and walks along the keys a block at a time. The softmax is computed as the blocks come:
a row's sums are scaled down whenever a block raises its maximum (Milakov and Gimelshein 2018; the tiling is that of
FlashAttention, Dao et al. 2022), so that the scores, quadratic in the sequence, never reach global memory.

    block:  stage K -> S = Q K^T -> stage V, row maxima of f(S) -> P = exp(f(S) - maximum) -> O = O * scale + P V
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tvm
from tvm import tirx

from . import attention_rows
from .attention_parts import Parts, recognise
from .axis import ceil_div
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .nest import flatten
from .product import VECTOR
from .source import Source, cast, divides, store_result

# Threads along the keys of a block of scores.
ACROSS = 8
LOWEST = -3.4028234663852886e38
ACC = "float32"


@dataclass(frozen=True)
class Attention:
    """queries of a workgroup, keys of a block, threads; all powers of 2, threads / ACROSS <= queries <= threads."""

    queries: int
    keys: int
    threads: int = 128

    def words(self, width: int, width_v: int) -> int:
        """f32 words of workgroup memory for heads of `width` (Q, K) and `width_v` (V); rows are padded by a vector."""
        staged = self.queries * (width + VECTOR) + self.keys * (max(width, width_v) + VECTOR)
        return staged + self.queries * (self.keys + VECTOR + 1) + self.threads


# Measured on an H100: 128 queries of 12 heads of width 32 take 7.0 us with 16 queries a workgroup, 7.5 with 32; 512 of
# width 64 52.9 us with 16 on 64 threads, 61.8 with 32; 2048 of them 613 us (21 TFLOP/s) with 32, 769 with 16.
MANY = Attention(32, 16, 128)
PLANS = (
    Attention(16, 32, 64),
    # Wider heads: what fits in 16 KB.
    Attention(8, 16, 64),
    Attention(4, 8, 32),
)


def padded(width: int) -> int:
    """The next multiple of a vector."""
    return -(-width // VECTOR) * VECTOR


def plans(parts: Parts, limits: Limits) -> Iterator[Attention]:
    """Plans within the limits, best first. The more queries share a block of keys, the fewer bytes are read; fewer
    spread a short sequence over more cores."""
    width, width_v = padded(int(parts.scores.k.extent)), padded(int(parts.result.x.extent))
    rows, batch = parts.result.y.extent, parts.result.s.extent
    many = isinstance(rows, int) and isinstance(batch, int) and batch * rows >= MANY.queries * 4 * limits.cores
    candidates = (MANY, *PLANS) if many else PLANS
    words = limits.workgroup_bytes // 4
    return (p for p in candidates if p.words(width, width_v) <= words and p.threads <= limits.threads)


def schedule(func: tirx.PrimFunc, limits: Limits, plan: Attention | None = None) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is anything but attention, or its heads are too wide."""
    parts = recognise(func)
    if limits.software and plan is None and (rows := attention_rows.choose(parts)):
        return attention_rows.write(func, parts, rows)
    chosen = plan or next(plans(parts, limits), None)
    if chosen is None:
        raise NotApplicable("heads too wide for a workgroup")
    kernel = Kernel()
    result = parts.result
    with (
        kernel.threads("blockIdx.y", ceil_div(result.y.extent, chosen.queries)) as block,
        kernel.threads("blockIdx.x", result.s.extent) as s,
        kernel.threads("threadIdx.x", chosen.threads) as thread,
    ):
        _Body(kernel, parts, chosen, s, kernel.let("first", block * chosen.queries), thread).write()
    return func.with_body(kernel.finish()).with_attr("tvm_webgpu.plan", str(chosen))


class _Body:
    """The statements inside the thread loops."""

    def __init__(
        self, kernel: Kernel, parts: Parts, plan: Attention, s: tirx.Expr, first: tirx.Expr, thread: tirx.Expr
    ):
        self.kernel, self.parts, self.plan, self.s, self.first, self.thread = kernel, parts, plan, s, first, thread
        self.width, self.width_v = padded(int(parts.scores.k.extent)), padded(int(parts.result.x.extent))
        self.stride, self.stride_kv = self.width + VECTOR, max(self.width, self.width_v) + VECTOR
        self.stride_p = plan.keys + VECTOR
        self.q = kernel.alloc("q", ACC, plan.queries * self.stride, "shared")
        self.kv = kernel.alloc("kv", ACC, plan.keys * self.stride_kv, "shared")
        self.p = kernel.alloc("p", ACC, plan.queries * self.stride_p, "shared")
        self.meet = kernel.alloc("meet", ACC, plan.threads, "shared")
        self.scale = kernel.alloc("scale", ACC, plan.queries, "shared")
        # Rows of the softmax: `lanes` neighbouring threads share one.
        self.lanes = plan.threads // plan.queries
        self.row = kernel.let("row", tvm.tirx.floordiv(thread, self.lanes))
        self.lane = kernel.let("lane", tvm.tirx.floormod(thread, self.lanes))
        # Results: vectors of a row, dealt out in turn.
        self.vectors = self.width_v // VECTOR
        self.rounds = -(-plan.queries * self.vectors // plan.threads)

    def write(self) -> None:
        """Everything."""
        kernel, parts, plan = self.kernel, self.parts, self.plan
        scores, result = parts.scores, parts.result
        sums = kernel.alloc("sums", ACC, self.rounds * VECTOR, "local")
        top, total = kernel.alloc("top", ACC, 1, "local"), kernel.alloc("total", ACC, 1, "local")
        zero = tirx.Broadcast(tirx.const(0, ACC), VECTOR)
        for r in range(self.rounds):
            kernel.store(sums, r * VECTOR, zero, VECTOR)
        kernel.store(top, 0, tirx.const(LOWEST, ACC))
        kernel.store(total, 0, tirx.const(0, ACC))
        q = Source(kernel, scores, scores.operand_y, scores.y, self.s, plan.queries, self.width)
        k = Source(kernel, scores, scores.operand_x, scores.x, self.s, plan.keys, self.width)
        v = Source(kernel, result, result.operand_x, result.x, self.s, self.width_v, plan.keys)
        self._stage(q, self.q, plan.queries, self.width, self.stride, self.first, rows_are_own=True)
        with kernel.loop(ceil_div(result.k.extent, plan.keys), "block") as block:
            first_key = kernel.let("first_key", block * plan.keys)
            self._stage(k, self.kv, plan.keys, self.width, self.stride_kv, first_key, rows_are_own=True)
            kernel.sync()
            self._scores()
            kernel.sync()
            self._stage(v, self.kv, plan.keys, self.width_v, self.stride_kv, first_key, rows_are_own=False)
            self._softmax(first_key, top, total)
            kernel.sync()
            self._accumulate(sums)
            kernel.sync()
        kernel.store(self.meet, self.thread, kernel.load(total, 0))
        kernel.sync()
        self._store(sums)

    def _stage(
        self,
        source: Source,
        target: tirx.Buffer,
        rows: int,
        width: int,
        stride: int,
        first: tirx.Expr,
        rows_are_own: bool,
    ) -> None:
        """Copies rows from `first` on; a row runs along k (Q, K) or along the operand's own axis (V)."""
        kernel, threads = self.kernel, self.plan.threads
        along_row = source.operand.along == ("k" if rows_are_own else "own")
        across = source.operand.along is not None and not along_row
        units = rows * width // VECTOR
        for r in range(-(-units // threads)):
            unit = self.thread + r * threads
            with kernel.when(True if (r + 1) * threads <= units else unit < units):
                # Neighbouring threads take neighbours in memory.
                inner = (rows if across else width) // VECTOR
                row, column = tvm.tirx.floordiv(unit, inner), tvm.tirx.floormod(unit, inner) * VECTOR
                if across:
                    row, column = column, row
                row, column = kernel.let("r", row), kernel.let("c", column)

                def at(lane: int, row: tirx.Expr = row, column: tirx.Expr = column) -> tuple[tirx.Expr, tirx.Expr]:
                    place = (first + row, column + lane)
                    return place if rows_are_own else place[::-1]

                to = row * stride + column
                if along_row:
                    kernel.store(target, to, cast(source.vector(*at(0)), ACC), VECTOR)
                elif across:
                    held = kernel.alloc("held", ACC, VECTOR, "local")
                    kernel.store(held, 0, cast(source.vector(*at(0)), ACC), VECTOR)
                    for lane in range(VECTOR):
                        kernel.store(target, to + lane * stride, kernel.load(held, lane))
                else:
                    for lane in range(VECTOR):
                        kernel.store(target, to + lane, cast(source.scalar(*at(lane)), ACC))

    def _scores(self) -> None:
        """S = Q K^T for the block: each thread some rows and columns, ACROSS and threads / ACROSS apart."""
        kernel, plan = self.kernel, self.plan
        down = plan.threads // ACROSS
        rows, columns = plan.queries // down, plan.keys // ACROSS
        thread_y, thread_x = tvm.tirx.floordiv(self.thread, ACROSS), tvm.tirx.floormod(self.thread, ACROSS)
        dots = kernel.alloc("dots", ACC, rows * columns * VECTOR, "local")
        for i in range(rows * columns):
            kernel.store(dots, i * VECTOR, tirx.Broadcast(tirx.const(0, ACC), VECTOR), VECTOR)
        with kernel.loop(self.width // VECTOR, "d") as d:
            qs = kernel.alloc("qs", ACC, rows * VECTOR, "local")
            ks = kernel.alloc("ks", ACC, columns * VECTOR, "local")
            for i in range(rows):
                place = (thread_y + i * down) * self.stride + d * VECTOR
                kernel.store(qs, i * VECTOR, kernel.load(self.q, place, VECTOR), VECTOR)
            for j in range(columns):
                place = (thread_x + j * ACROSS) * self.stride_kv + d * VECTOR
                kernel.store(ks, j * VECTOR, kernel.load(self.kv, place, VECTOR), VECTOR)
            for i in range(rows):
                for j in range(columns):
                    at = (i * columns + j) * VECTOR
                    term = kernel.load(qs, i * VECTOR, VECTOR) * kernel.load(ks, j * VECTOR, VECTOR)
                    kernel.store(dots, at, term + kernel.load(dots, at, VECTOR), VECTOR)
        for i in range(rows):
            for j in range(columns):
                lanes = [kernel.load(dots, (i * columns + j) * VECTOR + lane) for lane in range(VECTOR)]
                place = (thread_y + i * down) * self.stride_p + thread_x + j * ACROSS
                kernel.store(self.p, place, (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]))

    def _softmax(self, first_key: tirx.Expr, top: tirx.Buffer, total: tirx.Buffer) -> None:
        """S becomes P; updates the row's maximum, the thread's share of its sum, and the scale of older sums."""
        kernel, parts, plan = self.kernel, self.parts, self.plan
        result = parts.result
        count = plan.keys // self.lanes
        whole = divides(plan.keys, result.k.extent)
        raw = kernel.alloc("raw", ACC, count, "local")
        held = kernel.alloc("held", ACC, count, "local")
        best, old = kernel.alloc("best", ACC, 1, "local"), kernel.alloc("old", ACC, 1, "local")
        kernel.store(best, 0, kernel.load(top, 0))
        kernel.store(old, 0, kernel.load(top, 0))
        query = self.first + self.row
        if not divides(plan.queries, result.y.extent):
            query = tvm.tirx.min(query, i64(result.y.extent) - 1)
        query = kernel.let("query", query)
        kernel.know(query, result.y.extent)
        rows = {**result.s.decode(self.s), **result.y.decode(query)}
        values = []
        for m in range(count):
            column = self.lane + m * self.lanes
            key = kernel.let("key", first_key + column)
            inside = True if whole else key < i64(result.k.extent)
            safe = key if whole else kernel.let("safe", tvm.tirx.min(key, i64(result.k.extent) - 1))
            kernel.know(safe, result.k.extent)
            at = {**rows, **result.k.decode(safe)}
            values.append((column, inside, at))
            kernel.store(raw, m, kernel.load(self.p, self.row * self.stride_p + column))
            score = cast(flatten(kernel, parts.score, at, {parts.raw: (raw, m)}), ACC)
            if inside is not True:
                score = tirx.Select(inside, score, tirx.const(LOWEST, ACC))
            kernel.store(held, m, score)
            kernel.store(best, 0, tvm.tirx.max(kernel.load(best, 0), kernel.load(held, m)))
        kernel.store(self.meet, self.thread, kernel.load(best, 0))
        kernel.sync()
        for other in range(self.lanes):
            theirs = kernel.load(self.meet, self.row * self.lanes + other)
            kernel.store(best, 0, tvm.tirx.max(kernel.load(best, 0), theirs))
        kernel.store(top, 0, kernel.load(best, 0))
        factor = kernel.alloc("factor", ACC, 1, "local")
        kernel.store(factor, 0, tvm.tirx.exp(kernel.load(old, 0) - kernel.load(top, 0)))
        kernel.store(total, 0, kernel.load(total, 0) * kernel.load(factor, 0))
        for m, (column, inside, at) in enumerate(values):
            weight = tvm.tirx.exp(kernel.load(held, m) - kernel.load(top, 0))
            for condition in parts.kept:
                weight = tirx.Select(flatten(kernel, condition, at), weight, tirx.const(0, ACC))
            if inside is not True:
                weight = tirx.Select(inside, weight, tirx.const(0, ACC))
            kernel.store(held, m, weight)
            kernel.store(total, 0, kernel.load(total, 0) + kernel.load(held, m))
            kernel.store(self.p, self.row * self.stride_p + column, kernel.load(held, m))
        with kernel.when(tvm.tirx.EQ(self.lane, i64(0))):
            kernel.store(self.scale, self.row, kernel.load(factor, 0))

    def _places(self) -> list[tuple[tirx.Expr, tirx.Expr, tirx.Expr | bool]]:
        """Row and column of each of the thread's vectors of the result, and whether there is one."""
        plan, found = self.plan, []
        for r in range(self.rounds):
            unit = self.kernel.simplify(self.thread + r * plan.threads)
            row = self.kernel.simplify(tvm.tirx.floordiv(unit, self.vectors))
            column = self.kernel.simplify(tvm.tirx.floormod(unit, self.vectors) * VECTOR)
            exists = (r + 1) * plan.threads <= plan.queries * self.vectors
            found.append((row, column, True if exists else row < plan.queries))
        return found

    def _accumulate(self, sums: tirx.Buffer) -> None:
        """O = O * scale + P V."""
        kernel, plan = self.kernel, self.plan
        # Threads without a vector in the last round do the last row's again.
        places = [(tvm.tirx.min(row, i64(plan.queries - 1)), column) for row, column, _ in self._places()]
        shared_column = plan.threads % self.vectors == 0
        for r, (row, _) in enumerate(places):
            factor = tirx.Broadcast(kernel.load(self.scale, row), VECTOR)
            kernel.store(sums, r * VECTOR, kernel.load(sums, r * VECTOR, VECTOR) * factor, VECTOR)
        with kernel.loop(plan.keys // VECTOR, "key") as key:
            ps = kernel.alloc("ps", ACC, self.rounds * VECTOR, "local")
            vs = kernel.alloc("vs", ACC, VECTOR * VECTOR, "local")
            for r, (row, column) in enumerate(places):
                if r == 0 or not shared_column:
                    for lane in range(VECTOR):
                        place = (key * VECTOR + lane) * self.stride_kv + column
                        kernel.store(vs, lane * VECTOR, kernel.load(self.kv, place, VECTOR), VECTOR)
                kernel.store(
                    ps, r * VECTOR, kernel.load(self.p, row * self.stride_p + key * VECTOR, VECTOR), VECTOR
                )
                for lane in range(VECTOR):
                    weight = tirx.Broadcast(kernel.load(ps, r * VECTOR + lane), VECTOR)
                    term = weight * kernel.load(vs, lane * VECTOR, VECTOR)
                    kernel.store(sums, r * VECTOR, term + kernel.load(sums, r * VECTOR, VECTOR), VECTOR)

    def _store(self, sums: tirx.Buffer) -> None:
        kernel, plan, result = self.kernel, self.plan, self.parts.result
        for r, (row, column, exists) in enumerate(self._places()):
            y = kernel.let("y", self.first + row)
            x = kernel.let("x", column)
            with (
                kernel.when(exists),
                kernel.when(True if divides(plan.queries, result.y.extent) else y < i64(result.y.extent)),
            ):
                total = kernel.alloc("row_total", ACC, 1, "local")
                kernel.store(total, 0, kernel.load(self.meet, row * self.lanes))
                for other in range(1, self.lanes):
                    share = kernel.load(self.meet, row * self.lanes + other)
                    kernel.store(total, 0, kernel.load(total, 0) + share)
                divisor = tirx.Broadcast(kernel.load(total, 0), VECTOR)
                kernel.store(sums, r * VECTOR, kernel.load(sums, r * VECTOR, VECTOR) / divisor, VECTOR)
                if result.vector_store:
                    with kernel.vectorized(VECTOR) as lane:
                        store_result(kernel, result, self.s, y, x + lane, kernel.load(sums, r * VECTOR + lane))
                else:
                    for lane in range(VECTOR):
                        with kernel.when(x + lane < i64(result.x.extent)):
                            store_result(kernel, result, self.s, y, x + lane, kernel.load(sums, r * VECTOR + lane))
