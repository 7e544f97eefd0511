"""Matrix products on matrix units: float16 operands, float32 sums, by fragments of 16x16 that a subgroup holds.

The tiles of both operands are staged in workgroup memory as in `gemm`, each in the direction in which it lies in global
memory, and loaded from there as fragments. Operands in runs of 8 pass through as words of two values, 4 words at a
time: on an H100 loads of 16 bytes instead of 8 take 4096^3 from 263 to 294 TFLOP/s. At the end the sums pass through
workgroup memory, so that casts, biases and activations are elementwise work of single threads: where both operands were
words, through theirs, a row of fragments at a time, else a fragment at a time through memory of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import tvm
from tvm import tirx
from tvm.tirx.buffer import buffer_data

from .axis import Axis, ceil_div, divides
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .product import VECTOR, Operand, Product
from .source import Source, Words, batch_and_tile, store_result

# Rows, columns and depth of a fragment, and the threads that hold it: what GPUs of NVIDIA offer through WebGPU.
SIDE = 16
LANES = 32
SHAPE = (SIDE, SIDE, SIDE)
HALF, FULL, WORD = "float16", "float32", "uint32"


@dataclass(frozen=True)
class MatrixTile:
    """y x x results of a workgroup, depth: staged piece of k, warp_y x warp_x results of a subgroup; pad: elements
    after each staged row, which put neighbouring rows on different banks. All but pad are multiples of SIDE."""

    y: int
    x: int
    depth: int
    warp_y: int
    warp_x: int
    pad: int = 8

    @property
    def warps(self) -> int:
        """Subgroups of a workgroup."""
        return (self.y // self.warp_y) * (self.x // self.warp_x)

    @property
    def threads(self) -> int:
        """Invocations of a workgroup."""
        return self.warps * LANES

    def halves(self, size: int, k_rows: bool) -> int:
        """float16 elements of a staged tile with `size` positions along the operand's own axis."""
        return size * (self.depth + self.pad) if k_rows else self.depth * (size + self.pad)

    def strips(self, row: int) -> int:
        """Elements of memory for rows of that length of a fragment's height, for each subgroup."""
        return self.warps * SIDE * row

    def fits(self, product: Product, limits: Limits) -> bool:
        """Whether the device has matrix units, the operands suit them, and the tile fits a workgroup."""
        operands = (product.operand_y, product.operand_x)
        if not limits.subgroup_matrix or product.accumulator != FULL:
            return False
        if any(_half(operand) is None for operand in operands):
            return False
        sides = ((self.y, product.operand_y), (self.x, product.operand_x))
        staged = sum(self.halves(size, operand.along == "k") for size, operand in sides)
        memory = max(2 * staged + 4 * self.warps * SIDE * SIDE, 4 * self.strips(self.warp_x + VECTOR))
        return self.threads <= limits.threads and memory <= limits.workgroup_bytes


def _half(operand: Operand) -> Operand | None:
    """The operand before it is widened to float32, if it is float16 in memory."""
    value = operand.value
    while isinstance(value, tirx.Cast) and str(value.ty.dtype) in (HALF, FULL):
        if str(value.value.ty.dtype) not in (HALF, FULL):
            return None
        value = value.value
    return Operand(value, HALF, operand.along) if str(value.ty.dtype) == HALF else None


def write(product: Product, tile: MatrixTile, limits: Limits) -> tirx.PrimFunc:
    """The kernel. Raises NotApplicable where the tile does not fit."""
    if not tile.fits(product, limits):
        raise NotApplicable(f"{tile} is too large, or there are no matrix units")
    y, x = _half(product.operand_y), _half(product.operand_x)
    assert y is not None and x is not None
    product = replace(product, operand_y=y, operand_x=x)
    kernel = Kernel()
    tiles_x, tiles_y = ceil_div(product.x.extent, tile.x), ceil_div(product.y.extent, tile.y)
    with (
        kernel.threads("blockIdx.y", tiles_y) as block_y,
        kernel.threads("blockIdx.x", tiles_x * product.s.extent) as block_x,
        kernel.threads("threadIdx.x", tile.threads) as thread,
    ):
        s, tile_x = batch_and_tile(kernel, product, block_x, tiles_x)
        _Body(kernel, product, tile, s, block_y * tile.y, tile_x * tile.x, thread).write()
    return product.func.with_body(kernel.finish())


