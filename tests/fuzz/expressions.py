"""Random scalar expressions over tensor elements: hypothesis strategies in, functions that write TIR out.

Only what has one right answer is generated: nothing overflows, divisors are neither 0 nor -1, shifts are within the
width, indices within the buffer. Floats are eighths of small integers and the operators on them are exact, so results
are compared bit for bit; casts from float to integer are of values that fit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st
from tvm import tirx

INTEGERS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}
DTYPES = (*INTEGERS, "bool", "float32", "float16")
STEPS = 8
"""Floats are multiples of 1 / STEPS."""

Expr = tirx.Expr


@dataclass(frozen=True)
class Node:
    """An expression: `text` for reports, and the function that makes TIR from the operands' elements."""

    dtype: str
    text: str
    make: Callable[[dict[str, Callable[[], Expr]]], Expr]
    fixed: bool = False
    """A constant. TVM's own folding of operators on two constants has gaps, which are not what is tested."""

    def __repr__(self) -> str:
        return f"{self.text}: {self.dtype}"


def const(value: float, dtype: str) -> Expr:
    return tirx.const(value, dtype)


def limits(dtype: str) -> tuple[int, int]:
    bits = INTEGERS[dtype]
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def integer_values(dtype: str) -> st.SearchStrategy[int]:
    low, high = limits(dtype)
    ends = st.sampled_from([low + 1, high, high // 2])  # the least itself as a divisor trips TVM's simplifier
    return st.one_of(st.integers(low + 1, high), st.integers(max(low, -9), 9), ends)


def leaf(names: dict[str, str], dtype: str) -> st.SearchStrategy[Node]:
    """A constant, or an element of an operand (`names` gives the dtype by name), cast to the dtype."""
    if dtype == "bool":
        constants = st.booleans().map(lambda v: Node(dtype, str(v), lambda _: const(v, "bool"), True))
    elif dtype in INTEGERS:
        constants = integer_values(dtype).map(lambda v: Node(dtype, str(v), lambda _: const(v, dtype), True))
    else:
        values = st.integers(-64, 64).map(lambda v: v / STEPS)
        constants = values.map(lambda v: Node(dtype, str(v), lambda _: const(v, dtype), True))
    same = [
        st.just(Node(dtype, name, lambda given, name=name: given[name]())) for name, kind in names.items()
        if kind == dtype
    ]
    return st.one_of(*same, constants) if same else constants


def element(names: dict[str, str], dtype: str) -> st.SearchStrategy[Node]:
    """An element of an operand as the dtype."""
    reads = [Node(kind, name, lambda given, name=name: given[name]()) for name, kind in names.items()]
    exact = [one for one in reads if one.dtype == dtype or "float16" not in (one.dtype, dtype)]
    return st.sampled_from(exact or reads).map(lambda one: one if one.dtype == dtype else _cast(dtype, one))


def _without_overflow(dtype: str, kind: str, x: Expr, y: Expr) -> Expr:
    """Overflow is undefined in TIR, for unsigned integers too, so operands are made small enough."""
    bits, unsigned = INTEGERS[dtype], dtype.startswith("u")
    if kind == "-" and unsigned:
        return tirx.max(x, y) - tirx.min(x, y)
    drop = const(bits // 2 if kind == "*" else 1, dtype)
    make = {"+": tirx.Add, "-": tirx.Sub, "*": tirx.Mul}[kind]
    return make(tirx.shift_right(x, drop), tirx.shift_right(y, drop))


def _divisor(dtype: str, y: Expr) -> Expr:
    bad = y == const(0, dtype)
    if not dtype.startswith("u"):
        bad = tirx.Or(bad, y == const(-1, dtype))
    return tirx.Select(bad, const(3, dtype), y)


def _integer(dtype: str, kind: str, x: Expr, y: Expr) -> Expr:
    bits = INTEGERS[dtype]
    divisions = {"div": tirx.truncdiv, "mod": tirx.truncmod, "floordiv": tirx.floordiv, "floormod": tirx.floormod}
    if kind in divisions:
        return divisions[kind](x, _divisor(dtype, y))
    if kind == ">>":
        return tirx.shift_right(x, tirx.bitwise_and(y, const(bits - 1, dtype)))
    if kind == "<<":
        half = const(bits // 2, dtype)
        return tirx.shift_left(tirx.shift_right(x, half), tirx.bitwise_and(y, const(bits // 2 - 1, dtype)))
    plain = {"min": tirx.min, "max": tirx.max, "&": tirx.bitwise_and, "|": tirx.bitwise_or, "^": tirx.bitwise_xor}
    return plain[kind](x, y) if kind in plain else _without_overflow(dtype, kind, x, y)


INTEGER_KINDS = ("+", "-", "*", "div", "mod", "floordiv", "floormod", "min", "max", "&", "|", "^", "<<", ">>")
COMPARISONS = {"==": tirx.EQ, "!=": tirx.NE, "<": tirx.LT, "<=": tirx.LE, ">": tirx.GT, ">=": tirx.GE}
FLOAT_KINDS = {"+": tirx.Add, "-": tirx.Sub, "min": tirx.Min, "max": tirx.Max}
LOGIC = {"and": tirx.And, "or": tirx.Or}


def _binary(dtype: str, kind: str, x: Node, y: Node, combine: Callable[[Expr, Expr], Expr]) -> Node:
    return Node(dtype, f"({x.text} {kind} {y.text})", lambda given: combine(x.make(given), y.make(given)))


def _cast(dtype: str, x: Node) -> Node:
    def make(given: dict[str, Callable[[], Expr]]) -> Expr:
        value = x.make(given)
        if dtype in INTEGERS and x.dtype.startswith("float"):
            low = 0.0 if dtype.startswith("u") else -100.0
            value = tirx.max(tirx.min(value, const(100.0, x.dtype)), const(low, x.dtype))
        if dtype.startswith("float") and x.dtype in INTEGERS:
            value = tirx.bitwise_and(value, const(63, x.dtype))  # exact, and small enough to stay so
        if dtype == "bool":
            return value != const(0, x.dtype)
        return tirx.Cast(dtype, value)

    return Node(dtype, f"{dtype}({x.text})", make)


def _choice(kind: str, condition: Node, x: Node, y: Node) -> Node:
    def make(given: dict[str, Callable[[], Expr]]) -> Expr:
        parts = condition.make(given), x.make(given), y.make(given)
        return tirx.Select(*parts) if kind == "select" else tirx.if_then_else(*parts)

    return Node(x.dtype, f"{kind}({condition.text}, {x.text}, {y.text})", make)


@st.composite
def expression(draw: st.DrawFn, names: dict[str, str], dtype: str, depth: int = 4) -> Node:
    """An expression of the dtype over the operands."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        return draw(leaf(names, dtype))

    def part(kind: str = dtype) -> Node:
        return draw(expression(names, kind, depth - 1))

    def pair(kind: str = dtype) -> tuple[Node, Node]:
        left, right = part(kind), part(kind)
        return (draw(element(names, kind)), right) if left.fixed and right.fixed else (left, right)

    def moving(kind: str) -> Node:
        one = part(kind)
        return draw(element(names, kind)) if one.fixed else one

    form = draw(st.sampled_from(("binary", "binary", "binary", "cast", "choice")))
    if form == "choice":
        return _choice(draw(st.sampled_from(("select", "if_then_else"))), moving("bool"), *pair())
    # Casts come from what the operands are, so that their values matter.
    if form == "cast":
        sources = [kind for kind in (*names.values(), "int32") if kind != dtype and "float16" not in (kind, dtype)]
        if sources:
            return _cast(dtype, moving(draw(st.sampled_from(sources))))
    if dtype == "bool":
        if draw(st.booleans()):
            kind = draw(st.sampled_from(tuple(LOGIC)))
            return _binary("bool", kind, *pair(), LOGIC[kind])
        operand = draw(st.sampled_from([kind for kind in (*names.values(), "int32") if kind != "bool"]))
        kind = draw(st.sampled_from(tuple(COMPARISONS)))
        return _binary("bool", kind, *pair(operand), COMPARISONS[kind])
    if dtype in INTEGERS:
        kind = draw(st.sampled_from(INTEGER_KINDS))
        return _binary(dtype, kind, *pair(), lambda x, y: _integer(dtype, kind, x, y))
    kind = draw(st.sampled_from(tuple(FLOAT_KINDS)))
    return _binary(dtype, kind, *pair(), FLOAT_KINDS[kind])
