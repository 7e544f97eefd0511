"""Reads of one operand of a product inside a kernel: a position in, a scalar or vector expression out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tvm
import tvm_ffi
from tvm import tirx

from .axis import Axis, divides, number, wide
from .builder import Kernel, i64
from .nest import flatten, is_guarded_load, offset_of, substitute, uses, without_branches
from .product import VECTOR, Operand, Product, runs


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


@dataclass(frozen=True)
class Step:
    """A position of the sum: values for the variables of an operand's text, and whether it is within the sum."""

    values: dict[tirx.Var, tirx.Expr]
    inside: tirx.Expr | bool


class Source:
    """Operand values at (own, k) of batch `s`, safe at any position.

    The kernel walks the operand's own axis in steps of `tile` and k in steps of `depth`. Positions past the end of the
    own axis repeat the last one, since the results there are never stored; positions past the end of k are 0.

    `piece` says that k is asked for in pieces of that many positions (`steps`), each of which begins at a multiple of
    it. Where pieces don't cross the end of the sum's innermost iterator, the source is `steady`: the other iterators,
    and what padding makes of them, are found once for a piece.
    """

    run = VECTOR
    """How many positions `vector` loads."""

    def __init__(
        self,
        kernel: Kernel,
        product: Product,
        operand: Operand,
        axis: Axis,
        s: tirx.Expr,
        tile: int,
        depth: int,
        piece: int = 1,
    ):
        self.kernel, self.product, self.operand, self.axis, self.s = kernel, product, operand, axis, s
        self.tile, self.depth, self.k_extent = tile, depth, product.k.extent
        *outer, (_, length) = wide(product.k)
        self.steady = bool(outer) and piece > 1 and divides(piece, number(length))
        self._s = kernel.variable("s", product.s.extent)
        self._own = kernel.variable("own", axis.extent)
        if self.steady:
            names = {var: kernel.variable(var.name, extent) for var, extent in wide(product.k)}
            values = {**product.k.decode(i64(0)), **names}
            *self._outer, self._last = names.values()
        else:
            self._outer, self._last = [], kernel.variable("k", product.k.extent)
            values = product.k.decode(self._last)
        values = {**product.s.decode(self._s), **axis.decode(self._own), **values}
        self._general = flatten(kernel, operand.value, values)

    def steps(self, k0: tirx.Expr) -> Callable[[tirx.Expr], Step]:
        """From positions in the piece that begins at `k0` to steps."""
        if not self.steady:
            return lambda k: self.step(k0 + k)
        kernel = self.kernel
        *outer, (_, length) = wide(self.product.k)
        first = kernel.let("first", tvm.tirx.floormod(k0, length))
        decoded = Axis(tuple(outer)).decode(kernel.let("window", tvm.tirx.floordiv(k0, length)))
        at = {name: kernel.let(var.name, decoded[var]) for name, (var, _) in zip(self._outer, outer)}
        for name, (_, extent) in list(zip(self._outer, outer))[1:]:
            kernel.know(at[name], extent)
        inside = divides(self.depth, self.k_extent) or k0 < i64(self.k_extent)
        return lambda k: Step({**at, self._last: self._name(first + k)}, inside)

    def step(self, k: tirx.Expr) -> Step:
        """A position of the sum."""
        name = self._name(k)
        return Step({self._last: name}, divides(self.depth, self.k_extent) or name < i64(self.k_extent))

    def _name(self, k: tirx.Expr) -> tirx.Expr:
        if self.operand.along == "k":  # the factor stays visible, so that later passes can prove the alignment
            return self.kernel.let("run", tvm.tirx.floordiv(k, self.run)) * self.run
        return self.kernel.let("k", k)

    def scalar(self, own: tirx.Expr, at: Step | tirx.Expr) -> tirx.Expr:
        """One value, at a step or a position of the sum."""
        k = at if isinstance(at, Step) else self.step(at)
        if self.steady:
            return self._steady(own, k)
        own = self.kernel.let("own", self._clamp(own, 1))
        return self._guard(k, without_branches(self.kernel, self._value(own, k)))

    def four(self, own: tirx.Expr, step: Step) -> Iterator[tirx.Expr]:
        """Four values side by side on the own axis, the first at a multiple of 4; each is written when it is taken."""
        return (self.scalar(own + lane, step) for lane in range(VECTOR))

    def _steady(self, own: tirx.Expr, k: Step) -> tirx.Expr:
        """One value; guarded loads always happen, at a harmless place where the guard fails.

        That place is found without the innermost iterator, which is added: so it is the same expression for the whole
        of a piece, and computed once.
        """
        kernel = self.kernel
        values = {self._s: self.s, self._own: kernel.let("own", self._clamp(own, 1)), **k.values}

        def settle(node: tirx.Expr) -> tirx.Expr:
            return kernel.simplify(substitute(node, values))

        found: dict[tirx.Var, tirx.Expr] = {}

        def guarded(node: tvm.ir.Call) -> tirx.Expr:
            if not is_guarded_load(kernel, node) or uses(node.args[0], self._last):
                return node
            condition, load, other = node.args
            start = kernel.simplify(substitute(load.indices[0], {self._last: i64(0)}))
            rest = kernel.simplify(load.indices[0] - start)
            inside = kernel.let("inside", settle(condition))
            place = kernel.let("start", tirx.Select(inside, settle(start), i64(0))) + settle(rest)
            # Named, so that no later pass moves the load back behind a branch.
            loaded = kernel.let("loaded", tirx.BufferLoad(load.source, [place]))
            marker = tirx.Var("value", load.ty)
            found[marker] = tirx.Select(inside, loaded, other)
            return marker

        value = settle(tvm_ffi.structural_map(self._general, (tvm.ir.Call, guarded), order="pre"))
        return self._guard(k, without_branches(kernel, substitute(value, found)))

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
        batch = self.product.s.decode(self._s)
        value = flatten(self.kernel, self.operand.value, {**batch, **own, **self.product.k.decode(self._last)})
        return without_branches(self.kernel, self.kernel.simplify(substitute(value, {self._s: self.s, self._last: k})))

    def vector(self, own: tirx.Expr, at: Step | tirx.Expr) -> tirx.Expr:
        """The `run` values along `operand.along` from a position that is a multiple of it."""
        kernel = self.kernel
        k = at if isinstance(at, Step) else self.step(at)
        if self.operand.along == "k":
            own = kernel.let("own", self._clamp(own, 1))
        else:
            own = kernel.let("run", tvm.tirx.floordiv(self._clamp(own, self.run), self.run)) * self.run
        return self._inside(k, self._whole(self._value(own, k)))

    def _whole(self, value: tirx.Expr) -> tirx.Expr:
        """The load of a scalar as one of a run."""
        return _widen(value)

    def _clamp(self, position: tirx.Expr, step: int) -> tirx.Expr:
        size = self.axis.extent
        if divides(self.tile, size):
            return position
        if step == 1:
            return tvm.tirx.min(position, i64(size) - 1)
        return tvm.tirx.min(tvm.tirx.floordiv(position, step), i64(size // step) - 1) * step

    def _value(self, own: tirx.Expr, k: Step) -> tirx.Expr:
        return self.kernel.simplify(substitute(self._general, {self._s: self.s, self._own: own, **k.values}))

    def _guard(self, k: Step, value: tirx.Expr) -> tirx.Expr:
        if k.inside is not True and isinstance(value, tirx.Select | tirx.Var):
            return tirx.Select(k.inside, value, tirx.const(0, self.operand.dtype))
        return self._inside(k, value)

    def _inside(self, k: Step, value: tirx.Expr) -> tirx.Expr:
        if k.inside is True:
            return value
        lanes = value.ty.dtype.lanes
        zero = tirx.const(0, str(value.ty.dtype.with_lanes(1)))
        if lanes > 1:
            zero = tirx.Broadcast(zero, lanes)
        return tvm.tirx.if_then_else(k.inside, value, zero)


def _widen(value: tirx.Expr) -> tirx.Expr:
    """A load (perhaps inside casts) turned into a load of a vector."""
    if isinstance(value, tirx.Cast):
        return tirx.Cast(f"{value.ty.dtype}x{VECTOR}", _widen(value.value))
    return tirx.BufferLoad(value.source, [tirx.Ramp(value.indices[0], i64(1), VECTOR)])


class Words(Source):
    """A source of float16 whose vectors are 4 words, of 8 values: loads of 16 bytes. No scalars, no casts."""

    run = 2 * VECTOR

    @staticmethod
    def suits(product: Product, operand: Operand, axis: Axis) -> bool:
        """Whether the operand is float16 in memory, in aligned runs of 8."""
        load, along = operand.value, product.k if operand.along == "k" else axis
        plain = isinstance(load, tvm.ir.TensorLoad) and str(load.ty.dtype) == "float16" and operand.along is not None
        return plain and runs(load, (product.s, product.y, product.x, product.k), along, Words.run)

    def _whole(self, value: tirx.Expr) -> tirx.Expr:
        start = self.kernel.simplify(tvm.tirx.floordiv(value.indices[0], 2))
        return self.kernel.load(self.kernel.words(value.source), start, VECTOR)


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
