"""One function (for given pointer arguments) in; its WGSL text out.

Statements are printed in the order of the control-flow tree, variables declared where their scope begins.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import TYPE_CHECKING

from tvm_webgpu.codegen.wgsl import expr, structure, types
from tvm_webgpu.codegen.wgsl.counters import find_counter
from tvm_webgpu.codegen.wgsl.expr import Expr
from tvm_webgpu.codegen.wgsl.module import Block, Function, Instruction, invalid, located, unsupported
from tvm_webgpu.codegen.wgsl.place import Place
from tvm_webgpu.codegen.wgsl.state import Argument, ParameterBinding
from tvm_webgpu.codegen.wgsl.subgroup_instructions import SubgroupInstructions
from tvm_webgpu.codegen.wgsl.tree import (
    Counter,
    Edge,
    Flag,
    If,
    IfFlag,
    Jump,
    Loop,
    Return,
    Seq,
    SetFlag,
    Straight,
    Switch,
)
from tvm_webgpu.codegen.wgsl.usage import edge_stores, scopes

if TYPE_CHECKING:
    from tvm_webgpu.codegen.wgsl.translator import Translator


class NoHead(Exception):
    """What a loop's header computes does not fit into the head of a ``for`` after all."""

    def __init__(self, label: int):
        self.label = label


