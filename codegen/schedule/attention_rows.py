"""Attention on software GPUs: `Parts` in, a kernel whose threads each own a few queries out, without barriers.

There workgroup memory is memory like any other, and a barrier switches between stacks (`straight`): so a thread has its
queries and their results in registers, and walks along the keys alone. The softmax is computed as the keys come, as in
`attention`. Threads beside each other have queries of the same head, and so load the same keys and values at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import tirx

from .attention_parts import Parts
from .axis import ceil_div, divides
from .builder import Kernel, i64
from .nest import flatten
from .product import VECTOR
from .source import Source, cast, store_result
from .straight import Left, numbered

ACC, LOWEST = "float32", -3.4028234663852886e38
# Numbers of queries and results that a thread may hold: more compile for longer than they save.
REGISTERS = 256


@dataclass(frozen=True)
class Rows:
    """queries of a thread, threads of a workgroup."""

    queries: int
    threads: int = 16


def choose(parts: Parts) -> Rows | None:
    """As many queries as share loads; none where one alone is too wide."""
    held = _padded(int(parts.scores.k.extent)) + _padded(int(parts.result.x.extent))
    return next((Rows(queries) for queries in (4, 2, 1) if queries * held <= REGISTERS), None)


def write(func: tirx.PrimFunc, parts: Parts, plan: Rows) -> tirx.PrimFunc:
    """The kernel."""
    kernel, result = Kernel(), parts.result
    blocks = ceil_div(result.y.extent, plan.queries)
    with numbered(kernel, i64(blocks) * result.s.extent, plan.threads) as tile:
        s = kernel.let("s", tvm.tirx.floordiv(tile, i64(blocks)))
        first = kernel.let("first", tvm.tirx.floormod(tile, i64(blocks)) * plan.queries)
        _Body(kernel, parts, plan, s, first).write()
    return func.with_body(kernel.finish()).with_attr("tvm_webgpu.plan", str(plan))


def _padded(width: int) -> int:
    return -(-width // VECTOR) * VECTOR


class _Body:
    """The statements of one thread."""

    def __init__(self, kernel: Kernel, parts: Parts, plan: Rows, s: tirx.Expr, first: tirx.Expr):
        self.kernel, self.parts, self.plan, self.s, self.first = kernel, parts, plan, s, first
        scores, result = parts.scores, parts.result
        self.width, self.width_v = _padded(int(scores.k.extent)), _padded(int(result.x.extent))
        self.queries = range(plan.queries)
        self.q = Source(kernel, scores, scores.operand_y, scores.y, s, plan.queries, self.width)
        self.k = Source(kernel, scores, scores.operand_x, scores.x, s, 1, self.width)
        self.v = Source(kernel, result, result.operand_x, result.x, s, self.width_v, 1)

    def _register(self, name: str, value: float, lanes: int = 1) -> tirx.Buffer:
        held, start = self.kernel.alloc(name, ACC, lanes, "local"), tirx.const(value, ACC)
        self.kernel.store(held, 0, tirx.Broadcast(start, lanes) if lanes > 1 else start, lanes)
        return held

    def _row(self, source: Source, own: tirx.Expr) -> list[tirx.Expr]:
        """Vectors along k at a position of the operand's own axis (Q, K)."""
        along = source.operand.along == "k"
        return [
            self._vector(
                source.vector(own, i64(d)) if along else [source.scalar(own, i64(d + i)) for i in range(VECTOR)]
            )
            for d in range(0, self.width, VECTOR)
        ]

    def _column(self, source: Source, k: tirx.Expr) -> list[tirx.Expr]:
        """Vectors along the operand's own axis at a position of k (V)."""
        along = source.operand.along == "own"
        return [
            self._vector(source.vector(i64(x), k) if along else [source.scalar(i64(x + i), k) for i in range(VECTOR)])
            for x in range(0, self.width_v, VECTOR)
        ]

    def _vector(self, values: tirx.Expr | list[tirx.Expr]) -> tirx.Expr:
        if isinstance(values, list):
            return tirx.Shuffle([self.kernel.let("v", cast(v, ACC)) for v in values], list(range(VECTOR)))
        return self.kernel.let("v", cast(values, ACC))

    def write(self) -> None:
        """Everything."""
        kernel, result, count = self.kernel, self.parts.result, len(self.queries)
        places = [kernel.let("y", self.first + i) for i in self.queries]
        q = [self._row(self.q, y) for y in places]
        tops = [self._register("top", LOWEST) for _ in self.queries]
        totals = [self._register("total", 0) for _ in self.queries]
        sums = [[self._register("sums", 0, VECTOR) for _ in range(self.width_v // VECTOR)] for _ in self.queries]
        rows = [self._iterators(y) for y in places]
        with kernel.loop(Left(kernel, i64(result.y.extent) - self.first).rounds(i64(result.k.extent)), "key") as key:
            kernel.know(key, result.k.extent)
            k, v = self._row(self.k, key), self._column(self.v, key)
            for i in self.queries:
                weight, factor = self._weigh(q[i], k, {**rows[i], **result.k.decode(key)}, tops[i])
                kernel.store(totals[i], 0, kernel.load(totals[i], 0) * factor + weight)
                for held, value in zip(sums[i], v):
                    old = kernel.load(held, 0, VECTOR) * tirx.Broadcast(factor, VECTOR)
                    kernel.store(held, 0, tirx.Broadcast(weight, VECTOR) * value + old, VECTOR)
        whole = divides(count, result.y.extent)
        for y, total, row in zip(places, totals, sums):
            with kernel.when(True if whole else y < i64(result.y.extent)):
                self._store(y, kernel.load(total, 0), row)

    def _iterators(self, y: tirx.Expr) -> dict[tirx.Var, tirx.Expr]:
        """Those of the batch and the query; past the end the last one's."""
        kernel, result = self.kernel, self.parts.result
        if not divides(self.plan.queries, result.y.extent):
            y = kernel.let("query", tvm.tirx.min(y, i64(result.y.extent) - 1))
        kernel.know(y, result.y.extent)
        return {**result.s.decode(self.s), **result.y.decode(y)}

    def _weigh(
        self, q: list[tirx.Expr], k: list[tirx.Expr], at: dict[tirx.Var, tirx.Expr], top: tirx.Buffer
    ) -> tuple[tirx.Expr, tirx.Expr]:
        """The key's weight, and what older sums are scaled by: both relative to the row's new maximum."""
        kernel, parts = self.kernel, self.parts
        dot = q[0] * k[0]
        for a, b in zip(q[1:], k[1:]):
            dot = a * b + dot
        dot = kernel.let("dot", dot)
        lanes = [tirx.Shuffle([dot], [lane]) for lane in range(VECTOR)]
        raw = self._register("raw", 0)
        kernel.store(raw, 0, (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]))
        score = kernel.hold("score", cast(flatten(kernel, parts.score, at, {parts.raw: (raw, 0)}), ACC))
        best = kernel.hold("best", tvm.tirx.max(kernel.load(top, 0), score))
        factor = kernel.hold("factor", tvm.tirx.exp(kernel.load(top, 0) - best))
        weight = tvm.tirx.exp(score - best)
        for condition in parts.kept:
            weight = tirx.Select(flatten(kernel, condition, at), weight, tirx.const(0, ACC))
        kernel.store(top, 0, best)
        return kernel.hold("weight", weight), factor

    def _store(self, y: tirx.Expr, total: tirx.Expr, row: list[tirx.Buffer]) -> None:
        kernel, result = self.kernel, self.parts.result
        for j, held in enumerate(row):
            kernel.store(held, 0, kernel.load(held, 0, VECTOR) / tirx.Broadcast(total, VECTOR), VECTOR)
            if result.vector_store:
                with kernel.vectorized(VECTOR) as lane:
                    store_result(kernel, result, self.s, y, j * VECTOR + lane, kernel.load(held, lane))
                continue
            for lane in range(min(VECTOR, int(result.x.extent) - j * VECTOR)):
                store_result(kernel, result, self.s, y, i64(j * VECTOR + lane), kernel.load(held, lane))
