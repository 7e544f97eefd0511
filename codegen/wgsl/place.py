"""Places: what a pointer names, as text that WGSL can read, write or take the address of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tvm_webgpu.codegen.wgsl import expr
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.memory import Tree
from tvm_webgpu.codegen.wgsl.types import Type


@dataclass(frozen=True)
class Raw:
    """A byte offset in a buffer of words: ``constant`` plus each term's index times its stride in bytes.

    ``spread`` are the bytes between a vector's components, 0 for next to each other; ``matrix`` is the (stride, whether
    row-major) of matrices below.
    """

    uniform: bool
    constant: int = 0
    terms: tuple[tuple[Expr, int], ...] = ()
    spread: int = 0
    matrix: tuple[int, bool] | None = None

    def moved(self, by: int) -> Raw:
        return replace(self, constant=self.constant + by)

    def indexed(self, index: int | None, at: Expr, stride: int) -> Raw:
        """The element at an index, a constant or else ``at`` (a u32)."""
        if index is not None:
            return self.moved(index * stride)
        return replace(self, terms=(*self.terms, (at, stride)))

    def aligned(self, unit: int) -> bool:
        """Whether the place within its unit of so many bytes is known: only the constant decides."""
        return all(stride % unit == 0 for _, stride in self.terms)

    def units(self, unit: int) -> Expr:
        """The index of the unit of so many bytes that the place lies in."""
        if not self.aligned(unit):
            made = self.bytes()
            return expr.binary("/", made, Expr(f"{unit}u"))
        return self._sum(unit)

    def bytes(self) -> Expr:
        return self._sum(1)

    def _sum(self, unit: int) -> Expr:
        total: Expr | None = None
        for at, stride in self.terms:
            term = at if stride == unit else expr.binary("*", at, Expr(f"{stride // unit}u"))
            total = term if total is None else expr.binary("+", total, term)
        # What a word does not hold is past the end of any binding; naga takes the last word for an error.
        constant = Expr(f"{min(self.constant // unit, 0xFFFFFFFE)}u", const=True)
        if total is None:
            return constant
        return total if constant.text == "0u" else expr.binary("+", total, constant)


@dataclass(frozen=True)
class Place:
    """A memory location: its text, type, atomic parts, the variable it lies in, and what finding it reads.

    Where the buffer is declared as words, ``raw`` says where in it, ``text`` is the buffer, and ``tree`` is whether its
    words are atomic.
    """

    text: str
    type: Type
    tree: Tree
    root: int
    reads: frozenset[object] = field(default_factory=frozenset)
    prec: int = expr.PRIMARY
    raw: Raw | None = None

    @property
    def target(self) -> str:
        """The text as the base of a member access or index."""
        return self.text if self.prec == expr.PRIMARY else f"({self.text})"
