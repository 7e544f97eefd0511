"""Products whose results are summed along x at once: a PrimFunc in, one kernel out.

The last convolution of most image networks is followed by the mean over all positions. Where one tile holds all
positions of its rows, the workgroup that computed them adds them up: its results never reach memory, and there is one
launch less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from . import gemm
from .axis import divides
from .blocks import FLOATS, PRIMITIVE_ERRORS, NotApplicable, inline_injective, kinds, open_schedule, two_reductions
from .builder import Kernel, i64
from .gemm import Tile
from .limits import Limits
from .nest import flatten, instead_of_reads, is_one, loads_of, offset_of, substitute
from .product import VECTOR, Product, stored, sums_of
from .product import recognise as recognise_product
from .source import cast, result

# Few results, long sums: slices give each workgroup enough threads. 1280 rows of 320 take 7.6 us by the first (8.0 with
# four slices; product and mean apart: 10.7), 1024 rows of 1024 14.9 by the second (17.3 by the first; apart: 15.0).
_WIDE, _LOW = Tile(16, 64, 16, 4, 4, 2), Tile(8, 64, 8, 4, 4, 4)
TILES = (Tile(16, 32, 16, 4, 4, 4), _WIDE, _LOW, Tile(16, 64, 8, 4, 4, 2))


def can_pool(product: tirx.PrimFunc, pool: tirx.PrimFunc, limits: Limits) -> bool:
    """Whether `product` with `pool` behind it, and elementwise work between them, is one kernel of this module.

    `product` and `pool` are the functions before they are fused; `pool` takes the product's results only.
    """
    if limits.software:  # a launch costs less there than a barrier
        return False
    try:
        found = recognise_product(product)
        sch, blocks = open_schedule(pool)
        blocks = inline_injective(sch, blocks)
        if not blocks or "R" not in kinds(sch, blocks[0]) or any("R" in kinds(sch, block) for block in blocks[1:]):
            return False
        term = _term(sch.get(blocks[0]))
    except (NotApplicable, *PRIMITIVE_ERRORS):
        return False
    extents = [it.dom.extent for it in sch.get(blocks[0]).iter_vars if it.iter_type == tirx.IterVar.CommReduce]
    if len(loads_of(term)) != 1 or not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return False
    positions = math.prod(int(extent) for extent in extents)
    width = math.prod(int(e) for _, e in found.x.iterators[-len(extents) :] if isinstance(e, tirx.IntImm))
    fits = any(positions <= tile.x and tile.fits(found, limits) for tile in TILES)
    return fits and positions == width and {found.result_dtype, str(pool.params[-1].dtype)} <= FLOATS


@dataclass(frozen=True)
class Pooled:
    """A product, and where its sums along x go: `finish` is the elementwise work on a sum, which is a float32."""

    product: Product
    store_buffer: tirx.Buffer
    store_indices: tuple[tirx.Expr, ...]
    finish: Callable[[tirx.Expr], tirx.Expr]


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is anything else, or has too many positions for a tile."""
    pooled = recognise(func)
    positions, rows = pooled.product.x.extent, pooled.product.y.extent
    # Where tiles of 16 rows leave half of the cores without one, lower ones pay.
    few = isinstance(rows, int) and 2 * -(-rows // _WIDE.y) < limits.cores
    for tile in (tile for tile in TILES if not (few and tile == _WIDE)):
        if isinstance(positions, int) and positions <= tile.x and tile.fits(pooled.product, limits):
            return gemm.write(pooled.product, tile, limits, lambda *args: _Body(pooled, *args))
    raise NotApplicable("too many positions for one tile")


def recognise(func: tirx.PrimFunc) -> Pooled:
    """Raises NotApplicable where the function is not a product of floats, its sum, and elementwise work."""
    sch, first, second, behind = two_reductions(func)
    main, total = sch.get(first), sch.get(second)
    if not isinstance(main.body, tirx.BufferStore):
        raise NotApplicable("not one result")
    term, iterators = _summed(main, total)
    buffer, indices, finish = stored(sch, second, behind)
    kept, summed = (
        {iterators[it.var] for it in total.iter_vars if it.iter_type == kind and not is_one(it.dom.extent)}
        for kind in (tirx.IterVar.DataPar, tirx.IterVar.CommReduce)
    )
    product = sums_of(func, main, (main.body.buffer, tuple(main.body.indices), term), kept)
    if summed != {var for var, extent in product.x.iterators if not is_one(extent)}:
        raise NotApplicable("not all positions are summed")
    places, dtype = tuple(substitute(i, iterators) for i in indices), str(total.body.buffer.dtype)
    return Pooled(product, buffer, places, lambda value: substitute(finish(cast(value, dtype)), iterators))


def _summed(main: s_tir.SBlock, total: s_tir.SBlock) -> tuple[Callable[[tirx.Expr], tirx.Expr], dict]:
    """What is added for each result of `main`, and the iterators of `total` in terms of those of `main`."""
    term, buffer = _term(total), main.body.buffer
    iterators: dict[tirx.Var, tirx.Expr] = {}
    for node in loads_of(term):
        for theirs, ours in zip(node.indices, main.body.indices) if node.source.same_as(buffer) else ():
            same = iterators.setdefault(theirs, ours) if isinstance(theirs, tirx.Var) else theirs
            if not tvm_ffi.structural_equal(same, ours):
                raise NotApplicable("a result is read at a computed place")
    if any(it.var not in iterators for it in total.iter_vars):
        raise NotApplicable("the sum is not over results")

    def value(result: tirx.Expr) -> tirx.Expr:
        return substitute(instead_of_reads(term, buffer, result), iterators)

    return value, iterators


def _term(total: s_tir.SBlock) -> tirx.Expr:
    """What a block that is a sum adds each time."""
    store = total.body
    if not (isinstance(store, tirx.BufferStore) and isinstance(store.value, tirx.Add)):
        raise NotApplicable("not a sum")
    if not (isinstance(total.init, tirx.BufferStore) and getattr(total.init.value, "value", None) == 0):
        raise NotApplicable("the sum does not start at 0")
    old, term = store.value.a, store.value.b
    if not (isinstance(old, tvm.ir.TensorLoad) and old.source.same_as(store.buffer)):
        raise NotApplicable("not a sum")
    return term


class _Body(gemm.Body):
    """A product's kernel that ends with the sum of each of its rows."""

    def __init__(self, pooled: Pooled, *args: Any):
        super().__init__(*args)
        self.pooled = pooled

    def _finish(self, sums: list[tirx.Buffer]) -> None:
        kernel, product, tile = self.kernel, self.product, self.tile
        whole = divides(tile.y, product.y.extent)
        parts = kernel.alloc("parts", "float32", tile.y * tile.threads_x, "shared")
        with kernel.when(self._first()):
            for i in range(tile.rows):
                row = self._row(i)
                y = kernel.let("y", self.first_y + row)
                own = kernel.alloc("own", "float32", 1, "local")
                kernel.store(own, 0, tirx.const(0, "float32"))
                with kernel.when(True if whole else y < i64(product.y.extent)):
                    self._add_row(own, y, sums[i * self.vectors : (i + 1) * self.vectors])
                kernel.store(parts, row * tile.threads_x + self.thread_x, kernel.load(own, 0))
        kernel.sync()
        y = kernel.let("y", self.first_y + self.thread)
        inside = True if whole else y < i64(product.y.extent)
        with kernel.when(self._first()), kernel.when(self.thread < tile.y), kernel.when(inside):
            at = self.thread * tile.threads_x
            self._store_sum(y, [kernel.load(parts, at + j) for j in range(tile.threads_x)])

    def _add_row(self, own: tirx.Buffer, y: tirx.Expr, sums: list[tirx.Buffer]) -> None:
        """Adds what the thread has of a row, as far as there are positions."""
        kernel, product = self.kernel, self.product
        for j, held in enumerate(sums):
            for lane in range(VECTOR):
                x = kernel.let("x", self.first_x + self._column(j) + lane)
                with kernel.when(x < i64(product.x.extent)):
                    value = result(kernel, product, self.s, y, x, kernel.load(held, lane))
                    kernel.store(own, 0, kernel.load(own, 0) + cast(value, "float32"))

    def _store_sum(self, y: tirx.Expr, parts: list[tirx.Expr]) -> None:
        kernel = self.kernel
        total = kernel.alloc("total", "float32", 1, "local")
        kernel.store(total, 0, parts[0])
        for part in parts[1:]:
            kernel.store(total, 0, kernel.load(total, 0) + part)
        store_total(kernel, self.pooled, self.s, y, kernel.load(total, 0))


def store_total(kernel: Kernel, pooled: Pooled, s: tirx.Expr, y: tirx.Expr, total: tirx.Expr) -> None:
    """Stores the sum of a row, after the elementwise work on it."""
    values = {**pooled.product.s.decode(s), **pooled.product.y.decode(y)}
    value = flatten(kernel, pooled.finish(total), values)
    offset = offset_of(pooled.store_buffer, [substitute(i, values) for i in pooled.store_indices])
    kernel.store(kernel.flat(pooled.store_buffer), kernel.simplify(offset), value)
