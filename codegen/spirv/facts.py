"""Integer expressions of a kernel in; their interval and known divisor out.

This is what lets int64 arithmetic run in 32 bits, divisions lose their sign fix-ups and vectors be loaded whole.
Sound under two conditions that hold for every launch: scalar arguments fit 32 bits (the runtime checks each), and a
buffer is smaller than 2 GiB (WebGPU gives no larger binding), which bounds the products of dimensions that shapes are
made of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import gcd

from tvm import ir, tirx
from tvm.ir.prim import expr as prim
from tvm_webgpu.codegen.spirv.dtypes import BYTES, INT_RANGE, parse
from tvm_webgpu.codegen.spirv.terms import Terms

MAX_BUFFER_BYTES = 2**31


@dataclass(frozen=True, slots=True)
class Fact:
    """lo <= value <= hi, and value is a multiple of `multiple` (0 for the constant 0)."""

    lo: int
    hi: int
    multiple: int = 1

    def within(self, lo: int, hi: int) -> bool:
        return lo <= self.lo and self.hi <= hi

    @property
    def fits_i32(self) -> bool:
        return self.within(-(2**31), 2**31 - 1)


def exact(value: int) -> Fact:
    return Fact(value, value, abs(value))


def corners(a: Fact, b: Fact, f: Callable[[int, int], int]) -> tuple[int, int]:
    values = [f(x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return min(values), max(values)


def truncated(x: int, y: int) -> int:
    return abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


def _quotient(f: Callable[[int, int], int]) -> Callable[[Fact, Fact], Fact | None]:
    def rule(a: Fact, b: Fact) -> Fact | None:
        b = _divisor(b)
        if b.lo <= 0 <= b.hi:
            return None
        lo, hi = corners(a, b, f)
        if a.lo < 0 < a.hi:
            lo, hi = min(lo, 0), max(hi, 0)
        divides = b.lo == b.hi and a.multiple % abs(b.lo) == 0
        return Fact(lo, hi, a.multiple // abs(b.lo) if divides else 1)
    return rule


def _divisor(b: Fact) -> Fact:
    """A divisor is not 0: TIR leaves division by 0 undefined."""
    return Fact(1, b.hi, b.multiple) if b.lo == 0 < b.hi else b


def _floormod(a: Fact, b: Fact) -> Fact | None:
    b = _divisor(b)
    if b.lo <= 0:
        return None
    if a.lo >= 0 and a.hi < b.lo:
        return a
    return Fact(0, b.hi - 1, gcd(a.multiple, b.multiple) if b.lo == b.hi else 1)


def _truncmod(a: Fact, b: Fact) -> Fact | None:
    b = _divisor(b)
    if b.lo <= 0:
        return None
    return Fact(max(a.lo, 1 - b.hi) if a.lo < 0 else 0, min(a.hi, b.hi - 1) if a.hi > 0 else 0,
                gcd(a.multiple, b.multiple) if b.lo == b.hi else 1)


def _shift_left(a: Fact, b: Fact) -> Fact | None:
    if b.lo != b.hi or not 0 <= b.lo < 64:
        return None
    return Fact(a.lo << b.lo, a.hi << b.lo, a.multiple << b.lo)


def _shift_right(a: Fact, b: Fact) -> Fact | None:
    if not (b.lo >= 0 and b.hi < 64):
        return None
    lo, hi = corners(a, b, lambda x, y: x >> y)
    divides = b.lo == b.hi and a.multiple % (1 << b.lo) == 0
    return Fact(lo, hi, a.multiple >> b.lo if divides else 1)


def _and(a: Fact, b: Fact) -> Fact | None:
    masks = [x.hi for x in (a, b) if x.lo >= 0]
    if not masks:
        return None
    low_zero = [x.multiple & -x.multiple or 2**64 for x in (a, b)]
    return Fact(0, min(masks), max(low_zero))


def _or(a: Fact, b: Fact) -> Fact | None:
    if a.lo < 0 or b.lo < 0:
        return None
    return Fact(max(a.lo, b.lo), (1 << max(a.hi, b.hi).bit_length()) - 1)


def _xor(a: Fact, b: Fact) -> Fact | None:
    either = _or(a, b)
    return either and Fact(0, either.hi)


RULES: dict[str, Callable[[Fact, Fact], Fact | None]] = {
    "Add": lambda a, b: Fact(a.lo + b.lo, a.hi + b.hi, gcd(a.multiple, b.multiple)),
    "Sub": lambda a, b: Fact(a.lo - b.hi, a.hi - b.lo, gcd(a.multiple, b.multiple)),
    "Mul": lambda a, b: Fact(*corners(a, b, lambda x, y: x * y), a.multiple * b.multiple),
    "Div": _quotient(truncated),
    "FloorDiv": _quotient(lambda x, y: x // y),
    "Mod": _truncmod,
    "FloorMod": _floormod,
    "Min": lambda a, b: Fact(min(a.lo, b.lo), min(a.hi, b.hi), gcd(a.multiple, b.multiple)),
    "Max": lambda a, b: Fact(max(a.lo, b.lo), max(a.hi, b.hi), gcd(a.multiple, b.multiple)),
    "LShift": _shift_left,
    "RShift": _shift_right,
    "BitwiseAnd": _and,
    "BitwiseOr": _or,
    "BitwiseXor": _xor,
}


class Facts:
    """Facts of the integer expressions of one kernel; variables are entered as the walk meets them."""

    def __init__(self, largest: Mapping[str, int] | None = None) -> None:
        """`largest`: scalar arguments that are known to be at least 1 and at most this, by name."""
        self._largest = largest or {}
        self._vars: dict[int, Fact] = {}
        self.terms = Terms()
        self.dtype = self.terms.dtype
        self._memo: dict[int, Fact] = {}
        self._products: list[tuple[Counter[int], int]] = []

    def set(self, var: ir.Var, fact: Fact) -> None:
        handle = var.__chandle__()
        if self._vars.get(handle, fact) != fact:
            self._memo.clear()  # what was known of expressions of it may be more now
        self._vars[handle] = fact

    def scalar(self, var: ir.Var) -> None:
        """A scalar argument: the runtime passes 32 bits."""
        lo, hi = INT_RANGE[self.dtype(var).name]
        bound = Fact(max(lo, -(2**31)), min(hi, 2**32 - 1 if lo == 0 else 2**31 - 1))
        if var.name in self._largest:
            bound = Fact(1, self._largest[var.name])
        for product, most in self._products:
            power = product[var.__chandle__()]
            if power:
                bound = Fact(max(bound.lo, 0), min(bound.hi, int(most ** (1 / power)) + 1))
        self.set(var, bound)

    def shape(self, buffer: ir.Var) -> None:
        """Learns from an argument's shape that a product of dimensions is small."""
        most = MAX_BUFFER_BYTES // BYTES[parse(str(buffer.ty.dtype)).name]
        for extent in buffer.ty.shape:
            flat = self._factored(extent)
            if flat[1]:
                self._products.append((flat[1], max(most // max(flat[0], 1), 1)))

    def _product(self, expr: ir.Expr) -> tuple[int, Counter[int]] | None:
        """coefficient and variables, when the expression is a product of them."""
        if isinstance(expr, prim.IntImm):
            return expr.value, Counter()
        if isinstance(expr, ir.Var):
            return 1, Counter([expr.__chandle__()])
        if isinstance(expr, prim.Cast):
            return self._product(expr.value)
        if isinstance(expr, prim.Mul):
            a, b = self._product(expr.a), self._product(expr.b)
            return a and b and (a[0] * b[0], a[1] + b[1])
        return None

    def _factored(self, expr: ir.Expr) -> tuple[int, Counter[int]]:
        """coefficient and factors, whatever these are: variables, h // 2, (w - 1) // 2 + 1."""
        if isinstance(expr, prim.IntImm):
            return expr.value, Counter()
        if isinstance(expr, prim.Cast):
            return self._factored(expr.value)
        if isinstance(expr, prim.Mul):
            a, b = self._factored(expr.a), self._factored(expr.b)
            return a[0] * b[0], a[1] + b[1]
        return 1, Counter([self.terms(expr).__chandle__()])

    def __call__(self, expr: ir.Expr) -> Fact:
        handle = expr.__chandle__()
        fact = self._memo.get(handle)
        if fact is None:
            same = self.terms(expr)
            fact = self._memo.get(same.__chandle__()) or self._in_range(same)
            self._memo[handle] = self._memo[same.__chandle__()] = fact
        return fact

    def _in_range(self, expr: ir.Expr) -> Fact:
        dtype = self.dtype(expr)
        lo, hi = INT_RANGE[dtype.name]
        fact = self._of(expr) if dtype.lanes == 1 else None
        if fact is None:
            return Fact(lo, hi)
        return fact if fact.within(lo, hi) else Fact(lo, hi, fact.multiple & -fact.multiple or 1)

    def _of(self, expr: ir.Expr) -> Fact | None:
        kind = type(expr)
        if kind is prim.IntImm:
            return exact(expr.value)
        if kind is ir.Var:
            return self._vars.get(expr.__chandle__())
        rule = RULES.get(kind.__name__)
        if rule is not None:
            left, right = expr.a, expr.b
            if not self.dtype(left).is_int:
                return None
            fact = rule(self(left), self(right))
            if kind is prim.Mul and fact is not None and not fact.fits_i32:
                fact = self._bounded_product(expr, fact)
            return fact
        if kind is prim.Cast:
            return self(expr.value) if self.dtype(expr.value).is_int else None
        if kind is prim.Select:
            return self._either(expr.true_value, expr.false_value)
        if kind is prim.Let:
            return self(expr.body)
        if kind is ir.Call:
            name = getattr(expr.op, "name", "")
            if name == "prim.if_then_else":
                return self._either(expr.args[1], expr.args[2])
            if name in ("prim.likely", "tirx.tvm_thread_invariant"):
                return self(expr.args[0])
        return None

    def _either(self, a: ir.Expr, b: ir.Expr) -> Fact:
        x, y = self(a), self(b)
        return Fact(min(x.lo, y.lo), max(x.hi, y.hi), gcd(x.multiple, y.multiple))

    def _bounded_product(self, expr: ir.Expr, fact: Fact) -> Fact:
        """A product that is part of a buffer's shape is no larger than the buffer, and a // (b * c) * b than a / c."""
        scale, names = self._factored(expr)
        for product, most in self._products:
            if scale > 0 and not names - product:
                fact = Fact(max(fact.lo, 0), min(fact.hi, scale * most), fact.multiple)
        return fact if fact.fits_i32 else self._bounded_quotient(expr, fact)

    def _bounded_quotient(self, expr: ir.Expr, fact: Fact) -> Fact:
        factors = list(_factors(expr))
        quotients = [e for e in factors if isinstance(e, prim.FloorDiv)]
        if len(quotients) != 1 or fact.lo < 0:
            return fact
        divisor = self._product(quotients[0].b)
        scale, names = 1, Counter[int]()
        for factor in factors:
            one = (1, Counter[int]()) if factor is quotients[0] else self._product(factor)
            if one is None:
                return fact
            scale, names = scale * one[0], names + one[1]
        if divisor is None or divisor[0] <= 0 or names - divisor[1]:
            return fact
        return Fact(0, min(fact.hi, self(quotients[0].a).hi * scale // divisor[0]), fact.multiple)


def _factors(expr: ir.Expr) -> Iterator[ir.Expr]:
    if isinstance(expr, prim.Mul):
        yield from _factors(expr.a)
        yield from _factors(expr.b)
    else:
        yield expr


def is_zero_or(fact: Fact, divisor: int) -> bool:
    """Whether the value is a multiple of `divisor`."""
    return fact.multiple % divisor == 0


def bind(facts: Facts, stmt: tirx.Bind | prim.Let) -> None:
    """Enters the variable of a `let` statement or expression."""
    dtype = facts.dtype(stmt.value)
    if dtype.is_int and dtype.lanes == 1:
        facts.set(stmt.var, facts(stmt.value))
