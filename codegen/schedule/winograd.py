"""Convolutions with small windows on software GPUs: a `Product` in, kernels with a part of its multiplications out.

Winograd's minimal filtering F(m, r): m x m results of an r x r window are a sum over channels of products of
(m + r - 1)^2 numbers, each side transformed alone (Lavin and Gray 2016, arXiv:1509.09308). F(4, 3) takes 36
multiplications for 16 results instead of 144. Four kernels: weights and patches of the image are transformed, one
product for each of the 36 places adds up the channels, and its results are transformed back.

    U[p, c, y] = G g G^T    V[p, c, t] = B^T d B    M[p, y, t] = sum over c of U V    result = A^T M A
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import tvm
from tvm import tirx
from tvm.tirx.analysis import undefined_vars

from . import straight
from .axis import Axis, ceil_div, wide
from .blocks import NotApplicable
from .builder import Kernel, i64
from .limits import Limits
from .nest import flatten, offset_of, substitute, without_branches
from .product import VECTOR, Operand, Product
from .source import cast

Matrix = tuple[tuple[Fraction, ...], ...]

# Where the polynomials behind the transforms are evaluated (and at infinity), by m + r - 1. They decide what F(4, 3)
# loses in float32: over 512 channels 1.1e-6 of the largest result with these, 3.5e-6 with 0, 1, -1, 2, -2.
POINTS = {4: (Fraction(0), Fraction(1), Fraction(-1)), 6: tuple(Fraction(n, 8) for n in (0, 5, -5, 10, -10))}
WINDOW = 3
# Results of a patch along each axis, by the window; the largest is the cheapest, but wasted on small images.
EDGES = (4, 2)
# Bytes of one intermediate: half of what every device binds.
MAX_BYTES = 2**26


@dataclass(frozen=True)
class Winograd:
    """Edge of the patch of results that a thread transforms back; threads of a workgroup."""

    edge: int
    threads: int = 16


@dataclass(frozen=True)
class Window:
    """A product as a convolution of stride 1: iterators of the image and of the window, and the image's value at
    (row, column) = place + place in the window, in terms of `at`."""

    batch: Axis
    height: int
    width: int
    place: tuple[tirx.Var, tirx.Var]
    window: tuple[tirx.Var, tirx.Var]
    channels: Axis
    at: tuple[tirx.Var, tirx.Var]
    image: tirx.Expr


def find(product: Product) -> Window:
    """Raises NotApplicable where the product is anything but such a convolution, or of unknown sizes."""
    sizes = (product.s.extent, product.y.extent, product.x.extent, product.k.extent)
    if sizes[0] != 1 or not all(isinstance(size, int) for size in sizes):
        raise NotApplicable("several products or unknown sizes")
    if product.result_dtype not in ("float32", "float16"):
        raise NotApplicable("no floating-point numbers")
    if len(spatial := wide(product.x)) < 2:
        raise NotApplicable("no plane")
    *_, (row, height), (column, width) = spatial
    sums = wide(product.k)
    at = (tirx.Var("row", "int64"), tirx.Var("column", "int64"))
    kernel = Kernel()
    bounds = {at[0]: height + (WINDOW - 1), at[1]: width + (WINDOW - 1)}
    for var, extent in (*bounds.items(), *product.x.iterators, *product.k.iterators):
        kernel.analyzer.bind(var, tvm.ir.Range(i64(0), extent))
    for pair in itertools.permutations([var for var, extent in sums if int(extent) == WINDOW], 2):
        # If the window only shifts the image, nothing of it is left in terms of the sums.
        moved = {row: at[0] - pair[0], column: at[1] - pair[1]}
        image = kernel.simplify(substitute(product.operand_x.value, moved))
        if not set(undefined_vars(image)) & {row, column, *pair}:
            channels = Axis(tuple((var, e) for var, e in sums if var not in set(pair)))
            if not channels.iterators:
                raise NotApplicable("no channels")
            batch = Axis(tuple((var, e) for var, e in product.x.iterators if var not in {row, column}))
            return Window(batch, int(height), int(width), (row, column), pair, channels, at, image)
    raise NotApplicable("no window that moves by one")


def _tiles(window: Window, edge: int) -> int:
    return int(window.batch.extent) * -(-window.height // edge) * -(-window.width // edge)


def _padded(size: int) -> int:
    return -(-size // VECTOR) * VECTOR


def choose(product: Product) -> Winograd | None:
    """The edge with which the kernels have the least loads and stores, if they are fewer than the product's alone."""
    try:
        window = find(product)
    except NotApplicable:
        return None
    y, x, k = (int(axis.extent) for axis in (product.y, product.x, product.k))
    channels = int(window.channels.extent)
    found: tuple[int, Winograd | None] = (straight.loads(1, y, x) * k, None)
    for edge in EDGES:
        places, tiles = (edge + WINDOW - 1) ** 2, _tiles(window, edge)
        if 4 * places * max(channels * y, channels * tiles, tiles * y) > MAX_BYTES:
            continue
        moved = channels * y * (WINDOW**2 + places) + channels * tiles * 2 * places + y * tiles * (places + edge**2)
        found = min(found, (straight.loads(places, y, tiles) * channels + moved, Winograd(edge)), key=lambda f: f[0])
    return found[1]


