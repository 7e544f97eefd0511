"""Products with few results: a `Product` in, one kernel whose threads share the sum over k out.

A workgroup computes a small tile; its slices (threadIdx.z) each sum every slices-th piece of k straight from global
memory, where caches and broadcasts serve the overlap, and the slices' sums meet in workgroup memory. This keeps all
cores busy where a tiled product has fewer tiles than the GPU has cores: late layers, small batches, single rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tvm
from tvm import tirx

from .axis import ceil_div, divides
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import MAX_BLOCK_Z, Limits
from .product import VECTOR, Product
from .source import Source, batch_and_tile, cast, store_result


@dataclass(frozen=True)
class SplitK:
    """threads_y x threads_x threads of each of `slices` slices compute rows x cols results each."""

    threads_y: int
    threads_x: int
    slices: int
    rows: int
    cols: int

    @property
    def threads(self) -> int:
        """Invocations of a workgroup."""
        return self.threads_y * self.threads_x * self.slices

    @property
    def y(self) -> int:
        """Results of a workgroup along y."""
        return self.threads_y * self.rows

    @property
    def x(self) -> int:
        """Results of a workgroup along x."""
        return self.threads_x * self.cols

    def fits(self, _: Product, limits: Limits) -> bool:
        """Whether the kernel keeps within the limits of a workgroup: threads, and partial sums of 4 bytes."""
        memory = self.slices * self.y * self.x * 4
        return self.threads <= limits.threads and memory <= limits.workgroup_bytes and self.slices <= MAX_BLOCK_Z


def write(product: Product, plan: SplitK, limits: Limits) -> tirx.PrimFunc:
    """The kernel. Raises NotApplicable where the plan passes the limits."""
    if not plan.fits(product, limits):
        raise NotApplicable(f"{plan} is too large for a workgroup")
    kernel = Kernel()
    tiles_x, tiles_y = ceil_div(product.x.extent, plan.x), ceil_div(product.y.extent, plan.y)
    with (
        kernel.threads("blockIdx.y", tiles_y) as block_y,
        kernel.threads("blockIdx.x", tiles_x * product.s.extent) as block_x,
        kernel.threads("threadIdx.z", plan.slices) as slice_,
        kernel.threads("threadIdx.y", plan.threads_y) as thread_y,
        kernel.threads("threadIdx.x", plan.threads_x) as thread_x,
    ):
        s, tile_x = batch_and_tile(kernel, product, block_x, tiles_x)
        first_x = kernel.let("first_x", tile_x * plan.x)
        first_y = kernel.let("first_y", block_y * plan.y)
        partial = kernel.alloc("partial", product.accumulator, plan.slices * plan.y * plan.x, "shared")
        sums = kernel.alloc("sums", product.accumulator, plan.rows * plan.cols, "local")
        # A thread with fewer columns has no vectors along x.
        width = VECTOR if plan.cols % VECTOR == 0 else 1
        row, column = first_y + thread_y * plan.rows, first_x + thread_x * plan.cols
        _accumulate(kernel, product, plan, (s, row, column, slice_), sums, width)
        mine = (slice_ * plan.y + thread_y * plan.rows) * plan.x + thread_x * plan.cols
        for i in range(plan.rows):
            for j in range(0, plan.cols, width):
                kernel.store(partial, mine + i * plan.x + j, kernel.load(sums, i * plan.cols + j, width), width)
        kernel.sync()
        thread = kernel.let("thread", (slice_ * plan.threads_y + thread_y) * plan.threads_x + thread_x)
        _combine(kernel, product, plan, (s, first_y, first_x), thread, partial)
    return product.func.with_body(kernel.finish())


def _accumulate(
    kernel: Kernel, product: Product, plan: SplitK, at: tuple[tirx.Expr, ...], sums: tirx.Buffer, width: int
) -> None:
    """Sums the slice's share of k for the thread's results from (s, row, column)."""
    s, row, column, slice_ = at
    acc = product.accumulator
    step = VECTOR * plan.slices
    zero = tirx.const(0, acc)
    for i in range(0, plan.rows * plan.cols, width):
        kernel.store(sums, i, tirx.Broadcast(zero, width) if width > 1 else zero, width)
    source_y = Source(kernel, product, product.operand_y, product.y, s, plan.y, step)
    source_x = Source(kernel, product, product.operand_x, product.x, s, plan.x, step)
    with kernel.loop(ceil_div(product.k.extent, step), "piece") as piece:
        k = kernel.let("k0", (piece * plan.slices + slice_) * VECTOR)
        ys = kernel.alloc("ys", product.operand_y.dtype, plan.rows * VECTOR, "local")
        xs = kernel.alloc("xs", product.operand_x.dtype, plan.cols * VECTOR, "local")
        # ys is row-major with 4 k a row; xs has 4 rows of k, each with the thread's columns.
        _gather(kernel, source_y, row, k, plan.rows, lambda own, lane: own * VECTOR + lane, ys)
        _gather(kernel, source_x, column, k, plan.cols, lambda own, lane: lane * plan.cols + own, xs)
        for lane in range(VECTOR):
            for i in range(plan.rows):
                factor = cast(kernel.load(ys, i * VECTOR + lane), acc)
                for j in range(0, plan.cols, width):
                    other = cast(kernel.load(xs, lane * plan.cols + j, width), acc)
                    place = i * plan.cols + j
                    scale = tirx.Broadcast(factor, width) if width > 1 else factor
                    kernel.store(sums, place, kernel.load(sums, place, width) + scale * other, width)


def _gather(
    kernel: Kernel,
    source: Source,
    own: tirx.Expr,
    k: tirx.Expr,
    count: int,
    place: Callable[[int, int], int],
    target: tirx.Buffer,
) -> None:
    """Loads `count` positions x 4 k into registers: whole vectors where memory allows, scalars else."""
    along = source.operand.along
    if along == "k" or (along == "own" and count % VECTOR == 0):
        outer, inner = (count, VECTOR) if along == "k" else (VECTOR, count)
        for a in range(outer):
            for b in range(0, inner, VECTOR):
                at = (own + a, k + b) if along == "k" else (own + b, k + a)
                first = place(a, b) if along == "k" else place(b, a)
                second = place(a, b + 1) if along == "k" else place(b + 1, a)
                vector = source.vector(*at)
                if second - first == 1:
                    kernel.store(target, first, vector, VECTOR)
                else:
                    held = kernel.alloc("held", source.operand.dtype, VECTOR, "local")
                    kernel.store(held, 0, vector, VECTOR)
                    for lane in range(VECTOR):
                        to = place(a, b + lane) if along == "k" else place(b + lane, a)
                        kernel.store(target, to, kernel.load(held, lane))
    else:
        for a in range(count):
            for lane in range(VECTOR):
                kernel.store(target, place(a, lane), source.scalar(own + a, k + lane))


def _combine(
    kernel: Kernel,
    product: Product,
    plan: SplitK,
    tile: tuple[tirx.Expr, tirx.Expr, tirx.Expr],
    thread: tirx.Expr,
    partial: tirx.Buffer,
) -> None:
    """Adds the slices' sums; every thread stores its share of the tile at (s, y, x), neighbours along x."""
    s, first_y, first_x = tile
    results = plan.y * plan.x
    acc = product.accumulator
    for r in range(0, results, plan.threads):
        index = kernel.let("index", thread + r)
        with kernel.when(True if r + plan.threads <= results else index < results):
            total = kernel.alloc("total", acc, 1, "local")
            kernel.store(total, 0, kernel.load(partial, index))
            for other in range(1, plan.slices):
                kernel.store(total, 0, kernel.load(total, 0) + kernel.load(partial, index + other * results))
            y = kernel.let("y", first_y + tvm.tirx.floordiv(index, plan.x))
            x = kernel.let("x", first_x + tvm.tirx.floormod(index, plan.x))
            in_y = True if divides(plan.y, product.y.extent) else y < i64(product.y.extent)
            in_x = True if divides(plan.x, product.x.extent) else x < i64(product.x.extent)
            with kernel.when(in_y), kernel.when(in_x):
                store_result(kernel, product, s, y, x, kernel.load(total, 0))
