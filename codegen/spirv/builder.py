"""Typed, value-numbered SPIR-V instructions in; one module's bytes out.

An operand that is an id is an `Id`, a literal a plain int: that is all the assembler has to know about an
instruction, so dead-code removal and the final numbering need no table of operand kinds.

Pure instructions are numbered by value within the structured scopes that enclose them, so an index that TIR spells
out ten times is computed once; integer arithmetic worth it moves in front of the loops it does not depend on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tvm_webgpu.codegen.spirv.opcodes import (
    ADDRESSING_LOGICAL,
    EXECUTION_GLCOMPUTE,
    MAGIC,
    MEMORY_MODEL_GLSL450,
    MODE_LOCAL_SIZE,
    VERSION_1_3,
    BuiltIn,
    Capability,
    Decoration,
    Ext,
    Op,
    Storage,
)

# Integer operations moved out of loops. Sums with a constant stay: they fold into the access and cost a register
# each when moved. At most HOIST_LIMIT values move to one place, for the same reason.
HOISTED = frozenset({Op.IMul, Op.SDiv, Op.UDiv, Op.ShiftRightLogical, Op.ShiftRightArithmetic, Op.ShiftLeftLogical,
                     Op.BitwiseAnd, Op.IAdd, Op.ISub})
KEEP_WITH_CONSTANT = frozenset({Op.IAdd, Op.ISub})
HOIST_LIMIT = 32

# Instructions that stay although nothing uses their result.
EFFECTS = frozenset({Op.AtomicCompareExchange, Op.AtomicIAdd, Op.AtomicSMin, Op.AtomicUMin, Op.AtomicSMax,
                     Op.AtomicUMax, Op.AtomicAnd, Op.AtomicOr, Op.Function, Op.FunctionParameter, Op.Label})


class Id(int):
    """A result id: an int that knows that it is not a literal."""

    __slots__ = ()


@dataclass(slots=True)
class Instruction:
    """One instruction; `type` and `result` are absent where the opcode has none."""

    op: Op
    type: Id | None
    result: Id | None
    operands: list[int]

    def words(self, number: dict[int, int]) -> list[int]:
        body = [number[w] if isinstance(w, Id) else w & 0xFFFFFFFF
                for w in (self.type, self.result, *self.operands) if w is not None]
        return [(len(body) + 1) << 16 | self.op, *body]


@dataclass(slots=True)
class Block:
    """A basic block; its terminator (with the merge instruction before it) is kept apart so that it stays open."""

    label: Id
    code: list[Instruction] = field(default_factory=list)
    end: list[Instruction] = field(default_factory=list)


@dataclass(slots=True)
class Region:
    """A structured scope: where its code goes at the moment, and the values known in it."""

    block: Block
    loop: bool
    values: dict[tuple, Id] = field(default_factory=dict)
    hoisted: int = 0


@dataclass(slots=True)
class Loop:
    """Targets of break and continue."""

    merge: Block
    cont: Block


@dataclass(slots=True)
class Function:
    """A function under construction."""

    head: list[Instruction]
    blocks: list[Block]
    regions: list[Region]
    variables: list[Instruction] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)


Arm = Callable[[], tuple[Id, ...]]


def text_words(text: str) -> list[int]:
    data = text.encode() + b"\0"
    data += b"\0" * (-len(data) % 4)
    return list(struct.unpack(f"<{len(data) // 4}I", data))


class Builder:
    """Builds one compute module with one entry point."""

    def __init__(self) -> None:
        self._next = 1
        self.capabilities: set[int] = {Capability.Shader}
        self._names: list[Instruction] = []
        self._decorations: list[Instruction] = []
        self._globals: list[Instruction] = []
        self._unique: dict[tuple, Id] = {}
        self._constants: dict[int, int | float | bool] = {}
        self._depth: dict[int, int] = {}
        self._definitions: dict[int, Instruction] = {}
        self._types: dict[int, Id] = {}
        self._functions: list[Function] = []
        self._interface: list[Id] = []
        self.kept: set[Id] = set()  # variables of the interface with the host, kept even when unused
        self.glsl = self.new_id()
        self.fn: Function = None  # type: ignore[assignment]  # set by the first `function`
        self.void = self.declare(Op.TypeVoid)
        self.bool = self.declare(Op.TypeBool)
        self.i32 = self.declare(Op.TypeInt, 32, 1)
        self.u32 = self.declare(Op.TypeInt, 32, 0)
        self.f32 = self.declare(Op.TypeFloat, 32)

    # ids, types, constants -------------------------------------------------------------------------------------

    def new_id(self) -> Id:
        self._next += 1
        return Id(self._next - 1)

    def declare(self, op: Op, *operands: int) -> Id:
        """The one type of this description."""
        key = (op, *operands)
        if key not in self._unique:
            self._unique[key] = result = self.new_id()
            self._globals.append(Instruction(op, None, result, list(operands)))
        return self._unique[key]

    @property
    def f16(self) -> Id:
        self.capabilities.add(Capability.Float16)
        return self.declare(Op.TypeFloat, 16)

    def vector(self, element: Id, lanes: int) -> Id:
        return element if lanes == 1 else self.declare(Op.TypeVector, element, lanes)

    def pointer(self, storage: Storage, pointee: Id) -> Id:
        return self.declare(Op.TypePointer, storage, pointee)

    def array(self, element: Id, length: int) -> Id:
        return self.declare(Op.TypeArray, element, self.constant(self.u32, length))

    def constant(self, type: Id, value: int | float | bool) -> Id:
        """A scalar constant; an integer wraps to 32 bits, a float is rounded to its type (inf and nan included)."""
        if type == self.bool:
            op, literal = (Op.ConstantTrue if value else Op.ConstantFalse), []
        elif type == self.f32:
            op, literal = Op.Constant, [float_bits(float(value), 32)]
        elif type in (self.i32, self.u32):
            op, literal = Op.Constant, [int(value) & 0xFFFFFFFF]
        else:
            op, literal = Op.Constant, [float_bits(float(value), 16)]
        key = (op, type, *literal)
        if key not in self._unique:
            self._unique[key] = result = self.new_id()
            self._types[result] = type
            if type in (self.i32, self.u32):
                low = 2**31 if type == self.i32 else 0
                value = (int(value) + low) % 2**32 - low
            self._constants[result] = bool(value) if type == self.bool else value
            self._globals.append(Instruction(op, type, result, literal))
        return self._unique[key]

    def splat(self, type: Id, lanes: int, value: int | float | bool) -> Id:
        one = self.constant(type, value)
        if lanes == 1:
            return one
        vector = self.vector(type, lanes)
        key = (Op.ConstantComposite, vector, *[one] * lanes)
        if key not in self._unique:
            self._unique[key] = result = self.new_id()
            self._types[result] = vector
            self._globals.append(Instruction(Op.ConstantComposite, vector, result, [one] * lanes))
        return self._unique[key]

    def constant_value(self, value: Id) -> int | float | bool | None:
        """What a constant id stands for."""
        return self._constants.get(value)

    def int_value(self, value: Id) -> int | None:
        """The integer a constant id stands for."""
        known = self._constants.get(value)
        return known if isinstance(known, int) and not isinstance(known, bool) else None

    def bool_value(self, value: Id) -> bool | None:
        """The truth that a constant id stands for."""
        known = self._constants.get(value)
        return known if isinstance(known, bool) else None

    # globals ---------------------------------------------------------------------------------------------------

    def name(self, target: Id, text: str) -> None:
        self._names.append(Instruction(Op.Name, None, None, [target, *text_words(text)]))

    def decorate(self, target: Id, what: Decoration, *literals: int) -> None:
        self._decorations.append(Instruction(Op.Decorate, None, None, [target, what, *literals]))

    def decorate_member(self, target: Id, member: int, what: Decoration, *literals: int) -> None:
        self._decorations.append(Instruction(Op.MemberDecorate, None, None, [target, member, what, *literals]))

    def block_struct(self, key: str, members: list[tuple[Id, int, str]], readonly: bool = False) -> Id:
        """A struct decorated Block; members are (type, byte offset, name). One struct per key."""
        unique = ("struct", key)
        if unique not in self._unique:
            self._unique[unique] = struct_id = self.new_id()
            self._globals.append(Instruction(Op.TypeStruct, None, struct_id, [m[0] for m in members]))
            self.name(struct_id, key)
            self.decorate(struct_id, Decoration.Block)
            for i, (_, offset, label) in enumerate(members):
                self._names.append(Instruction(Op.MemberName, None, None, [struct_id, i, *text_words(label)]))
                self.decorate_member(struct_id, i, Decoration.Offset, offset)
                if readonly:
                    self.decorate_member(struct_id, i, Decoration.NonWritable)
        return self._unique[unique]

    def runtime_array(self, element: Id, stride: int) -> Id:
        new = (Op.TypeRuntimeArray, element) not in self._unique
        array = self.declare(Op.TypeRuntimeArray, element)
        if new:
            self.decorate(array, Decoration.ArrayStride, stride)
        return array

    def global_variable(self, storage: Storage, pointee: Id, name: str) -> Id:
        result = self.new_id()
        self._globals.append(Instruction(Op.Variable, self.pointer(storage, pointee), result, [storage]))
        self.name(result, name)
        return result

    def builtin(self, which: int, name: str) -> Id:
        """The input variable (vec3 of u32) of a built-in."""
        key = ("builtin", which)
        if key not in self._unique:
            variable = self.global_variable(Storage.Input, self.vector(self.u32, 3), name)
            self.decorate(variable, Decoration.BuiltIn, which)
            self._interface.append(variable)
            self._unique[key] = variable
        return self._unique[key]

    # instructions ----------------------------------------------------------------------------------------------

    @property
    def region(self) -> Region:
        return self.fn.regions[-1]

    def raw(self, op: Op, type: Id, *operands: int) -> Id:
        """An instruction with a result that has to stand at this place."""
        result = self.new_id()
        self._append(len(self.fn.regions) - 1, Instruction(op, type, result, list(operands)))
        return result

    def effect(self, op: Op, *operands: int) -> None:
        """An instruction without result, at this place."""
        self._append(len(self.fn.regions) - 1, Instruction(op, None, None, list(operands)))

    def _append(self, depth: int, instruction: Instruction) -> None:
        self.fn.regions[depth].block.code.append(instruction)
        if instruction.result is not None and instruction.type is not None:
            self._depth[instruction.result] = depth
            self._types[instruction.result] = instruction.type
            self._definitions[instruction.result] = instruction

    def op(self, op: Op, type: Id, *operands: int) -> Id:
        """A pure instruction: the value that already stands for it, or a new one where it best stands."""
        key = (op, type, *operands)
        regions = self.fn.regions
        for region in reversed(regions):
            if key in region.values:
                return region.values[key]
        depth = len(regions) - 1
        if op in HOISTED and not (op in KEEP_WITH_CONSTANT and any(w in self._constants for w in operands)):
            depth = self._place(depth, operands)
        result = self.new_id()
        self._append(depth, Instruction(op, type, result, list(operands)))
        regions[depth].values[key] = result
        return result

    def _place(self, depth: int, operands: tuple[int, ...]) -> int:
        """The outermost loop entry that the operands dominate."""
        lowest = max((self._depth.get(w, 0) for w in operands if isinstance(w, Id)), default=0)
        best = depth
        for d in range(depth, lowest, -1):
            region = self.fn.regions[d - 1]
            if self.fn.regions[d].loop and region.hoisted < HOIST_LIMIT:
                best = d - 1
        if best != depth:
            self.fn.regions[best].hoisted += 1
        return best

    def ext(self, op: Ext, type: Id, *operands: Id) -> Id:
        return self.op(Op.ExtInst, type, self.glsl, op, *operands)

    def opaque_float(self, bits: int) -> Id:
        """An f32 from its bits that no compiler folds: WGSL has no constants that are infinite or NaN.

        The top bit of a workgroup's index, which is never set, is what hides it.
        """
        index = self.load(self.vector(self.u32, 3), self.builtin(BuiltIn.WorkgroupId, "workgroup_id"))
        zero = self.op(Op.ShiftRightLogical, self.u32, self.op(Op.CompositeExtract, self.u32, index, 0),
                       self.constant(self.u32, 31))
        return self.op(Op.Bitcast, self.f32, self.op(Op.BitwiseOr, self.u32, zero, self.constant(self.u32, bits)))

    def definition(self, value: Id) -> tuple[Op, list[int]] | None:
        """Opcode and operands of the instruction that gives a value; None for constants."""
        made = self._definitions.get(value)
        return (made.op, made.operands) if made else None

    def type_of(self, value: Id) -> Id:
        return self._types[value]

    def load(self, type: Id, pointer: Id) -> Id:
        return self.raw(Op.Load, type, pointer)

    def store(self, pointer: Id, value: Id) -> None:
        self.effect(Op.Store, pointer, value)

    def local_variable(self, pointee: Id, name: str) -> Id:
        result = self.new_id()
        self.fn.variables.append(
            Instruction(Op.Variable, self.pointer(Storage.Function, pointee), result, [Storage.Function]))
        self._depth[result] = 0
        self.name(result, name)
        return result

    # control flow ----------------------------------------------------------------------------------------------

    @contextmanager
    def function(self, result_type: Id, parameters: list[Id], name: str) -> Iterator[tuple[Id, list[Id]]]:
        """Builds a function; the one under construction before it goes on afterwards."""
        outer, fn_id = self.fn, self.new_id()
        params = [self.new_id() for _ in parameters]
        head = [Instruction(Op.Function, result_type, fn_id,
                            [0, self.declare(Op.TypeFunction, result_type, *parameters)])]
        head += [Instruction(Op.FunctionParameter, t, p, []) for t, p in zip(parameters, params)]
        self._types.update(zip(params, parameters))
        block = Block(self.new_id())
        self.fn = Function(head, [block], [Region(block, loop=False)])
        self.name(fn_id, name)
        yield fn_id, params
        self._functions.append(self.fn)
        self.fn = outer

    def block(self) -> Block:
        return Block(self.new_id())

    def terminate(self, op: Op, *operands: int, merge: Instruction | None = None) -> None:
        """Ends the current block; code that follows is unreachable and must not be emitted."""
        self.region.block.end = ([merge] if merge else []) + [Instruction(op, None, None, list(operands))]

    @property
    def open(self) -> bool:
        """Whether control reaches this place."""
        return not self.region.block.end

    def enter(self, block: Block, loop: bool = False) -> None:
        self.fn.blocks.append(block)
        self.fn.regions.append(Region(block, loop))

    def leave(self) -> Block:
        """Closes the innermost region; gives the block that control leaves it by."""
        return self.fn.regions.pop().block

    def resume(self, block: Block) -> None:
        """Code of the current region goes on in `block`."""
        self.fn.blocks.append(block)
        self.region.block = block

    def goto(self, block: Block) -> None:
        if self.open:
            self.terminate(Op.Branch, block.label)

    @contextmanager
    def branch(self, condition: Id, has_else: bool) -> Iterator[Iterator[None]]:
        """`with b.branch(c, True) as arms: next(arms); ...; next(arms); ...`: a selection with one or two arms."""
        then, other, merge = self.block(), self.block(), self.block()
        self.terminate(Op.BranchConditional, condition, then.label, (other if has_else else merge).label,
                       merge=Instruction(Op.SelectionMerge, None, None, [merge.label, 0]))
        exits = 0 if has_else else 1

        def arms() -> Iterator[None]:
            nonlocal exits
            for arm in [then, other][: 2 if has_else else 1]:
                self.enter(arm)
                yield
                exits += self.open
                self.goto(merge)
                self.leave()

        steps = arms()
        yield steps
        next(steps, None)
        self.resume(merge)
        if not exits:
            self.terminate(Op.Unreachable)

    def choose(self, condition: Id, then: Arm, otherwise: Arm) -> tuple[Id, ...]:
        """Values of the arm taken, computed lazily; each arm is a function that gives a tuple of ids."""
        results: list[tuple[tuple[Id, ...], Id]] = []
        with self.branch(condition, True) as arms:
            for make in (then, otherwise):
                next(arms)
                values = make()
                results.append((values, self.region.block.label))
        (a, from_a), (b, from_b) = results
        return tuple(self.raw(Op.Phi, self.type_of(x), x, from_a, y, from_b) for x, y in zip(a, b))

    @contextmanager
    def counted_loop(self, start: Id, bound: Id, step: int, type: Id) -> Iterator[Id]:
        """`for (i = start; i < bound; i += step)`; gives i.

        The header holds the phi, the test and the merge; the only phi is the counter's, the step is a constant, so that
        a translator can tell that the loop is bounded."""
        header, body, cont, merge = self.block(), self.block(), self.block(), self.block()
        before = self.region.block.label
        self.goto(header)
        self.enter(header, loop=True)
        i, following = self.new_id(), self.new_id()
        self._append(len(self.fn.regions) - 1,
                     Instruction(Op.Phi, type, i, [start, before, following, cont.label]))
        test = self.op(Op.SLessThan if type == self.i32 else Op.ULessThan, self.bool, i, bound)
        self.terminate(Op.BranchConditional, test, body.label, merge.label,
                       merge=Instruction(Op.LoopMerge, None, None, [merge.label, cont.label, 0]))
        self.resume(body)
        self.fn.loops.append(Loop(merge, cont))
        yield i
        self.fn.loops.pop()
        self.goto(cont)
        self.resume(cont)
        cont.code.append(Instruction(Op.IAdd, type, following, [i, self.constant(type, step)]))
        self.terminate(Op.Branch, header.label)
        self.leave()
        self.resume(merge)

    @contextmanager
    def while_loop(self) -> Iterator[None]:
        """An endless loop; its body leaves it by `break_unless` or `jump`."""
        header, body, cont, merge = self.block(), self.block(), self.block(), self.block()
        self.goto(header)
        self.enter(header, loop=True)
        self.terminate(Op.Branch, body.label, merge=Instruction(Op.LoopMerge, None, None, [merge.label, cont.label, 0]))
        self.resume(body)
        self.fn.loops.append(Loop(merge, cont))
        yield
        self.fn.loops.pop()
        self.goto(cont)
        self.resume(cont)
        self.terminate(Op.Branch, header.label)
        self.leave()
        self.resume(merge)

    def break_unless(self, condition: Id) -> None:
        """Leaves the innermost loop where the condition does not hold."""
        go_on = self.block()
        self.terminate(Op.BranchConditional, condition, go_on.label, self.fn.loops[-1].merge.label)
        self.resume(go_on)

    def jump(self, kind: str) -> None:
        """`break` or `continue` of the innermost loop."""
        loop = self.fn.loops[-1]
        self.goto(loop.merge if kind == "break" else loop.cont)

    # assembly --------------------------------------------------------------------------------------------------

    def assemble(self, name: str, entry: Id, workgroup_size: tuple[int, int, int]) -> bytes:
        """The module, without what nothing uses; ids are numbered in order of appearance."""
        code: list[Instruction] = []
        for fn in self._functions:
            code += fn.head
            for i, block in enumerate(fn.blocks):
                code.append(Instruction(Op.Label, None, block.label, []))
                code += (fn.variables if i == 0 else []) + block.code + block.end
            code.append(Instruction(Op.FunctionEnd, None, None, []))
        code = drop_unused(code)
        used = {entry, self.glsl, *self._interface, *self.kept}
        used.update(w for ins in code for w in (ins.type, *ins.operands) if isinstance(w, Id))
        globals_: list[Instruction] = []
        for ins in reversed(self._globals):
            keep = ins.result in used
            if keep:
                globals_.append(ins)
                used.update(w for w in (ins.type, *ins.operands) if isinstance(w, Id))
        globals_.reverse()
        defined = {ins.result for ins in globals_ + code if ins.result is not None}
        about = [ins for ins in self._names + self._decorations if ins.operands[0] in defined]
        preamble = [Instruction(Op.Capability, None, None, [c]) for c in sorted(self.capabilities)]
        preamble += [
            Instruction(Op.ExtInstImport, None, self.glsl, text_words("GLSL.std.450")),
            Instruction(Op.MemoryModel, None, None, [ADDRESSING_LOGICAL, MEMORY_MODEL_GLSL450]),
            Instruction(Op.EntryPoint, None, None, [EXECUTION_GLCOMPUTE, entry, *text_words(name), *self._interface]),
            Instruction(Op.ExecutionMode, None, None, [entry, MODE_LOCAL_SIZE, *workgroup_size]),
        ]
        everything = preamble + about + globals_ + code
        number: dict[int, int] = {}
        for ins in everything:
            for w in (ins.type, ins.result, *ins.operands):
                if isinstance(w, Id) and w not in number:
                    number[w] = len(number) + 1
        words = [MAGIC, VERSION_1_3, 0, len(number) + 1, 0]
        for ins in everything:
            words += ins.words(number)
        return struct.pack(f"<{len(words)}I", *words)


def drop_unused(code: list[Instruction]) -> list[Instruction]:
    """Removes instructions whose result nothing uses and that have no effect, until there are none left."""
    uses: dict[int, int] = {}
    for ins in code:
        for w in ins.operands:
            if isinstance(w, Id):
                uses[w] = uses.get(w, 0) + 1
    by_result = {ins.result: ins for ins in code if ins.result is not None}

    def droppable(ins: Instruction) -> bool:
        return ins.result is not None and not uses.get(ins.result) and ins.op not in EFFECTS

    pending = [ins for ins in code if droppable(ins)]
    dropped: set[int] = set()
    while pending:
        ins = pending.pop()
        if ins.result in dropped:
            continue
        dropped.add(ins.result)  # type: ignore[arg-type]
        for w in ins.operands:
            if isinstance(w, Id) and w in by_result:
                uses[w] -= 1
                if droppable(by_result[w]):
                    pending.append(by_result[w])
    return [ins for ins in code if ins.result is None or ins.result not in dropped]


def float_bits(value: float, bits: int) -> int:
    """IEEE bits of a float, rounded to nearest even; too large a value becomes infinity."""
    formats = {32: ("<f", "<I"), 16: ("<e", "<H")}
    fmt, raw = formats[bits]
    try:
        return struct.unpack(raw, struct.pack(fmt, value))[0]
    except OverflowError:
        infinity = struct.pack(fmt, float("inf") if value > 0 else float("-inf"))
        return struct.unpack(raw, infinity)[0]
