"""One function (for given pointer arguments) in; its WGSL text out.

Statements are printed in the tree's order. Values that are used once, in their own block, wait in ``pending`` and are
written where they are used; they are flushed into a ``let`` before a write to something they read. All other values
become a ``let``, or a variable where they are used outside their scope.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tvm_webgpu.codegen.wgsl import expr, structure, types
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.instructions import Instructions
from tvm_webgpu.codegen.wgsl.memory import Pointer, Tree, subtree
from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, invalid, unsupported
from tvm_webgpu.codegen.wgsl.names import Names
from tvm_webgpu.codegen.wgsl.structure import Counter, Edge, If, IfFlag, Jump, Loop, Return, Seq, SetFlag, Straight, Switch
from tvm_webgpu.codegen.wgsl.types import Type
from tvm_webgpu.codegen.wgsl.usage import edge_stores, find_counter, scopes, usage

if TYPE_CHECKING:
    from tvm_webgpu.codegen.wgsl.translator import Translator

INLINE_LIMIT = 160  # characters of an expression that may still be put into another


@dataclass(frozen=True)
class Place:
    """A memory location: its text, type, atomic parts, the variable it lies in, and what finding it reads."""

    text: str
    type: Type
    tree: Tree
    root: int
    reads: frozenset[object] = field(default_factory=frozenset)
    prec: int = expr.PRIMARY

    @property
    def target(self) -> str:
        """The text as the base of a member access or index."""
        return self.text if self.prec == expr.PRIMARY else f"({self.text})"


@dataclass(frozen=True)
class Argument:
    """How a pointer parameter of an instance is bound: to a module variable and the path below it.

    ``steps`` holds a member number, a constant index, or None for an index that is passed as a parameter.
    """

    root: int
    steps: tuple[int | None, ...]


Binding = tuple[Argument | None, ...]


class FunctionWriter(Instructions):
    """Writes one instance of a function."""

    def __init__(self, translator: Translator, function: Function, binding: Binding, name: str, entry: bool):
        self.t = translator
        self.m = translator.module
        self.d = translator.declarations
        self.function = function
        self.entry = entry
        self.name = name
        self.lines: list[str] = []
        self.indent = 1
        self.values: dict[int, Expr] = {}
        self.pending: dict[int, Expr] = {}
        self.hoisted: dict[int, str] = {}  # values and phis that live in variables
        self.declared_by_store: set[int] = set()
        self.flags: dict[structure.Flag, str] = {}
        self.block: Block | None = None
        self.places: dict[int, Place] = {}
        self.bound: dict[int, tuple[Argument, list[str]]] = {}  # pointer parameters to module variables
        self.pointers = translator.memory.pointers[function.id]
        self.usage = usage(self.m, function, self.pointers)
        # Module variables get their names before the function's own values do.
        for root in sorted(self.usage.count):
            if root in self.m.variables:
                translator.root_place(root, self.m.variables[root])
        self.names = Names(translator.names)
        self.counters: dict[int, Counter | None] = {}
        self.parameters = list(self._parameters(binding))
        self.tree = structure.build(function, self._counter)
        self._drop_steps()
        self.scopes = scopes(function, self.tree, self.usage, self.pointers)
        self.declarations: dict[tuple[Seq, int], list[int]] = {}
        self._plan_variables()

    # Planning

    def _counter(self, block: Block) -> Counter | None:
        if block.label not in self.counters:
            self.counters[block.label] = find_counter(self.m, self.function, self.usage, block)
        return self.counters[block.label]

    def _drop_steps(self) -> None:
        """A counter's increment stands in the head of its ``for``; unless used elsewhere it needs no value."""
        self.counted = {c.phi.id for c in self.counters.values() if c is not None}
        for counter in self.counters.values():
            if counter is None:
                continue
            for value in counter.phi.args[::2]:
                if value == counter.initial or value not in self.usage.defs:
                    continue
                self.usage.count[value] -= 1
                if self.usage.count[value] <= 0:
                    self.usage.live.discard(value)

    def _parameters(self, binding: Binding) -> Iterator[tuple[str, str]]:
        """(name, type) of each WGSL parameter; binds the SPIR-V parameters to them."""
        for param, bound in zip(self.function.params, binding):
            type = self.m.type_of(param.id, param)
            wanted = self.m.names.get(param.id, "")
            if bound is not None:
                place = self.t.root_place(bound.root, param)
                indices: list[str] = []
                for i, step in enumerate(bound.steps):
                    at = Expr(str(step))
                    if step is None:
                        at = Expr(self.names.make(f"{wanted or 'at'}_{i}"))
                        indices.append(at.text)
                        yield at.text, "u32"
                    place = self.step(place, step, at, param, first=i == 0)
                self.places[param.id] = place
                self.bound[param.id] = (bound, indices)
            elif isinstance(type, types.Pointer):
                name = self.names.make(wanted, "p")
                self.places[param.id] = Place(
                    f"*{name}", type.pointee, None, param.id, frozenset([param.id]), expr.UNARY
                )
                yield name, f"ptr<function, {self.d.type(type.pointee)}>"
            else:
                name = self.names.make(wanted, "p")
                self.values[param.id] = Expr(name)
                yield name, self.d.type(type)

    def _plan_variables(self) -> None:
        """Decides which values need variables, and where those are declared."""
        where: list[tuple[int, tuple[Seq, int]]] = []
        for id in self.scopes.mentions:
            if id < 0:
                phi = -id
                if phi in self.counted or phi not in self.usage.live:
                    continue
                places = list(self.scopes.mentions[id])
                if phi not in self.scopes.definitions:
                    places += self.scopes.mentions.get(phi, [])
                where.append((id, self.scopes.common(places)))
            elif id in self.scopes.definitions and id not in self.counted and not self.scopes.visible(id):
                if isinstance(self.m.value_types.get(id), types.Pointer | types.Void):
                    continue
                where.append((id, self.scopes.common(self.scopes.mentions[id])))
        for id, place in sorted(where, key=lambda w: abs(w[0])):
            name = self.names.make(self.m.names.get(abs(id), ""), "v")
            self.hoisted[id] = name
            if id < 0 and -id not in self.scopes.definitions:
                self.values[-id] = Expr(name, reads=frozenset([-id]))
            self.declarations.setdefault(place, []).append(id)

    # Printing

    def run(self) -> str:
        """The function's text, without attributes."""
        self._variables()
        self.sequence(self.tree)
        if self.lines and self.lines[-1] == "  return;":
            self.lines.pop()
        result = self.function.type.result
        arrow = "" if isinstance(result, types.Void) else f" -> {self.d.type(result)}"
        params = ", ".join(f"{name}: {type}" for name, type in self.parameters)
        if self.entry:
            params = self.t.entry_parameters(self)
        body = "\n".join(self.lines)
        return f"fn {self.name}({params}){arrow} {{\n{body}\n}}\n" if body else f"fn {self.name}({params}){arrow} {{\n}}\n"

    def _variables(self) -> None:
        for block in self.function.blocks.values():
            for inst in block.body:
                if inst.op != "Variable":
                    continue
                type = self.m.type_of(inst.id, inst)
                if not isinstance(type, types.Pointer) or type.storage != "Function":
                    raise invalid(inst, "a variable in a function must have the storage class Function")
                if inst.id not in self.usage.count:
                    continue
                name = self.names.make(self.m.names.get(inst.id, ""), "v")
                self.places[inst.id] = Place(name, type.pointee, None, inst.id, frozenset([inst.id]))
                start = f" = {self.operand(inst.args[1], inst).text}" if len(inst.args) > 1 else ""
                self.emit(f"var {name}: {self.d.type(type.pointee)}{start};" if not start else f"var {name}{start};")

    def emit(self, line: str) -> None:
        self.lines.append("  " * self.indent + line)
        self.t.count(len(line) + 2 * self.indent)

    def sequence(self, seq: Seq) -> None:
        for index, node in enumerate(seq.items):
            for id in self.declarations.get((seq, index), ()):
                phi = -id if id < 0 else 0
                if phi and isinstance(node, Edge) and any(p.id == phi for p, _ in edge_stores(self.function, node)):
                    self.declared_by_store.add(phi)
                    continue
                self.emit(f"var {self.hoisted[id]}: {self.d.type(self.m.value_types[abs(id)])};")
            match node:
                case Straight(block=block):
                    self.straight(block)
                case Edge():
                    self.edge(node)
                case If():
                    self.branch(node)
                case Switch():
                    self.switch(node)
                case Loop():
                    self.loop(node, seq, index)
                case Jump(kind=kind):
                    self.emit(f"{kind};")
                case SetFlag(flag=flag):
                    self.emit(f"{self.flags[flag]} = true;")
                case IfFlag(flag=flag, then=then):
                    self.emit(f"if {self.flags[flag]} {{")
                    self.nested(then)
                    self.emit("}")
                case Return(end=end):
                    self.give_back(end)

    def nested(self, seq: Seq) -> None:
        self.indent += 1
        self.sequence(seq)
        self.indent -= 1

    def give_back(self, end: Instruction) -> None:
        result = self.function.type.result
        match end.op:
            case "ReturnValue":
                text = self.operand(end.args[0], end).text
                self.flush()
                self.emit(f"return {text};")
            case "Return" | "Unreachable":
                self.flush()
                if isinstance(result, types.Void):
                    self.emit("return;")
                elif end.op == "Return":
                    raise invalid(end, "a return without a value")
                else:
                    self.emit(f"return {self.d.value(result, None).text};")
            case _:
                raise unsupported(end, "it belongs to fragment shaders")

    def branch(self, node: If) -> None:
        condition = self.condition(node.condition, node.negated)
        self.flush()
        self.emit(f"if {condition} {{")
        self.nested(node.then)
        if node.orelse.items:
            self.emit("} else {")
            start = len(self.lines)
            self.nested(node.orelse)
            self._else_if(start)
        self.emit("}")

    def _else_if(self, start: int) -> None:
        """``else { if ... }`` with nothing else inside becomes ``else if``."""
        pad = "  " * (self.indent + 1)
        inner = self.lines[start:]
        if not inner or not inner[0].startswith(pad + "if ") or inner[-1] != pad + "}":
            return
        top = [line for line in inner if not line.startswith(pad + "  ")]
        if any(not line.startswith((pad + "} else", pad + "if ")) for line in top[:-1]) or len(
            [line for line in top if line.startswith(pad + "if ")]
        ) != 1:
            return
        self.lines[start - 1 :] = ["  " * self.indent + "} else " + inner[0].strip(), *(l[2:] for l in inner[1:-1])]

    def condition(self, id: int, negated: bool) -> str:
        test = self.operand(id, None)
        return (expr.negate(test) if negated else test).text

    def declare_flags(self, flags: list[structure.Flag]) -> None:
        for flag in flags:
            self.flags[flag] = self.names.make("leave")
            self.emit(f"var {self.flags[flag]} = false;")

    def switch(self, node: Switch) -> None:
        if node.selector is None:
            selector, type = "0i", types.I32
        else:
            found = self.m.type_of(node.selector, Instruction("Switch", 0, 0, (), 0))
            if found not in (types.I32, types.U32):
                raise unsupported(Instruction("Switch", 0, 0, (), 0), f"a switch over {found}")
            type = types.I32 if found == types.I32 else types.U32
            selector = self.operand(node.selector, None).text
        self.flush()
        self.declare_flags(node.flags)
        self.emit(f"switch {selector} {{")
        self.indent += 1
        for case in node.cases:
            literals = ", ".join(expr.integer(value, type).text for value in case.literals)
            self.emit("default {" if case.default else f"case {literals} {{")
            self.nested(case.body)
            self.emit("}")
        self.indent -= 1
        self.emit("}")

    def loop(self, node: Loop, seq: Seq, index: int) -> None:
        header = self.function.blocks[node.header]
        self.flush()
        self.declare_flags(node.flags)
        if node.counter is not None:
            self.emit(f"for ({self.head(node.counter, header)}) {{")
        else:
            self.emit("loop {")
        self.indent += 1
        if node.header in self.scopes.copied:
            for phi in header.phis:
                if phi.id in self.usage.live:
                    self.block = None
                    self.define(phi, Expr(self.hoisted[-phi.id], reads=frozenset([-phi.id])), keep=True)
        self.sequence(node.body)
        if node.continuing is not None:
            self.emit("continuing {")
            self.indent += 1
            self.continuing(node)
            self.indent -= 1
            self.emit("}")
        elif node.counter is None and not _leaves(node.body):
            # A loop without an exit is an error in WGSL.
            self.emit("if false { break; }")
        self.indent -= 1
        self.emit("}")

    def continuing(self, node: Loop) -> None:
        assert node.continuing is not None
        if node.break_if is None:
            self.sequence(node.continuing)
            return
        condition, negated, at = node.break_if
        before, after = Seq(node.continuing.items[:at]), Seq(node.continuing.items[at:])
        for part, offset in ((before, 0), (after, at)):
            for (seq, index), ids in list(self.declarations.items()):
                if seq is node.continuing and offset <= index < offset + max(len(part.items), 1):
                    self.declarations.setdefault((part, index - offset), []).extend(ids)
        self.sequence(before)
        test = self.operand(condition, None)
        if test.reads and after.items:
            test = self.keep(test, "done")
        self.flush()
        self.sequence(after)
        self.emit(f"break if {(expr.negate(test) if negated else test).text};")

    def head(self, counter: Counter, header: Block) -> str:
        """The three parts of a ``for``."""
        initial = self.operand(counter.initial, counter.phi).text
        name = self.names.make(self.m.names.get(counter.phi.id, ""), "i")
        self.values[counter.phi.id] = Expr(name, reads=frozenset([counter.phi.id]))
        before = len(self.lines)
        self.straight(header)
        condition = self.condition(counter.condition, counter.negated)
        assert len(self.lines) == before and not self.pending, "the header's values all go into the condition"
        type = self.m.value_types[counter.phi.id]
        assert isinstance(type, types.Scalar)
        step = {1: f"{name}++", -1: f"{name}--"}.get(counter.step)
        if step is None:
            sign, size = ("+", counter.step) if counter.step > 0 else ("-", -counter.step)
            step = f"{name} {sign}= {expr.integer(size, type).text}"
        return f"var {name} = {initial}; {condition}; {step}"

    def edge(self, node: Edge) -> None:
        """The parallel stores of an edge, in an order in which none overwrites what a later one reads."""
        stores: list[tuple[int, Expr]] = []
        for phi, value in edge_stores(self.function, node):
            if phi.id in self.usage.live and phi.id not in self.counted and value != phi.id:
                stores.append((phi.id, self.operand(value, phi)))
            elif phi.id in self.declared_by_store:
                self.declared_by_store.discard(phi.id)
                self.emit(f"var {self.hoisted[-phi.id]}: {self.d.type(self.m.value_types[phi.id])};")
        token = (lambda id: -id) if node.target in self.scopes.copied else (lambda id: id)
        self.flush_reading({token(id) for id, _ in stores})
        while stores:
            free = [
                i for i, (id, _) in enumerate(stores) if all(j == i or token(id) not in e.reads for j, (_, e) in enumerate(stores))
            ]
            if not free:
                # A cycle: keep one value aside.
                id, value = stores[0]
                stores[0] = (id, self.keep(value))
                continue
            id, value = stores.pop(free[0])
            name = self.hoisted[-id]
            if id in self.declared_by_store:
                self.declared_by_store.discard(id)
                self.emit(f"var {name} = {value.text};")
            elif value.text != name:
                self.emit(self.assignment(name, value.text))

    def assignment(self, target: str, text: str) -> str:
        """``target = text;``, as a compound assignment where the text begins with the target."""
        for operator in ("+", "-", "*", "/"):
            rest = text.removeprefix(f"{target} {operator} ")
            if rest != text and _is_operand(rest, operator):
                return f"{target} {operator}= {rest};"
        return f"{target} = {text};"

    # Values

    def straight(self, block: Block) -> None:
        self.block = block
        for inst in block.body:
            if inst.op != "Variable" and (not inst.id or inst.id in self.usage.live):
                self.instruction(inst)
        self.block = block

    def operand(self, id: int, where: Instruction | None) -> Expr:
        """The expression of a value."""
        if id in self.pending:
            return self.pending.pop(id)
        if id in self.values:
            return self.values[id]
        if id in self.t.constants:
            found = self.d.constant(id)
            return found
        inst = where or self.usage.defs.get(id) or Instruction("?", 0, id, (), 0)
        if id in self.places or id in self.pointers or id in self.m.variables:
            raise unsupported(inst, f"the pointer %{id} is used as a value", "WGSL has no variable pointers")
        raise invalid(inst, f"%{id} is used before it is defined, or is no value")

    def keep(self, value: Expr, wanted: str = "") -> Expr:
        """Puts an expression into a ``let``."""
        name = self.names.make(wanted, "t")
        self.emit(f"let {name} = {value.text};")
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
            and self.block is not None
            and self.usage.used_in.get(id) == {self.block.label}
            and len(value.text) < INLINE_LIMIT
        )
        if inline:
            self.pending[id] = value
        elif not keep and value.simple and not self.mutable(value.reads):
            self.values[id] = value
        else:
            self.materialise(id, value)

    def mutable(self, reads: Iterable[object]) -> bool:
        """Whether any of these is memory, rather than a phi or a hoisted value (which change on edges only)."""
        return any(
            r in ("memory", "private") or isinstance(r, int) and (r in self.m.variables or r in self.places)
            for r in reads
        )

    def materialise(self, id: int, value: Expr) -> None:
        if id in self.hoisted:
            self.emit(f"{self.hoisted[id]} = {value.text};")
            self.values[id] = Expr(self.hoisted[id], reads=frozenset([id]))
            return
        name = self.names.make(self.m.names.get(id, ""), "v")
        self.emit(f"let {name} = {value.text};")
        self.values[id] = Expr(name)

    def flush(self) -> None:
        """Puts everything that still waits into ``let``s."""
        for id in list(self.pending):
            self.materialise(id, self.pending.pop(id))

    def flush_reading(self, tokens: set[object] | set[int]) -> None:
        """Puts what waits and reads one of these into ``let``s, before it is written."""
        for id, value in list(self.pending.items()):
            if not value.reads.isdisjoint(tokens):
                self.materialise(id, self.pending.pop(id))

    # Places

    def place(self, id: int, where: Instruction) -> Place:
        """The memory location that a pointer points to. Its index operands are taken from their values."""
        pointer = self.pointers.get(id, Pointer(id, ()))
        place = self.places.get(pointer.root)
        if place is None:
            place = self.t.root_place(pointer.root, where)
        for i, index_id in enumerate(pointer.indices):
            constant = self.t.constants.integer(index_id)
            at = self.operand(index_id, where) if constant is None else Expr(str(constant))
            place = self.step(place, constant, at, where, first=i == 0)
        return place

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
        reads = place.reads | at.reads
        match type:
            case types.Struct():
                assert constant is not None
                sub = subtree(place.tree, constant)
                if first and place.root in self.t.unwrapped:
                    return Place(place.text, inner, sub, place.root, reads, place.prec)
                text = f"{place.target}.{self.d.members(type)[constant]}"
                return Place(text, inner, sub, place.root, reads)
            case types.Array():
                text = f"{place.target}[{at.text}]{'.value' if self.d.padded(type) else ''}"
                return Place(text, inner, subtree(place.tree, None), place.root, reads)
            case types.Vector() if constant is not None:
                return Place(f"{place.target}.{'xyzw'[constant]}", inner, None, place.root, reads)
        return Place(f"{place.target}[{at.text}]", inner, None, place.root, reads)


def _leaves(seq: Seq) -> bool:
    """Whether a loop's body has a break of the loop or a return."""
    for node in seq.items:
        match node:
            case Jump(kind="break") | Return():
                return True
            case If(then=then, orelse=orelse):
                if _leaves(then) or _leaves(orelse):
                    return True
            case IfFlag(then=then):
                if _leaves(then):
                    return True
            case Switch(cases=cases):
                if any(_returns(case.body) for case in cases):
                    return True
            case Loop(body=body):
                if _returns(body):
                    return True
    return False


def _returns(seq: Seq) -> bool:
    for node in seq.items:
        match node:
            case Return():
                return True
            case If(then=then, orelse=orelse):
                if _returns(then) or _returns(orelse):
                    return True
            case Switch(cases=cases):
                if any(_returns(case.body) for case in cases):
                    return True
            case Loop(body=body):
                if _returns(body):
                    return True
    return False


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
            if following and (following in "<>=!&|^?+-" or operator in "*/" and following in "*/%"):
                return False
    return True
