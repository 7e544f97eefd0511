"""Tiled matrix multiplication: a `Product` in, one kernel with workgroup-memory tiles and register tiles out.

A workgroup computes a y by x tile of results. Its threads form `slices` groups; each group walks along its own part of
k, staging pieces of both operands in workgroup memory (all index arithmetic, padding and casting of operands happens
here, once per element and workgroup), and accumulates rows x cols results per thread in registers from vector loads.
The next piece is loaded into registers while the current one is used. At the end the groups' sums meet in the same
memory.

X is staged k-major, so that a row is read as vectors along x. Y is staged the same way where memory has runs along y
(weights packed as [k, y]), else with runs along k and padded rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm
from tvm import tirx

from .axis import Axis, ceil_div, divides
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import MAX_BLOCK_Z, Limits
from .overlapping import Overlapping
from .product import VECTOR, Operand, Product
from .source import Source, batch_and_tile, cast, store_result
from .turned import can_turn, turn_y

# Threads that read workgroup memory together on the GPUs that the table aims at.
WARP = 32
HALF = "float16"


@dataclass(frozen=True)
class Tile:
    """y x x results of a workgroup, depth: staged piece of k, rows x cols results of a thread, slices: parts of k.

    rows, cols and depth are multiples of 4 and divide y, x; y, x and depth are powers of 2 in practice. turn: where
    memory has runs of Y along k, a kernel of its own writes Y k-major first. unroll: the loop over a piece is written
    out. warp: of 32 neighbouring threads that many lie along x, the others along y (0: as many as there are); the more
    square, the fewer words of workgroup memory they read. half: float16 operands stay so in workgroup memory, and the
    products of a piece are added up in float16, the pieces in float32: packed arithmetic, but `depth` roundings to 11
    bits, and a piece's sum must stay below 65,504.
    """

    y: int
    x: int
    depth: int
    rows: int
    cols: int
    slices: int = 1
    turn: bool = False
    unroll: bool = False
    warp: int = 0
    half: bool = False

    @property
    def threads_y(self) -> int:
        """Threads of a slice along y."""
        return self.y // self.rows

    @property
    def threads_x(self) -> int:
        """Threads of a slice along x."""
        return self.x // self.cols

    @property
    def group(self) -> int:
        """Threads of a slice."""
        return self.threads_y * self.threads_x

    @property
    def threads(self) -> int:
        """Invocations of a workgroup."""
        return self.group * self.slices

    def words(self, product: Product) -> int:
        """Elements of workgroup memory."""
        staged = self.slices * (self.y_words(product) + self.x * self.depth)
        return max(staged, (self.slices - 1) * self.y * self.x)

    def k_rows(self, product: Product) -> bool:
        """Whether Y is staged with runs along k."""
        return product.operand_y.along == "k" and not self.turn

    def y_words(self, product: Product) -> int:
        """Elements of one slice's tile of Y; rows along k are padded, so that threads hit different banks."""
        return self.y * (self.depth + (VECTOR if self.k_rows(product) else 0))

    def staged(self, product: Product) -> str:
        """dtype of the operands in workgroup memory."""
        return HALF if self.half else product.accumulator

    def fits(self, product: Product, limits: Limits) -> bool:
        """Whether the product is one for this form, and the kernel keeps within the limits of a workgroup."""
        memory = self.words(product) * tvm.DataType(self.staged(product)).itemsize
        small = self.threads <= limits.threads and memory <= limits.workgroup_bytes and self.slices <= MAX_BLOCK_Z
        dtypes = {product.operand_y.dtype, product.operand_x.dtype, product.result_dtype}
        # The slices' sums meet in the memory of the operands, which then would be too narrow.
        halves = not self.half or (dtypes == {HALF} and self.slices == 1)
        return small and halves and (not self.turn or can_turn(product))


def write(product: Product, tile: Tile, limits: Limits, body: Callable[..., Body] | None = None) -> tirx.PrimFunc:
    """The kernel; `body` writes it if not as usual. Raises NotApplicable where the tile passes the limits."""
    body = body or Body
    if not tile.fits(product, limits):
        raise NotApplicable(f"{tile} is too large for a workgroup")
    kernel = Kernel()
    if tile.turn:
        product = turn_y(kernel, product)
    tiles_x, tiles_y = ceil_div(product.x.extent, tile.x), ceil_div(product.y.extent, tile.y)
    # The batch shares blockIdx.x, the axis that the launch folds where it passes 65,535.
    # Threads that are dealt out by warps are numbered along one axis.
    shape = (1, tile.group) if tile.warp else (tile.threads_y, tile.threads_x)
    with (
        kernel.threads("blockIdx.y", tiles_y) as block_y,
        kernel.threads("blockIdx.x", tiles_x * product.s.extent) as block_x,
        kernel.threads("threadIdx.z", tile.slices) as slice_,
        kernel.threads("threadIdx.y", shape[0]) as thread_y,
        kernel.threads("threadIdx.x", shape[1]) as thread_x,
    ):
        s, tile_x = batch_and_tile(kernel, product, block_x, tiles_x)
        body(kernel, product, tile, s, block_y * tile.y, tile_x * tile.x, (slice_, thread_y, thread_x)).write()
    return product.func.with_body(kernel.finish())


