"""Products on software GPUs: a `Product` in, one kernel whose threads each sum a tile of results in registers out.

A program that stands in for a GPU (SwiftShader, Mesa's llvmpipe) runs a thread in each lane of a CPU's vectors. There
a load is a loop over the lanes, about fifty cycles for each, a barrier switches between stacks, and workgroup memory
is memory like any other, while arithmetic on whole vectors costs next to nothing: what counts is how many
multiplications a load serves. So operands come straight from global memory, each thread has the largest tile that is
worth its compilation, and there is no barrier. Tiles are numbered along one axis: no lane lies idle beside the result.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm
from tvm import tirx

from .axis import ceil_div
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .product import VECTOR, Product
from .source import Source, cast, divides, store_result


@dataclass(frozen=True)
class Straight:
    """rows x cols results of a thread, multiples of 4 or 1; threads of a workgroup; steps of the sum at once, 4 or 1,
    where an operand has rows of it; rolled: rows are stored by a loop, which compiles in a fraction of the time."""

    rows: int
    cols: int
    threads: int = 16
    steps: int = 1
    rolled: bool = False

    @property
    def y(self) -> int:
        """Results of a thread along y."""
        return self.rows

    @property
    def x(self) -> int:
        """Results of a thread along x."""
        return self.cols

    def fits(self, _: Product, limits: Limits) -> bool:
        """Whether the workgroup is small enough."""
        return self.threads <= limits.threads


# Shapes of tiles, cheapest per multiplication first. They are few, so that layers of many sizes share a kernel.
TILES = ((16, 16), (8, 8), (1, 16), (1, 4), (1, 1))
# Lanes of a vector, and processors, of a machine without a GPU.
LANES, PROCESSORS = 8, 4
# Loads (about 0.35 us each, all lanes and processors of it) that compiling one result of a tile may cost every run: of
# 1.6 ms on SwiftShader and 3 on llvmpipe, so that larger tiles are repaid after some ten runs.
COMPILING = 900


def choose(s: int, y: int, x: int, k: int, steps: int = 1) -> Straight:
    """The tile with the least loads on the busiest processor, and little text, for s * y * x sums of k."""

    def cost(tile: tuple[int, int]) -> int:
        rows, cols = tile
        return _loads(tile, s, y, x) * k + COMPILING * rows * cols

    return Straight(*min(TILES, key=cost), steps=steps, rolled=True)


def loads(s: int, y: int, x: int) -> int:
    """Loads for each step of the sums with the tile that is chosen, those of idle lanes included."""
    return min(_loads(tile, s, y, x) for tile in TILES) * LANES * PROCESSORS


def _loads(tile: tuple[int, int], s: int, y: int, x: int) -> int:
    rows, cols = tile
    tiles = s * -(-y // rows) * -(-x // cols)
    return -(-tiles // (LANES * PROCESSORS)) * (rows + cols)


def write(product: Product, plan: Straight, limits: Limits) -> tirx.PrimFunc:
    """The kernel. Raises NotApplicable where the plan passes the limits."""
    if not plan.fits(product, limits):
        raise NotApplicable(f"{plan} is too large for a workgroup")
    kernel = Kernel()
    emit(kernel, product, plan)
    return product.func.with_body(kernel.finish())


def emit(kernel: Kernel, product: Product, plan: Straight) -> None:
    """The kernel's statements."""
    tiles_y, tiles_x = ceil_div(product.y.extent, plan.rows), ceil_div(product.x.extent, plan.cols)
    with numbered(kernel, i64(tiles_y) * tiles_x * product.s.extent, plan.threads) as tile:
        tile_x = kernel.let("tile_x", tvm.tirx.floormod(tile, i64(tiles_x)))
        rest = kernel.let("rest", tvm.tirx.floordiv(tile, i64(tiles_x)))
        tile_y = kernel.let("tile_y", tvm.tirx.floormod(rest, i64(tiles_y)))
        s = kernel.let("s", tvm.tirx.floordiv(rest, i64(tiles_y)))
        body = Body(kernel, product, plan, s, tile_y * plan.rows, tile_x * plan.cols)
        body.store(body.sums())


