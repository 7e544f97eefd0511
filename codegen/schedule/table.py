"""Which schedule a product gets: its shape and the limits in, a plan (`Tile` or `SplitK`) out, best first.

The plans are data. A row says for which shapes it is meant and why; a tuner may put rows of its own in front.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .gemm import Tile
from .limits import Limits
from .matrix import MatrixTile
from .product import Product
from .split_k import SplitK
from .typical import typical

Plan = Tile | SplitK | MatrixTile

# What a dimension that is only known at run time is taken for: a sequence of this length, a batch of 1.
TYPICAL = 128
TYPICAL_BATCH = 1


@dataclass(frozen=True)
class Shape:
    """Extents of a product as the table sees them, and along which axis ("own", "k") Y and X have runs in memory."""

    s: int
    y: int
    x: int
    k: int
    runs: str | None = None
    runs_x: str | None = None

    @staticmethod
    def of(product: Product) -> Shape:
        """Symbolic extents count as what is typical of them, or else as TYPICAL, in s as TYPICAL_BATCH."""
        y, x, k = (typical(product.func, axis.extent, TYPICAL) for axis in (product.y, product.x, product.k))
        s = math.prod(typical(product.func, extent, TYPICAL_BATCH) for _, extent in product.s.iterators)
        return Shape(s, y, x, k, product.operand_y.along, product.operand_x.along)

    def workgroups(self, plan: Plan) -> int:
        """Size of the grid."""
        return self.s * -(-self.y // plan.y) * -(-self.x // plan.x)

    def waste(self, plan: Plan) -> float:
        """Results computed per result stored, at least 1."""
        covered = -(-self.y // plan.y) * plan.y * -(-self.x // plan.x) * plan.x
        return covered / (self.y * self.x)


@dataclass(frozen=True)
class Row:
    """A plan, and the shapes that it is meant for."""

    plan: Plan
    fits: Callable[[Shape, Limits], bool]


_128, _64 = Tile(128, 128, 16, 16, 8, unroll=True, warp=4), Tile(64, 64, 16, 8, 4)
_32_64, _16_32, _16_16 = Tile(32, 64, 16, 4, 4, 2), Tile(16, 32, 16, 4, 4, 4), Tile(16, 16, 16, 4, 4, 4)
_MATRIX, _SMALL_MATRIX = MatrixTile(128, 128, 32, 64, 64), MatrixTile(64, 64, 64, 32, 32)
_HALF = Tile(64, 64, 64, 8, 4, unroll=True, warp=8, half=True)
_SQUARE, _32 = Tile(64, 64, 16, 8, 4, unroll=True), Tile(32, 32, 16, 4, 4, 4)
# Half the depth and two slices: rows of k in as many threads as 64x64 has with twice the registers.
_K_ROWS = Tile(64, 64, 8, 8, 4, 2, unroll=True, warp=8)
_ROWS = SplitK(4, 4, 16, 4, 4)


def _fills(plan: Plan, shape: Shape, workgroups: int, waste: float = 1.3) -> bool:
    """Whether there is work for so many workgroups, little of it padding, and sums long enough for large tiles."""
    return shape.k >= 96 and shape.workgroups(plan) >= workgroups and shape.waste(plan) < waste


def _large(shape: Shape) -> bool:
    return min(shape.y, shape.x, shape.k) >= 512 and shape.y * shape.x * shape.k >= 2**30


def _worth_turning(shape: Shape) -> bool:
    """Whether a product is so large that a launch to turn Y costs less than it saves, a sixth of the time."""
    return shape.runs == "k" and _large(shape) and shape.y * shape.x * shape.k >= 2**31


def _odd(shape: Shape) -> bool:
    """Whether columns, those of several images of 7x7, don't lie in vectors, and sums are of middling length."""
    return shape.runs_x is None and shape.x > 64 and 256 < shape.k <= 1024


