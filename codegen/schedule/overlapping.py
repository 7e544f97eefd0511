"""Operands computed from windows that overlap: four neighbours at once, from vectors that are loaded once.

Four neighbours in a row read, of a window of 3x3, 18 elements in 9 vectors, where each for itself would load 36.
"""

from __future__ import annotations

from collections.abc import Iterator

import tvm
import tvm_ffi
from tvm import tirx

from .axis import Axis, divides
from .builder import Kernel, i64
from .nest import flatten, is_guarded_load, loads_of, substitute, uses
from .product import VECTOR, Operand
from .source import Source, Step

Known = dict[int, list[tuple[tirx.Expr, tirx.Expr]]]
"""Vectors that are loaded already, by the hash of their place."""


class Overlapping(Source):
    """The source of an operand of which `can_overlap` is true."""

    def four(self, own: tirx.Expr, step: Step) -> Iterator[tirx.Expr]:
        """Four values side by side on the own axis, the first at a multiple of 4; each is written when it is taken."""
        kernel = self.kernel
        # A name, so that the simplifier has the same text for what is the same of four lanes.
        group = kernel.let("own4", tvm.tirx.floordiv(self._clamp(own, VECTOR), i64(VECTOR)))
        kernel.know(group, tvm.tirx.floordiv(i64(self.axis.extent), i64(VECTOR)))
        known: Known = {}
        return (self._guard(step, self._lane(group * VECTOR + lane, step, known)) for lane in range(VECTOR))

    def _lane(self, own: tirx.Expr, step: Step, known: Known) -> tirx.Expr:
        kernel = self.kernel
        values = {self._s: self.s, self._own: own, **step.values}
        markers: dict[tirx.Var, tirx.Expr] = {}

        def settle(node: tirx.Expr) -> tirx.Expr:
            return kernel.simplify(substitute(node, values))

        def mark(value: tirx.Expr) -> tirx.Var:
            marker = tirx.Var("value", value.ty)
            markers[marker] = value
            return marker

        def read(load: tvm.ir.TensorLoad, inside: tirx.Expr | None) -> tirx.Expr:
            index = settle(load.indices[0])
            place, lane = (kernel.simplify(f(index, i64(VECTOR))) for f in (tvm.tirx.floordiv, tvm.tirx.floormod))
            return tirx.Shuffle([self._vector(load.source, place, inside, known)], [int(lane)])

        def visit(node: tvm.ir.Call | tvm.ir.TensorLoad) -> tirx.Expr:
            if isinstance(node, tvm.ir.TensorLoad):
                return mark(read(node, None)) if uses(node.indices[0], self._own) else node
            if not is_guarded_load(kernel, node) or not uses(node.args[1].indices[0], self._own):
                return node
            condition, load, other = node.args
            condition = settle(condition)
            if isinstance(condition, tirx.IntImm):
                return mark(read(load, None)) if condition.value else other
            inside = kernel.let("inside", condition)
            return mark(tirx.Select(inside, read(load, inside), other))

        def once(node: tirx.Let) -> tirx.Expr:
            """What the window gives: in a register, since the work on it may use it more than once."""
            held = kernel.hold("window", settled(node.value))
            return substitute(node.body, {node.var: held})

        def settled(value: tirx.Expr) -> tirx.Expr:
            value = tvm_ffi.structural_map(value, [(tvm.ir.Call, visit), (tvm.ir.TensorLoad, visit)], order="pre")
            return substitute(settle(value), markers)

        return settled(tvm_ffi.structural_map(self._general, (tirx.Let, once)))

    def _vector(self, buffer: tirx.Buffer, place: tirx.Expr, inside: tirx.Expr | None, known: Known) -> tirx.Expr:
        """The buffer's vector `place`, or some other where that is outside."""
        kernel = self.kernel
        place = kernel.let("place", place)
        place = place if inside is None else tirx.Select(inside, place, i64(0))
        entries = known.setdefault(tvm_ffi.structural_hash(place), [])
        for other, vector in entries:
            if tvm_ffi.structural_equal(other, place):
                return vector
        vector = kernel.let("loaded", tirx.BufferLoad(buffer, [tirx.Ramp(place * VECTOR, i64(1), VECTOR)]))
        entries.append((place, vector))
        return vector


def can_overlap(operand: Operand, axis: Axis, others: tuple[Axis, ...]) -> bool:
    """Whether every element that four neighbours on `axis` read is at a known lane of an aligned vector."""
    if not divides(VECTOR, axis.extent):
        return False
    kernel = Kernel()
    values: dict[tirx.Var, tirx.Expr] = {}
    for other in others:
        values.update(other.decode(kernel.variable("p", other.extent)))
    own = kernel.variable("own", axis.extent)
    group = kernel.variable("g", tvm.tirx.floordiv(i64(axis.extent), i64(VECTOR)))
    value = flatten(kernel, operand.value, {**values, **axis.decode(own)})
    lanes = [
        kernel.simplify(tvm.tirx.floormod(substitute(index, {own: group * VECTOR + lane}), i64(VECTOR)))
        for index in _moving(value, own)
        for lane in range(VECTOR)
    ]
    return bool(lanes) and all(isinstance(lane, tirx.IntImm) for lane in lanes)


def _moving(value: tirx.Expr, own: tirx.Var) -> Iterator[tirx.Expr]:
    """The places of loads that move along with `own`."""
    return (load.indices[0] for load in loads_of(value) if uses(load.indices[0], own))
