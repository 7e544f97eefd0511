"""Fused iterators: a list of iterators in, positions and their decoding out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx

from .builder import i64


def ceil_div(total: int | tirx.Expr, part: int) -> int | tirx.Expr:
    """ceil(total / part)."""
    return -(-total // part) if isinstance(total, int) else tvm.tirx.floordiv(total + (part - 1), i64(part))


def wide(axis: Axis) -> list[tuple[tirx.Var, tirx.Expr]]:
    """The iterators of an axis that may have more than one position; the last one where none has."""
    found = [(var, e) for var, e in axis.iterators if not (isinstance(e, tirx.IntImm) and int(e) == 1)]
    return found or [axis.iterators[-1]]


def divides(part: int, total: int | tirx.Expr) -> bool:
    """Whether `total` is a multiple of `part` for certain: a number, or an expression such as `4 * n`."""
    if isinstance(total, int):
        return total % part == 0
    return tvm.sym.Analyzer().can_prove_equal(tvm.tirx.floormod(total, i64(part)), i64(0))


def number(extent: tirx.Expr) -> int | tirx.Expr:
    """An extent as an int where it is known."""
    return int(extent) if isinstance(extent, tirx.IntImm) else extent


@dataclass(frozen=True)
class Axis:
    """Iterators fused in row-major order, each with its extent."""

    iterators: tuple[tuple[tirx.Var, tirx.Expr], ...]

    @staticmethod
    def of(iter_vars: Sequence[tirx.IterVar]) -> Axis:
        """The axis over some block iterators."""
        return Axis(tuple((it.var, it.dom.extent) for it in iter_vars))

    @property
    def extent(self) -> int | tirx.Expr:
        """Number of positions, an int where all of them are known."""
        if all(isinstance(e, tirx.IntImm) for _, e in self.iterators):
            return math.prod(int(e) for _, e in self.iterators)
        total = i64(1)
        for _, e in self.iterators:
            total = total * e
        return tvm.sym.Analyzer().simplify(total)

    @property
    def factor(self) -> int:
        """A known divisor of the extent: the product of the known extents."""
        return math.prod(int(e) for _, e in self.iterators if isinstance(e, tirx.IntImm))

    def position(self) -> tirx.Expr:
        """The position of the iterators' values: what `decode` takes apart."""
        total = i64(0)
        for var, size in self.iterators:
            total = total * size + var
        return tvm.sym.Analyzer().simplify(total)

    def decode(self, position: tirx.Expr) -> dict[tirx.Var, tirx.Expr]:
        """Value of each iterator at a position."""
        values: dict[tirx.Var, tirx.Expr] = {}
        below = i64(1)
        for i, (var, size) in reversed(list(enumerate(self.iterators))):
            shifted = tvm.tirx.floordiv(position, below)
            values[var] = shifted if i == 0 else tvm.tirx.floormod(shifted, size)
            below = below * size
        return values