@contextlib.contextmanager
def numbered(kernel: Kernel, count: tirx.Expr, threads: int) -> Iterator[tirx.Expr]:
    """A thread for each of so many tiles, along one axis; gives the tile's number."""
    count = kernel.simplify(count)
    whole = isinstance(count, tirx.IntImm) and int(count) % threads == 0
    with (
        kernel.threads("blockIdx.x", ceil_div(count, threads)) as block,
        kernel.threads("threadIdx.x", threads) as thread,
    ):
        tile = kernel.let("tile", block * threads + thread)
        with kernel.when(True if whole else tile < count):
            kernel.know(tile, count)
            yield tile


class Left:
    """How many places of an axis there are from a thread's first one on, which is one at least, and ends loops.

    Compilers are not to know of it: they would write a loop out whose rounds they can count. And where a scalar alone
    ends a loop, lavapipe compiles the kernel anew for each of its values.
    """

    def __init__(self, kernel: Kernel, left: tirx.Expr):
        self.held = kernel.alloc("left", "int32", 1, "local")  # TVM's passes don't look into memory
        kernel.store(self.held, 0, tirx.Cast("int32", kernel.simplify(left)))
        self.left = kernel.load(self.held, 0)

    def rounds(self, count: tirx.Expr) -> tirx.Expr:
        """So many rounds, for a loop of the thread."""
        return count if isinstance(count, tirx.IntImm) else tirx.Select(self.left > 0, count, i64(0))

    def places(self, count: int) -> tirx.Expr:
        """The thread's places on the axis, of which there are so many at most."""
        return tirx.Cast("int64", tvm.tirx.min(tirx.const(count, "int32"), self.left))