@cache
def matrices(edge: int, window: int = WINDOW) -> tuple[Matrix, Matrix, Matrix]:
    """A^T, G and B^T of F(edge, window), from the points (Toom-Cook, transposed)."""
    points = POINTS[edge + window - 1]
    at = [[p**i for p in points] + [Fraction(i == edge - 1)] for i in range(edge)]
    g, bt = [], []
    for p in points:
        others = [q for q in points if q != p]
        norm = Fraction(1)
        for q in others:
            norm *= p - q
        g.append([p**i / norm for i in range(window)])
        bt.append([*_roots(others), Fraction(0)])
    g.append([Fraction(i == window - 1) for i in range(window)])
    bt.append(_roots(points))
    return _matrix(at), _matrix(g), _matrix(bt)


def _matrix(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(row) for row in rows)


def _roots(points: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of the polynomial with these roots, the constant one first."""
    found = [Fraction(1)]
    for p in points:
        found = [up - p * same for up, same in zip([Fraction(0), *found], [*found, Fraction(0)])]
    return found


def write(product: Product, plan: Winograd, _limits: Limits) -> tirx.PrimFunc:
    """The kernels. Raises NotApplicable where the product is no such convolution."""
    body = _Kernels(product, plan, find(product))
    body.weights()
    body.patches()
    body.products()
    body.results()
    return product.func.with_body(body.kernel.finish())


class _Kernels:
    """The four kernels, one after the other."""

    def __init__(self, product: Product, plan: Winograd, window: Window):
        self.kernel, self.product, self.plan, self.window = Kernel(), product, plan, window
        self.edge, self.side = plan.edge, plan.edge + WINDOW - 1
        self.at, self.g, self.bt = matrices(plan.edge)
        self.across, self.down = ceil_div(window.width, self.edge), ceil_div(window.height, self.edge)
        self.tiles = _tiles(window, self.edge)
        self.acc = product.accumulator
        self.y, self.channels = int(product.y.extent), int(window.channels.extent)
        # Rows of whole vectors, whatever the sizes; what lies past the end is never used.
        self.u = self._intermediate("transformed_weights", self.channels, self.y)
        self.v = self._intermediate("transformed_image", self.channels, self.tiles)
        self.m = self._intermediate("transformed_results", self.y, self.tiles)

    def _intermediate(self, name: str, rows: int, columns: int) -> tirx.Buffer:
        buffer = tirx.decl_buffer((i64(self.side**2), i64(rows), i64(_padded(columns))), self.acc, name)
        self.kernel.allocate(buffer)
        return buffer

    def _each(self, rows: int, columns: int) -> contextlib.AbstractContextManager[tirx.Expr]:
        return straight.numbered(self.kernel, i64(rows * columns), self.plan.threads)

    def _value(self, value: tirx.Expr, values: dict[tirx.Var, tirx.Expr]) -> tirx.Expr:
        kernel = self.kernel
        found = cast(without_branches(kernel, flatten(kernel, value, values)), self.acc)
        return kernel.let("value", found)

    def _keep(self, buffer: tirx.Buffer, values: list[list[tirx.Expr]], row: tirx.Expr, column: tirx.Expr) -> None:
        """Stores a square of values, each at its own place of the buffer."""
        kernel, (_, rows, columns) = self.kernel, (int(size) for size in buffer.shape)
        start = kernel.let("start", row * columns + column)
        for i, value in enumerate(itertools.chain.from_iterable(values)):
            kernel.store(kernel.flat(buffer), start + i * rows * columns, value)

    def _transformed(self, matrix: Matrix, square: list[list[tirx.Expr]]) -> list[list[tirx.Expr]]:
        """matrix square matrix^T."""
        for _ in range(2):  # the columns' sums lie as rows afterwards
            square = [
                [self.kernel.let("sum", self._sum(row, [line[i] for line in square])) for row in matrix]
                for i in range(len(square[0]))
            ]
        return square

    def _sum(self, factors: Sequence[Fraction], values: Sequence[tirx.Expr]) -> tirx.Expr:
        terms = [(factor, value) for factor, value in zip(factors, values, strict=True) if factor]
        (first, value), *rest = terms
        total = self._scaled(first, value)
        for factor, value in rest:
            term = self._scaled(abs(factor), value)
            total = total + term if factor > 0 else total - term
        return total

    def _scaled(self, factor: Fraction, value: tirx.Expr) -> tirx.Expr:
        return value if factor == 1 else value * tirx.const(float(factor), self.acc)

    def weights(self) -> None:
        """U."""
        kernel, product, window = self.kernel, self.product, self.window
        with self._each(self.channels, self.y) as number:
            y = kernel.let("y", tvm.tirx.floormod(number, i64(self.y)))
            channel = kernel.let("channel", tvm.tirx.floordiv(number, i64(self.y)))
            values = {**product.y.decode(y), **self._ones(), **window.channels.decode(channel)}
            square = [
                [
                    self._value(product.operand_y.value, {**values, window.window[0]: i64(i), window.window[1]: i64(j)})
                    for j in range(WINDOW)
                ]
                for i in range(WINDOW)
            ]
            self._keep(self.u, self._transformed(self.g, square), channel, y)

    def _ones(self) -> dict[tirx.Var, tirx.Expr]:
        """Iterators of a single position."""
        return {var: i64(0) for axis in (self.product.s, self.product.k) for var, e in axis.iterators if int(e) == 1}

    def _tile(self, tile: tirx.Expr) -> tuple[dict[tirx.Var, tirx.Expr], tirx.Expr, tirx.Expr]:
        """The batch's iterators, and the first row and column of a patch."""
        kernel, edge = self.kernel, self.edge
        first = kernel.let("first", tvm.tirx.floormod(tile, i64(self.across)) * edge)
        rest = kernel.let("rest", tvm.tirx.floordiv(tile, i64(self.across)))
        row = kernel.let("row", tvm.tirx.floormod(rest, i64(self.down)) * edge)
        batch = kernel.let("batch", tvm.tirx.floordiv(rest, i64(self.down)))
        return self.window.batch.decode(batch), row, first

    def patches(self) -> None:
        """V."""
        kernel, window = self.kernel, self.window
        with self._each(self.channels, self.tiles) as number:
            tile = kernel.let("tile", tvm.tirx.floormod(number, i64(self.tiles)))
            channel = kernel.let("channel", tvm.tirx.floordiv(number, i64(self.tiles)))
            batch, row, column = self._tile(tile)
            values = {**batch, **self._ones(), **window.channels.decode(channel)}
            rows = [self._inside(row + i, window.height) for i in range(self.side)]
            columns = [self._inside(column + j, window.width) for j in range(self.side)]
            square = [
                [self._value(window.image, {**values, **dict(zip(window.at, (r, c)))}) for c in columns] for r in rows
            ]
            self._keep(self.v, self._transformed(self.bt, square), channel, tile)

    def _inside(self, place: tirx.Expr, size: int) -> tirx.Expr:
        """A place, or the last one that a window reaches: what lies past it is for results past the end."""
        return self.kernel.let("place", place if size % self.edge == 0 else tvm.tirx.min(place, i64(size + WINDOW - 2)))

    def products(self) -> None:
        """M."""
        kernel, places = self.kernel, self.side**2
        p, y, x, k = (tirx.Var(name, "int64") for name in ("place", "y", "tile", "channel"))
        s = Axis(((p, i64(places)),))
        columns, depth = _padded(self.tiles), Axis(((k, i64(self.channels)),))
        product = Product(
            self.product.func, s, Axis(((y, i64(self.y)),)), Axis(((x, i64(columns)),)), depth,
            Operand(tirx.BufferLoad(self.u, [p, k, y]), self.acc, "own" if self.y % VECTOR == 0 else None),
            Operand(tirx.BufferLoad(self.v, [p, k, x]), self.acc, "own"),
            self.acc, self.m, (p, y, x), lambda value: value, True,
        )  # fmt: skip
        straight.emit(kernel, product, straight.choose(places, self.y, columns, self.channels))

    def results(self) -> None:
        """A^T M A, and what the function makes of it."""
        kernel, product, window, edge = self.kernel, self.product, self.window, self.edge
        _, rows, columns = (int(size) for size in self.m.shape)
        with self._each(self.y, self.tiles) as number:
            tile = kernel.let("tile", tvm.tirx.floormod(number, i64(self.tiles)))
            y = kernel.let("y", tvm.tirx.floordiv(number, i64(self.tiles)))
            start, flat = kernel.let("start", y * columns + tile), kernel.flat(self.m)
            square = [
                [
                    kernel.let("value", kernel.load(flat, start + (i * self.side + j) * rows * columns))
                    for j in range(self.side)
                ]
                for i in range(self.side)
            ]
            batch, row, column = self._tile(tile)
            values = {**batch, **self._ones(), **product.y.decode(y)}
            for i, line in enumerate(self._transformed(self.at, square)):
                for j, total in enumerate(line):
                    at = (kernel.let("row", row + i), kernel.let("column", column + j))
                    inside = [
                        True if size % edge == 0 else place < i64(size)
                        for place, size in zip(at, (window.height, window.width))
                    ]
                    with kernel.when(inside[0]), kernel.when(inside[1]):
                        self._store({**values, **dict(zip(window.place, at))}, total)

    def _store(self, values: dict[tirx.Var, tirx.Expr], total: tirx.Expr) -> None:
        kernel, product = self.kernel, self.product
        marker = tirx.Var("total", product.result_dtype)
        value = flatten(kernel, product.store_value(marker), values)
        offset = offset_of(product.store_buffer, [substitute(i, values) for i in product.store_indices])
        result = substitute(value, {marker: cast(total, product.result_dtype)})
        kernel.store(kernel.flat(product.store_buffer), kernel.simplify(offset), kernel.simplify(result))
