"""The state of a function while it is written: its text, the values that wait, and the places pointers name.

Values that are used once, in their own block, wait in ``pending`` and are written where they are used; they are flushed
into a ``let`` before a write to something they read. All others become a ``let``, or a variable where they are used
outside their scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tvm_webgpu.codegen.wgsl import types
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.layout import round_up
from tvm_webgpu.codegen.wgsl.memory import Pointer, subtree
from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.names import Names
from tvm_webgpu.codegen.wgsl.place import Place, Raw
from tvm_webgpu.codegen.wgsl.types import Type
from tvm_webgpu.codegen.wgsl.usage import usage

if TYPE_CHECKING:
    from tvm_webgpu.codegen.wgsl.translator import Translator

LAST_INDEX = (1 << 31) - 1  # the greatest that WGSL takes as i32: past the end of what any binding holds
INLINE_LIMIT = 160  # characters of an expression that may still be put into another


@dataclass(frozen=True)
class Argument:
    """How a pointer parameter of an instance is bound: to a module variable and the path below it.

    ``steps`` holds a member number, a constant index, or None for an index that is passed as a parameter.
    """

    root: int
    steps: tuple[int | None, ...]


ParameterBinding = tuple[Argument | None, ...]


class State:
    """What writing single instructions needs to know and change."""

    def __init__(self, translator: Translator, function: Function, entry: bool):
        self.t = translator
        self.m = translator.module
        self.d = translator.declarations
        self.function = function
        self.entry = entry
        self.lines: list[str] = []
        self.indent = 1
        self.values: dict[int, Expr] = {}
        self.pending: dict[int, Expr] = {}
        self.hoisted: dict[int, str] = {}  # variables of values, and of phis under minus their id
        self.undeclared: set[str] = set()  # variables of ``hoisted`` whose scope has not begun
        self.block: Block | None = None
        self.places: dict[int, Place] = {}
        self.bound: dict[int, tuple[Argument, list[str]]] = {}  # pointer parameters to module variables
        self.pointers = translator.memory.pointers[function.id]
        self.usage = usage(self.m, function, self.pointers)
        # Module variables get their names before the function's own values do.
        for root in sorted(self.usage.count):
            if root in self.m.variables:
                translator.variables.place(root, self.m.variables[root])
        self.names = Names(translator.names)

    def emit(self, line: str) -> None:
        self.lines.append("  " * self.indent + line)
        self.t.count(len(line) + 2 * self.indent)

    def assignment(self, target: str, text: str) -> str:
        """``target = text;``, as a compound assignment where the text begins with the target."""
        for operator in ("+", "-", "*", "/"):
            rest = text.removeprefix(f"{target} {operator} ")
            if rest != text and _is_operand(rest, operator):
                return f"{target} {operator}= {rest};"
        return f"{target} = {text};"

    def operand(self, id: int, where: Instruction | None) -> Expr:
        """The expression of a value."""
        if id in self.pending:
            return self.pending.pop(id)
        if id in self.values:
            value = self.values[id]
            if value.text in self.undeclared:
                raise invalid(where or self.usage.defs[id], f"%{id} is used where it is not defined yet")
            return value
        if id in self.t.constants:
            return self.d.constant(id)
        inst = where or self.usage.defs.get(id) or Instruction("?", 0, id, (), 0)
        if id in self.places or id in self.pointers or id in self.m.variables:
            raise unsupported(inst, f"the pointer %{id} is used as a value", "WGSL has no variable pointers")
        raise invalid(inst, f"%{id} is used before it is defined, or is no value")

    def keep(self, value: Expr, wanted: str = "") -> Expr:
        """Puts an expression into a ``let``."""
        name = self.names.make(wanted, "t")
        self.emit(f"let {name} = {value.text};")
        return Expr(name)

    def vary(self, value: Expr) -> Expr:
        """Puts a constant into a ``var``, where its value is looked at: naga looks through a ``let``."""
        if not value.const:
            return value
        name = self.names.make("", "t")
        self.emit(f"var {name} = {value.text};")
        return Expr(name)

    def define(self, inst: Instruction, value: Expr, keep: bool = False) -> None:
        """Gives an instruction its value: inlined at its only use, or in a ``let`` or a variable."""
        id = inst.id
        if id in self.hoisted:
            self.emit(f"{self.hoisted[id]} = {value.text};")
            self.values[id] = Expr(self.hoisted[id], reads=frozenset([id]))
            return
        count = self.usage.count.get(id, 0)
        inline = (
            count == 1
            and not keep
            and self.inlinable(id)
            and len(value.text) < INLINE_LIMIT
        )
        if inline:
            self.pending[id] = value
        elif not keep and value.simple and not self.mutable(value.reads):
            self.values[id] = value
        else:
            self.materialise(id, value)

    def inlinable(self, id: int) -> bool:
        """Whether a value that is used once is used at one place of the text only: blocks may be repeated."""
        return self.block is not None

    def mutable(self, reads: Iterable[object]) -> bool:
        """Whether any of these is memory, rather than a phi or a hoisted value (which change on edges only)."""
        return any(
            r in ("memory", "private") or (isinstance(r, int) and (r in self.m.variables or r in self.places))
            for r in reads
        )

    def materialise(self, id: int, value: Expr) -> None:
        if id in self.hoisted:
            self.emit(f"{self.hoisted[id]} = {value.text};")
            self.values[id] = Expr(self.hoisted[id], reads=frozenset([id]))
            return
        name = self.names.make(self.m.names.get(id, ""), "v")
        self.emit(f"{'var' if value.const else 'let'} {name} = {value.text};")  # as in ``vary``
        self.values[id] = Expr(name)

    def flush(self) -> None:
        """Puts everything that still waits into ``let``s."""
        for id in list(self.pending):
            value = self.pending.pop(id)
            if value.simple and not self.mutable(value.reads):
                self.values[id] = value
            else:
                self.materialise(id, value)

    def flush_reading(self, tokens: Set[object]) -> None:
        """Puts what waits and reads one of these into ``let``s, before it is written."""
        for id, value in list(self.pending.items()):
            if not value.reads.isdisjoint(tokens):
                self.materialise(id, self.pending.pop(id))

    # Places

    def place(self, id: int, where: Instruction, indices: tuple[int, ...] | None = None) -> Place:
        """The memory location that a pointer points to. Its index operands are taken from their values.

        ``indices`` are taken instead of the pointer's own, to stop short of its end.
        """
        pointer = self.pointers.get(id, Pointer(id, ()))
        place = self.places.get(pointer.root)
        if place is None:
            place = self.t.variables.place(pointer.root, where)
        for i, index_id in enumerate(pointer.indices if indices is None else indices):
            constant = self.t.constants.integer(index_id)
            if constant is None:
                at = self.vary(self.index(index_id, where, place.raw is not None))
            else:
                at = Expr(str(constant))
            place = self.step(place, constant, at, where, first=i == 0)
        return place

    def index(self, id: int, where: Instruction, unsigned: bool) -> Expr:
        """An index's value as WGSL takes it: 32 bits, and u32 where ``unsigned``."""
        raise NotImplementedError

    def step(self, place: Place, constant: int | None, at: Expr, where: Instruction, first: bool = False) -> Place:
        """A part of a place."""
        type = place.type
        inner = types.child(type, constant)
        if inner is None:
            length = type.length if isinstance(type, types.Array) else getattr(type, "count", None)
            if constant is None or length is None or isinstance(type, types.Struct):
                raise invalid(where, "an index that is past the end of its type or into no composite")
            # Out of bounds is undefined in SPIR-V but an error in WGSL.
            constant = length - 1
            at = Expr(str(constant))
            inner = types.child(type, constant)
            assert inner is not None
        if constant is not None and constant > LAST_INDEX:
            constant, at = LAST_INDEX, Expr(str(LAST_INDEX))
        reads = place.reads | at.reads
        if place.raw is not None:
            return self._raw_step(place, place.raw, constant, at, inner)
        match type:
            case types.Struct():
                assert constant is not None
                sub = subtree(place.tree, constant)
                if first and place.root in self.t.variables.unwrapped:
                    return Place(place.text, inner, sub, place.root, reads, place.prec)
                text = f"{place.target}.{self.d.members(type)[constant]}"
                return Place(text, inner, sub, place.root, reads)
            case types.Array():
                text = f"{place.target}[{at.text}]{'.value' if self.d.layout.padded(type) else ''}"
                return Place(text, inner, subtree(place.tree, None), place.root, reads)
            case types.Vector(elem=elem) if constant is not None and not types.is_wide(elem):
                return Place(f"{place.target}.{'xyzw'[constant]}", inner, None, place.root, reads)
        return Place(f"{place.target}[{at.text}]", inner, None, place.root, reads)

    def _raw_step(self, place: Place, raw: Raw, constant: int | None, at: Expr, inner: Type) -> Place:
        type = place.type
        matrix, spread = raw.matrix, 0
        match type:
            case types.Struct(id=id):
                assert constant is not None
                raw = raw.moved(self.m.member_decoration(id, constant, "Offset") or 0)
                matrix = self.d.layout.matrix(id, constant)
            case types.Array(elem=elem, stride=stride):
                raw = raw.indexed(constant, at, stride or round_up(*self.d.layout.of(elem)))
            case types.Matrix(column=column):
                stride, by_row = matrix or (round_up(*self.d.layout.of(column)), False)
                size = column.elem.width // 8
                raw, spread = raw.indexed(constant, at, size if by_row else stride), stride if by_row else 0
            case types.Vector(elem=elem):
                raw = raw.indexed(constant, at, raw.spread or elem.width // 8)
        made = replace(raw, matrix=matrix, spread=spread)
        return replace(place, type=inner, raw=made, reads=place.reads | at.reads)


def _is_operand(text: str, operator: str) -> bool:
    """Whether ``x op text`` parses as ``x op (text)``: no operator of the same or a looser level outside brackets."""
    depth = 0
    for i, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif depth == 0 and character == " ":
            following = text[i + 1 : i + 2]
            if following and (following in "<>=!&|^?+-" or (operator in "*/" and following in "*/%")):
                return False
    return True
