"""Products whose results go through small windows: a PrimFunc in, one kernel out.

A 1x1 convolution and the depthwise one behind it (with what is elementwise around them) are one kernel where a tile
holds all positions of its rows: the workgroup keeps these planes in its memory and reads the windows there. Nothing is
computed twice; but each workgroup reads the whole of the other operand for a few rows, so this is for short sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.tirx.analysis import undefined_vars

from . import gemm
from .axis import Axis, ceil_div, divides, number, wide
from .blocks import NotApplicable, two_reductions
from .builder import i64
from .gemm import Tile
from .limits import DEFAULT_WORKGROUP_BYTES, Limits
from .nest import flatten, instead_of_reads, offset_of, reads_of, substitute
from .product import VECTOR, Product, stored, sums_of
from .source import cast, result
from .typical import typical
from .windowed import reduced

Names = dict[tirx.Var, tirx.Expr]


@dataclass(frozen=True)
class Planes:
    """A product, whose results (after elementwise work) are in `held`, and the reduction over windows of them.

    held: stands for what a workgroup keeps of them, and has their dtype.
    value: one result of the windows, with reads of `held`; inner: the iterators of the windows' results in a plane;
    outer: the others, in terms of the product's. places: which index of `held` each of the product's iterators is.
    finish: the elementwise work on what the windows give.
    """

    product: Product
    held: tirx.Buffer
    places: dict[tirx.Var, int]
    value: tirx.Expr
    inner: Axis
    outer: Names
    store_buffer: tirx.Buffer
    store_indices: tuple[tirx.Expr, ...]
    finish: Callable[[tirx.Expr], tirx.Expr]


@dataclass(frozen=True)
class Row:
    """Planes of up to so many positions, sums up to so long, windows with up to so many results a plane."""

    positions: int
    depth: int
    results: int


# H100, microseconds, two kernels and one: 160x7x7 to 960 8.7 and 6.2, 512x7x7 to 1024 11.5 and 10.1; 64x14x14 to 384
# 6.7 and 5.8, 96x14x14 to 576 7.5 and 8.4, by stride 2 7.0 and 6.8; 32x28x28 to 192 by stride 2 6.6 and 6.4. A launch
# costs the host 6 more. Not so: 32x28x28 to 192 6.8 and 9.8, 512x14x14 to 512 11.6 and 15.8, 256x28x28 to 256 11.4 and
# 28.
ROWS = (Row(52, 512, 52), Row(196, 96, 196), Row(784, 32, 196))


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is anything else, or is faster as two."""
    planes, tile = choose(func, limits)
    return write(planes, tile, limits).with_attr("tvm_webgpu.plan", str(tile))


def choose(func: tirx.PrimFunc, limits: Limits) -> tuple[Planes, Tile]:
    """The product with its windows, and its tile. Raises NotApplicable as `schedule` does."""
    planes = recognise(func)
    product, results = planes.product, planes.inner.extent
    positions, depth = product.x.extent, typical(product.func, product.k.extent, ROWS[0].depth + 1)
    if not (isinstance(positions, int) and isinstance(results, int)):
        raise NotApplicable("planes of sizes that are not known")
    if len(wide(product.k)) != 1:
        raise NotApplicable("a product that is itself of windows: not measured")
    if not any(positions <= row.positions and depth <= row.depth and results <= row.results for row in ROWS):
        raise NotApplicable("faster apart")
    return planes, tile_for(product, limits)


def tile_for(product: Product, limits: Limits) -> Tile:
    """The tile that is as wide as a plane, with as many slices of the sum as a workgroup has room for.

    Raises NotApplicable where there is none. Memory beyond what every device has is left: a core would hold fewer
    workgroups.
    """
    limits = replace(limits, workgroup_bytes=min(limits.workgroup_bytes, DEFAULT_WORKGROUP_BYTES))
    width = ceil_div(product.x.extent, VECTOR) * VECTOR
    height = 2 * VECTOR if width <= 16 * VECTOR else VECTOR
    for slices in (8, 4, 2, 1):
        for depth in (8, 4):
            tile = Tile(height, width, depth, VECTOR, VECTOR, slices)
            if tile.fits(product, limits) and tile.words(product) >= height * width:
                return tile
    raise NotApplicable("planes are larger than a workgroup's memory")


def write(planes: Planes, tile: Tile, limits: Limits) -> tirx.PrimFunc:
    """The kernel; a plane has to be within the tile."""
    return gemm.write(planes.product, tile, limits, lambda *args: _Body(planes, *args))