class Body:
    """The statements of one thread."""

    def __init__(
        self,
        kernel: Kernel,
        product: Product,
        plan: Straight,
        s: tirx.Expr,
        first_y: tirx.Expr,
        first_x: tirx.Expr,
    ):
        self.kernel, self.product, self.plan, self.s = kernel, product, plan, s
        self.first_y, self.first_x = first_y, first_x
        self.left = Left(kernel, i64(product.y.extent) - first_y) if plan.rolled else None
        self.width = VECTOR if plan.cols % VECTOR == 0 else 1
        self.source_y = Source(kernel, product, product.operand_y, product.y, s, plan.rows, 1)
        self.source_x = Source(kernel, product, product.operand_x, product.x, s, plan.cols, 1)

    def sums(self) -> list[tirx.Buffer]:
        """Sums over k: row by row registers of a vector or, where the columns are no whole vectors, of one result."""
        kernel, plan, acc, width = self.kernel, self.plan, self.product.accumulator, self.width
        zero = tirx.const(0, acc)
        count = plan.rows * (plan.cols // width)
        sums = [kernel.alloc("sums", acc, width, "local") for _ in range(count)]
        for held in sums:
            kernel.store(held, 0, tirx.Broadcast(zero, width) if width > 1 else zero, width)
        load_y = self._loader(self.source_y, self.first_y, plan.rows)
        load_x = self._loader(self.source_x, self.first_x, plan.cols)
        steps = plan.steps if "k" in (self.source_y.operand.along, self.source_x.operand.along) else 1
        # One loop even for a convolution's three: SwiftShader takes 1.7 times as long with short inner loops.
        rounds = tvm.tirx.floordiv(i64(self.product.k.extent), steps)
        with kernel.loop(self.left.rounds(rounds) if self.left else rounds, "k") as k:
            for ys, xs in zip(load_y(k * steps, steps), load_x(k * steps, steps)):
                self._multiply(sums, ys, xs)
        return sums

    def _multiply(self, sums: list[tirx.Buffer], ys: list[tirx.Expr], xs: list[tirx.Expr]) -> None:
        """One step of the sums."""
        kernel, plan, width = self.kernel, self.plan, self.width
        for i, factor in enumerate(ys):
            scale = tirx.Broadcast(factor, width) if width > 1 else factor
            for j in range(plan.cols // width):
                held = sums[i * (plan.cols // width) + j]
                other = _together(xs[j * width : (j + 1) * width])
                kernel.store(held, 0, scale * other + kernel.load(held, 0, width), width)

    def _loader(
        self, source: Source, first: tirx.Expr, count: int
    ) -> Callable[[tirx.Expr, int], list[list[tirx.Expr]]]:
        """What gives the operand's values at `count` places from `first`, as scalars of the accumulator's dtype, for
        each of the steps from k on."""
        kernel, acc = self.kernel, self.product.accumulator

        def lanes(value: tirx.Expr) -> list[tirx.Expr]:
            vector = kernel.let("v", cast(value, acc))
            return [tirx.Shuffle([vector], [lane]) for lane in range(VECTOR)]

        if source.operand.along == "k" and self.plan.steps > 1:

            def across(k: tirx.Expr, _: int) -> list[list[tirx.Expr]]:
                return [list(step) for step in zip(*(lanes(source.vector(first + i, k)) for i in range(count)))]

            return across
        if source.operand.along == "own" and count % VECTOR == 0:

            def along(k: tirx.Expr) -> list[tirx.Expr]:
                return [lane for i in range(0, count, VECTOR) for lane in lanes(source.vector(first + i, k))]

            return lambda k, steps: [along(k + step) for step in range(steps)]
        places = [source.apart(first + i) for i in range(count)]

        def apart(k: tirx.Expr) -> list[tirx.Expr]:
            return [kernel.let("v", cast(source.scalar_apart(place, k), acc)) for place in places]

        return lambda k, steps: [apart(k + step) for step in range(steps)]

    def store(self, sums: list[tirx.Buffer]) -> None:
        """Stores what `sums` gave."""
        kernel, product, plan = self.kernel, self.product, self.plan
        across = plan.cols // self.width
        if plan.rolled and plan.rows > 1:
            self._store_rolled(sums)
            return
        whole = divides(plan.rows, product.y.extent)
        for i in range(plan.rows):
            y = kernel.let("y", self.first_y + i)
            with kernel.when(True if whole else y < i64(product.y.extent)):
                self._store_row(y, sums[i * across : (i + 1) * across])

    def _store_rolled(self, sums: list[tirx.Buffer]) -> None:
        """Each round of a loop stores the first row, and moves the others up by one.

        A store of its own for each result is most of what a driver compiles: 16x8 results take SwiftShader 800 ms, so
        250, and llvmpipe 840 and 360. An array that the loop indexes would do for SwiftShader (160), but llvmpipe makes
        an `if` of every element (10 s).
        """
        kernel, plan, across = self.kernel, self.plan, self.plan.cols // self.width
        assert self.left is not None
        with kernel.loop(self.left.places(plan.rows), "row") as row:
            self._store_row(kernel.let("y", self.first_y + row), sums[:across])
            for held, below in zip(sums, sums[across:]):
                kernel.store(held, 0, kernel.load(below, 0, self.width), self.width)

    def _store_row(self, y: tirx.Expr, sums: list[tirx.Buffer]) -> None:
        kernel, product, width = self.kernel, self.product, self.width
        whole = divides(self.plan.cols, product.x.extent)
        for j, held in enumerate(sums):
            x = kernel.let("x", self.first_x + j * width)
            if product.vector_store and width > 1:
                inside = True if whole else x < i64(product.x.extent)
                with kernel.when(inside), kernel.vectorized(VECTOR) as lane:
                    store_result(kernel, product, self.s, y, x + lane, kernel.load(held, lane))
                continue
            for lane in range(width):
                with kernel.when(True if whole else x + lane < i64(product.x.extent)):
                    store_result(kernel, product, self.s, y, x + lane, kernel.load(held, lane))


def _together(values: list[tirx.Expr]) -> tirx.Expr:
    """Scalars as one vector; the lanes of one vector in order are that vector."""
    if len(values) == 1:
        return values[0]
    first = values[0]
    if isinstance(first, tirx.Shuffle) and all(v.vectors[0].same_as(first.vectors[0]) for v in values):
        return first.vectors[0]
    return tirx.Shuffle(values, list(range(len(values))))
