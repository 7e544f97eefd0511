"""Which schedule a product gets: its shape and the limits in, a plan (`Tile` or `SplitK`) out, best first.

The plans are data. A row says for which shapes it is meant and why; a tuner may put rows of its own in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm

from .gemm import Tile
from .limits import Limits
from .product import Product
from .split_k import SplitK

# What a dimension that is only known at run time is taken for: a sequence of this length.
TYPICAL = 128


@dataclass(frozen=True)
class Shape:
    """Extents of a product as the table sees them; `slow_x`: reading X takes index arithmetic for every element."""

    s: int
    y: int
    x: int
    k: int
    slow_x: bool

    @staticmethod
    def of(product: Product) -> Shape:
        """Symbolic extents count as TYPICAL."""
        sizes = [e if isinstance(e, int) else TYPICAL for e in (axis.extent for axis in _axes(product))]
        return Shape(*sizes, slow_x=product.operand_x.along is None)

    def workgroups(self, plan: Tile | SplitK) -> int:
        """Size of the grid."""
        return self.s * -(-self.y // plan.y) * -(-self.x // plan.x)

    def waste(self, plan: Tile | SplitK) -> float:
        """Results computed per result stored, at least 1."""
        covered = -(-self.y // plan.y) * plan.y * -(-self.x // plan.x) * plan.x
        return covered / (self.y * self.x)


def _axes(product: Product):
    return product.s, product.y, product.x, product.k


@dataclass(frozen=True)
class Row:
    """A plan, and the shapes that it is meant for."""

    plan: Tile | SplitK
    fits: Callable[[Shape, Limits], bool]


def _busy(plan: Tile | SplitK, waves: float = 1.0) -> Callable[[Shape, Limits], bool]:
    """At least `waves` workgroups for each core, and at most half of the work on padding."""
    return lambda shape, limits: shape.workgroups(plan) >= waves * limits.cores and shape.waste(plan) < 1.6


def _row(plan: Tile | SplitK, waves: float = 1.0, also: Callable[[Shape], bool] = lambda _: True) -> Row:
    busy = _busy(plan, waves)
    return Row(plan, lambda shape, limits: also(shape) and busy(shape, limits))


PRODUCTS: tuple[Row, ...] = (
    # Large: 8x8 results per thread halve the workgroup-memory traffic per multiplication against 4x4; 16 KB staged at
    # depth 16. Two workgroups per core hide each other's barriers.
    _row(Tile(16, 16, 8, 8, 16, prefetch=True), waves=1.5),
    _row(Tile(16, 16, 8, 4, 16, prefetch=True), waves=1.5),
    # Medium: one workgroup of 4x4 results per core matters more than traffic.
    _row(Tile(16, 16, 4, 4, 16, prefetch=True), waves=1),
    # Few output channels (first layers, projections): wide along pixels.
    _row(Tile(4, 32, 4, 4, 16), waves=1),
    _row(Tile(8, 16, 4, 4, 16), waves=1),
    _row(Tile(8, 8, 4, 4, 16), waves=2),
    # One row: all threads along x, the sum over k in 8 slices.
    _row(SplitK(1, 32, 8, 1, 4), waves=0, also=lambda s: s.y == 1 and s.x >= 4096),
    _row(SplitK(1, 8, 32, 1, 4), waves=0, also=lambda s: s.y == 1),
    # Few results with a long sum (14x14 and 7x7 layers): 256 threads on 16x16 results, a warp per slice.
    _row(SplitK(4, 8, 8, 4, 2), waves=0.5, also=lambda s: s.k >= 64),
    _row(SplitK(4, 8, 8, 2, 2), waves=0, also=lambda s: s.k >= 64),
    _row(Tile(8, 8, 4, 4, 16), waves=0),
)


def plans(product: Product, limits: Limits) -> Iterator[Tile | SplitK]:
    """Plans for the product, best first; the last ones always fit a workgroup."""
    shape = Shape.of(product)
    itemsize = tvm.DataType(product.operand_x.dtype).itemsize
    for row in PRODUCTS:
        memory = row.plan.bytes if isinstance(row.plan, SplitK) else row.plan.bytes(itemsize)
        if row.plan.threads <= limits.threads and memory <= limits.workgroup_bytes and row.fits(shape, limits):
            yield row.plan
    yield SplitK(4, 8, 4, 2, 2)
