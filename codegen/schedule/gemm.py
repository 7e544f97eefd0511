"""Tiled matrix multiplication: a `Product` in, one kernel with workgroup-memory tiles and register tiles out.

Each workgroup walks along k: it stages a tile of both operands in workgroup memory (all index arithmetic, padding and
casting of the operands happens here, once per element and workgroup), then every thread accumulates rows x cols results
in registers from vector loads. X is staged k-major so that a row is read as vectors along x. Y is staged as it lies in
memory: vectors along k where k is contiguous (the rule for weights), else along y.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import tirx

from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .product import VECTOR, Axis, Operand, Product
from .source import Source, cast, ceil_div, divides, store_result


@dataclass(frozen=True)
class Tile:
    """A workgroup of threads_y x threads_x invocations computes (threads_y * rows) x (threads_x * cols) results.

    rows, cols: results of a thread; cols is a multiple of 4. depth: length of the staged piece of k, a multiple of 4.
    prefetch: load the next piece into registers while the current one is used.
    """

    threads_y: int
    threads_x: int
    rows: int
    cols: int
    depth: int
    prefetch: bool = False

    @property
    def threads(self) -> int:
        """Invocations of a workgroup."""
        return self.threads_y * self.threads_x

    @property
    def y(self) -> int:
        """Results of a workgroup along y."""
        return self.threads_y * self.rows

    @property
    def x(self) -> int:
        """Results of a workgroup along x."""
        return self.threads_x * self.cols

    def bytes(self, itemsize: int) -> int:
        """Workgroup memory."""
        return (self.y + self.x) * self.depth * itemsize


def write(product: Product, tile: Tile, limits: Limits) -> tirx.PrimFunc:
    """The kernel. Raises NotApplicable where the tile passes the limits."""
    itemsize = tvm.DataType(product.operand_x.dtype).itemsize
    if tile.threads > limits.threads or tile.bytes(itemsize) > limits.workgroup_bytes:
        raise NotApplicable("the tile is too large for a workgroup")
    kernel = Kernel()
    tiles_x, tiles_y = ceil_div(product.x.extent, tile.x), ceil_div(product.y.extent, tile.y)
    # The batch shares blockIdx.x, the axis that the launch folds where it passes 65,535.
    with (
        kernel.threads("blockIdx.y", tiles_y) as block_y,
        kernel.threads("blockIdx.x", tiles_x * product.s.extent) as block_x,
        kernel.threads("threadIdx.y", tile.threads_y) as thread_y,
        kernel.threads("threadIdx.x", tile.threads_x) as thread_x,
    ):
        s = kernel.let("s", tvm.tirx.floordiv(block_x, i64(tiles_x)))
        tile_x = kernel.let("tile_x", tvm.tirx.floormod(block_x, i64(tiles_x)))
        _Body(kernel, product, tile, s, block_y, tile_x, thread_y, thread_x).write()
    return product.func.with_body(kernel.finish())


class _Stage:
    """Copies one operand's tile: global memory to registers (`fetch`), registers to workgroup memory (`put`)."""

    def __init__(
        self, body: _Body, name: str, operand: Operand, axis: Axis, size: int, first: tirx.Expr, transposable: bool
    ):
        self.body, self.kernel, self.operand, self.axis = body, body.kernel, operand, axis
        self.size, self.first, self.depth = size, first, body.tile.depth
        # Layout of the tile: vectors along k ("k"), or along the operand's own axis ("own").
        self.layout = "k" if operand.along == "k" and not transposable else "own"
        # A unit is what one thread copies at a time: a vector, or a 4x4 square that is turned in registers.
        self.square = operand.along == "k" and self.layout == "own"
        self.vectors = VECTOR if self.square else 1
        self.units = size * self.depth // (VECTOR * self.vectors)
        self.rounds = -(-self.units // body.tile.threads)
        self.source = Source(body.kernel, body.product, operand, axis, body.s, size, self.depth)
        self.shared = self.kernel.alloc(f"{name}_tile", operand.dtype, size * self.depth, "shared")
        self.local = self.kernel.alloc(f"{name}_next", operand.dtype, self.rounds * self.vectors * VECTOR, "local")

    def _each_unit(self):
        """(unit index, first register, own position and k position inside the tile, guard) of every round."""
        for r in range(self.rounds):
            unit = self.body.thread + r * self.body.tile.threads
            guard = True if (r + 1) * self.body.tile.threads <= self.units else unit < self.units
            along_k = self.depth // VECTOR if self.layout == "k" or self.square else self.depth
            across = self.size if self.layout == "k" else self.size // VECTOR
            if self.layout == "k" or self.square:
                own, k = tvm.tirx.floordiv(unit, i64(along_k)), tvm.tirx.floormod(unit, i64(along_k))
            else:
                own, k = tvm.tirx.floormod(unit, i64(across)), tvm.tirx.floordiv(unit, i64(across))
            own = own * (1 if self.layout == "k" else VECTOR)
            k = k * (VECTOR if self.layout == "k" or self.square else 1)
            yield unit, r * self.vectors * VECTOR, own, k, guard

    def fetch(self, k0: tirx.Expr) -> None:
        """Loads the piece of the tile that starts at k0."""
        for _, register, own, k, guard in self._each_unit():
            with self.kernel.when(guard):
                self._fetch_unit(register, self.first + own, k0 + k)

    def _fetch_unit(self, register: int, own: tirx.Expr, k: tirx.Expr) -> None:
        kernel, source = self.kernel, self.source
        if self.operand.along is not None:
            for i in range(self.vectors):
                kernel.store(self.local, register + i * VECTOR, source.vector(own + i, k), VECTOR)
        else:
            for lane in range(VECTOR):
                kernel.store(self.local, register + lane, source.scalar(own + lane, k))

    def put(self) -> None:
        """Stores what `fetch` loaded."""
        kernel = self.kernel
        for _, register, own, k, guard in self._each_unit():
            with kernel.when(guard):
                if self.square:
                    for lane in range(VECTOR):
                        turned = kernel.alloc("turned", self.operand.dtype, VECTOR, "local")
                        for i in range(VECTOR):
                            kernel.store(turned, i, kernel.load(self.local, register + i * VECTOR + lane))
                        kernel.store(self.shared, self.place(own, k + lane), kernel.load(turned, 0, VECTOR), VECTOR)
                else:
                    kernel.store(self.shared, self.place(own, k), kernel.load(self.local, register, VECTOR), VECTOR)

    def place(self, own: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        """Index of an element in the staged tile."""
        place = own * self.depth + k if self.layout == "k" else k * self.size + own
        return self.kernel.simplify(place)


class _Body:
    """The statements inside the four thread loops."""

    def __init__(self, kernel, product, tile, s, block_y, tile_x, thread_y, thread_x):
        self.kernel: Kernel = kernel
        self.product: Product = product
        self.tile: Tile = tile
        self.s, self.thread_y, self.thread_x = s, thread_y, thread_x
        self.thread = kernel.let("thread", thread_y * tile.threads_x + thread_x)
        self.first_y = block_y * tile.y
        self.first_x = tile_x * tile.x

    def write(self) -> None:
        kernel, product, tile = self.kernel, self.product, self.tile
        stage_y = _Stage(self, "y", product.operand_y, product.y, tile.y, self.first_y, transposable=False)
        stage_x = _Stage(self, "x", product.operand_x, product.x, tile.x, self.first_x, transposable=True)
        stages = (stage_y, stage_x)
        sums = kernel.alloc("sums", product.accumulator, tile.rows * tile.cols, "local")
        zero = tirx.Broadcast(tirx.const(0, product.accumulator), VECTOR)
        for i in range(tile.rows * tile.cols // VECTOR):
            kernel.store(sums, i * VECTOR, zero, VECTOR)
        pieces = ceil_div(product.k.extent, tile.depth)
        if tile.prefetch:
            for stage in stages:
                stage.fetch(i64(0))
        with kernel.loop(pieces, "piece") as piece:
            if not tile.prefetch:
                for stage in stages:
                    stage.fetch(piece * tile.depth)
            for stage in stages:
                stage.put()
            kernel.sync()
            if tile.prefetch:
                # The last round loads its own piece again, which costs less than a branch.
                following = kernel.let("following", tvm.tirx.min(piece + 1, i64(pieces) - 1))
                for stage in stages:
                    stage.fetch(following * tile.depth)
            self._accumulate(stage_y, stage_x, sums)
            kernel.sync()
        self._store(sums)

    def _column(self, j: int) -> tirx.Expr:
        """First x inside the tile of a thread's j-th vector: neighbouring threads hold neighbouring vectors."""
        return self.thread_x * VECTOR + j * self.tile.threads_x * VECTOR

    def _accumulate(self, stage_y: _Stage, stage_x: _Stage, sums: tirx.Buffer) -> None:
        kernel, tile, acc = self.kernel, self.tile, self.product.accumulator
        vectors = tile.cols // VECTOR
        with kernel.loop(tile.depth // VECTOR, "k4") as k4:
            ys = kernel.alloc("ys", stage_y.operand.dtype, tile.rows * VECTOR, "local")
            row = self.thread_y * tile.rows
            if stage_y.layout == "k":
                for i in range(tile.rows):
                    place = stage_y.place(row + i, k4 * VECTOR)
                    kernel.store(ys, i * VECTOR, kernel.load(stage_y.shared, place, VECTOR), VECTOR)
            else:
                for lane in range(VECTOR):
                    for i in range(0, tile.rows, VECTOR):
                        place = stage_y.place(row + i, k4 * VECTOR + lane)
                        kernel.store(ys, lane * tile.rows + i, kernel.load(stage_y.shared, place, VECTOR), VECTOR)
            for lane in range(VECTOR):
                xs = []
                for j in range(vectors):
                    held = kernel.alloc("xs", acc, VECTOR, "local")
                    value = kernel.load(stage_x.shared, stage_x.place(self._column(j), k4 * VECTOR + lane), VECTOR)
                    kernel.store(held, 0, cast(value, acc), VECTOR)
                    xs.append(held)
                for i in range(tile.rows):
                    element = i * VECTOR + lane if stage_y.layout == "k" else lane * tile.rows + i
                    factor = tirx.Broadcast(cast(kernel.load(ys, element), acc), VECTOR)
                    for j in range(vectors):
                        place = (i * vectors + j) * VECTOR
                        total = kernel.load(sums, place, VECTOR) + factor * kernel.load(xs[j], 0, VECTOR)
                        kernel.store(sums, place, total, VECTOR)

    def _store(self, sums: tirx.Buffer) -> None:
        kernel, product, tile = self.kernel, self.product, self.tile
        vectors = tile.cols // VECTOR
        whole_y, whole_x = divides(tile.y, product.y.extent), divides(tile.x, product.x.extent)
        for i in range(tile.rows):
            y = kernel.let("y", self.first_y + self.thread_y * tile.rows + i)
            with kernel.when(True if whole_y else y < i64(product.y.extent)):
                for j in range(vectors):
                    x = kernel.let("x", self.first_x + self._column(j))
                    first = (i * vectors + j) * VECTOR
                    if product.vector_store:
                        inside = True if whole_x else x < i64(product.x.extent)
                        with kernel.when(inside), kernel.vectorized(VECTOR) as lane:
                            store_result(kernel, product, self.s, y, x + lane, kernel.load(sums, first + lane))
                    else:
                        for lane in range(VECTOR):
                            inside = True if whole_x else x + lane < i64(product.x.extent)
                            with kernel.when(inside):
                                store_result(kernel, product, self.s, y, x + lane, kernel.load(sums, first + lane))