def recognise(func: tirx.PrimFunc) -> Planes:
    """Raises NotApplicable where the function is not a product, a reduction over small windows of its results, and
    elementwise work."""
    sch, first, second, behind = two_reductions(func)
    main, window = sch.get(first), sch.get(second)
    if not isinstance(main.body, tirx.BufferStore):
        raise NotApplicable("not one result")
    buffer, indices, finish = stored(sch, second, behind)
    spatial = [it for it in window.iter_vars if it.iter_type == tirx.IterVar.DataPar]
    value, held, term = _apart(reduced(window, {it.var: it.var for it in spatial}), main, {it.var for it in spatial})
    product = sums_of(func, main, (held, tuple(main.body.indices), term))
    places = {index: i for i, index in enumerate(main.body.indices) if isinstance(index, tirx.Var)}
    outer = _outer(product, reads_of(value, held), places)
    inner = Axis.of([it for it in spatial if it.var not in outer])
    return Planes(product, held, places, value, inner, outer, buffer, indices, finish)


def _apart(
    value: tirx.Expr, main: s_tir.SBlock, own: set[tirx.Var]
) -> tuple[tirx.Expr, tirx.Buffer, Callable[[tirx.Expr], tirx.Expr]]:
    """What windows give, with plain reads of a buffer of what becomes of `main`'s results; the buffer; and the
    elementwise work on one of these results.

    The work is what padding guards: so it is done once for a result, not for each window that the result is in.
    """
    results, works = main.body.buffer, []

    def is_guarded(node: tvm.ir.Call) -> bool:
        lazy = isinstance(node.op, tvm.ir.Op) and node.op.name == "prim.if_then_else"
        return lazy and bool(reads_of(node.args[1], results))

    def collect(node: tvm.ir.Call) -> None:
        if is_guarded(node):
            works.append(node.args[1])

    tvm_ffi.structural_walk(value, (tvm.ir.Call, collect), order="pre")
    work = works[0] if works else reads_of(value, results)[0]
    held = tirx.decl_buffer(results.shape, work.ty.dtype, "held")

    def read(node: tirx.Expr) -> tirx.Expr:
        return tirx.BufferLoad(held, reads_of(node, results)[0].indices)

    def guarded(node: tvm.ir.Call) -> tirx.Expr:
        return tvm.tirx.if_then_else(node.args[0], read(node.args[1]), node.args[2]) if is_guarded(node) else node

    def bare(node: tvm.ir.TensorLoad) -> tirx.Expr:
        return read(node) if not works and node.source.same_as(results) else node

    plain = tvm_ffi.structural_map(value, [(tvm.ir.Call, guarded), (tvm.ir.TensorLoad, bare)], order="pre")
    if reads_of(plain, results):
        raise NotApplicable("only some of a window's elements are guarded")
    places = [list(read.indices) for read in reads_of(work, results)]
    names = {theirs: ours for theirs, ours in zip(places[0], main.body.indices) if isinstance(theirs, tirx.Var)}
    if not all(tvm_ffi.structural_equal(place, places[0]) for place in places):
        raise NotApplicable("a result is read at two places")

    def term(total: tirx.Expr) -> tirx.Expr:
        return substitute(instead_of_reads(work, results, total), names)

    if own & set(undefined_vars(term(tirx.const(0, str(results.dtype))))):
        raise NotApplicable("work that depends on the place in a window")
    return plain, held, term


def _outer(product: Product, reads: list[tvm.ir.TensorLoad], places: dict[tirx.Var, int]) -> Names:
    """The windows' iterators that are the product's along y and in the batch. Raises NotApplicable where others are."""
    outer: Names = {}
    for var, extent in (*product.s.iterators, *product.y.iterators):
        if number(extent) == 1:
            continue
        if var not in places:
            raise NotApplicable("an iterator is no index")
        theirs = {read.indices[places[var]] for read in reads}
        if len(theirs) != 1 or not isinstance(next(iter(theirs)), tirx.Var):
            raise NotApplicable("windows over several planes")
        outer[theirs.pop()] = var
    return outer