def _few(rows: int, runs: str, columns: int = 256) -> Callable[[Shape, Limits], bool]:
    """Whether a large operand X, of so many columns and with runs along the given axis, is read once for a few rows."""

    def fits(shape: Shape, _: Limits) -> bool:
        large = shape.x >= columns and shape.k >= 256 and shape.x * shape.k >= 2**20
        return shape.s == 1 and shape.y <= rows and shape.runs_x == runs and large

    return fits


PRODUCTS: tuple[Row, ...] = (
    # A few rows (a language model's next tokens): the other operand is read once, nothing to stage; its loads are to be
    # in flight everywhere, so nearly all threads share the sum. 4096x4096 in rows of k takes 25 us for 1 and 2 rows
    # (2660 GB/s), 28 for 4 and 36 for 8, where tiles take 120; in columns 26 for 1 to 4 rows, 50 for 8 (tiles 85). More
    # columns than there are threads to go round have enough in flight: 4096x11008 62 us, with longer sums 69.
    *(Row(SplitK(1, 4, 64, rows, 1), _few(rows, "k")) for rows in (1, 2)),
    Row(SplitK(1, 4, 64, 4, 2), _few(4, "k")),
    Row(SplitK(1, 8, 32, 8, 2), _few(8, "k")),
    *(Row(SplitK(1, 8, 32, rows, 4), _few(rows, "own", 8192)) for rows in (1, 2, 4)),
    *(Row(SplitK(1, 4, 64, rows, 4), _few(rows, "own")) for rows in (1, 2, 4)),
    Row(Tile(16, 32, 16, 4, 4, 4), _few(8, "own")),
    Row(SplitK(1, 8, 32, 1, 4), lambda s, _: s.y == 1),
    # Matrix units, where the target has them and the operands are float16 (`fits` tells): 4096^3 300 TFLOP/s, 1024^3
    # 158. They want a workgroup for every core; encoders at sequence length 128 are faster without.
    Row(_MATRIX, lambda s, limits: _fills(_MATRIX, s, limits.cores, 1.5)),
    Row(_SMALL_MATRIX, lambda s, limits: s.k >= 64 and s.workgroups(_SMALL_MATRIX) >= limits.cores),
    # float16 without matrix units (`fits` tells): packed arithmetic. 4096^3 reaches 56 TFLOP/s k-major on an H100, with
    # products in float32 43. Only for large products, where the rounding of pieces of 64 buys time: turning Y repays
    # its launch from 1024^3 on, which takes 58 us in all, and 87 with rows of k in float32.
    Row(_HALF, lambda s, limits: s.runs == "own" and _large(s) and _fills(_HALF, s, limits.cores)),
    Row(replace(_HALF, turn=True), lambda s, limits: s.runs == "k" and _large(s) and _fills(_HALF, s, limits.cores)),
    # Two workgroups for every core: the tile with most multiplications per word read, 48.8 TFLOP/s at 4096^3 on an H100
    # where 8x8 results a thread reach 47.1 and 64x64 43.0. It needs Y k-major: with rows of k it falls to 41 at best.
    Row(_128, lambda s, limits: s.runs == "own" and _fills(_128, s, 2 * limits.cores - 8)),
    Row(replace(_128, turn=True), lambda s, limits: _worth_turning(s) and _fills(_128, s, 2 * limits.cores - 8, 1.1)),
    # A workgroup for every core: the largest tile whose registers still let several workgroups share a core. 1024^3
    # takes 59 us k-major, with rows of k 70, which is less than turning them and another launch; as below 80.
    Row(replace(_SQUARE, turn=True), lambda s, limits: _worth_turning(s) and _fills(_SQUARE, s, limits.cores)),
    Row(_K_ROWS, lambda s, limits: s.runs == "k" and _large(s) and _fills(_K_ROWS, s, limits.cores)),
    Row(_64, lambda s, limits: _fills(_64, s, limits.cores)),
    # Up to 16 rows of a short text: 16x384x384, x384x1536 and x1536x384 take 4.8, 5.1 and 10.7 us; tiles of as many
    # rows 7.5, 7.7 and 22.4.
    Row(_ROWS, lambda s, limits: s.y <= 16 and s.runs_x == "own" and s.k >= 256 and s.workgroups(_ROWS) < limits.cores),
    # Short sums leave little to hide the loads behind: small tiles, many workgroups.
    Row(Tile(16, 64, 16, 4, 4, 2), lambda s, _: s.y <= 16),
    # 96x12544x16 takes 5.4 us with 64x64 and 7.1 with 64x32; 32x12544x27 4.3 with 32x32.
    Row(_64, lambda s, limits: s.k < 96 and s.y > 32 and s.workgroups(_64) >= 2 * limits.cores),
    # One tile for the others, so that layers of a network share a kernel: 32x64 is a few per cent faster for some.
    Row(Tile(32, 32, 16, 4, 4, 2), lambda s, _: s.k <= 96),
    # Images of odd size in small batches, whose columns are loaded one by one: more slices don't help. Two images of
    # 7x7: 960 to 160 channels 12.1 us instead of 18.1 with eight slices, to 320 14.4 (20.6); four: 14.7 (19.2).
    Row(_16_16, lambda s, limits: _odd(s) and limits.cores <= 2 * s.workgroups(_16_16) <= 2.2 * limits.cores),
    Row(_16_32, lambda s, limits: _odd(s) and limits.cores <= 2 * s.workgroups(_16_32) <= 2.2 * limits.cores),
    # A third of the cores would get a workgroup: quarter tiles, eight slices. 160x49x960 takes 9.9 us instead of 16.5,
    # 96x196x384 4.7 instead of 7.4; halves for a little more (960x49x160: 5.6 instead of 6.4).
    Row(Tile(16, 16, 16, 4, 4, 8), lambda s, limits: 3 * s.workgroups(_32) < limits.cores),
    Row(_16_32, lambda s, limits: 2 * s.workgroups(_32) < limits.cores and s.k <= 1024),
    # Long sums too, up to a workgroup a core: 128x784x1152 20.6 us instead of 25.3, 256x196x2304 30.2 instead of 35.3.
    Row(Tile(16, 16, 16, 4, 4, 8), lambda s, limits: s.workgroups(_32) < limits.cores and s.k > 1024),
    # As below with rows of k, which need more workgroup memory: half the tile, twice the workgroups. 128x384x384,
    # x1152x384, x1536x384 and x384x1536 take 5.8, 9.8, 10.8 and 14.7 us instead of 8.3, 12.0, 13.5 and 24.6.
    Row(_16_32, lambda s, limits: s.runs == "k" and s.workgroups(_32) < 3 * limits.cores),
    # Sums of middling length with work for all: 512x784x128 7.5 us instead of 8.7.
    Row(_32_64, lambda s, limits: s.k <= 256 and 2 * s.workgroups(_32_64) >= 3 * limits.cores),
    # Shorter sums: two slices. 160 to 960 channels, two images of 7x7: 7.2 us instead of 8.1, four 8.5 (9.9).
    Row(Tile(32, 32, 16, 4, 4, 2), lambda s, limits: s.k <= 160 and 10 * s.workgroups(_32) >= 9 * limits.cores),
    # Few results with a long sum (most layers of MobileNet, ResNet and of encoders at sequence length 128): four slices
    # give 256 threads to a tile of 32x32. Depth 8 and 16 differ by 3 %; 16 does not always fit beside padded rows.
    Row(_32, lambda s, _: True),
    Row(Tile(32, 32, 8, 4, 4, 4), lambda s, _: True),
    Row(Tile(16, 16, 8, 4, 4, 2), lambda s, _: True),
)


def plans(product: Product, limits: Limits) -> Iterator[Plan]:
    """Plans for the product, best first; none where the limits are too tight for all."""
    shape = Shape.of(product)
    return (row.plan for row in PRODUCTS if row.fits(shape, limits) and row.plan.fits(product, limits))