class FunctionWriter(SubgroupInstructions):
    """Writes one instance of a function. The loops with the headers ``plain`` become no ``for``."""

    def __init__(
        self, translator: Translator, function: Function, binding: ParameterBinding, name: str, entry: bool,
        plain: Set[int] = frozenset(),
    ):  # fmt: skip
        super().__init__(translator, function, entry)
        self.name = name
        self.plain = plain
        self.declared_by_store: set[int] = set()
        self.flags: dict[Flag, str] = {}
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
            fits = block.label not in self.plain
            self.counters[block.label] = find_counter(self.m, self.function, self.usage, block) if fits else None
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

    def _parameters(self, binding: ParameterBinding) -> Iterator[tuple[str, str]]:
        """(name, type) of each WGSL parameter; binds the SPIR-V parameters to them."""
        for param, bound in zip(self.function.params, binding):
            with located(param):
                yield from self._parameter(param, bound)

    def _parameter(self, param: Instruction, bound: Argument | None) -> Iterator[tuple[str, str]]:
        type = self.m.type_of(param.id, param)
        wanted = self.m.names.get(param.id, "")
        if bound is not None:
            place = self.t.variables.place(bound.root, param)
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
            self.undeclared.add(name)
            if id < 0 and -id not in self.scopes.definitions:
                self.values[-id] = Expr(name, reads=frozenset([-id]))
            self.declarations.setdefault(place, []).append(id)

    # Printing

    def run(self) -> str:
        """The function's text, without attributes."""
        with located(Instruction("Function", 0, self.function.id, (), self.function.offset)):
            return self._text()

    def _text(self) -> str:
        self._variables()
        self.sequence(self.tree)
        if self.lines and self.lines[-1] == "  return;":
            self.lines.pop()
        result = self.function.type.result
        if not isinstance(result, types.Void) and not _returns(self.tree):
            # Control does not get here, which naga does not see.
            self.emit(f"return {self.d.value(result, None).text};")
        arrow = "" if isinstance(result, types.Void) else f" -> {self.d.type(result)}"
        params = ", ".join(f"{name}: {type}" for name, type in self.parameters)
        if self.entry:
            params = self.t.entry_parameters(self)
        body = "\n".join(self.lines)
        return f"fn {self.name}({params}){arrow} {{\n{body}{chr(10) if body else ''}}}\n"

    def _variables(self) -> None:
        for block in self.function.blocks.values():
            for inst in block.body:
                if inst.op == "Variable":
                    with located(inst):
                        self._variable(inst)

    def _variable(self, inst: Instruction) -> None:
        type = self.m.type_of(inst.id, inst)
        if not isinstance(type, types.Pointer) or type.storage != "Function":
            raise invalid(inst, "a variable in a function must have the storage class Function")
        if not types.sized(type.pointee):
            raise invalid(inst, "a variable whose size is not known")
        if inst.id not in self.usage.count:
            return
        self.d.limit_parts(type.pointee)
        name = self.names.make(self.m.names.get(inst.id, ""), "v")
        self.places[inst.id] = Place(name, type.pointee, None, inst.id, frozenset([inst.id]))
        start = ""
        if len(inst.args) > 1:
            if inst.args[1] not in self.t.constants or self.m.type_of(inst.args[1], inst) != type.pointee:
                raise invalid(inst, "the initial value is no constant of the variable's type")
            start = f" = {self.operand(inst.args[1], inst).text}"
        self.emit(f"var {name}: {self.d.type(type.pointee)}{start};" if not start else f"var {name}{start};")

    def sequence(self, seq: Seq) -> None:
        for index, node in enumerate(seq.items):
            for id in self.declarations.get((seq, index), ()):
                phi = -id if id < 0 else 0
                if phi and isinstance(node, Edge) and any(p.id == phi for p, _ in edge_stores(self.function, node)):
                    self.declared_by_store.add(phi)
                    continue
                self.undeclared.discard(self.hoisted[id])
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
        self._scope(seq)
        self.indent -= 1

    def _scope(self, seq: Seq) -> None:
        """Writes a sequence; what still waits of it then is an operand that nothing has read, and ends with it."""
        before = set(self.pending)
        self.sequence(seq)
        for id in self.pending.keys() - before:
            del self.pending[id]

    def give_back(self, end: Instruction) -> None:
        result = self.function.type.result
        match end.op:
            case "ReturnValue":
                if self.m.type_of(end.args[0], end) != result:
                    raise invalid(end, "the value's type differs from the function's")
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
        head = "  " * self.indent + "} else " + inner[0].strip()
        self.lines[start - 1 :] = [head, *(line[2:] for line in inner[1:-1])]

    def condition(self, id: int, negated: bool) -> str:
        test = self.test(id)
        return (expr.negate(test) if negated else test).text

    def test(self, id: int) -> Expr:
        """The value that a branch looks at."""
        if self.m.value_types.get(id) != types.BOOL:
            raise invalid(self.usage.defs.get(id) or Instruction("BranchConditional", 0, 0, (), self.function.offset),
                          "a condition that is no bool")  # fmt: skip
        return self.operand(id, None)

    def declare_flags(self, flags: list[Flag]) -> None:
        for flag in flags:
            self.flags[flag] = self.names.make("leave")
            self.emit(f"var {self.flags[flag]} = false;")

    def switch(self, node: Switch) -> None:
        if node.selector is None:
            selector, type = "0i", types.I32
        else:
            selector, type = self._selector(node)
        self.flush()
        self.declare_flags(node.flags)
        self.emit(f"switch {selector} {{")
        self.indent += 1
        label = types.U32 if types.is_wide(type) else type
        labels = [(i,) if types.is_wide(type) else case.literals for i, case in enumerate(node.cases)]
        for case, values in zip(node.cases, labels):
            literals = ", ".join(expr.integer(value, label).text for value in values)
            self.emit("default {" if case.default else f"case {literals} {{")
            self.nested(case.body)
            self.emit("}")
        self.indent -= 1
        self.emit("}")

    def _selector(self, node: Switch) -> tuple[str, types.Scalar]:
        """The text that a switch tests, of type i32 or u32: for 64 bits the number of the case."""
        assert node.selector is not None
        where = Instruction("Switch", 0, 0, (), self.function.offset)
        type = self.m.type_of(node.selector, where)
        if not isinstance(type, types.Scalar) or type.kind != "int":
            raise invalid(where, "the selector is no integer")
        value = self.operand(node.selector, where)
        if not types.is_wide(type):
            return value.text, type
        value = self.keep(value)
        default = next(i for i, case in enumerate(node.cases) if case.default)
        text = f"{default}u"
        for i, case in enumerate(node.cases):
            for literal in case.literals:
                text = f"select({text}, {i}u, all({value.text} == {expr.integer(literal, type).text}))"
        return text, type

    def loop(self, node: Loop, seq: Seq, index: int) -> None:
        header = self.function.blocks[node.header]
        self.flush()
        self.declare_flags(node.flags)
        if node.counter is not None:
            self.emit(f"for ({self.head(node.counter, header)}) {{")
        else:
            self.emit("loop {")
        self.indent += 1
        endless = node.counter is None and node.break_if is None and not _leaves(node.body)
        if endless:
            # A loop without an exit is an error in WGSL.
            self.emit("if false { break; }")
        if node.header in self.scopes.copied:
            for phi in header.phis:
                if phi.id in self.usage.live:
                    self.block = None
                    self.define(phi, Expr(self.hoisted[-phi.id], reads=frozenset([-phi.id])), keep=True)
        self._scope(node.body)
        if node.continuing is not None:
            self.emit("continuing {")
            self.indent += 1
            self.continuing(node)
            self.indent -= 1
            self.emit("}")
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
        test = self.test(condition)
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
        if len(self.lines) != before or self.pending:
            raise NoHead(header.label)
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
                if self.m.type_of(value, phi) != self.m.value_types[phi.id]:
                    raise invalid(phi, f"the type of %{value} differs")
                stores.append((phi.id, self.operand(value, phi)))
            elif phi.id in self.declared_by_store:
                self.declared_by_store.discard(phi.id)
                self.undeclared.discard(self.hoisted[-phi.id])
                self.emit(f"var {self.hoisted[-phi.id]}: {self.d.type(self.m.value_types[phi.id])};")
        # Where a header's phis are copied, its stores go to what the copy is made from.
        sign = -1 if node.target in self.scopes.copied else 1
        self.flush_reading({sign * id for id, _ in stores})
        while stores:
            free = [i for i, (id, _) in enumerate(stores) if not self._read_by_others(sign * id, i, stores)]
            if not free:
                # A cycle: keep aside what still reads the first target.
                first = sign * stores[0][0]
                stores[1:] = [(id, self.keep(value) if first in value.reads else value) for id, value in stores[1:]]
                continue
            target, stored = stores.pop(free[0])
            name = self.hoisted[-target]
            if target in self.declared_by_store:
                self.declared_by_store.discard(target)
                self.undeclared.discard(name)
                self.emit(f"var {name} = {stored.text};")
            elif stored.text != name:
                self.emit(self.assignment(name, stored.text))

    @staticmethod
    def _read_by_others(token: int, at: int, stores: list[tuple[int, Expr]]) -> bool:
        return any(token in value.reads for i, (_, value) in enumerate(stores) if i != at)

    def inlinable(self, id: int) -> bool:
        return self.block is not None and len(self.scopes.mentions[id]) == 2

    def straight(self, block: Block) -> None:
        self.block = block
        for inst in block.body:
            if inst.op != "Variable" and (not inst.id or inst.id in self.usage.live):
                self.instruction(inst)
        self.block = block

def _returns(seq: Seq) -> bool:
    """Whether the last statement returns whatever happens, as far as naga looks."""
    last = seq.items[-1] if seq.items else None
    if isinstance(last, If):
        return _returns(last.then) and _returns(last.orelse)
    return isinstance(last, Return)


def _leaves(seq: Seq, breaks: bool = True) -> bool:
    """Whether a loop's body has a return or, where ``breaks``, a break of the loop."""
    for node in seq.items:
        match node:
            case Return():
                return True
            case Jump(kind="break") if breaks:
                return True
            case If(then=then, orelse=orelse):
                if _leaves(then, breaks) or _leaves(orelse, breaks):
                    return True
            case IfFlag(then=then):
                if _leaves(then, breaks):
                    return True
            case Switch(cases=cases):
                if any(_leaves(case.body, False) for case in cases):
                    return True
            case Loop(body=body):
                if _leaves(body, False):
                    return True
    return False
