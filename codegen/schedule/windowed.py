"""Products of what small windows give: a PrimFunc in, one kernel out.

A depthwise convolution and the 1x1 convolution behind it (with what is elementwise between them) are one kernel: each
element of the operand is computed from its window while it is staged in workgroup memory, and never stored. It is
computed again for each tile of channels, so this is for few channels: one tile of them; and only where neighbours share
what they load (`overlapping.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import tvm
import tvm_ffi
from tvm import s_tir, tirx

from . import gemm
from .axis import wide
from .blocks import NotApplicable, two_reductions
from .builder import i64
from .gemm import Tile
from .limits import Limits
from .nest import instead_of_reads, is_one, loads_of, reads_of, substitute, uses
from .overlapping import can_overlap
from .product import Product, stored, sums_of
from .table import Shape

# Steps of a window that are written out.
MAX_STEPS = 25


@dataclass(frozen=True)
class Row:
    """A tile, and the shapes that it is meant for."""

    tile: Tile
    fits: Callable[[Shape], bool]


# H100, microseconds, two kernels and one: 32x112x112 to 16 channels 7.8 and 4.9; 96x112x112 by stride 2 to 24 9.5 and
# 8.7; 144x56x56 to 24 10.0 and 9.7, by stride 2 to 32 7.9 and 9.6; 192x28x28 to 32 7.2 and 6.1. A launch costs the host
# 6 more. Two tiles of channels no longer pay, with each value loaded for itself (192x28x28 by stride 2 to 64: 7.1 and
# 8.5 to 12.6, 384x14x14 to 64: 8.0 and 10.3 to 20), and without sharing even one is as slow (192x28x28 to 32: 10.1).
TILES = (
    Row(Tile(16, 32, 16, 4, 4, 2), lambda s: s.y <= 16),
    Row(Tile(32, 32, 16, 4, 4, 2), lambda s: s.y <= 32 and s.k <= 96),
    Row(Tile(32, 16, 8, 4, 4, 8), lambda s: 16 < s.y <= 32),
)


def schedule(func: tirx.PrimFunc, limits: Limits) -> tirx.PrimFunc:
    """Raises NotApplicable where the function is anything else, or is faster as two."""
    product, tile = choose(func, limits)
    return gemm.write(product, tile, limits).with_attr("tvm_webgpu.plan", str(tile))


def choose(func: tirx.PrimFunc, limits: Limits) -> tuple[Product, Tile]:
    """The product and its tile. Raises NotApplicable as `schedule` does."""
    product = recognise(func)
    if not product.operand_x.overlaps:
        raise NotApplicable("neighbours share no vectors")
    shape = Shape.of(product)
    for row in TILES:
        # Fewer leave most cores idle; with more, as in large batches, launches no longer matter: not measured.
        some = limits.cores // 3 <= shape.workgroups(row.tile) <= 8 * limits.cores
        if some and row.fits(shape) and row.tile.fits(product, limits):
            return product, row.tile
    raise NotApplicable("more channels than a tile has, or too few or many positions")


def recognise(func: tirx.PrimFunc) -> Product:
    """Raises NotApplicable where the function is not a product of what one block with small windows gives."""
    sch, first, second, behind = two_reductions(func)
    window, main = sch.get(first), sch.get(second)
    store = stored(sch, second, behind)
    product = sums_of(func, main, store, expand=_Expansion(window))
    if len(wide(product.k)) != 1:
        raise NotApplicable("each result of a window is used at several places")
    overlaps = can_overlap(product.operand_x, product.x, (product.s, product.y, product.k))
    return replace(product, operand_x=replace(product.operand_x, overlaps=overlaps))


class _Expansion:
    """A factor with what a block computes in place of reads of its results."""

    def __init__(self, block: s_tir.SBlock):
        self.block, self.buffer = block, block.writes[0].source

    def __call__(self, factor: tirx.Expr) -> tirx.Expr:
        reads = reads_of(factor, self.buffer)
        if not reads:
            return factor
        if not all(tvm_ffi.structural_equal(node, reads[0]) for node in reads):
            raise NotApplicable("windows at several places")
        name = tirx.Var("window", reads[0].ty)
        value = reduced(self.block, dict(zip(self.block.body.indices, reads[0].indices, strict=True)))
        return tirx.Let(name, value, instead_of_reads(factor, self.buffer, name))


def reduced(block: s_tir.SBlock, place: Mapping[tirx.Expr, tirx.Expr]) -> tirx.Expr:
    """What a reduction over a small window is at a place: its steps, one after the other, as an expression.

    `place` has values for the indices of the block's store.
    """
    store, start = block.body, block.init
    if not isinstance(store, tirx.BufferStore) or not isinstance(start, tirx.BufferStore):
        raise NotApplicable("not one result")
    window = [it for it in block.iter_vars if it.iter_type == tirx.IterVar.CommReduce]
    if not all(isinstance(it.dom.extent, tirx.IntImm) for it in window):
        raise NotApplicable("windows of a size that is not known")
    if not all(_moves(block, it.var) for it in window if int(it.dom.extent) > 1):
        raise NotApplicable("a sum over something else than a window")
    steps = list(itertools.product(*(range(int(it.dom.extent)) for it in window)))
    if len(steps) > MAX_STEPS:
        raise NotApplicable("large windows")
    values = {index: at for index, at in place.items() if isinstance(index, tirx.Var)}
    if any(it.var not in values for it in block.iter_vars if it not in window and not is_one(it.dom.extent)):
        raise NotApplicable("results at computed places")
    values |= {it.var: i64(0) for it in block.iter_vars if is_one(it.dom.extent)}
    total, simplify = start.value, tvm.sym.Analyzer().simplify
    for step in steps:
        at = {**values, **{it.var: i64(i) for it, i in zip(window, step)}}

        def load(node: tvm.ir.TensorLoad, total: tirx.Expr = total) -> tirx.Expr:
            if node.source.same_as(store.buffer):
                return total
            return tirx.BufferLoad(node.source, [simplify(index) for index in node.indices])

        total = tvm_ffi.structural_map(substitute(store.value, at), (tvm.ir.TensorLoad, load))
    return total


def _moves(block: s_tir.SBlock, step: tirx.Var) -> bool:
    """Whether an iterator of a reduction moves a read along one of the results' iterators."""
    spatial = [it.var for it in block.iter_vars if it.iter_type == tirx.IterVar.DataPar]
    indices = [index for load in loads_of(block.body.value) for index in load.indices if uses(index, step)]
    return any(uses(index, var) for index in indices for var in spatial)