def _lane(vectors: list[tirx.Expr], index: int) -> tirx.Expr:
    """Element `index` of vectors side by side."""
    return tirx.Shuffle([vectors[index // VECTOR]], [index % VECTOR])


class _Stage:
    """Copies one operand's tile: global memory to registers (`fetch`), registers to workgroup memory (`put`)."""

    def __init__(
        self, body: Body, name: str, source: Source, size: int, first: tirx.Expr, k_rows: bool, base: tirx.Expr
    ):
        self.body, self.kernel, self.source = body, body.kernel, source
        self.size, self.first, self.base = size, first, base
        self.depth = body.tile.depth
        # Layout of the tile: rows of k, one for each position on the operand's own axis, or the other way round.
        self.k_rows = k_rows
        self.stride = self.depth + VECTOR if k_rows else size
        # A unit is what one thread copies at a time: a vector, or a 4x4 square that is turned in registers.
        self.square = source.operand.along == "k" and not k_rows
        self.vectors = VECTOR if self.square else 1
        self.units = size * self.depth // (VECTOR * self.vectors)
        self.rounds = -(-self.units // body.tile.group)
        self.dtype, count = body.tile.staged(body.product), self.rounds * self.vectors
        self.registers = [self.kernel.alloc(f"{name}_next", self.dtype, VECTOR, "local") for _ in range(count)]

    def place(self, own: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        """Index of an element of the staged tile."""
        inner = own * self.stride + k if self.k_rows else k * self.stride + own
        return self.kernel.simplify(self.base + inner)

    def _units(self) -> Iterator[tuple[int, tirx.Expr, tirx.Expr, tirx.Expr | bool]]:
        """Vector of registers, own position and k position in the tile, and guard of each of the thread's units."""
        for r in range(self.rounds):
            unit = self.body.thread + r * self.body.tile.group
            guard = True if (r + 1) * self.body.tile.group <= self.units else unit < self.units
            # Neighbouring threads take neighbours along the tile's rows: they store to different banks.
            across = i64((self.depth if self.k_rows else self.size) // VECTOR)
            outer, inner = tvm.tirx.floordiv(unit, across), tvm.tirx.floormod(unit, across) * VECTOR
            own, k = (outer, inner) if self.k_rows else (inner, outer * self.vectors)
            yield r * self.vectors, own, k, guard

    def fetch(self, k0: tirx.Expr) -> None:
        """Loads the piece of the tile that starts at k0."""
        kernel, source = self.kernel, self.source
        steps = source.steps(k0)
        for register, own, k, guard in self._units():
            with kernel.when(guard):
                own, step = self.first + own, steps(k)
                if source.operand.along is not None:
                    for i in range(self.vectors):
                        self._keep(register + i, 0, source.vector(own + i, step), VECTOR)
                else:
                    for lane, value in enumerate(source.four(own, step)):
                        self._keep(register, lane, value, 1)

    def _keep(self, register: int, lane: int, value: tirx.Expr, lanes: int) -> None:
        self.kernel.store(self.registers[register], lane, cast(value, self.dtype), lanes)

    def put(self) -> None:
        """Stores what `fetch` loaded."""
        kernel, shared = self.kernel, self.body.shared
        for register, own, k, guard in self._units():
            with kernel.when(guard):
                if not self.square:
                    kernel.store(shared, self.place(own, k), kernel.load(self.registers[register], 0, VECTOR), VECTOR)
                    continue
                for lane in range(VECTOR):
                    turned = kernel.alloc("turned", self.dtype, VECTOR, "local")
                    for i in range(VECTOR):
                        kernel.store(turned, i, kernel.load(self.registers[register + i], lane))
                    kernel.store(shared, self.place(own, k + lane), kernel.load(turned, 0, VECTOR), VECTOR)


class Body:
    """The statements inside the thread loops."""

    def __init__(
        self,
        kernel: Kernel,
        product: Product,
        tile: Tile,
        s: tirx.Expr,
        first_y: tirx.Expr,
        first_x: tirx.Expr,
        thread: tuple[tirx.Expr, tirx.Expr, tirx.Expr],
    ):
        self.kernel, self.product, self.tile, self.s = kernel, product, tile, s
        self.first_y, self.first_x = first_y, first_x
        self.slice, self.thread_y, self.thread_x = thread
        width = tile.group if tile.warp else tile.threads_x
        self.thread = kernel.let("thread", self.thread_y * width + self.thread_x)
        if tile.warp:
            self.thread_y, self.thread_x = self._by_warps()
        self.shared = kernel.alloc("staged", tile.staged(product), tile.words(product), "shared")
        self.stage_y = self._stage("y", product.operand_y, product.y, tile.y, first_y)
        self.stage_x = self._stage("x", product.operand_x, product.x, tile.x, first_x)
        self.vectors = tile.cols // VECTOR

    def _stage(self, name: str, operand: Operand, axis: Axis, size: int, first: tirx.Expr) -> _Stage:
        tile = self.tile
        k_rows = name == "y" and tile.k_rows(self.product)
        y_words = tile.y_words(self.product)
        base = self.slice * (y_words + tile.x * tile.depth) + (0 if name == "y" else y_words)
        kind = Overlapping if operand.overlaps else Source
        source = kind(self.kernel, self.product, operand, axis, self.s, size, tile.depth * tile.slices, tile.depth)
        return _Stage(self, name, source, size, first, k_rows, base)

    def _by_warps(self) -> tuple[tirx.Expr, tirx.Expr]:
        """The thread's place along y and x where warps are `tile.warp` threads wide."""
        tile, kernel = self.tile, self.kernel
        across = tile.threads_x // tile.warp
        warp, lane = tvm.tirx.floordiv(self.thread, WARP), tvm.tirx.floormod(self.thread, WARP)
        y = tvm.tirx.floordiv(warp, across) * (WARP // tile.warp) + tvm.tirx.floordiv(lane, tile.warp)
        x = tvm.tirx.floormod(warp, across) * tile.warp + tvm.tirx.floormod(lane, tile.warp)
        return kernel.let("place_y", y), kernel.let("place_x", x)

    def _row(self, i: int) -> tirx.Expr:
        """Position in the tile of a thread's i-th row: neighbouring threads read neighbouring words."""
        if self.stage_y.k_rows:
            return self.thread_y + i * self.tile.threads_y
        return self.thread_y * VECTOR + (i // VECTOR) * self.tile.threads_y * VECTOR + i % VECTOR

    def _column(self, j: int) -> tirx.Expr:
        """Position in the tile of a thread's j-th vector."""
        return self.thread_x * VECTOR + j * self.tile.threads_x * VECTOR

    def write(self) -> None:
        """Everything: sums, staging loop, meeting of the slices, store."""
        product, tile = self.product, self.tile
        # A buffer for each vector: compilers keep small ones in registers more readily.
        sums = self._zeros("sums", product.accumulator)
        pieces = ceil_div(product.k.extent, tile.slices * tile.depth)
        start = self.slice * (pieces * tile.depth)
        if tile.unroll:
            self._pieces_ahead(sums, pieces, start)
        else:
            self._pieces(sums, pieces, start)
        if tile.slices > 1:
            self._meet(sums)
        self._finish(sums)

    def _zeros(self, name: str, dtype: str) -> list[tirx.Buffer]:
        """A register for each of the thread's vectors of results."""
        registers = [self.kernel.alloc(name, dtype, VECTOR, "local") for _ in range(self.tile.rows * self.vectors)]
        for held in registers:
            self.kernel.store(held, 0, tirx.Broadcast(tirx.const(0, dtype), VECTOR), VECTOR)
        return registers

    def _fetch(self, k0: tirx.Expr) -> None:
        self.stage_y.fetch(k0)
        self.stage_x.fetch(k0)

    def _put(self) -> None:
        self.stage_y.put()
        self.stage_x.put()

    def _pieces(self, sums: list[tirx.Buffer], pieces: int | tirx.Expr, start: tirx.Expr) -> None:
        """Round `piece` loads piece `piece` and meanwhile uses the one before: each part of the code stands once."""
        kernel, tile = self.kernel, self.tile
        with kernel.loop(pieces + 1, "piece") as piece:
            with kernel.when(piece < i64(pieces)):
                self._fetch(kernel.let("k0", start + piece * tile.depth))
            with kernel.when(piece > 0):
                self._accumulate(sums)
            kernel.sync()
            with kernel.when(piece < i64(pieces)):
                self._put()
            kernel.sync()

    def _pieces_ahead(self, sums: list[tirx.Buffer], pieces: int | tirx.Expr, start: tirx.Expr) -> None:
        """The same with the first loads before the loop: no branch around the multiplications."""
        kernel, tile = self.kernel, self.tile
        self._fetch(kernel.let("k0", start))
        with kernel.loop(pieces, "piece") as piece:
            kernel.sync()
            self._put()
            kernel.sync()
            with kernel.when(piece + 1 < i64(pieces)):
                self._fetch(kernel.let("k0", start + (piece + 1) * tile.depth))
            self._accumulate(sums)

    def _accumulate(self, sums: list[tirx.Buffer]) -> None:
        """Adds the products of the staged piece."""
        if not self.tile.half:
            self._add_products(sums)
            return
        kernel = self.kernel
        pieces = self._zeros("piece", HALF)
        self._add_products(pieces)
        for total, piece in zip(sums, pieces, strict=True):
            added = kernel.load(total, 0, VECTOR) + cast(kernel.load(piece, 0, VECTOR), self.product.accumulator)
            kernel.store(total, 0, added, VECTOR)

    def _add_products(self, sums: list[tirx.Buffer]) -> None:
        kernel, tile = self.kernel, self.tile
        step = VECTOR if self.stage_y.k_rows else 1
        kind = tirx.ForKind.UNROLLED if tile.unroll else tirx.ForKind.SERIAL
        with kernel.loop(tile.depth // step, "k", kind) as k:
            places = [self.stage_y.place(self._row(i), k * step) for i in range(0, tile.rows, VECTOR // step)]
            ys = [kernel.let("ys", kernel.load(self.shared, place, VECTOR)) for place in places]
            for lane in range(step):
                places = [self.stage_x.place(self._column(j), k * step + lane) for j in range(self.vectors)]
                xs = [kernel.let("xs", kernel.load(self.shared, place, VECTOR)) for place in places]
                for i in range(tile.rows):
                    factor = tirx.Broadcast(_lane(ys, i * step + lane), VECTOR)
                    for j in range(self.vectors):
                        held = sums[i * self.vectors + j]
                        kernel.store(held, 0, factor * xs[j] + kernel.load(held, 0, VECTOR), VECTOR)

    def _meet(self, sums: list[tirx.Buffer]) -> None:
        """Adds the sums of all slices into those of the first."""
        kernel, tile = self.kernel, self.tile
        count = tile.rows * self.vectors

        def place(owner: tirx.Expr | int, q: int) -> tirx.Expr:
            return ((owner * count + q) * tile.group + self.thread) * VECTOR

        with kernel.when(self.slice > 0):
            for q in range(count):
                kernel.store(self.shared, place(self.slice - 1, q), kernel.load(sums[q], 0, VECTOR), VECTOR)
        kernel.sync()
        with kernel.when(tvm.tirx.EQ(self.slice, i64(0))):
            for q in range(count):
                for other in range(tile.slices - 1):
                    theirs = kernel.load(self.shared, place(other, q), VECTOR)
                    kernel.store(sums[q], 0, kernel.load(sums[q], 0, VECTOR) + theirs, VECTOR)

    def _first(self) -> tirx.Expr | bool:
        """Whether this is a thread of the first slice, which has the sums of all."""
        return True if self.tile.slices == 1 else tvm.tirx.EQ(self.slice, i64(0))

    def _finish(self, sums: list[tirx.Buffer]) -> None:
        with self.kernel.when(self._first()):
            self._store(sums)

    def _store(self, sums: list[tirx.Buffer]) -> None:
        kernel, product, tile = self.kernel, self.product, self.tile
        whole_y, whole_x = divides(tile.y, product.y.extent), divides(tile.x, product.x.extent)
        for i in range(tile.rows):
            y = kernel.let("y", self.first_y + self._row(i))
            with kernel.when(True if whole_y else y < i64(product.y.extent)):
                for j in range(self.vectors):
                    x = kernel.let("x", self.first_x + self._column(j))
                    held = sums[i * self.vectors + j]
                    if product.vector_store:
                        inside = True if whole_x else x < i64(product.x.extent)
                        with kernel.when(inside), kernel.vectorized(VECTOR) as lane:
                            store_result(kernel, product, self.s, y, x + lane, kernel.load(held, lane))
                    else:
                        for lane in range(VECTOR):
                            inside = True if whole_x else x + lane < i64(product.x.extent)
                            with kernel.when(inside):
                                store_result(kernel, product, self.s, y, x + lane, kernel.load(held, lane))