class _Body(gemm.Body):
    """A product's kernel whose results stay in workgroup memory, for the windows."""

    def __init__(self, planes: Planes, *args: Any):
        super().__init__(*args)
        self.planes = planes

    def _finish(self, sums: list[tirx.Buffer]) -> None:
        kernel = self.kernel
        if self.tile.slices > 1:  # the slices' sums have met there
            kernel.sync()
        with kernel.when(self._first()):
            for i in range(self.tile.rows):
                for j in range(self.vectors):
                    self._hold(self._row(i), self._column(j), sums[i * self.vectors + j])
        kernel.sync()
        self._windows()

    def _hold(self, row: tirx.Expr, column: tirx.Expr, sums: tirx.Buffer) -> None:
        """Keeps four results; past the ends are results that no window reads."""
        kernel, product = self.kernel, self.product
        at = row * self.tile.x + column
        y = self._within(self.first_y + row, product.y, self.tile.y)
        if product.vector_store and divides(self.tile.x, product.x.extent):
            with kernel.vectorized(VECTOR) as lane:
                self._hold_one(at + lane, y, self.first_x + column + lane, kernel.load(sums, lane))
            return
        for lane in range(VECTOR):
            x = self._within(self.first_x + column + lane, product.x, self.tile.x)
            self._hold_one(at + lane, y, x, kernel.load(sums, lane))

    def _hold_one(self, at: tirx.Expr, y: tirx.Expr, x: tirx.Expr, total: tirx.Expr) -> None:
        value = result(self.kernel, self.product, self.s, y, x, total)
        self.kernel.store(self.shared, at, cast(value, str(self.shared.dtype)))

    def _within(self, position: tirx.Expr, axis: Axis, tile: int) -> tirx.Expr:
        inside = position if divides(tile, axis.extent) else tvm.tirx.min(position, i64(axis.extent) - 1)
        return self.kernel.let("position", inside)

    def _windows(self) -> None:
        """All threads share out the windows' results."""
        kernel, product, tile, planes = self.kernel, self.product, self.tile, self.planes
        count = planes.inner.extent
        total = tile.y * count
        thread = kernel.let("thread", self.slice * tile.group + self.thread)
        with kernel.loop(ceil_div(total, tile.threads), "round") as round_:
            own = kernel.let("own", round_ * tile.threads + thread)
            with kernel.when(divides(tile.threads, total) or own < i64(total)):
                kernel.know(own, total)
                row = kernel.let("row", tvm.tirx.floordiv(own, i64(count)))
                y = kernel.let("y", self.first_y + row)
                with kernel.when(divides(tile.y, product.y.extent) or y < i64(product.y.extent)):
                    self._store_window(row, y, tvm.tirx.floormod(own, i64(count)))

    def _store_window(self, row: tirx.Expr, y: tirx.Expr, position: tirx.Expr) -> None:
        kernel, product, planes = self.kernel, self.product, self.planes
        at = {**product.s.decode(self.s), **product.y.decode(y)}
        values = {var: at[theirs] for var, theirs in planes.outer.items()}
        for var, place in planes.inner.decode(position).items():
            values[var] = kernel.let(var.name, place)
        for var, extent in planes.inner.iterators:
            kernel.know(values[var], extent)
        # In a register, since the work on it may use it more than once.
        window = kernel.hold("window", flatten(kernel, self._window(row, values), values))
        value = flatten(kernel, planes.finish(window), values)
        offset = offset_of(planes.store_buffer, [substitute(index, values) for index in planes.store_indices])
        kernel.store(kernel.flat(planes.store_buffer), kernel.simplify(offset), value)

    def _window(self, row: tirx.Expr, values: Names) -> tirx.Expr:
        """What the window gives; outside of the plane something is read, too, and not used: no branches."""
        kernel, product, planes = self.kernel, self.product, self.planes

        def place(node: tvm.ir.TensorLoad) -> tirx.Expr:
            indices = {var: node.indices[i] for var, i in planes.places.items()}
            column = substitute(substitute(product.x.position(), indices), values)
            return kernel.simplify(row * self.tile.x + column)

        def read(node: tvm.ir.TensorLoad, at: tirx.Expr) -> tirx.Expr:
            return kernel.hold("read", cast(kernel.load(self.shared, at), str(node.source.dtype)))

        def visit(node: tvm.ir.Call | tvm.ir.TensorLoad) -> tirx.Expr:
            if isinstance(node, tvm.ir.TensorLoad):
                return read(node, place(node)) if node.source.same_as(planes.held) else node
            condition, load, other = node.args if len(node.args) == 3 else (None, None, None)
            if not (isinstance(load, tvm.ir.TensorLoad) and load.source.same_as(planes.held)):
                return node
            inside = kernel.let("inside", substitute(condition, values))
            return tirx.Select(inside, read(load, tirx.Select(inside, place(load), i64(0))), other)

        return tvm_ffi.structural_map(planes.value, [(tvm.ir.Call, visit), (tvm.ir.TensorLoad, visit)], order="pre")
