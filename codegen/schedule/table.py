"""Which schedule a product gets: its shape and the limits in, a plan (`Tile` or `SplitK`) out, best first.

The plans are data. A row says for which shapes it is meant and why; a tuner may put rows of its own in front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tvm import tirx

from .gemm import Tile
from .limits import Limits
from .product import Product
from .split_k import SplitK

# What a dimension that is only known at run time is taken for: a sequence of this length, a batch of 1.
TYPICAL = 128
TYPICAL_BATCH = 1


@dataclass(frozen=True)
class Shape:
    """Extents of a product as the table sees them."""

    s: int
    y: int
    x: int
    k: int

    @staticmethod
    def of(product: Product) -> Shape:
        """Symbolic extents count as TYPICAL, those of s as TYPICAL_BATCH times what is known of it."""
        sizes = [e if isinstance(e, int) else TYPICAL for e in (a.extent for a in (product.y, product.x, product.k))]
        known = [int(e) if isinstance(e, tirx.IntImm) else TYPICAL_BATCH for _, e in product.s.iterators]
        return Shape(math.prod(known), *sizes)

    def workgroups(self, plan: Tile | SplitK) -> int:
        """Size of the grid."""
        return self.s * -(-self.y // plan.y) * -(-self.x // plan.x)

    def waste(self, plan: Tile | SplitK) -> float:
        """Results computed per result stored, at least 1."""
        covered = -(-self.y // plan.y) * plan.y * -(-self.x // plan.x) * plan.x
        return covered / (self.y * self.x)


@dataclass(frozen=True)
class Row:
    """A plan, and the shapes that it is meant for."""

    plan: Tile | SplitK
    fits: Callable[[Shape, Limits], bool]


_64, _64_32 = Tile(64, 64, 16, 8, 4), Tile(64, 32, 16, 4, 4, 2)

PRODUCTS: tuple[Row, ...] = (
    # One row (matrix times vector): nothing to stage. All threads along x, the sum over k in slices; the fewer columns,
    # the more slices.
    Row(SplitK(1, 32, 8, 1, 4), lambda s, _: s.y == 1 and s.x >= 8192),
    Row(SplitK(1, 8, 32, 1, 4), lambda s, _: s.y == 1),
    # A workgroup for every core: the largest tile whose registers still let several workgroups share a core. 36.2
    # TFLOP/s at 1024^3 and 42.5 at 4096^3 on an H100, where 128x128 tiles with 8x8 results per thread reach 39.
    Row(
        _64,
        lambda s, limits: s.k >= 96 and s.workgroups(_64) >= limits.cores and s.waste(_64) < 1.3,
    ),
    # Short sums leave little to hide the loads behind: small tiles, many workgroups.
    Row(Tile(16, 64, 16, 4, 4, 2), lambda s, _: s.y <= 16),
    Row(_64_32, lambda s, limits: s.k < 96 and s.workgroups(_64_32) >= 2 * limits.cores),
    Row(Tile(32, 32, 16, 4, 4, 2), lambda s, _: s.k < 96),
    # Few results with a long sum (most layers of MobileNet, ResNet and of encoders at sequence length 128): four slices
    # give 256 threads to a tile of 32x32. Depth 8 and 16 differ by 3 %; 16 does not always fit beside padded rows.
    Row(Tile(32, 32, 16, 4, 4, 4), lambda s, _: True),
    Row(Tile(32, 32, 8, 4, 4, 4), lambda s, _: True),
    Row(Tile(16, 16, 8, 4, 4, 2), lambda s, _: True),
)


def plans(product: Product, limits: Limits) -> Iterator[Tile | SplitK]:
    """Plans for the product, best first; none where the limits are too tight for all."""
    shape = Shape.of(product)
    return (row.plan for row in PRODUCTS if row.fits(shape, limits) and row.plan.fits(product, limits))
