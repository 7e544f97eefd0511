"""Reads of one operand of a product inside a kernel: a position in, a scalar or vector expression out."""

from __future__ import annotations

import tvm
from tvm import tirx

from .axis import Axis, divides
from .builder import Kernel, i64
from .nest import flatten, offset_of, substitute, without_branches
from .product import VECTOR, Operand, Product


def batch_and_tile(
    kernel: Kernel, product: Product, block: tirx.Expr, tiles: int | tirx.Expr
) -> tuple[tirx.Expr, tirx.Expr]:
    """Batch and tile of the workgroup `block` in a grid of `tiles` workgroups a batch."""
    if product.s.extent == 1:
        return i64(0), block  # of a symbolic number of tiles the simplifier doesn't see it
    s = kernel.let("s", tvm.tirx.floordiv(block, i64(tiles)))
    return s, kernel.let("tile_x", tvm.tirx.floormod(block, i64(tiles)))


def cast(value: tirx.Expr, dtype: str) -> tirx.Expr:
    """The value as `dtype`, lanes kept."""
    lanes = value.ty.dtype.lanes
    wanted = dtype if lanes == 1 else f"{dtype}x{lanes}"
    return value if str(value.ty.dtype) == wanted else tirx.Cast(wanted, value)


class Source:
    """Operand values at (own, k) of batch `s`, safe at any position.

    The kernel walks the operand's own axis in steps of `tile` and k in steps of `depth`. Positions past the end of the
    own axis repeat the last one, since the results there are never stored; positions past the end of k are 0.
    """

    def __init__(
        self, kernel: Kernel, product: Product, operand: Operand, axis: Axis, s: tirx.Expr, tile: int, depth: int
    ):
        self.kernel, self.product, self.operand, self.axis, self.s = kernel, product, operand, axis, s
        self.tile, self.depth, self.k_extent = tile, depth, product.k.extent
        self._at = (
            kernel.variable("s", product.s.extent),
            kernel.variable("own", axis.extent),
            kernel.variable("k", product.k.extent),
        )
        values = {**product.s.decode(self._at[0]), **axis.decode(self._at[1]), **product.k.decode(self._at[2])}
        self._general = flatten(kernel, operand.value, values)

    def scalar(self, own: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        """One value."""
        own, k = self.kernel.let("own", self._clamp(own, 1)), self.kernel.let("k", k)
        value = without_branches(self.kernel, self._value(own, k))
        if isinstance(value, tirx.Select | tirx.Var):
            return self._inside_select(k, value)
        return self._inside(k, value)

    def apart(self, own: tirx.Expr) -> dict[tirx.Var, tirx.Expr]:
        """The position taken apart here, named: what `scalar_apart` needs of it, outside of the loop over k."""
        own = self.kernel.let("own", self._clamp(own, 1))
        self.kernel.know(own, self.axis.extent)
        values = self.axis.decode(own)
        names = {var: self.kernel.let("own", value) for var, value in values.items()}
        for var, extent in self.axis.iterators:
            self.kernel.know(names[var], extent)
        return names

    def scalar_apart(self, own: dict[tirx.Var, tirx.Expr], k: tirx.Expr) -> tirx.Expr:
        """One value at a position that `apart` took apart; k is a position within the sum."""
        s, _, at_k = self._at
        batch = self.product.s.decode(s)
        value = flatten(self.kernel, self.operand.value, {**batch, **own, **self.product.k.decode(at_k)})
        return without_branches(self.kernel, self.kernel.simplify(substitute(value, {s: self.s, at_k: k})))

    def vector(self, own: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        """4 values along `operand.along`; the position along it is a multiple of 4."""
        kernel = self.kernel
        # The factor 4 stays visible, so that later passes can prove the alignment.
        if self.operand.along == "k":
            own, k = kernel.let("own", self._clamp(own, 1)), kernel.let("k4", tvm.tirx.floordiv(k, VECTOR)) * VECTOR
        else:
            group = tvm.tirx.floordiv(self._clamp(own, VECTOR), VECTOR)
            own, k = kernel.let("own4", group) * VECTOR, kernel.let("k", k)
        return self._inside(k, _widen(self._value(own, k)))

    def _clamp(self, position: tirx.Expr, step: int) -> tirx.Expr:
        size = self.axis.extent
        if divides(self.tile, size):
            return position
        if step == 1:
            return tvm.tirx.min(position, i64(size) - 1)
        return tvm.tirx.min(tvm.tirx.floordiv(position, step), i64(size // step) - 1) * step

    def _value(self, own: tirx.Expr, k: tirx.Expr) -> tirx.Expr:
        return self.kernel.simplify(substitute(self._general, dict(zip(self._at, (self.s, own, k)))))

    def _inside_select(self, k: tirx.Expr, value: tirx.Expr) -> tirx.Expr:
        if divides(self.depth, self.k_extent):
            return value
        return tirx.Select(k < i64(self.k_extent), value, tirx.const(0, self.operand.dtype))

    def _inside(self, k: tirx.Expr, value: tirx.Expr) -> tirx.Expr:
        if divides(self.depth, self.k_extent):
            return value
        zero = tirx.const(0, self.operand.dtype)
        if value.ty.dtype.lanes > 1:
            zero = tirx.Broadcast(zero, VECTOR)
        return tvm.tirx.if_then_else(k < i64(self.k_extent), value, zero)


def _widen(value: tirx.Expr) -> tirx.Expr:
    """A load (perhaps inside casts) turned into a load of a vector."""
    if isinstance(value, tirx.Cast):
        return tirx.Cast(f"{value.ty.dtype}x{VECTOR}", _widen(value.value))
    return tirx.BufferLoad(value.source, [tirx.Ramp(value.indices[0], i64(1), VECTOR)])


def result(kernel: Kernel, product: Product, s: tirx.Expr, y: tirx.Expr, x: tirx.Expr, total: tirx.Expr) -> tirx.Expr:
    """What one sum at (s, y, x) becomes by the cast and the elementwise work."""
    at, values = _general(kernel, product)
    marker = tirx.Var("total", product.result_dtype)
    value = flatten(kernel, product.store_value(marker), values)
    place = {**dict(zip(at, (s, y, x))), marker: cast(total, product.result_dtype)}
    return kernel.simplify(substitute(value, place))


def store_result(kernel: Kernel, product: Product, s: tirx.Expr, y: tirx.Expr, x: tirx.Expr, total: tirx.Expr) -> None:
    """Stores one sum at (s, y, x), after the cast and the elementwise work."""
    value = result(kernel, product, s, y, x, total)
    at, values = _general(kernel, product)
    offset = kernel.simplify(offset_of(product.store_buffer, [substitute(i, values) for i in product.store_indices]))
    offset = kernel.simplify(substitute(offset, dict(zip(at, (s, y, x)))))
    kernel.store(kernel.flat(product.store_buffer), offset, value)


def _general(kernel: Kernel, product: Product) -> tuple[tuple[tirx.Var, ...], dict[tirx.Var, tirx.Expr]]:
    """Variables for a position (s, y, x), and the iterators there."""
    axes = {"s": product.s, "y": product.y, "x": product.x}
    at = tuple(kernel.variable(name, axis.extent) for name, axis in axes.items())
    return at, {**product.s.decode(at[0]), **product.y.decode(at[1]), **product.x.decode(at[2])}