class _Stage:
    """One operand's tile: global memory to registers (`fetch`), to workgroup memory (`put`), to fragments (`load`).

    `allocate` must give it the memory first.
    """

    staged: tirx.Buffer
    base: int

    def __init__(
        self,
        kernel: Kernel,
        tile: MatrixTile,
        name: str,
        source: Source,
        size: int,
        first: tirx.Expr,
        thread: tirx.Expr,
    ):
        self.kernel, self.tile, self.source, self.first, self.thread = kernel, tile, source, first, thread
        self.k_rows = source.operand.along == "k"
        self.inner = tile.depth if self.k_rows else size
        self.stride = self.inner + tile.pad
        # dtype of workgroup memory, and values in an element of it.
        self.dtype, self.packed = (WORD, 2) if isinstance(source, Words) else (HALF, 1)
        self.name, self.elements = name, tile.halves(size, self.k_rows) // self.packed
        self.units = size * tile.depth // source.run
        self.rounds = -(-self.units // tile.threads)
        self.registers = [kernel.alloc(f"{name}_next", self.dtype, VECTOR, "local") for _ in range(self.rounds)]

    def allocate(self, shared: tirx.Buffer | None = None, base: int = 0) -> None:
        """Takes its place in the shared memory, else allocates memory of its own."""
        if shared is None:
            shared = self.kernel.alloc(f"{self.name}_staged", self.dtype, self.elements, "shared")
        self.staged, self.base = shared, base

    def _units(self) -> Iterator[tuple[int, tirx.Expr, tirx.Expr, tirx.Expr | bool]]:
        """Vector of registers, row and column in the staged tile, and guard of each of the thread's vectors."""
        for r in range(self.rounds):
            unit = self.thread + r * self.tile.threads
            guard = True if (r + 1) * self.tile.threads <= self.units else unit < self.units
            across = i64(self.inner // self.source.run)
            yield r, tvm.tirx.floordiv(unit, across), tvm.tirx.floormod(unit, across) * self.source.run, guard

    def fetch(self, k0: tirx.Expr) -> None:
        """Loads the piece that starts at k0."""
        for register, row, column, guard in self._units():
            with self.kernel.when(guard):
                own, k = (row, column) if self.k_rows else (column, row)
                own, k = self.first + own, k0 + k
                if self.source.operand.along is not None:
                    self.kernel.store(self.registers[register], 0, self.source.vector(own, k), VECTOR)
                else:
                    for lane in range(VECTOR):
                        self.kernel.store(self.registers[register], lane, self.source.scalar(own + lane, k))

    def put(self) -> None:
        """Stores what `fetch` loaded."""
        for register, row, column, guard in self._units():
            with self.kernel.when(guard):
                held = self.kernel.load(self.registers[register], 0, VECTOR)
                self.kernel.store(self.staged, self._element(row * self.stride + column), held, VECTOR)

    def _element(self, half: tirx.Expr) -> tirx.Expr:
        """Index in workgroup memory of a value of the tile, the first of its element."""
        return self.kernel.simplify(tvm.tirx.floordiv(half, self.packed) + self.base)

    def load(self, fragments: tirx.Buffer, index: int, own: tirx.Expr, k: int, left: bool) -> None:
        """Loads the fragment at (own, k) of the tile."""
        at = own * self.stride + k if self.k_rows else k * self.stride + own
        # Rows of the left operand run along k, those of the right one along its own axis.
        layout = "row_major" if self.k_rows == left else "col_major"
        place, stride = _address(self.staged, self._element(at)), self.stride // self.packed
        _call(self.kernel, "tvm_load_matrix_sync", fragments, *SHAPE, index, place, stride, layout)


def _call(kernel: Kernel, name: str, fragments: tirx.Buffer, *args: object) -> None:
    kernel.emit(tirx.Evaluate(tirx.call_intrin("handle", f"tirx.{name}", buffer_data(fragments), *args)))


def _address(buffer: tirx.Buffer, index: tirx.Expr) -> tirx.Expr:
    return tirx.address_of(tirx.BufferLoad(buffer, [index]))


class _Body:
    """The statements inside the thread loops."""

    def __init__(
        self,
        kernel: Kernel,
        product: Product,
        tile: MatrixTile,
        s: tirx.Expr,
        first_y: tirx.Expr,
        first_x: tirx.Expr,
        thread: tirx.Expr,
    ):
        self.kernel, self.product, self.tile, self.s = kernel, product, tile, s
        self.first_y, self.first_x, self.thread = first_y, first_x, thread
        across = tile.x // tile.warp_x
        self.warp = kernel.let("warp", tvm.tirx.floordiv(thread, LANES))
        self.lane = kernel.let("lane", tvm.tirx.floormod(thread, LANES))
        self.warp_y = kernel.let("warp_y", tvm.tirx.floordiv(self.warp, across) * tile.warp_y)
        self.warp_x = kernel.let("warp_x", tvm.tirx.floormod(self.warp, across) * tile.warp_x)
        self.stage_y = self._stage("y", product.operand_y, product.y, tile.y, first_y)
        self.stage_x = self._stage("x", product.operand_x, product.x, tile.x, first_x)
        self.rows, self.columns = tile.warp_y // SIDE, tile.warp_x // SIDE
        self._allocate()

    def _allocate(self) -> None:
        """Memory for both operands and for results, and how many fragments side by side go through that at once."""
        kernel, tile, stages = self.kernel, self.tile, (self.stage_y, self.stage_x)
        if all(stage.dtype == WORD for stage in stages):
            self.strip, self.row = self.columns, tile.warp_x + VECTOR  # rows begin on different banks
            staged = sum(stage.elements for stage in stages)
            self.results = kernel.alloc("staged", WORD, max(staged, tile.strips(self.row)), "shared")
            self.stage_y.allocate(self.results)
            self.stage_x.allocate(self.results, self.stage_y.elements)
            return
        # More than a fragment would cost the main loop its neighbours on a core.
        self.strip, self.row = 1, SIDE
        for stage in stages:
            stage.allocate()
        self.results = kernel.alloc("scratch", FULL, tile.strips(self.row), "shared")

    def _stage(self, name: str, operand: Operand, axis: Axis, size: int, first: tirx.Expr) -> _Stage:
        whole = self.tile.pad % Words.run == 0 and Words.suits(self.product, operand, axis)
        kind = Words if whole else Source
        source = kind(self.kernel, self.product, operand, axis, self.s, size, self.tile.depth)
        return _Stage(self.kernel, self.tile, name, source, size, first, self.thread)

    def write(self) -> None:
        """Everything: sums, staging loop, store."""
        kernel, product, tile = self.kernel, self.product, self.tile
        count = self.rows * self.columns
        sums = kernel.alloc("sums", FULL, SIDE * SIDE * count, "wmma.accumulator")
        left = kernel.alloc("left", HALF, SIDE * SIDE * self.rows, "wmma.matrix_a")
        right = kernel.alloc("right", HALF, SIDE * SIDE * self.columns, "wmma.matrix_b")
        for i in range(count):
            _call(kernel, "tvm_fill_fragment", sums, *SHAPE, i, tirx.const(0, FULL))
        pieces = ceil_div(product.k.extent, tile.depth)
        self._fetch(i64(0))
        # The last piece stands behind the loop: without a branch around the loads in it, 3 % are gained.
        with kernel.loop(pieces - 1, "piece") as piece:
            self._put()
            self._fetch(kernel.let("k0", (piece + 1) * tile.depth))
            self._multiply(left, right, sums)
        self._put()
        self._multiply(left, right, sums)
        self._store(sums)

    def _put(self) -> None:
        self.kernel.sync()
        self.stage_y.put()
        self.stage_x.put()
        self.kernel.sync()

    def _multiply(self, left: tirx.Buffer, right: tirx.Buffer, sums: tirx.Buffer) -> None:
        """Adds the products of the staged piece."""
        for k in range(0, self.tile.depth, SIDE):
            for i in range(self.rows):
                self.stage_y.load(left, i, self.warp_y + i * SIDE, k, True)
            for j in range(self.columns):
                self.stage_x.load(right, j, self.warp_x + j * SIDE, k, False)
            for i in range(self.rows):
                for j in range(self.columns):
                    at = i * self.columns + j
                    _call(
                        self.kernel, "tvm_mma_sync", sums, at, buffer_data(left), i, buffer_data(right), j,
                        buffer_data(sums), at,
                    )  # fmt: skip

    def _fetch(self, k0: tirx.Expr) -> None:
        self.stage_y.fetch(k0)
        self.stage_x.fetch(k0)

    def _store(self, sums: tirx.Buffer) -> None:
        """The sums through workgroup memory, `strip` fragments at a time."""
        kernel = self.kernel
        mine = kernel.let("mine", self.warp * (SIDE * self.row))
        vectors = self.strip * SIDE // VECTOR
        for index in range(0, self.rows * self.columns, self.strip):
            i, j = divmod(index, self.columns)
            kernel.sync()
            for n in range(self.strip):
                place = _address(self.results, kernel.simplify(mine + n * SIDE))
                _call(kernel, "tvm_store_matrix_sync", sums, *SHAPE, index + n, place, self.row, "row_major")
            kernel.sync()
            for r in range(0, SIDE * vectors, LANES):
                unit = self.lane + r
                row, column = tvm.tirx.floordiv(unit, vectors), tvm.tirx.floormod(unit, vectors) * VECTOR
                y = kernel.let("y", self.first_y + self.warp_y + i * SIDE + row)
                x = kernel.let("x", self.first_x + self.warp_x + j * SIDE + column)
                self._store_vector(self._held(mine + row * self.row + column), y, x)

    def _held(self, at: tirx.Expr) -> tirx.Buffer:
        """Four sums side by side, from workgroup memory to registers."""
        held = self.kernel.alloc("held", FULL, VECTOR, "local")
        value = self.kernel.load(self.results, at, VECTOR)
        if str(self.results.dtype) == WORD:
            value = tirx.call_intrin(f"{FULL}x{VECTOR}", "tirx.reinterpret", value)
        self.kernel.store(held, 0, value, VECTOR)
        return held

    def _store_vector(self, held: tirx.Buffer, y: tirx.Expr, x: tirx.Expr) -> None:
        kernel, product, tile = self.kernel, self.product, self.tile
        with kernel.when(True if divides(tile.y, product.y.extent) else y < i64(product.y.extent)):
            whole = divides(tile.x, product.x.extent)
            if product.vector_store:
                inside = True if whole else x < i64(product.x.extent)
                with kernel.when(inside), kernel.vectorized(VECTOR) as lane:
                    store_result(kernel, product, self.s, y, x + lane, kernel.load(held, lane))
                return
            for lane in range(VECTOR):
                with kernel.when(True if whole else x + lane < i64(product.x.extent)):
                    store_result(kernel, product, self.s, y, x + lane, kernel.load(held, lane))
